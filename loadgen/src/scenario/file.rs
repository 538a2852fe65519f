//! Scenarios from a file.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;

use super::{
    Churn, Count, Group, Medium, Role, Scenario, microphone, screen, simulcast_camera,
    single_camera,
};
use crate::client::Layout;
use crate::impair::Impairment;
use crate::media::packetize::VideoCodec;
use crate::media::picture::{Content, Encoding};
use crate::media::recording::Recording;
use crate::media::speech::Manner;
use crate::stream::publisher::TrackSource;

/// Rids of a simulcast.
const ENCODINGS_MAX: usize = 3;

#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ScenarioError {
    #[error("{0}")]
    Toml(#[from] toml::de::Error),
    #[error("no track is called {0}: {1} are built in, others begin with [track.{0}]")]
    TrackUnknown(String, &'static str),
    #[error("track {0} has no encoding, or more than {ENCODINGS_MAX}")]
    Encodings(String),
    #[error("recording {0}: {1}")]
    Recording(String, String),
    #[error("a role has either a count or a count_per_unit")]
    Count,
    #[error("there is no [[group]] with a role")]
    Empty,
}

const TRACK_NAMES: &str = "voice, speech, camera, camera-h264, camera-single, camera-single-h264, \
                           screen and screen-h264";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    description: String,
    #[serde(default = "participants")]
    noun: String,
    #[serde(default = "one")]
    size: u32,
    #[serde(default)]
    track: BTreeMap<String, FileTrack>,
    #[serde(default)]
    group: Vec<FileGroup>,
    churn: Option<FileChurn>,
}

fn participants() -> String {
    "participants".to_owned()
}

const fn one() -> u32 {
    1
}

const fn yes() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileTrack {
    #[serde(default)]
    codec: FileCodec,
    #[serde(default)]
    screen: bool,
    #[serde(default)]
    encoding: Vec<FileEncoding>,
    /// A recording, instead of encodings.
    recording: Option<String>,
}

