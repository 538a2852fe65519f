//! What a participant wants of other people's tracks, and how far it got.

use std::collections::{BTreeMap, BTreeSet};

use livekit_protocol as proto;
use millrace_shared::ids::{DownTrackId, Ssrc, TrackId};
use millrace_shared::link::Layer;
use rand::Rng as _;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{layers, memo};

/// A wish for one track. It outlives the track's absence: the track, or the permission for it,
/// may come later.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Subscription {
    pub(crate) wanted: bool,
    #[serde(with = "memo::optional_message")]
    pub(crate) settings: Option<proto::UpdateTrackSettings>,
    /// What the subscriber was last told of its permission.
    pub(crate) permitted: Option<bool>,
    #[serde(skip, default = "Instant::now")]
    pub(crate) since: Instant,
    pub(crate) down: Option<DownTrack>,
}

/// The subscriber's copy while it has one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DownTrack {
    pub(crate) down: DownTrackId,
    pub(crate) track: TrackId,
    pub(crate) publisher_sid: String,
    #[serde(with = "memo::enumeration")]
    pub(crate) kind: proto::TrackType,
    pub(crate) ssrc: Ssrc,
    pub(crate) rtx_ssrc: Ssrc,
    /// The subscriber's description accepted it and the data plane has it.
    pub(crate) bound: bool,
}

impl Subscription {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            wanted: false,
            settings: None,
            permitted: None,
            since: now,
            down: None,
        }
    }

    /// Takes over a wish; says whether it is a new one.
    pub(crate) fn want(&mut self, wanted: bool, now: Instant) -> bool {
        if self.wanted == wanted {
            return false;
        }
        self.wanted = wanted;
        self.since = now;
        true
    }

    /// Nothing is left to remember.
    pub(crate) fn is_over(&self) -> bool {
        !self.wanted && self.down.is_none()
    }
}

/// Settings of a video track that nobody has set. Adaptive clients start low and ask for what
/// their elements need: had they started at nothing, no frame would make them ask.
pub(crate) fn settings_default(adaptive_stream: bool) -> proto::UpdateTrackSettings {
    let quality = if adaptive_stream {
        proto::VideoQuality::Low
    } else {
        proto::VideoQuality::High
    };
    proto::UpdateTrackSettings {
        quality: quality.into(),
        ..Default::default()
    }
}

/// The highest layer that `settings` ask for, and whether they pause the track.
pub(crate) fn layer_of(
    settings: &proto::UpdateTrackSettings,
    info: &proto::TrackInfo,
) -> (Layer, bool) {
    if info.r#type() != proto::TrackType::Video {
        return (Layer::BEST, settings.disabled);
    }
    let spatial = if settings.width > 0 {
        Some(layers::spatial_for_size(
            info,
            &info.mime_type,
            settings.width,
            settings.height,
        ))
    } else {
        layers::spatial(layers::of_mime(info, &info.mime_type), settings.quality())
    };
    let layer = Layer {
        spatial: spatial.unwrap_or(0),
        temporal: temporal_of_fps(settings.fps),
    };
    (layer, settings.disabled || spatial.is_none())
}

/// Temporal layers halve the frame rate; publishers start from 30 frames a second at most times.
const fn temporal_of_fps(fps: u32) -> u8 {
    match fps {
        1..=7 => 0,
        8..=15 => 1,
        16..=24 => 2,
        _ => Layer::BEST.temporal,
    }
}

/// SSRCs for one transport's copies: none comes twice, for all of them share the transport's SRTP
/// keys. RFC 3711 §9.1: an SSRC used anew would repeat a key stream, and for AEAD a nonce
/// (RFC 7714 §8.1).
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SsrcSequence {
    next: u32,
    /// Odd, so that the steps pass every number before one comes again.
    stride: u32,
}

impl SsrcSequence {
    /// RFC 3550 §8.1: chosen at random.
    pub(crate) fn random() -> Self {
        let mut rng = rand::rng();
        Self {
            next: rng.random(),
            stride: rng.random::<u32>() | 1,
        }
    }

    /// Leaves numbers out: some may have been given that this sequence does not know of.
    pub(crate) fn skip(&mut self, numbers: u32) {
        self.next = self.next.wrapping_add(self.stride.wrapping_mul(numbers));
    }

