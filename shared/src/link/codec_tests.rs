#![expect(
    clippy::indexing_slicing,
    reason = "the tests know how long their bytes are"
)]

use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::drop::DropReason;
use crate::ids::{
    DownTrackId, GroupId, MemoKey, Mid, Pt, Rid, ShardId, Ssrc, TrackId, TransportId,
};
use crate::link::{
    AddTransport, CandidatePair, CloseReason, Codec, Command, DataPublish, DownTrackConfig,
    Encoding, Event, ExtIds, ExtKind, Fingerprint, Greeting, Hello, IceCredentials, LINK_VERSION,
    Layer, LocalAddress, MediaKind, Opening, OpeningError, Progress, PtMapping, RedMapping,
    SendData, SetRemote, ShardMetrics, Snapshot, SpeakerLevel, ToControlplane, ToDataplane,
    TrackReport, TransportReport, TransportState, UpCodec, UpTrackConfig, UpTrackState,
};

/// FNV-1a of all samples as frames. When the assertion below fails, the messages of this release
/// are not those of the one before: raise [`LINK_VERSION`], then write the new value here.
const LAYOUT: (u32, u64) = (3, 0xca11_dbf6_65df_9b31);

fn ice() -> IceCredentials {
    IceCredentials {
        ufrag: "0xab".into(),
        pwd: "secret".into(),
    }
}

fn ext_ids() -> ExtIds {
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

fn to_dataplane() -> Vec<ToDataplane> {
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

fn to_controlplane() -> Vec<ToControlplane> {
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

fn frames() -> Vec<u8> {
    let mut bytes = Vec::new();
    for message in to_dataplane() {
        write_message(&message, &mut bytes).unwrap();
    }
    for message in to_controlplane() {
        write_message(&message, &mut bytes).unwrap();
    }
    bytes
}

fn payload<T: Serialize>(message: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_message(message, &mut bytes).unwrap();
    bytes.split_off(PREFIX_LEN)
}

fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[test]
fn the_layout_is_that_of_the_version() {
    assert_eq!(
        (LINK_VERSION, fnv(&frames())),
        LAYOUT,
        "see the comment at LAYOUT"
    );
}

#[test]
fn every_message_comes_back_as_it_went() {
    for message in to_dataplane() {
        assert_eq!(read_message::<ToDataplane>(&payload(&message)), Ok(message));
    }
    for message in to_controlplane() {
        assert_eq!(
            read_message::<ToControlplane>(&payload(&message)),
            Ok(message)
        );
    }
}

#[test]
fn a_message_that_is_cut_or_followed_by_something_is_refused() {
    for message in to_dataplane() {
        let mut bytes = payload(&message);
        for len in 0..bytes.len() {
            assert!(
                read_message::<ToDataplane>(&bytes[..len]).is_err(),
                "{message:?}"
            );
        }
        bytes.push(0);
        assert_eq!(
            read_message::<ToDataplane>(&bytes),
            Err(FrameError::Trailing)
        );
    }
}

#[test]
fn a_length_beyond_the_limit_is_refused_at_once() {
    let mut buffer = FrameBuffer::default();
    let len = LINK_FRAME_LEN_MAX + 1;
    buffer.push(&u32::try_from(len).unwrap().to_le_bytes());
    assert_eq!(buffer.next_frame(), Err(FrameError::TooLong(len)));

    let memo = ToDataplane::Remember {
        key: MemoKey(1),
        memo: vec![0; LINK_FRAME_LEN_MAX].into(),
    };
    let mut out = b"before".to_vec();
    assert!(matches!(
        write_message(&memo, &mut out),
        Err(FrameError::TooLong(_))
    ));
    assert_eq!(out, b"before");
}

#[test]
fn an_extension_id_that_no_header_can_carry_is_refused() {
    let mut bytes = payload(&ext_ids());
    let last = bytes.len() - 1;
    bytes[last] = 15;
    assert!(read_message::<ExtIds>(&bytes).is_err());
}

fn greeting() -> Greeting {
    Greeting {
        build: "0.1.0".into(),
        pid: 4711,
        shards: 3,
        token: 9,
        restores: true,
    }
}

#[test]
fn openings_come_back_as_they_went() {
    for opening in [
        Opening::Greeting(greeting()),
        Opening::Refusal("no.".into()),
    ] {
        assert_eq!(Opening::decode(&opening.encode()), Ok(opening));
    }
    assert_eq!(
        Opening::decode(b"GET / HTTP/1.1"),
        Err(OpeningError::Stranger)
    );
}

#[test]
fn another_version_is_told_by_its_number_and_its_refusals_are_read() {
    let theirs = Opening::Greeting(greeting()).encode_as(999);
    let error = Opening::decode(&theirs).unwrap_err();
    assert_eq!(error, OpeningError::Version { theirs: 999 });
    assert!(error.to_string().contains("same release"), "{error}");
    let refusal = Opening::Refusal("upgrade".into());
    assert_eq!(Opening::decode(&refusal.encode_as(999)), Ok(refusal));
}

proptest! {
    #[test]
    fn frames_are_the_same_however_they_arrive(cuts in prop::collection::vec(1_usize..2_000, 1..50)) {
        let bytes = frames();
        let mut buffer = FrameBuffer::default();
        let mut rest = bytes.as_slice();
        let mut got = Vec::new();
        let mut cuts = cuts.into_iter().cycle();
        while !rest.is_empty() {
            let (now, later) = rest.split_at(cuts.next().unwrap_or(1).min(rest.len()));
            buffer.push(now);
            rest = later;
            while let Some(frame) = buffer.next_frame().unwrap() {
                got.push(frame);
            }
        }
        let expected: Vec<Vec<u8>> = to_dataplane().iter().map(payload)
            .chain(to_controlplane().iter().map(payload))
            .collect();
        prop_assert_eq!(got, expected);
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = read_message::<ToDataplane>(&bytes);
        let _ = read_message::<ToControlplane>(&bytes);
        let _ = Opening::decode(&bytes);
        let mut buffer = FrameBuffer::default();
        buffer.push(&bytes);
        while let Ok(Some(_)) = buffer.next_frame() {}
    }

    /// One changed byte of a true message either is refused or says something that comes back.
    #[test]
    fn a_damaged_message_is_refused_or_whole(
        which in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = payload(which.get(&to_dataplane()));
        *at.get_mut(&mut bytes) = byte;
        if let Ok(message) = read_message::<ToDataplane>(&bytes) {
            prop_assert_eq!(read_message::<ToDataplane>(&payload(&message)), Ok(message));
        }
    }

    #[test]
    fn memos_of_any_bytes_come_back(memo in prop::collection::vec(any::<u8>(), 0..5_000), key: u64) {
        let message = ToDataplane::Remember { key: MemoKey(key), memo: memo.into() };
        prop_assert_eq!(read_message::<ToDataplane>(&payload(&message)), Ok(message));
    }
}
