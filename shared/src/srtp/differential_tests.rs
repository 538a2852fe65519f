//! Against an independent implementation, in both directions and all profiles.

use proptest::prelude::*;
use webrtc_srtp::context::Context;
use webrtc_srtp::option::{srtcp_replay_protection, srtp_replay_protection};
use webrtc_srtp::protection_profile::ProtectionProfile;

use super::{MasterKey, Profile, SrtpRx, SrtpTx, roll_over_count};
use crate::time::{ExtSeq, SeqNo};

fn oracle(profile: Profile, key: &[u8], salt: &[u8]) -> Context {
    let theirs = match profile {
        Profile::Aes128CmSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
        Profile::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
        Profile::AeadAes256Gcm => ProtectionProfile::AeadAes256Gcm,
    };
    Context::new(
        key,
        salt,
        theirs,
        Some(srtp_replay_protection(64)),
        Some(srtcp_replay_protection(64)),
    )
    .unwrap()
}

/// What varies in an RTP packet besides its sequence number.
#[derive(Clone, Debug)]
struct Shape {
    csrcs: u8,
    extension_words: Option<u16>,
    payload: Vec<u8>,
}

fn shape() -> impl Strategy<Value = Shape> {
    (
        0u8..16,
        prop::option::of(0u16..12),
        prop::collection::vec(any::<u8>(), 0..1200),
    )
        .prop_map(|(csrcs, extension_words, payload)| Shape {
            csrcs,
            extension_words,
            payload,
        })
}

/// The packet and its header length.
fn rtp(shape: &Shape, seq: SeqNo, ssrc: u32) -> (Vec<u8>, usize) {
    let extension_bit = u8::from(shape.extension_words.is_some()) << 4;
    let mut packet = vec![0x80 | extension_bit | shape.csrcs, 96];
    packet.extend_from_slice(&seq.0.to_be_bytes());
    packet.extend_from_slice(&[1, 2, 3, 4]);
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.extend(std::iter::repeat_n(0x11, usize::from(shape.csrcs) * 4));
    if let Some(words) = shape.extension_words {
        packet.extend_from_slice(&[0x12, 0x34]);
        packet.extend_from_slice(&words.to_be_bytes());
        packet.extend(std::iter::repeat_n(0x22, usize::from(words) * 4));
    }
    let header_len = packet.len();
    packet.extend_from_slice(&shape.payload);
    (packet, header_len)
}

fn profile_and_key() -> impl Strategy<Value = (Profile, Vec<u8>, Vec<u8>)> {
    prop::sample::select(Profile::ALL.as_slice()).prop_flat_map(|profile| {
        (
            Just(profile),
            prop::collection::vec(any::<u8>(), profile.key_len()),
            prop::collection::vec(any::<u8>(), profile.salt_len()),
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn rtp_both_ways(
        (profile, key, salt) in profile_and_key(),
        ssrc: u32,
        start: u16,
        gaps in prop::collection::vec(1u16..20_000, 1..8),
        shapes in prop::collection::vec(shape(), 8),
    ) {
        let master = MasterKey::new(profile, &key, &salt).unwrap();
        let (ours_tx, mut ours_rx) = (SrtpTx::new(&master), SrtpRx::new(&master));
        let mut theirs_tx = oracle(profile, &key, &salt);
        let mut theirs_rx = oracle(profile, &key, &salt);

        let mut seq = ExtSeq::first(SeqNo(start));
        for (gap, shape) in gaps.into_iter().zip(&shapes) {
            let (plain, header_len) = rtp(shape, seq.seq(), ssrc);
            let theirs = theirs_tx.encrypt_rtp(&plain).unwrap();

            let mut ours = plain.clone();
            ours.resize(plain.len() + profile.rtp_overhead(), 0xee);
            let len = ours_tx
                .protect_rtp(&mut ours, header_len, plain.len(), roll_over_count(seq))
                .unwrap();
            prop_assert_eq!(len, ours.len());
            prop_assert_eq!(&ours[..], &theirs[..]);
            prop_assert_eq!(&theirs_rx.decrypt_rtp(&ours).unwrap()[..], &plain[..]);

            let mut packet = theirs.to_vec();
            let opened = ours_rx.unprotect_rtp(&mut packet).unwrap();
            prop_assert_eq!(&packet[..opened.len], &plain[..]);
            prop_assert_eq!(opened.header_len, header_len);
            prop_assert_eq!(opened.ext_seq(), seq);
            seq = ExtSeq(seq.0 + u64::from(gap));
        }
    }

    #[test]
    fn rtcp_both_ways(
        (profile, key, salt) in profile_and_key(),
        ssrc: u32,
        bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..6),
    ) {
        let master = MasterKey::new(profile, &key, &salt).unwrap();
        let (mut ours_tx, mut ours_rx) = (SrtpTx::new(&master), SrtpRx::new(&master));
        let mut theirs_tx = oracle(profile, &key, &salt);
        let mut theirs_rx = oracle(profile, &key, &salt);

        for body in bodies {
            let words = u16::try_from(body.len() / 4 + 1).unwrap();
            let mut plain = vec![0x80, 200];
            plain.extend_from_slice(&words.to_be_bytes());
            plain.extend_from_slice(&ssrc.to_be_bytes());
            plain.extend_from_slice(&body[..body.len() / 4 * 4]);

            let mut ours = plain.clone();
            ours.resize(plain.len() + profile.rtcp_overhead(), 0xee);
            let len = ours_tx.protect_rtcp(&mut ours, plain.len()).unwrap();
            prop_assert_eq!(len, ours.len());
            prop_assert_eq!(&theirs_rx.decrypt_rtcp(&ours).unwrap()[..], &plain[..]);

            let mut packet = theirs_tx.encrypt_rtcp(&plain).unwrap().to_vec();
            let len = ours_rx.unprotect_rtcp(&mut packet).unwrap();
            prop_assert_eq!(&packet[..len], &plain[..]);
        }
    }
}