    pub(crate) fn next(&mut self) -> Ssrc {
        loop {
            let ssrc = self.next;
            self.next = self.next.wrapping_add(self.stride);
            // Some stacks take zero for none, and the data plane's own reports come from one.
            if ssrc > 1 {
                return Ssrc(ssrc);
            }
        }
    }
}

/// Whom a publisher lets subscribe.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) enum SubscriberPermissions {
    #[default]
    Everybody,
    Listed(BTreeMap<String, TrackSet>),
}

/// Tracks that one subscriber may have.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum TrackSet {
    All,
    Listed(BTreeSet<String>),
}

impl SubscriberPermissions {
    /// Reads a request. Entries may name a session instead of an identity; `identity_of_sid` knows
    /// it. `None` when an entry names nobody.
    pub(crate) fn parse(
        request: &proto::SubscriptionPermission,
        identity_of_sid: impl Fn(&str) -> Option<String>,
    ) -> Option<Self> {
        if request.all_participants {
            return Some(Self::Everybody);
        }
        let mut listed = BTreeMap::new();
        for permission in &request.track_permissions {
            let identity = match (
                permission.participant_identity.as_str(),
                permission.participant_sid.as_str(),
            ) {
                ("", "") => return None,
                ("", sid) => match identity_of_sid(sid) {
                    Some(identity) => identity,
                    // Gone meanwhile.
                    None => continue,
                },
                (identity, _) => identity.to_owned(),
            };
            let tracks = if permission.all_tracks {
                TrackSet::All
            } else {
                TrackSet::Listed(permission.track_sids.iter().cloned().collect())
            };
            listed.insert(identity, tracks);
        }
        Some(Self::Listed(listed))
    }

    pub(crate) fn allows(&self, identity: &str, track_sid: &str) -> bool {
        match self {
            Self::Everybody => true,
            Self::Listed(listed) => match listed.get(identity) {
                None => false,
                Some(TrackSet::All) => true,
                Some(TrackSet::Listed(tracks)) => tracks.contains(track_sid),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn video() -> proto::TrackInfo {
        proto::TrackInfo {
            r#type: proto::TrackType::Video.into(),
            mime_type: "video/VP8".into(),
            ..Default::default()
        }
    }

    #[test]
    fn adaptive_clients_start_low() {
        let (low, paused) = layer_of(&settings_default(true), &video());
        assert_eq!((low.spatial, paused), (0, false));
        let (high, _) = layer_of(&settings_default(false), &video());
        assert_eq!(high.spatial, 2);
    }

    #[test]
    fn no_ssrc_comes_twice() {
        for stride in [1, 3, u32::MAX] {
            let mut ssrcs = SsrcSequence { next: 0, stride };
            let seen: BTreeSet<u32> = (0..100_000).map(|_| ssrcs.next().0).collect();
            assert_eq!(seen.len(), 100_000);
            assert!(!seen.contains(&0) && !seen.contains(&1));
        }
        assert_eq!(SsrcSequence::random().stride % 2, 1);
    }

    #[test]
    fn off_and_disabled_pause() {
        let mut settings = settings_default(false);
        settings.quality = proto::VideoQuality::Off.into();
        assert!(layer_of(&settings, &video()).1);
        settings.quality = proto::VideoQuality::High.into();
        settings.disabled = true;
        assert!(layer_of(&settings, &video()).1);
    }

    #[test]
    fn permission_lists_are_by_identity_or_session() {
        let request = proto::SubscriptionPermission {
            all_participants: false,
            track_permissions: vec![
                proto::TrackPermission {
                    participant_identity: "bob".into(),
                    all_tracks: true,
                    ..Default::default()
                },
                proto::TrackPermission {
                    participant_sid: "PA_c".into(),
                    track_sids: vec!["TR_1".into()],
                    ..Default::default()
                },
                proto::TrackPermission {
                    participant_sid: "PA_gone".into(),
                    ..Default::default()
                },
            ],
        };
        let permissions = SubscriberPermissions::parse(&request, |sid| {
            (sid == "PA_c").then(|| "carol".to_owned())
        })
        .unwrap();
        assert!(permissions.allows("bob", "TR_2"));
        assert!(permissions.allows("carol", "TR_1"));
        assert!(!permissions.allows("carol", "TR_2"));
        assert!(!permissions.allows("dave", "TR_1"));

        let nobody = proto::SubscriptionPermission {
            track_permissions: vec![proto::TrackPermission::default()],
            ..Default::default()
        };
        assert_eq!(SubscriberPermissions::parse(&nobody, |_| None), None);
    }
}
