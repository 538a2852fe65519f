//! What the client's SDK and protocol number let us do.

use livekit_protocol as proto;
use proto::client_info::Sdk;
use serde::{Deserialize, Serialize};

use super::memo;

use super::known;

/// The client as it described itself when it joined.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Client {
    #[serde(with = "memo::message")]
    pub(crate) info: proto::ClientInfo,
}

impl Client {
    pub(crate) fn new(mut info: proto::ClientInfo) -> Self {
        known::client_info(&mut info);
        Self { info }
    }

    fn protocol(&self) -> i32 {
        self.info.protocol
    }

    pub(crate) fn supports_subscriber_primary(&self) -> bool {
        self.protocol() > 2
    }

    pub(crate) fn supports_speakers_changed(&self) -> bool {
        self.protocol() > 2
    }

    pub(crate) fn supports_connection_quality(&self) -> bool {
        self.protocol() > 4
    }

    pub(crate) fn supports_unpublish(&self) -> bool {
        self.protocol() > 6
    }

    /// Media may already be in the first offer.
    pub(crate) fn supports_fast_start(&self) -> bool {
        self.protocol() > 7
    }

    pub(crate) fn supports_disconnected_update(&self) -> bool {
        self.protocol() > 8
    }

    pub(crate) fn supports_quality_lost(&self) -> bool {
        self.protocol() > 10
    }

    /// Tells sessions of one identity apart by itself, so that it need not hear that the older one
    /// went.
    pub(crate) fn supports_identity_based_reconnection(&self) -> bool {
        self.protocol() > 11
    }

    pub(crate) fn supports_leave_action(&self) -> bool {
        self.protocol() > 12
    }

    pub(crate) fn supports_non_error_response(&self) -> bool {
        self.protocol() > 14
    }

    /// Old Rust clients fail on messages they do not know.
    pub(crate) fn supports_track_subscribed(&self) -> bool {
        self.info.sdk() != Sdk::Rust || self.protocol() >= 10
    }

    /// JavaScript before 1.6.4 fails on the response to a resume.
    pub(crate) fn supports_reconnect_response(&self) -> bool {
        self.info.sdk() != Sdk::Js || version(&self.info.version) >= [1, 6, 3]
    }

    /// Pion tells the application of a track only when its first packet arrives; it says so by
    /// packets, too, when it publishes.
    pub(crate) fn announces_by_packet(&self) -> bool {
        self.info.sdk() == Sdk::Go
    }

    pub(crate) fn is_firefox(&self) -> bool {
        self.browser_is("firefox") || self.browser_is("firefox mobile")
    }

    /// Firefox on Linux and Android sends the codec it likes, whatever an answer prefers.
    pub(crate) fn heeds_codec_order(&self) -> bool {
        let os = &self.info.os;
        let stubborn = os.eq_ignore_ascii_case("linux") || os.eq_ignore_ascii_case("android");
        !(stubborn && self.is_firefox())
    }

    fn browser_is(&self, name: &str) -> bool {
        self.info.browser.eq_ignore_ascii_case(name)
    }

    /// OBS sends no complete set of RTCP sender reports.
    pub(crate) fn is_obs(&self) -> bool {
        self.info.browser.contains("OBS")
    }
}

/// The three numbers of a version; what is no number counts as zero.
fn version(text: &str) -> [u32; 3] {
    let mut numbers = [0; 3];
    for (number, part) in numbers.iter_mut().zip(text.split('.')) {
        *number = part.parse().unwrap_or(0);
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(sdk: Sdk, protocol: i32, version: &str) -> Client {
        Client::new(proto::ClientInfo {
            sdk: sdk.into(),
            protocol,
            version: version.into(),
            ..Default::default()
        })
    }

    #[test]
    fn gates_follow_the_protocol_number() {
        assert!(client(Sdk::Js, 17, "2.23.0").supports_leave_action());
        assert!(!client(Sdk::Js, 12, "1.0.0").supports_leave_action());
        assert!(!client(Sdk::Rust, 9, "0.1.0").supports_track_subscribed());
    }

    #[test]
    fn old_javascript_gets_no_reconnect_response() {
        assert!(!client(Sdk::Js, 9, "1.6.2").supports_reconnect_response());
        assert!(client(Sdk::Js, 9, "1.6.3").supports_reconnect_response());
        assert!(client(Sdk::Js, 9, "1.10.0").supports_reconnect_response());
        assert!(client(Sdk::Go, 9, "").supports_reconnect_response());
    }
}
