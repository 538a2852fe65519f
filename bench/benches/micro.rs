//! Each stage of a packet's way alone. Times are of one call.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on has failed")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Bencher, BenchmarkId, Criterion, criterion_group, criterion_main};
use millrace_bench::samples::{
    AUDIO_LEN, VIDEO_LEN, clocks, down_config, master_key, packet, rtp_packet, vp8_payload,
};
use millrace_dataplane::congestion::twcc::TransportCcRecorder;
use millrace_dataplane::downtrack::{DownTrack, StartValues, TransportExts};
use millrace_dataplane::router::Router;
use millrace_dataplane::slots::Slots;
use millrace_dataplane::uptrack::store::PacketStore;
use millrace_shared::ids::{Ssrc, TrackId};
use millrace_shared::link::MediaKind;
use millrace_shared::srtp::{Profile, SrtpRx, SrtpTx};
use millrace_shared::time::{ExtSeq, SeqNo, Timestamp};
use millrace_shared::wire::rtcp::{RtcpCompound, RtcpPacket, RtcpWriter, TransportFeedback};
use millrace_shared::wire::rtp::RtpView;
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use webrtc_srtp::context::Context;
use webrtc_srtp::option::{srtcp_replay_protection, srtp_replay_protection};
use webrtc_srtp::protection_profile::ProtectionProfile;

const SIZES: [usize; 2] = [AUDIO_LEN, VIDEO_LEN];
const PROFILES: [(Profile, ProtectionProfile, &str); 2] = [
    (
        Profile::AeadAes128Gcm,
        ProtectionProfile::AeadAes128Gcm,
        "gcm",
    ),
    (
        Profile::Aes128CmSha1_80,
        ProtectionProfile::Aes128CmHmacSha1_80,
        "cm-sha1",
    ),
];

fn theirs(profile: Profile, with: ProtectionProfile) -> Context {
    let bytes = [7; 64];
    Context::new(
        &bytes[..profile.key_len()],
        &bytes[..profile.salt_len()],
        with,
        Some(srtp_replay_protection(1024)),
        Some(srtcp_replay_protection(1024)),
    )
    .unwrap()
}

fn protect(c: &mut Criterion) {
    let mut group = c.benchmark_group("protect");
    for size in SIZES {
        for (profile, with, name) in PROFILES {
            let tx = SrtpTx::new(&master_key(profile));
            let (plain, header_len) = rtp_packet(1, size);
            let mut buffer = plain.clone();
            buffer.resize(plain.len() + profile.rtp_overhead(), 0);
            group.bench_function(BenchmarkId::new(format!("ours {name}"), size), |b| {
                b.iter(|| {
                    tx.protect_rtp(black_box(&mut buffer), header_len, plain.len(), 0)
                        .unwrap()
                });
            });
            let mut context = theirs(profile, with);
            group.bench_function(BenchmarkId::new(format!("webrtc-srtp {name}"), size), |b| {
                b.iter(|| context.encrypt_rtp(black_box(&plain)).unwrap());
            });
        }
        let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &[7; 16]).unwrap());
        let mut payload = vec![0; size];
        group.bench_function(BenchmarkId::new("raw ring gcm", size), |b| {
            b.iter(|| {
                let nonce = Nonce::assume_unique_for_key([1; 12]);
                let payload = black_box(payload.as_mut_slice());
                key.seal_in_place_separate_tag(nonce, Aad::from([0; 28]), payload)
                    .unwrap()
            });
        });
    }
    group.finish();
}

/// Opens `protected` in order, each packet once, so that the replay window sees what it sees in a
/// call; then begins again with a `fresh` context.
fn open_in_order<T>(
    b: &mut Bencher<'_>,
    protected: &[Vec<u8>],
    fresh: impl Fn() -> T,
    mut open: impl FnMut(&mut T, &mut [u8]),
) {
    b.iter_custom(|iterations| {
        let mut left = usize::try_from(iterations).unwrap();
        let mut spent = Duration::ZERO;
        while left > 0 {
            let mut packets = protected[..left.min(protected.len())].to_vec();
            let mut context = fresh();
            let begun = Instant::now();
            for packet in &mut packets {
                open(&mut context, black_box(packet));
            }
            spent += begun.elapsed();
            left -= packets.len();
        }
        spent
    });
}

fn unprotect(c: &mut Criterion) {
    const CYCLE: u16 = 2_000;
    let mut group = c.benchmark_group("unprotect");
    for size in SIZES {
        for (profile, with, name) in PROFILES {
            let tx = SrtpTx::new(&master_key(profile));
            let protected: Vec<Vec<u8>> = (0..CYCLE)
                .map(|seq| {
                    let (mut bytes, header_len) = rtp_packet(seq, size);
                    let len = bytes.len();
                    bytes.resize(len + profile.rtp_overhead(), 0);
                    tx.protect_rtp(&mut bytes, header_len, len, 0).unwrap();
                    bytes
                })
                .collect();
            group.bench_function(BenchmarkId::new(format!("ours {name}"), size), |b| {
                let fresh = || SrtpRx::new(&master_key(profile));
                open_in_order(b, &protected, fresh, |rx, packet| {
                    rx.unprotect_rtp(packet).unwrap();
                });
            });
            group.bench_function(BenchmarkId::new(format!("webrtc-srtp {name}"), size), |b| {
                let fresh = || theirs(profile, with);
                open_in_order(b, &protected, fresh, |context, packet| {
                    context.decrypt_rtp(packet).unwrap();
                });
            });
        }
    }
    group.finish();
}

fn view(c: &mut Criterion) {
    let (bytes, _) = rtp_packet(1, VIDEO_LEN);
    c.bench_function("RTP view: parse and three extensions", |b| {
        b.iter(|| {
            let view = RtpView::parse(black_box(&bytes)).unwrap();
            (view.seq, view.ext(1), view.ext(4), view.ext(6))
        });
    });
}

fn downtrack(c: &mut Criterion) {
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

fn router(c: &mut Criterion) {
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

fn twcc(c: &mut Criterion) {
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

fn store(c: &mut Criterion) {
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

criterion_group!(
    benches, protect, unprotect, view, downtrack, router, twcc, store
);
criterion_main!(benches);
