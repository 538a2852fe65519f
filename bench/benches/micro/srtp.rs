//! Protecting and opening packets: ours, the crate of webrtc-rs, and what `ring` needs for the AEAD
//! alone.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Bencher, BenchmarkId, Criterion};
use millrace_bench::samples::{AUDIO_LEN, VIDEO_LEN, master_key, rtp_packet};
use millrace_shared::srtp::{Profile, SrtpRx, SrtpTx};
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

/// As long as the header of our packets.
fn aad() -> Aad<[u8; 28]> {
    Aad::from([0; 28])
}

fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([1; 12])
}

fn ring_key() -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &[7; 16]).unwrap())
}

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

pub(super) fn protect(c: &mut Criterion) {
    let mut group = c.benchmark_group("protect");
    for size in SIZES {
        for (profile, with, name) in PROFILES {
            let tx = SrtpTx::new(&master_key(profile));
            let (plain, header_len) = rtp_packet(1, size);
            let mut buffer = plain.clone();
            buffer.resize(plain.len() + profile.rtp_overhead(), 0);
            group.bench_function(BenchmarkId::new(format!("{name} ours"), size), |b| {
                b.iter(|| {
                    tx.protect_rtp(black_box(&mut buffer), header_len, plain.len(), 0)
                        .unwrap()
                });
            });
            let mut context = theirs(profile, with);
            group.bench_function(BenchmarkId::new(format!("{name} webrtc-srtp"), size), |b| {
                b.iter(|| context.encrypt_rtp(black_box(&plain)).unwrap());
            });
        }
        let key = ring_key();
        let mut payload = vec![0; size];
        group.bench_function(BenchmarkId::new("gcm ring", size), |b| {
            b.iter(|| {
                let payload = black_box(payload.as_mut_slice());
                key.seal_in_place_separate_tag(nonce(), aad(), payload)
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

pub(super) fn unprotect(c: &mut Criterion) {
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
            group.bench_function(BenchmarkId::new(format!("{name} ours"), size), |b| {
                let fresh = || SrtpRx::new(&master_key(profile));
                open_in_order(b, &protected, fresh, |rx, packet| {
                    rx.unprotect_rtp(packet).unwrap();
                });
            });
            group.bench_function(BenchmarkId::new(format!("{name} webrtc-srtp"), size), |b| {
                let fresh = || theirs(profile, with);
                open_in_order(b, &protected, fresh, |context, packet| {
                    context.decrypt_rtp(packet).unwrap();
                });
            });
        }
        let key = ring_key();
        let mut sealed = vec![0; size];
        key.seal_in_place_append_tag(nonce(), aad(), &mut sealed)
            .unwrap();
        let sealed = vec![sealed; usize::from(CYCLE)];
        group.bench_function(BenchmarkId::new("gcm ring", size), |b| {
            let none = || ();
            open_in_order(b, &sealed, none, |(), packet| {
                key.open_in_place(nonce(), aad(), packet).unwrap();
            });
        });
    }
    group.finish();
}