#[derive(Copy, Clone, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum FileCodec {
    #[default]
    Vp8,
    H264,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileEncoding {
    width: u16,
    height: u16,
    bitrate_bps: u32,
    frame_rate: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileGroup {
    name: String,
    rooms: Option<u32>,
    rooms_per_unit: Option<f64>,
    #[serde(default)]
    role: Vec<FileRole>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileRole {
    name: String,
    count: Option<u32>,
    count_per_unit: Option<f64>,
    #[serde(default)]
    tracks: Vec<String>,
    #[serde(default = "yes")]
    subscribe: bool,
    #[serde(default)]
    may_publish: bool,
    #[serde(default)]
    layout: FileLayout,
    impairment: Option<FileImpairment>,
}

#[derive(Copy, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FileImpairment {
    loss: f64,
    delay_ms: f64,
    jitter_ms: f64,
    rate_bps: Option<u64>,
}

impl FileImpairment {
    fn read(self) -> Impairment {
        let ms = |ms: f64| Duration::from_secs_f64(ms.clamp(0.0, 60_000.0) / 1e3);
        Impairment {
            loss: self.loss,
            delay: ms(self.delay_ms),
            jitter: ms(self.jitter_ms),
            rate_bps: self.rate_bps,
        }
    }
}

#[derive(Copy, Clone, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum FileLayout {
    #[default]
    Full,
    Speaker,
    Grid,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileChurn {
    joins_per_s: f64,
    stay_s: f64,
    role: FileRole,
}

/// Reads a scenario.
pub fn from_toml(text: &str) -> Result<Scenario, ScenarioError> {
    let file: File = toml::from_str(text)?;
    let groups = file
        .group
        .iter()
        .map(|group| group.read(&file.track))
        .collect::<Result<Vec<_>, _>>()?;
    if groups.iter().all(|group| group.roles.is_empty()) {
        return Err(ScenarioError::Empty);
    }
    let churn = match &file.churn {
        Some(churn) => Some(Churn {
            joins_per_s: churn.joins_per_s,
            stay: Duration::from_secs_f64(churn.stay_s.clamp(0.1, 86_400.0)),
            role: churn.role.read(&file.track)?,
        }),
        None => None,
    };
    Ok(Scenario {
        name: file.name,
        description: file.description,
        noun: file.noun,
        size_default: file.size,
        groups,
        churn,
    })
}

impl FileGroup {
    fn read(&self, tracks: &BTreeMap<String, FileTrack>) -> Result<Group, ScenarioError> {
        let roles = self.role.iter().map(|role| role.read(tracks));
        Ok(Group {
            name: self.name.clone(),
            rooms: count(self.rooms, self.rooms_per_unit, 1)?,
            roles: roles.collect::<Result<_, _>>()?,
        })
    }
}

impl FileRole {
    fn read(&self, tracks: &BTreeMap<String, FileTrack>) -> Result<Role, ScenarioError> {
        let media = self.tracks.iter().map(|name| medium(name, tracks));
        Ok(Role {
            name: self.name.clone(),
            count: count(self.count, self.count_per_unit, 1)?,
            media: media.collect::<Result<_, _>>()?,
            subscribe: self.subscribe,
            may_publish: self.may_publish,
            layout: match self.layout {
                FileLayout::Full => Layout::Full,
                FileLayout::Speaker => Layout::Speaker,
                FileLayout::Grid => Layout::Grid,
            },
            impairment: self.impairment.map(FileImpairment::read),
        })
    }
}

fn count(fixed: Option<u32>, per_unit: Option<f64>, default: u32) -> Result<Count, ScenarioError> {
    match (fixed, per_unit) {
        (Some(_), Some(_)) => Err(ScenarioError::Count),
        (None, Some(factor)) => Ok(Count::Scaled(factor.max(0.0))),
        (fixed, None) => Ok(Count::Fixed(fixed.unwrap_or(default))),
    }
}

fn medium(name: &str, tracks: &BTreeMap<String, FileTrack>) -> Result<Medium, ScenarioError> {
    if let Some(track) = tracks.get(name) {
        return track.medium(name);
    }
    match name {
        "voice" => Ok(microphone(Manner::Continuous)),
        "speech" => Ok(microphone(Manner::Talking)),
        "camera" => Ok(simulcast_camera(VideoCodec::Vp8)),
        "camera-h264" => Ok(simulcast_camera(VideoCodec::H264)),
        "camera-single" => Ok(single_camera(VideoCodec::Vp8)),
        "camera-single-h264" => Ok(single_camera(VideoCodec::H264)),
        "screen" => Ok(screen(VideoCodec::Vp8)),
        "screen-h264" => Ok(screen(VideoCodec::H264)),
        _ => Err(ScenarioError::TrackUnknown(name.to_owned(), TRACK_NAMES)),
    }
}

impl FileTrack {
    fn medium(&self, name: &str) -> Result<Medium, ScenarioError> {
        if let Some(path) = &self.recording {
            let bytes = fs::read(path)
                .map_err(|error| ScenarioError::Recording(path.clone(), error.to_string()))?;
            let recording = Recording::parse(&bytes)
                .map_err(|error| ScenarioError::Recording(path.clone(), error.to_string()))?;
            return Ok(Medium {
                source: TrackSource::Recorded(Arc::new(recording)),
                screen: self.screen,
            });
        }
        if self.encoding.is_empty() || self.encoding.len() > ENCODINGS_MAX {
            return Err(ScenarioError::Encodings(name.to_owned()));
        }
        let content = if self.screen {
            Content::Screen
        } else {
            Content::Camera
        };
        let encodings = self.encoding.iter().map(|encoding| Encoding {
            width: encoding.width,
            height: encoding.height,
            bitrate_bps: encoding.bitrate_bps,
            frame_rate: encoding.frame_rate.clamp(1, 240),
            content,
        });
        Ok(Medium {
            source: TrackSource::Video {
                codec: match self.codec {
                    FileCodec::Vp8 => VideoCodec::Vp8,
                    FileCodec::H264 => VideoCodec::H264,
                },
                encodings: encodings.collect(),
            },
            screen: self.screen,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_example_is_read() {
        let scenario = from_toml(include_str!("../../scenarios/town-hall.toml")).unwrap();
        assert_eq!(scenario.name, "town-hall");
        let people = scenario.participants(100);
        let publishers = people.iter().filter(|it| !it.media.is_empty()).count();
        assert_eq!((publishers, people.len()), (3, 103));
        assert_eq!(scenario.codecs(), ["Opus", "VP8"]);
    }

    #[test]
    fn mistakes_are_named() {
        let text = include_str!("../../scenarios/town-hall.toml");
        let unknown = text.replace("\"speech\"", "\"sermon\"");
        let error = from_toml(&unknown).unwrap_err().to_string();
        assert!(
            error.contains("sermon") && error.contains("speech"),
            "{error}"
        );
        let both = text.replace("count = 2", "count = 2\ncount_per_unit = 1.0");
        assert!(matches!(from_toml(&both), Err(ScenarioError::Count)));
        assert!(matches!(
            from_toml("name = \"a\"\ndescription = \"b\""),
            Err(ScenarioError::Empty)
        ));
    }
}
