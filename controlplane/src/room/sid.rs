//! Server ids as LiveKit forms them: a prefix and 12 characters of base57 (no look-alikes).

use livekit_protocol as proto;
use rand::Rng;

const BASE57: &[u8; 57] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
/// 57^12 is 70 bits: a million sids collide with a chance of 1 in two billion.
const RANDOM_LEN: usize = 12;

fn sid(prefix: &str) -> String {
    let mut rng = rand::rng();
    let mut sid = String::with_capacity(prefix.len() + RANDOM_LEN);
    sid.push_str(prefix);
    sid.extend((0..RANDOM_LEN).map(|_| char::from(BASE57[rng.random_range(0..BASE57.len())])));
    sid
}

pub(crate) fn room() -> String {
    sid("RM_")
}

pub(crate) fn participant() -> String {
    sid("PA_")
}

/// Kind and source show in the sid, which makes logs readable.
pub(crate) fn track(kind: proto::TrackType, source: proto::TrackSource) -> String {
    let kind = match kind {
        proto::TrackType::Video => "V",
        proto::TrackType::Audio => "A",
        proto::TrackType::Data => "",
    };
    let source = match source {
        proto::TrackSource::Camera => "C",
        proto::TrackSource::Microphone => "M",
        proto::TrackSource::ScreenShare => "S",
        proto::TrackSource::ScreenShareAudio => "s",
        proto::TrackSource::Unknown => "",
    };
    sid(&format!("TR_{kind}{source}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sids_have_prefix_and_twelve_characters() {
        let track = track(proto::TrackType::Video, proto::TrackSource::Camera);
        assert!(track.starts_with("TR_VC"));
        assert_eq!(track.len(), "TR_VC".len() + RANDOM_LEN);
        assert_eq!(room().len(), 15);
        assert!(participant().starts_with("PA_"));
    }
}
