use ring::aead;

use super::header::RTCP_CLEAR_LEN;
use super::transform::Transform;
use super::{MasterKey, Profile, SrtpRx, SrtpTx, roll_over_count};
use crate::drop::DropReason;
use crate::ids::Ssrc;
use crate::limits::{DATAGRAM_RECEIVE_LEN_MAX, REPLAY_WINDOW_PACKETS, SSRCS_PER_TRANSPORT_MAX};
use crate::time::{ExtSeq, SeqNo};

pub(super) fn hex(digits: &str) -> Vec<u8> {
    digits
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

// RFC 7714 sections 16 and 17 give session keys, so they enter below the key derivation.

const KEY_128: &str = "000102030405060708090a0b0c0d0e0f";
const KEY_256: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

fn gcm(key: &str) -> Transform {
    let key = hex(key);
    let algorithm = match key.len() {
        16 => &aead::AES_128_GCM,
        _ => &aead::AES_256_GCM,
    };
    // The two bytes more of a 112-bit salt are not part of a GCM nonce.
    let salt: [u8; 14] = hex("517569642070726f2071756fffff").try_into().unwrap();
    Transform::gcm(algorithm, &key, salt)
}

const RTP_PLAIN: &str = concat!(
    "8040f17b8041f8d35501a0b2",
    "47616c6c696120657374206f6d6e69732064697669736120",
    "696e207061727465732074726573"
);

#[test]
fn rfc_7714_16_srtp() {
    for (key, protected) in [
        (
            KEY_128,
            concat!(
                "8040f17b8041f8d35501a0b2",
                "f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf8833",
                "899d7f27beb16a9152cf765ee4390cce"
            ),
        ),
        (
            KEY_256,
            concat!(
                "8040f17b8041f8d35501a0b2",
                "32b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3b50b2a0276ffae0f1ba63799b87b",
                "7aa3db36dfffd6b0f9bb7878d7a76c13"
            ),
        ),
    ] {
        let (plain, protected) = (hex(RTP_PLAIN), hex(protected));
        let ssrc = Ssrc(0x5501_a0b2);
        let mut packet = plain.clone();
        packet.resize(plain.len() + 16, 0);
        let len = gcm(key).seal_rtp(&mut packet, 12, plain.len(), ssrc, 0xf17b);
        assert_eq!(len, Some(protected.len()));
        assert_eq!(packet, protected);

        let len = gcm(key).open_rtp(&mut packet, 12, ssrc, 0xf17b);
        assert_eq!(len, Some(plain.len()));
        assert_eq!(packet[..plain.len()], plain);
    }
}

const RTCP_PLAIN: &str = concat!(
    "81c8000d4d617273",
    "4e5450314e545032525450200000042a0000e9304c756e61",
    "deadbeefdeadbeefdeadbeefdeadbeefdeadbeef"
);

#[test]
fn rfc_7714_17_srtcp() {
    for (key, protected) in [
        (
            KEY_128,
            concat!(
                "81c8000d4d617273",
                "63e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32dc676a5f1730d6fda4ce09b4686303ded",
                "0bb9275bc84aa45896cf4d2fc5abf87245d9eade800005d4"
            ),
        ),
        (
            KEY_256,
            concat!(
                "81c8000d4d617273",
                "d50ae4d1f5ce5d304ba297e47d470c282c3ece5dbffe0a50a2eaa5c1110555be8415f658c61de047",
                "6f1b6fad1d1eb30c4446839f57ff6f6cb26ac3be800005d4"
            ),
        ),
    ] {
        let (plain, protected) = (hex(RTCP_PLAIN), hex(protected));
        let ssrc = Ssrc(0x4d61_7273);
        let mut packet = plain.clone();
        packet.resize(plain.len() + 20, 0);
        let len = gcm(key).seal_rtcp(&mut packet, plain.len(), ssrc, 0x5d4);
        assert_eq!(len, Some(protected.len()));
        assert_eq!(packet, protected);

        assert_eq!(gcm(key).rtcp_index(&packet), Some(0x5d4));
        let len = gcm(key).open_rtcp(&mut packet, ssrc, 0x5d4);
        assert_eq!(len, Some(plain.len()));
        assert_eq!(packet[..plain.len()], plain);
    }
}

/// RFC 7714 §17.3 is authentic but not encrypted (E flag clear), which WebRTC never negotiates.
#[test]
fn rfc_7714_17_3_unencrypted_srtcp_is_refused() {
    let packet = hex(concat!(
        "81c8000d4d617273",
        "4e5450314e545032525450200000042a0000e9304c756e61",
        "deadbeefdeadbeefdeadbeefdeadbeefdeadbeef",
        "841dd9683dd78ec92ae58790125f62b3000005d4"
    ));
    assert_eq!(gcm(KEY_128).rtcp_index(&packet), None);
}

// Attacks and faults, on whole contexts.

fn master(profile: Profile) -> MasterKey {
    MasterKey::new(
        profile,
        &vec![7; profile.key_len()],
        &vec![9; profile.salt_len()],
    )
    .unwrap()
}

fn contexts(profile: Profile) -> (SrtpTx, SrtpRx) {
    (SrtpTx::new(&master(profile)), SrtpRx::new(&master(profile)))
}

fn protected_rtp(tx: &SrtpTx, ssrc: Ssrc, seq: ExtSeq) -> Vec<u8> {
    let mut packet = vec![0x80, 96];
    packet.extend_from_slice(&seq.seq().0.to_be_bytes());
    packet.extend_from_slice(&[0; 4]);
    packet.extend_from_slice(&ssrc.0.to_be_bytes());
    packet.extend_from_slice(b"payload");
    let plain_len = packet.len();
    packet.resize(plain_len + tx.profile().rtp_overhead(), 0);
    let len = tx
        .protect_rtp(&mut packet, 12, plain_len, roll_over_count(seq))
        .unwrap();
    assert_eq!(len, packet.len());
    packet
}

fn protected_rtcp(tx: &mut SrtpTx, ssrc: Ssrc) -> Vec<u8> {
    let mut packet = vec![0x80, 201, 0, 1];
    packet.extend_from_slice(&ssrc.0.to_be_bytes());
    packet.resize(RTCP_CLEAR_LEN + tx.profile().rtcp_overhead(), 0);
    tx.protect_rtcp(&mut packet, RTCP_CLEAR_LEN).unwrap();
    packet
}

const SSRC: Ssrc = Ssrc(0xdead_beef);

/// Attack S5: a million forged SSRCs; here enough to see growth if there were any.
#[test]
fn forged_ssrcs_leave_no_state() {
    for profile in Profile::ALL {
        let (_, mut rx) = contexts(profile);
        for ssrc in 0..20_000u32 {
            let mut rtp = vec![0x80, 96, 0, 5, 0, 0, 0, 0];
            rtp.extend_from_slice(&ssrc.to_be_bytes());
            rtp.extend_from_slice(&[0xab; 40]);
            assert_eq!(
                rx.unprotect_rtp(&mut rtp),
                Err(DropReason::SrtpAuthentication)
            );
            let mut rtcp = vec![0x80, 200, 0, 1];
            rtcp.extend_from_slice(&ssrc.to_be_bytes());
            rtcp.extend_from_slice(&[0xab; 40]);
            assert_eq!(
                rx.unprotect_rtcp(&mut rtcp),
                Err(DropReason::SrtpAuthentication)
            );
        }
        assert_eq!(rx.ssrcs(), (0, 0));
    }
}

/// Attack S6: every packet once, also across a roll-over and behind the window.
#[test]
fn replayed_rtp_is_dropped() {
    for profile in Profile::ALL {
        let (tx, mut rx) = contexts(profile);
        let first = ExtSeq::first(SeqNo(65_000));
        let packets: Vec<Vec<u8>> = (0..2_000)
            .map(|n| protected_rtp(&tx, SSRC, ExtSeq(first.0 + n)))
            .collect();
        for packet in &packets {
            assert!(rx.unprotect_rtp(&mut packet.clone()).is_ok());
        }
        for packet in &packets {
            let again = rx.unprotect_rtp(&mut packet.clone());
            assert_eq!(again, Err(DropReason::SrtpReplay));
        }
    }
}

/// What is inside the window is late, not replayed.
#[test]
fn late_rtp_within_the_window_is_accepted_once() {
    let (tx, mut rx) = contexts(Profile::AeadAes256Gcm);
    let first = ExtSeq::first(SeqNo(65_530));
    let edge = ExtSeq(first.0 + REPLAY_WINDOW_PACKETS as u64);
    let mut late = protected_rtp(&tx, SSRC, ExtSeq(first.0 + 1));
    let mut too_late = protected_rtp(&tx, SSRC, first);
    assert!(
        rx.unprotect_rtp(&mut protected_rtp(&tx, SSRC, edge))
            .is_ok()
    );
    let opened = rx.unprotect_rtp(&mut late).unwrap();
    assert_eq!(opened.ext_seq(), ExtSeq(first.0 + 1));
    assert_eq!(rx.unprotect_rtp(&mut too_late), Err(DropReason::SrtpReplay));
}

#[test]
fn replayed_rtcp_is_dropped_per_ssrc() {
    for profile in Profile::ALL {
        let (mut tx, mut rx) = contexts(profile);
        let packets: Vec<Vec<u8>> = (0..1_500)
            .map(|n| protected_rtcp(&mut tx, Ssrc(n % 2)))
            .collect();
        for packet in packets.iter().rev().take(REPLAY_WINDOW_PACKETS) {
            assert!(rx.unprotect_rtcp(&mut packet.clone()).is_ok());
        }
        for packet in &packets {
            assert_eq!(
                rx.unprotect_rtcp(&mut packet.clone()),
                Err(DropReason::SrtpReplay)
            );
        }
        assert_eq!(rx.ssrcs(), (0, 2));
    }
}

/// Attack S7: a forged packet far ahead moves neither roll-over counter nor window.
#[test]
fn forged_sequence_jump_does_not_poison() {
    for profile in Profile::ALL {
        let (tx, mut rx) = contexts(profile);
        let start = ExtSeq::first(SeqNo(100));
        assert!(
            rx.unprotect_rtp(&mut protected_rtp(&tx, SSRC, start))
                .is_ok()
        );
        for jump in [1, 30_000, 32_767, 40_000, 65_535] {
            let mut forged = protected_rtp(&tx, SSRC, ExtSeq(start.0 + jump));
            *forged.last_mut().unwrap() ^= 1;
            assert_eq!(
                rx.unprotect_rtp(&mut forged),
                Err(DropReason::SrtpAuthentication),
                "jump {jump}"
            );
        }
        for n in 1..200 {
            let seq = ExtSeq(start.0 + n);
            let opened = rx.unprotect_rtp(&mut protected_rtp(&tx, SSRC, seq));
            assert_eq!(opened.unwrap().ext_seq(), seq);
        }
    }
}

/// Fault S8: a stream starts at 65533 and its first five packets are lost.
#[test]
fn stream_whose_first_cycle_was_lost_decrypts() {
    for profile in Profile::ALL {
        let (tx, mut rx) = contexts(profile);
        let start = ExtSeq::first(SeqNo(65_533));
        for n in 5..200 {
            let seq = ExtSeq(start.0 + n);
            let opened = rx
                .unprotect_rtp(&mut protected_rtp(&tx, SSRC, seq))
                .unwrap();
            assert_eq!((opened.roc, opened.ext_seq()), (1, seq));
        }
        // A straggler of the first cycle still finds its place.
        assert!(
            rx.unprotect_rtp(&mut protected_rtp(&tx, SSRC, start))
                .is_ok()
        );
    }
}

/// Attack S9: bad packets, however many, change nothing for good ones.
#[test]
fn every_flipped_bit_is_noticed() {
    for profile in Profile::ALL {
        let (mut tx, mut rx) = contexts(profile);
        let rtp = protected_rtp(&tx, SSRC, ExtSeq::first(SeqNo(7)));
        let rtcp = protected_rtcp(&mut tx, SSRC);
        for bit in 0..rtp.len() * 8 {
            let mut bad = rtp.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(rx.unprotect_rtp(&mut bad).is_err(), "bit {bit}");
        }
        for bit in 0..rtcp.len() * 8 {
            let mut bad = rtcp.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(rx.unprotect_rtcp(&mut bad).is_err(), "bit {bit}");
        }
        assert_eq!(rx.ssrcs(), (0, 0));
        assert!(rx.unprotect_rtp(&mut rtp.clone()).is_ok());
        assert!(rx.unprotect_rtcp(&mut rtcp.clone()).is_ok());
    }
}

/// Attack S11: every length and first byte.
#[test]
fn malformed_packets_do_not_panic() {
    for profile in Profile::ALL {
        let (_, mut rx) = contexts(profile);
        for first in [0x80, 0x8f, 0x90, 0x9f, 0xa0, 0x00, 0x40, 0xff] {
            for len in 0..200 {
                let mut packet = vec![first; len];
                assert!(rx.unprotect_rtp(&mut packet).is_err());
                let mut packet = vec![first; len];
                assert!(rx.unprotect_rtcp(&mut packet).is_err());
            }
        }
        let mut long = vec![0x80; DATAGRAM_RECEIVE_LEN_MAX + 1];
        assert_eq!(rx.unprotect_rtp(&mut long), Err(DropReason::SrtpMalformed));
    }
}

#[test]
fn authentic_ssrcs_are_bounded() {
    let (tx, mut rx) = contexts(Profile::AeadAes128Gcm);
    for ssrc in 0..1_000 {
        let mut packet = protected_rtp(&tx, Ssrc(ssrc), ExtSeq::first(SeqNo(1)));
        assert!(rx.unprotect_rtp(&mut packet).is_ok());
    }
    assert_eq!(rx.ssrcs().0, SSRCS_PER_TRANSPORT_MAX);
}

#[test]
fn packet_without_room_is_left_alone() {
    for profile in Profile::ALL {
        let (mut tx, _) = contexts(profile);
        let plain = hex(RTP_PLAIN);
        let mut packet = plain.clone();
        packet.resize(plain.len() + profile.rtp_overhead() - 1, 0);
        assert_eq!(
            tx.protect_rtp(&mut packet, 12, plain.len(), 0),
            Err(DropReason::SendLength)
        );
        assert_eq!(packet[..plain.len()], plain);

        let plain = hex(RTCP_PLAIN);
        let mut packet = plain.clone();
        packet.resize(plain.len() + profile.rtcp_overhead() - 1, 0);
        assert_eq!(
            tx.protect_rtcp(&mut packet, plain.len()),
            Err(DropReason::SendLength)
        );
        assert_eq!(packet[..plain.len()], plain);
    }
}

/// What one viewer's association keeps: far below the 64 kB that all of it may.
#[test]
fn contexts_are_small() {
    assert!(size_of::<SrtpTx>() <= 2_048, "{}", size_of::<SrtpTx>());
    assert!(size_of::<SrtpRx>() <= 2_048, "{}", size_of::<SrtpRx>());
}
