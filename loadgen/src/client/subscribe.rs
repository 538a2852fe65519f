//! The subscribing side: which layers a participant wishes for.

use livekit_protocol as proto;

use super::Layout;

/// Video tracks of others, in the order in which we heard of them.
#[derive(Debug, Default)]
pub(super) struct Gallery {
    layout: Layout,
    known: Vec<String>,
}

impl Gallery {
    pub(super) fn new(layout: Layout) -> Self {
        Self {
            layout,
            known: Vec::new(),
        }
    }

    /// Settings for tracks of `participants` that are new.
    pub(super) fn settings(
        &mut self,
        own_identity: &str,
        participants: &[proto::ParticipantInfo],
    ) -> Vec<proto::UpdateTrackSettings> {
        if self.layout == Layout::Full {
            return Vec::new();
        }
        let others = participants.iter().filter(|it| it.identity != own_identity);
        let tracks = others.flat_map(|it| &it.tracks);
        let mut settings = Vec::new();
        for track in tracks.filter(|track| track.r#type() == proto::TrackType::Video) {
            if self.known.contains(&track.sid) {
                continue;
            }
            settings.push(self.setting(&track.sid));
            self.known.push(track.sid.clone());
        }
        settings
    }

    fn setting(&self, sid: &str) -> proto::UpdateTrackSettings {
        let large = self.known.is_empty();
        let (quality, width, height) = match (self.layout, large) {
            (Layout::Full, _) | (Layout::Speaker, true) => (proto::VideoQuality::High, 1280, 720),
            (Layout::Speaker, false) => (proto::VideoQuality::Low, 320, 180),
            (Layout::Grid, _) => (proto::VideoQuality::Medium, 640, 360),
        };
        proto::UpdateTrackSettings {
            track_sids: vec![sid.to_owned()],
            quality: quality.into(),
            width,
            height,
            ..proto::UpdateTrackSettings::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn participant(identity: &str, sid: &str) -> proto::ParticipantInfo {
        proto::ParticipantInfo {
            identity: identity.to_owned(),
            tracks: vec![proto::TrackInfo {
                sid: sid.to_owned(),
                r#type: proto::TrackType::Video.into(),
                ..proto::TrackInfo::default()
            }],
            ..proto::ParticipantInfo::default()
        }
    }

    #[test]
    fn a_speaker_layout_has_one_large_picture() {
        let mut gallery = Gallery::new(Layout::Speaker);
        let first = gallery.settings(
            "me",
            &[
                participant("me", "TR_me"),
                participant("a", "TR_a"),
                participant("b", "TR_b"),
            ],
        );
        let qualities: Vec<_> = first.iter().map(|it| it.quality()).collect();
        assert_eq!(
            qualities,
            [proto::VideoQuality::High, proto::VideoQuality::Low]
        );
        assert!(
            gallery
                .settings("me", &[participant("a", "TR_a")])
                .is_empty()
        );
    }

    #[test]
    fn without_a_layout_nothing_is_asked_for() {
        let mut gallery = Gallery::new(Layout::Full);
        assert!(
            gallery
                .settings("me", &[participant("a", "TR_a")])
                .is_empty()
        );
    }
}
