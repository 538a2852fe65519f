//! Who is in which room, sends what, and comes and goes how often.

mod built_in;
mod file;

use std::sync::Arc;
use std::time::Duration;

use crate::client::Layout;
use crate::impair::Impairment;
use crate::media::packetize::VideoCodec;
use crate::media::picture::{Content, Encoding};
use crate::media::recording::Recording;
use crate::media::speech::Manner;
use crate::stream::publisher::TrackSource;

pub use built_in::{BUILT_IN_NAMES, built_in};
pub use file::{ScenarioError, from_toml};

/// A track to publish.
#[derive(Clone, PartialEq, Debug)]
pub struct Medium {
    pub source: TrackSource,
    pub screen: bool,
}

/// Participants that do the same.
#[derive(Clone, PartialEq, Debug)]
pub struct Role {
    pub name: String,
    /// In each room of its group.
    pub count: Count,
    pub media: Vec<Medium>,
    pub subscribe: bool,
    /// Connects its publishing side even with nothing to publish, as LiveKit's clients do.
    pub may_publish: bool,
    pub layout: Layout,
    pub impairment: Option<Impairment>,
}

/// How many, for a load of `size`.
#[derive(Copy, Clone, PartialEq, Debug)]
pub enum Count {
    Fixed(u32),
    /// So many for each unit of the load, at least one.
    Scaled(f64),
}

impl Count {
    pub fn at(self, size: u32) -> u32 {
        match self {
            Self::Fixed(count) => count,
            Self::Scaled(factor) => ((f64::from(size) * factor).round() as u32).max(1),
        }
    }
}

/// Rooms with the same roles in each.
#[derive(Clone, PartialEq, Debug)]
pub struct Group {
    pub name: String,
    pub rooms: Count,
    pub roles: Vec<Role>,
}

/// Participants that join a group's first room, stay a while and leave.
#[derive(Clone, PartialEq, Debug)]
pub struct Churn {
    /// Per second and unit of the load.
    pub joins_per_s: f64,
    pub stay: Duration,
    pub role: Role,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Scenario {
    pub name: String,
    /// One sentence: who sends what to whom.
    pub description: String,
    /// What the load's size counts, in the plural.
    pub noun: String,
    /// Load when none is asked for.
    pub size_default: u32,
    pub groups: Vec<Group>,
    pub churn: Option<Churn>,
}

/// One participant of a scenario at some size. Those of a smaller size are also there at a larger.
#[derive(Clone, PartialEq, Debug)]
pub struct Participant {
    pub room: String,
    pub identity: String,
    pub media: Vec<Medium>,
    pub subscribe: bool,
    pub may_publish: bool,
    pub layout: Layout,
    pub impairment: Option<Impairment>,
}

impl Scenario {
    /// Everybody at a load of `size`, publishers of each room first.
    pub fn participants(&self, size: u32) -> Vec<Participant> {
        let mut participants = Vec::new();
        for group in &self.groups {
            for room in 0..group.rooms.at(size) {
                for role in &group.roles {
                    let room = format!("{}-{room}", group.name);
                    participants.extend(
                        (0..role.count.at(size)).map(|index| role.participant(&room, index)),
                    );
                }
            }
        }
        participants
    }

    /// Sends a recording instead of what it has made itself: sound instead of sound, or pictures
    /// instead of pictures.
    pub fn play(&mut self, recording: &Arc<Recording>) {
        let roles = self.groups.iter_mut().flat_map(|group| &mut group.roles);
        for medium in roles.flat_map(|role| &mut role.media) {
            if medium.source.video_codec().is_some() == recording.video.is_some() {
                medium.source = TrackSource::Recorded(Arc::clone(recording));
            }
        }
    }

    /// Puts everybody who only subscribes on a bad network.
    pub fn impair_subscribers(&mut self, impairment: Impairment) {
        let roles = self.groups.iter_mut().flat_map(|group| &mut group.roles);
        for role in roles.filter(|role| role.media.is_empty()) {
            role.impairment = Some(impairment);
        }
    }

