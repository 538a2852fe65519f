//! Messages of the link as frames, and without.

use bytes::Bytes;
use millrace_shared::ids::{GroupId, MemoKey, Mid, Pt, ShardId, Ssrc, TrackId, TransportId};
use millrace_shared::link::codec::{write_frame, write_message};
use millrace_shared::link::{
    AddTransport, Codec, Command, DataPublish, Encoding, Event, Greeting, IceCredentials,
    MediaKind, Opening, ShardMetrics, SpeakerLevel, ToControlplane, ToDataplane, UpCodec,
    UpTrackConfig,
};

const TRANSPORT: TransportId = TransportId(1 << 32 | 5);

fn commands() -> Vec<Command> {
    let ice = IceCredentials {
        ufrag: "0xab".into(),
        pwd: "secret".into(),
    };
    vec![
        Command::AddTransport(Box::new(AddTransport {
            transport: TRANSPORT,
            group: GroupId(1),
            label: "bob".into(),
            ice: ice.clone(),
            data_publish: DataPublish {
                stamp: Bytes::from_static(b"\x22\x03bob"),
                allowed: true,
            },
            data_receive: true,
            open_data_channels: false,
        })),
        Command::RestartIce {
            transport: TRANSPORT,
            ice,
        },
        Command::SetUpTrack {
            transport: TRANSPORT,
            config: Box::new(UpTrackConfig {
                track: TrackId(1),
                mid: Mid::from("1").unwrap(),
                kind: MediaKind::Video,
                codecs: vec![UpCodec {
                    pt: Pt(96),
                    codec: Codec::Vp8,
                    clock_rate_hz: 90_000,
                    rtx_pt: Some(Pt(97)),
                }],
                encodings: vec![Encoding {
                    rid: None,
                    spatial: 0,
                    ssrc: None,
                    rtx_ssrc: Some(Ssrc(9)),
                }],
                nack: true,
                pli_interval_ms: [500, 1_000, 1_000],
            }),
        },
        Command::ReplayData {
            transport: TRANSPORT,
            last_sequences: vec![("PA_x".into(), 7)],
        },
        Command::Shutdown,
    ]
}

fn events() -> Vec<ToControlplane> {
    vec![
        ToControlplane::Memo {
            key: MemoKey(7),
            memo: Bytes::from_static(b"memo"),
        },
        ToControlplane::Event(Event::Speakers {
            group: GroupId(1),
            levels: vec![SpeakerLevel {
                track: TrackId(1),
                level: 0.25,
                active: true,
            }],
        }),
        ToControlplane::Event(Event::Metrics {
            shard: ShardId(0),
            metrics: Box::new(ShardMetrics::default()),
        }),
    ]
}

/// Each as a frame in pieces of some bytes, and each alone.
pub(crate) fn frames() -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let mut add = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut frame = vec![9];
        write(&mut frame);
        frames.push([&[9], &frame[5..]].concat());
        frames.push(frame);
    };
    for command in commands() {
        let shard = ShardId(1);
        let message = ToDataplane::Command { shard, command };
        add(&|out| write_message(&message, out).unwrap());
    }
    for message in events() {
        add(&|out| write_message(&message, out).unwrap());
    }
    let greeting = Opening::Greeting(Greeting {
        build: "0.1.0".into(),
        pid: 7,
        shards: 2,
        token: 9,
        restores: true,
    });
    add(&|out| write_frame(&greeting.encode(), out).unwrap());
    add(&|out| write_frame(&Opening::Refusal("no".into()).encode(), out).unwrap());
    frames
}
