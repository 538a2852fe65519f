//! A message of every kind, with every field filled, for tests of how they are written.
#![allow(clippy::unwrap_used, reason = "the samples are for tests")]

use std::net::IpAddr;

use bytes::Bytes;

use super::{
    AddTransport, CandidatePair, CloseReason, Codec, Command, DataPublish, DownTrackConfig,
    Encoding, Event, ExtIds, ExtKind, Fingerprint, Hello, IceCredentials, Layer, LocalAddress,
    MediaKind, Progress, PtMapping, RedMapping, SendData, SetRemote, ShardMetrics, Snapshot,
    SpeakerLevel, ToControlplane, ToDataplane, TrackReport, TransportReport, TransportState,
    UpCodec, UpTrackConfig, UpTrackState,
};
use crate::drop::DropReason;
use crate::ids::{
    DownTrackId, GroupId, MemoKey, Mid, Pt, Rid, ShardId, Ssrc, TrackId, TransportId,
};
fn ice() -> IceCredentials {
    IceCredentials {
        ufrag: "0xab".into(),
        pwd: "secret".into(),
    }
}

pub(super) fn ext_ids() -> ExtIds {
    let mut ids = ExtIds::default();
    ids.set(ExtKind::Mid, 4);
    ids.set(ExtKind::PlayoutDelay, 14);
    ids
}

fn data_publish() -> DataPublish {
    DataPublish {
        stamp: Bytes::from_static(b"\x22\x03bob"),
        allowed: true,
    }
}

fn up_track() -> UpTrackConfig {
    UpTrackConfig {
        track: TrackId(1 << 40),
        mid: Mid::from("1").unwrap(),
        kind: MediaKind::Video,
        codecs: vec![UpCodec {
            pt: Pt(96),
            codec: Codec::Vp8,
            clock_rate_hz: 90_000,
            rtx_pt: Some(Pt(97)),
        }],
        encodings: vec![Encoding {
            rid: Some(Rid::from("q").unwrap()),
            spatial: 0,
            ssrc: None,
            rtx_ssrc: Some(Ssrc(9)),
        }],
        nack: true,
        pli_interval_ms: [500, 1000, 1000],
    }
}

fn down_track() -> DownTrackConfig {
    DownTrackConfig {
        down: DownTrackId(3),
        track: TrackId(2),
        kind: MediaKind::Audio,
        mid: Mid::from("0").unwrap(),
        cname: "PA_x|TR_y".into(),
        ssrc: Ssrc(u32::MAX),
        rtx_ssrc: None,
        pts: vec![PtMapping {
            up: Pt(63),
            down: Pt(111),
            down_rtx: None,
            red: Some(RedMapping::Blocks(Pt(111))),
        }],
        ext_ids: ext_ids(),
        nack: false,
        max_layer: Layer::BEST,
        paused: true,
    }
}

fn commands() -> Vec<Command> {
    let transport = TransportId(1 << 32 | 5);
    vec![
        Command::AddTransport(Box::new(AddTransport {
            transport,
            group: GroupId(1 << 32),
            label: "bob".into(),
            ice: ice(),
            data_publish: data_publish(),
            data_receive: true,
            open_data_channels: false,
        })),
        Command::SetRemote(Box::new(SetRemote {
            transport,
            ice: ice(),
            fingerprint: Fingerprint([7; 32]),
            receive_ext_ids: ext_ids(),
        })),
        Command::RestartIce {
            transport,
            ice: ice(),
        },
        Command::RemoveTransport { transport },
        Command::SetDataPublish {
            transport,
            data_publish: data_publish(),
        },
        Command::SetUpTrack {
            transport,
            config: Box::new(up_track()),
        },
        Command::RemoveUpTrack {
            transport,
            track: TrackId(1),
        },
        Command::MuteUpTrack {
            transport,
            track: TrackId(1),
            muted: true,
        },
        Command::SetDownTrack {
            transport,
            config: Box::new(down_track()),
        },
        Command::RemoveDownTrack {
            transport,
            down: DownTrackId(3),
        },
        Command::SetDownTrackLayer {
            transport,
            down: DownTrackId(3),
            max_layer: Layer::BEST,
            paused: false,
        },
        Command::SendData(Box::new(SendData {
            group: GroupId(4),
            reliable: true,
            packet: Bytes::from_static(b"packet"),
        })),
        Command::ReplayData {
            transport,
            last_sequences: vec![("PA_x".into(), 7)],
        },
        Command::Snapshot { token: u64::MAX },
        Command::Shutdown,
    ]
}

