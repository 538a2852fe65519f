//! The other stages of a packet's way.

use std::hint::black_box;

use criterion::{BatchSize, Criterion};
use millrace_bench::samples::{VIDEO_LEN, clocks, down_config, packet, rtp_packet, vp8_payload};
use millrace_dataplane::congestion::twcc::TransportCcRecorder;
use millrace_dataplane::downtrack::{DownTrack, StartValues, TransportExts};
use millrace_dataplane::router::Router;
use millrace_dataplane::slots::Slots;
use millrace_dataplane::uptrack::store::PacketStore;
use millrace_shared::ids::{Ssrc, TrackId};
use millrace_shared::link::MediaKind;
use millrace_shared::time::{ExtSeq, SeqNo, Timestamp};
use millrace_shared::wire::rtcp::{RtcpCompound, RtcpPacket, RtcpWriter, TransportFeedback};
use millrace_shared::wire::rtp::RtpView;

pub(super) fn view(c: &mut Criterion) {
    let (bytes, _) = rtp_packet(1, VIDEO_LEN);
    c.bench_function("RTP view: parse and three extensions", |b| {
        b.iter(|| {
            let view = RtpView::parse(black_box(&bytes)).unwrap();
            (view.seq, view.ext(1), view.ext(4), view.ext(6))
        });
    });
}

pub(super) fn downtrack(c: &mut Criterion) {
    let payload = vp8_payload(VIDEO_LEN);
    let clocks = clocks();
    let mut track = DownTrack::new(down_config(1), StartValues::from_random(7));
    track.set_live_layers(1);
    let mut n = 0;
    c.bench_function("DownTrack: selector and rewriter", |b| {
        b.iter(|| {
            let packet = packet(n, &payload);
            n += 1;
            track.forward(packet.meta.arrival, &packet, &clocks)
        });
    });
    let next = packet(n, &payload);
    let outgoing = track.forward(next.meta.arrival, &next, &clocks).unwrap();
    let exts = TransportExts {
        transport_cc: Some(7),
        abs_send_time: Some([1, 2, 3]),
    };
    let mut buffer = vec![0; 1_500];
    c.bench_function("DownTrack: write the packet", |b| {
        b.iter(|| outgoing.write(black_box(&next), &exts, &mut buffer));
    });
}

pub(super) fn router(c: &mut Criterion) {
    let mut slots = Slots::default();
    let source = slots.insert(());
    let mut router = Router::default();
    router.add_track(TrackId(1), source);
    for _ in 0..1_000 {
        router.route(TrackId(1), slots.insert(()));
    }
    c.bench_function("Router: fan out to 1,000", |b| {
        b.iter(|| {
            let routes = router.fanout(black_box(source));
            routes
                .iter()
                .map(|route| u64::from(route.down_track.index()))
                .sum::<u64>()
        });
    });
}

/// A recorder that has heard 100 packets with two losses, and the time of its next feedback.
fn recorder() -> (TransportCcRecorder, Timestamp) {
    let mut recorder = TransportCcRecorder::default();
    for n in 0..100u16 {
        if n % 40 != 39 {
            let now = Timestamp::from_nanos(1_000_000_000 + 450_000 * u64::from(n));
            recorder.record(now, SeqNo(n), 1_200);
        }
    }
    let at = recorder.next_timeout().max(Timestamp::from_millis(1_100));
    (recorder, at)
}

pub(super) fn twcc(c: &mut Criterion) {
    let (mut hearing, start) = recorder();
    let mut n = 100u16;
    c.bench_function("TWCC: record a packet", |b| {
        b.iter(|| {
            n = n.wrapping_add(1);
            hearing.record(black_box(start), SeqNo(n), 1_200);
        });
    });
    let mut buffer = vec![0; 1_500];
    let mut len = 0;
    c.bench_function("TWCC: build feedback on 100 packets", |b| {
        b.iter_batched_ref(
            recorder,
            |(recorder, at)| {
                let mut writer = RtcpWriter::new(&mut buffer);
                assert!(recorder.write_feedback(*at, Ssrc(1), Ssrc(2), &mut writer));
                len = writer.len();
            },
            BatchSize::SmallInput,
        );
    });
    c.bench_function("TWCC: parse feedback on 100 packets", |b| {
        b.iter(|| {
            let parsed = RtcpCompound::parse(black_box(&buffer[..len])).next();
            match parsed {
                Some(Ok(RtcpPacket::TransportFeedback(TransportFeedback::TransportCc(it)))) => {
                    it.statuses().count()
                }
                other => panic!("no feedback: {other:?}"),
            }
        });
    });
}

pub(super) fn store(c: &mut Criterion) {
    let payload = vp8_payload(VIDEO_LEN);
    let mut store = PacketStore::new(MediaKind::Video);
    let mut n = 0;
    c.bench_function("PacketStore: insert", |b| {
        b.iter(|| {
            store.insert(&packet(n, &payload));
            n += 1;
        });
    });
    let mut back = 0;
    c.bench_function("PacketStore: find one of the last 64", |b| {
        b.iter(|| {
            back = (back + 7) % 64;
            let seq = ExtSeq(65_536 + n - 1 - back);
            store.packet(black_box(seq)).map(|it| it.payload.len())
        });
    });
}