    /// How many of those who pass through are there at a time.
    pub fn passers(&self, size: u32) -> u32 {
        self.churn.as_ref().map_or(0, |churn| {
            let rate = churn.joins_per_s * f64::from(size.max(1));
            (rate * churn.stay.as_secs_f64()).ceil() as u32
        })
    }

    /// The room that churn goes through.
    pub fn churn_room(&self) -> String {
        let group = self.groups.first().map_or("churn", |group| &group.name);
        format!("{group}-0")
    }

    /// Names of the codecs in use.
    pub fn codecs(&self) -> Vec<String> {
        let mut names = Vec::new();
        let roles = self.groups.iter().flat_map(|group| &group.roles);
        for medium in roles.flat_map(|role| &role.media) {
            let name = match medium.source.video_codec() {
                None => "Opus",
                Some(VideoCodec::Vp8) => "VP8",
                Some(VideoCodec::H264) => "H264",
            };
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
        names
    }
}

impl Role {
    pub fn participant(&self, room: &str, index: u32) -> Participant {
        Participant {
            room: room.to_owned(),
            identity: format!("{}-{index}", self.name),
            media: self.media.clone(),
            subscribe: self.subscribe,
            may_publish: self.may_publish,
            layout: self.layout,
            impairment: self.impairment,
        }
    }
}

/// A microphone.
pub fn microphone(manner: Manner) -> Medium {
    Medium {
        source: TrackSource::Speech(manner),
        screen: false,
    }
}

/// A camera with the three encodings of LiveKit's clients for 720p.
pub fn simulcast_camera(codec: VideoCodec) -> Medium {
    let encoding = |width, height, bitrate_bps, frame_rate| Encoding {
        width,
        height,
        bitrate_bps,
        frame_rate,
        content: Content::Camera,
    };
    Medium {
        source: TrackSource::Video {
            codec,
            encodings: vec![
                encoding(320, 180, 160_000, 20),
                encoding(640, 360, 450_000, 20),
                encoding(1280, 720, 1_700_000, 30),
            ],
        },
        screen: false,
    }
}

/// A camera with one encoding.
pub fn single_camera(codec: VideoCodec) -> Medium {
    Medium {
        source: TrackSource::Video {
            codec,
            encodings: vec![Encoding {
                width: 1280,
                height: 720,
                bitrate_bps: 1_600_000,
                frame_rate: 30,
                content: Content::Camera,
            }],
        },
        screen: false,
    }
}

/// A shared screen.
pub fn screen(codec: VideoCodec) -> Medium {
    Medium {
        source: TrackSource::Video {
            codec,
            encodings: vec![Encoding {
                width: 1920,
                height: 1080,
                bitrate_bps: 2_500_000,
                frame_rate: 15,
                content: Content::Screen,
            }],
        },
        screen: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_larger_load_keeps_those_of_a_smaller() {
        for name in BUILT_IN_NAMES {
            let scenario = built_in(name).unwrap();
            let small = scenario.participants(4);
            let large = scenario.participants(9);
            assert!(large.len() >= small.len(), "{name}");
            for participant in &small {
                assert!(large.contains(participant), "{name}: {participant:?}");
            }
        }
    }

    #[test]
    fn the_livestream_has_one_publisher_for_all() {
        let people = built_in("livestream").unwrap().participants(100);
        let publishers = people.iter().filter(|it| !it.media.is_empty()).count();
        assert_eq!((publishers, people.len()), (1, 101));
        assert!(!people[0].media.is_empty(), "the publisher comes first");
    }

    #[test]
    fn identities_are_unique_in_their_room() {
        for name in BUILT_IN_NAMES {
            let mut people: Vec<_> = built_in(name)
                .unwrap()
                .participants(50)
                .into_iter()
                .map(|it| (it.room, it.identity))
                .collect();
            let count = people.len();
            people.sort_unstable();
            people.dedup();
            assert_eq!(people.len(), count, "{name}");
        }
    }
}