fn pair() -> CandidatePair {
    CandidatePair {
        local: "192.0.2.1:7882".parse().unwrap(),
        remote: "[2001:db8::1]:50000".parse().unwrap(),
    }
}

fn snapshot() -> Snapshot {
    Snapshot {
        token: 77,
        shard: ShardId(1),
        transports: [
            Progress::New,
            Progress::Connected,
            Progress::Silent,
            Progress::Closed,
            Progress::Moving,
        ]
        .map(|progress| TransportState {
            transport: TransportId(5),
            group: GroupId(6),
            progress,
            pair: Some(pair()),
            reliable_sequence: 9,
            up: vec![UpTrackState {
                track: TrackId(2),
                started: Some(Pt(96)),
            }],
            down: vec![DownTrackId(8)],
        })
        .to_vec(),
        last: true,
    }
}

fn metrics() -> ShardMetrics {
    let mut metrics = ShardMetrics {
        rtp_forwarded: 1 << 50,
        ..ShardMetrics::default()
    };
    metrics.drops.add(DropReason::RtpDuplicate, 300);
    metrics
}

fn events() -> Vec<Event> {
    let transport = TransportId(5);
    let report = TrackReport {
        packets: 10,
        current_spatial: Some(2),
        ..TrackReport::default()
    };
    vec![
        Event::Hello(Box::new(Hello {
            shard: ShardId(0),
            addresses: vec![LocalAddress {
                ip: IpAddr::from([192, 0, 2, 1]),
                port: 7882,
            }],
            fingerprint: Fingerprint([1; 32]),
            backend: "ring".into(),
        })),
        Event::PairSelected {
            transport,
            pair: pair(),
        },
        Event::Connected { transport },
        Event::Disconnected { transport },
        Event::Closed {
            transport,
            reason: CloseReason::ConsentExpired,
        },
        Event::TransportMoved {
            transport,
            shard: ShardId(1),
        },
        Event::UpTrackStarted {
            transport,
            track: TrackId(1),
            spatial: 2,
            ssrc: Ssrc(1),
            pt: Pt(127),
        },
        Event::DownTrackStarted {
            transport,
            down: DownTrackId(1),
        },
        Event::Speakers {
            group: GroupId(1),
            levels: vec![SpeakerLevel {
                track: TrackId(1),
                level: 0.25,
                active: true,
            }],
        },
        Event::Reports {
            shard: ShardId(0),
            up: vec![(TrackId(1), report)],
            down: vec![(DownTrackId(1), report)],
            transports: vec![TransportReport {
                transport,
                reliable_sequence: 1,
                remb_bps: 1 << 33,
            }],
        },
        Event::Metrics {
            shard: ShardId(0),
            metrics: Box::new(metrics()),
        },
        Event::Snapshot(Box::new(snapshot())),
    ]
}

/// Every message to the data plane.
pub fn to_dataplane() -> Vec<ToDataplane> {
    let shard = ShardId(300);
    commands()
        .into_iter()
        .map(|command| ToDataplane::Command { shard, command })
        .chain([
            ToDataplane::Remember {
                key: MemoKey(1),
                memo: Bytes::from_static(b"memo"),
            },
            ToDataplane::Forget { key: MemoKey(1) },
        ])
        .collect()
}

/// Every message to the control plane.
pub fn to_controlplane() -> Vec<ToControlplane> {
    let memo = ToControlplane::Memo {
        key: MemoKey(u64::MAX),
        memo: Bytes::from_static(b"memo"),
    };
    events()
        .into_iter()
        .map(ToControlplane::Event)
        .chain([memo])
        .collect()
}
