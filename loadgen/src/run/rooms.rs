//! Who publishes and who listens in each room: how many copies of a packet are wanted follows.

use std::collections::HashMap;

use crate::client::{Layout, TrackSpec};
use crate::stream::publisher::Audience;

/// A track somebody publishes.
#[derive(Debug)]
struct Published {
    identity: String,
    encodings: usize,
    video: bool,
    audience: Audience,
}

#[derive(Debug, Default)]
struct Room {
    tracks: Vec<Published>,
    subscribers: Vec<(String, Layout)>,
}

#[derive(Debug, Default)]
pub(super) struct Rooms {
    by_name: HashMap<String, Room>,
}

/// Sums over all rooms.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Census {
    pub(super) rooms: u32,
    pub(super) publishers: u32,
    pub(super) subscribers: u32,
    pub(super) tracks_published: u32,
    pub(super) tracks_subscribed: u32,
}

impl Rooms {
    pub(super) fn enter(
        &mut self,
        room: &str,
        identity: &str,
        tracks: &[TrackSpec],
        listens: Option<Layout>,
    ) {
        let room = self.by_name.entry(room.to_owned()).or_default();
        room.tracks.extend(tracks.iter().map(|track| Published {
            identity: identity.to_owned(),
            encodings: track.source.encodings_len(),
            video: track.source.video_codec().is_some(),
            audience: track.audience.clone(),
        }));
        room.subscribers
            .extend(listens.map(|layout| (identity.to_owned(), layout)));
        room.count_audiences();
    }

    pub(super) fn leave(&mut self, name: &str, identity: &str) {
        let Some(room) = self.by_name.get_mut(name) else {
            return;
        };
        room.tracks.retain(|track| track.identity != identity);
        room.subscribers.retain(|(other, _)| other != identity);
        room.count_audiences();
        if room.tracks.is_empty() && room.subscribers.is_empty() {
            self.by_name.remove(name);
        }
    }

    pub(super) fn census(&self) -> Census {
        let mut census = Census::default();
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        for room in self.by_name.values() {
            let mut publishers: Vec<_> = room.tracks.iter().map(|it| &it.identity).collect();
            publishers.dedup();
            census.rooms += 1;
            census.publishers += number(publishers.len());
            census.tracks_published += number(room.tracks.len());
            for (identity, _) in &room.subscribers {
                let others = room.tracks.iter().filter(|it| it.identity != *identity);
                let tracks = number(others.count());
                census.tracks_subscribed += tracks;
                census.subscribers += u32::from(tracks > 0);
            }
        }
        census
    }
}

impl Room {
    /// Which layer a subscriber gets follows from its layout. With a speaker's layout one of the
    /// others is large for each; which one differs, and all are so in turn here.
    fn count_audiences(&self) {
        let mut counts = vec![[0_u32; 3]; self.tracks.len()];
        for (turn, (identity, layout)) in self.subscribers.iter().enumerate() {
            let others = |it: &&(usize, &Published)| it.1.identity != *identity;
            let videos: Vec<_> = self
                .tracks
                .iter()
                .enumerate()
                .filter(|it| others(&it) && it.1.video)
                .map(|(index, _)| index)
                .collect();
            let large = (!videos.is_empty()).then(|| videos[turn % videos.len()]);
            for (index, track) in self.tracks.iter().enumerate().filter(|it| others(&it)) {
                let top = track.encodings.saturating_sub(1).min(2);
                let layer = match layout {
                    Layout::Full => top,
                    Layout::Speaker if large == Some(index) => top,
                    Layout::Speaker => 0,
                    Layout::Grid => top.min(1),
                };
                counts[index][layer] += 1;
            }
        }
        for (track, counts) in self.tracks.iter().zip(counts) {
            track.audience.set(counts);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::packetize::VideoCodec;
    use crate::scenario::{microphone, simulcast_camera};

    fn tracks() -> Vec<TrackSpec> {
        let media = [
            microphone(Default::default()),
            simulcast_camera(VideoCodec::Vp8),
        ];
        let specs = media.into_iter().map(|medium| TrackSpec {
            number: 1,
            source: medium.source,
            screen: false,
            audience: Audience::default(),
        });
        specs.collect()
    }

    #[test]
    fn everybody_hears_all_others() {
        let mut rooms = Rooms::default();
        let people: Vec<_> = (0..4).map(|_| tracks()).collect();
        for (index, tracks) in people.iter().enumerate() {
            rooms.enter("r", &index.to_string(), tracks, Some(Layout::Speaker));
        }
        let counts = |track: &TrackSpec| {
            let expected = |counts| {
                let audience = Audience::default();
                audience.set(counts);
                audience
            };
            (0..=4)
                .flat_map(|low| (0..=4).map(move |high| [low, 0, high]))
                .find(|counts| track.audience == expected(*counts))
        };
        assert_eq!(
            counts(&people[0][0]),
            Some([3, 0, 0]),
            "audio has one layer"
        );
        let sums: Vec<_> = people.iter().map(|it| counts(&it[1]).unwrap()).collect();
        assert!(sums.iter().all(|it| it[0] + it[2] == 3), "{sums:?}");
        assert_eq!(
            sums.iter().map(|it| it[2]).sum::<u32>(),
            4,
            "one large each"
        );

        let census = rooms.census();
        assert_eq!(census.publishers, 4);
        assert_eq!(census.tracks_subscribed, 4 * 6);
        rooms.leave("r", "0");
        assert_eq!(rooms.census().tracks_subscribed, 3 * 4);
    }
}
