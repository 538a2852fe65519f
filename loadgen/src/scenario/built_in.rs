use std::time::Duration;

use super::{
    Churn, Count, Group, Medium, Role, Scenario, microphone, screen, simulcast_camera,
    single_camera,
};
use crate::client::Layout;
use crate::media::packetize::VideoCodec;
use crate::media::speech::Manner;

pub const BUILT_IN_NAMES: [&str; 7] = [
    "audio",
    "meeting",
    "livestream",
    "screenshare",
    "churn",
    "mixed",
    "idle",
];

/// The scenario of this name.
pub fn built_in(name: &str) -> Option<Scenario> {
    match name {
        "audio" => Some(audio()),
        "meeting" => Some(meeting()),
        "livestream" => Some(livestream()),
        "screenshare" => Some(screenshare()),
        "churn" => Some(churn()),
        "mixed" => Some(mixed()),
        "idle" => Some(idle()),
        _ => None,
    }
}

const EACH: Count = Count::Scaled(1.0);

fn role(name: &str, count: Count, media: Vec<Medium>) -> Role {
    Role {
        name: name.to_owned(),
        count,
        media,
        subscribe: true,
        may_publish: false,
        layout: Layout::Full,
        impairment: None,
    }
}

/// A publisher that watches nobody.
fn source(name: &str, media: Vec<Medium>) -> Role {
    Role {
        subscribe: false,
        ..role(name, Count::Fixed(1), media)
    }
}

fn one_room(name: &str, roles: Vec<Role>) -> Vec<Group> {
    vec![Group {
        name: name.to_owned(),
        rooms: Count::Fixed(1),
        roles,
    }]
}

fn scenario(name: &str, noun: &str, size_default: u32, description: &str) -> Scenario {
    Scenario {
        name: name.to_owned(),
        description: description.to_owned(),
        noun: noun.to_owned(),
        size_default,
        groups: Vec::new(),
        churn: None,
    }
}

fn audio() -> Scenario {
    let speaker = Role {
        subscribe: false,
        ..role(
            "speaker",
            Count::Fixed(10),
            vec![microphone(Manner::Continuous)],
        )
    };
    Scenario {
        groups: one_room("audio", vec![speaker, role("listener", EACH, Vec::new())]),
        ..scenario(
            "audio",
            "listeners",
            20,
            "Ten people speak without pause in one room, and the listeners hear all of them.",
        )
    }
}

fn meeting() -> Scenario {
    let participant = Role {
        layout: Layout::Speaker,
        ..role(
            "participant",
            EACH,
            vec![
                microphone(Manner::Talking),
                simulcast_camera(VideoCodec::Vp8),
            ],
        )
    };
    Scenario {
        groups: one_room("meeting", vec![participant]),
        ..scenario(
            "meeting",
            "participants",
            6,
            "Everybody in one room talks with pauses and shows a camera in three encodings; each \
             sees one of the others large and the rest as thumbnails.",
        )
    }
}

fn livestream() -> Scenario {
    let host = source("host", vec![single_camera(VideoCodec::H264)]);
    Scenario {
        groups: one_room("livestream", vec![host, role("viewer", EACH, Vec::new())]),
        ..scenario(
            "livestream",
            "viewers",
            20,
            "One camera of 720p at 1.6 Mbit/s in H.264, and its viewers.",
        )
    }
}

fn screenshare() -> Scenario {
    let presenter = source(
        "presenter",
        vec![microphone(Manner::Talking), screen(VideoCodec::Vp8)],
    );
    Scenario {
        groups: one_room(
            "screenshare",
            vec![presenter, role("viewer", EACH, Vec::new())],
        ),
        ..scenario(
            "screenshare",
            "viewers",
            20,
            "One person talks and shares a screen of 1080p, and the others watch.",
        )
    }
}

fn churn() -> Scenario {
    let host = source(
        "host",
        vec![
            microphone(Manner::Continuous),
            single_camera(VideoCodec::Vp8),
        ],
    );
    Scenario {
        groups: one_room(
            "churn",
            vec![host, role("stayer", Count::Fixed(5), Vec::new())],
        ),
        churn: Some(Churn {
            joins_per_s: 1.0,
            stay: Duration::from_secs(5),
            role: role("passer", Count::Fixed(1), Vec::new()),
        }),
        ..scenario(
            "churn",
            "joins per second",
            5,
            "A stream of one camera and voice that some watch throughout, while others join, watch \
             for five seconds and leave.",
        )
    }
}

fn mixed() -> Scenario {
    let host = source(
        "host",
        vec![
            microphone(Manner::Continuous),
            simulcast_camera(VideoCodec::Vp8),
        ],
    );
    let talker = Role {
        layout: Layout::Grid,
        ..role(
            "talker",
            Count::Fixed(4),
            vec![
                microphone(Manner::Talking),
                simulcast_camera(VideoCodec::Vp8),
            ],
        )
    };
    let speaker = role(
        "speaker",
        Count::Fixed(3),
        vec![microphone(Manner::Talking)],
    );
    let group = |name: &str, rooms, roles| Group {
        name: name.to_owned(),
        rooms,
        roles,
    };
    Scenario {
        groups: vec![
            group(
                "stream",
                Count::Fixed(1),
                vec![host, role("viewer", Count::Scaled(10.0), Vec::new())],
            ),
            group("meeting", EACH, vec![talker]),
            group(
                "audio",
                Count::Fixed(1),
                vec![speaker, role("listener", Count::Scaled(5.0), Vec::new())],
            ),
        ],
        ..scenario(
            "mixed",
            "units",
            2,
            "A unit is a meeting of four, ten viewers of one livestream, and five listeners of one \
             audio room.",
        )
    }
}

fn idle() -> Scenario {
    let silent = Role {
        may_publish: true,
        ..role("silent", Count::Fixed(10), Vec::new())
    };
    Scenario {
        groups: vec![Group {
            name: "idle".to_owned(),
            rooms: Count::Scaled(0.1),
            roles: vec![silent],
        }],
        ..scenario(
            "idle",
            "participants",
            100,
            "Rooms of ten who are connected both ways and send nothing.",
        )
    }
}
