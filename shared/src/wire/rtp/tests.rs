use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// A VP8 packet as Chromium sends it: mid "0" (id 4), transport-cc (id 3), abs-send-time (id 2),
/// one-byte form, followed by 3 bytes of payload.
const ONE_BYTE: &[u8] = &[
    0x90, 0xe0, 0x12, 0x34, 0x00, 0x01, 0x5f, 0x90, 0xde, 0xad, 0xbe, 0xef, // fixed
    0xbe, 0xde, 0x00, 0x03, // profile, 3 words
    0x22, 0x0a, 0x0b, 0x0c, 0x31, 0x00, 0x07, 0x40, 0x30, 0x00, 0x00, 0x00, // elements
    0x10, 0x02, 0x03,
];

const HEADER: RtpHeader = RtpHeader {
    marker: true,
    pt: Pt(96),
    seq: SeqNo(0x1234),
    timestamp: RtpTime(90_000),
    ssrc: Ssrc(0xdead_beef),
};

#[test]
fn parses_a_browser_packet() {
    let view = RtpView::parse(ONE_BYTE).unwrap();
    assert_eq!((view.marker, view.pt), (true, Pt(96)));
    assert_eq!((view.seq, view.timestamp), (SeqNo(0x1234), RtpTime(90_000)));
    assert_eq!(view.ssrc, Ssrc(0xdead_beef));
    assert_eq!(view.header_len(), 28);
    assert_eq!(view.payload(), &[0x10, 0x02, 0x03]);
    assert_eq!(view.ext(2), Some(&[0x0a, 0x0b, 0x0c][..]));
    assert_eq!(view.ext(3), Some(&[0x00, 0x07][..]));
    assert_eq!(view.ext(4), Some(&b"0"[..]));
    assert_eq!(view.ext(5), None);
    assert_eq!(view.exts().count(), 3);
}

#[test]
fn writes_the_same_packet() {
    let mut out = [0; 64];
    let exts: [(u8, &[u8]); 3] = [(2, &[0x0a, 0x0b, 0x0c]), (3, &[0x00, 0x07]), (4, b"0")];
    let len = write_header(&mut out, &HEADER, &exts).unwrap();
    assert_eq!(len, header_len(&exts));
    assert_eq!(&out[..len], &ONE_BYTE[..28]);
    assert_eq!(write_header(&mut out[..27], &HEADER, &exts), None);
}

#[test]
fn csrcs_and_a_foreign_profile_are_skipped() {
    let mut packet = vec![0x92, 0x60, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
    packet.extend_from_slice(&[0, 0, 0, 4, 0, 0, 0, 5]);
    packet.extend_from_slice(&[0x12, 0x34, 0, 1, 0x10, 0xff, 0xff, 0xff]);
    packet.push(0x77);
    let view = RtpView::parse(&packet).unwrap();
    assert_eq!(view.header_len(), 28);
    assert_eq!(view.exts().count(), 0);
    assert_eq!(view.payload(), &[0x77]);
}

#[test]
fn two_byte_form_has_empty_and_long_elements() {
    let long = [7; 20];
    let exts: [(u8, &[u8]); 3] = [(1, &[]), (15, &[9]), (200, &long)];
    let mut out = [0; 64];
    let len = write_header(&mut out, &HEADER, &exts).unwrap();
    assert_eq!(len, header_len(&exts));
    assert_eq!(out[12..16], [0x10, 0x00, 0x00, 0x07]);
    let header = parse_header(&out[..len]).unwrap();
    assert!(header.exts().eq(exts));
    assert_eq!(header.header_len(), len);
    // RFC 8285 §4.3: appbits do not matter.
    out[13] = 0x0f;
    assert!(parse_header(&out[..len]).unwrap().exts().eq(exts));
}

#[test]
fn id_15_and_id_0_with_a_length_end_the_one_byte_form() {
    for end in [0xf0, 0x02] {
        let mut packet = ONE_BYTE.to_vec();
        packet[20] = end;
        let header = parse_header(&packet).unwrap();
        assert!(header.exts().eq([(2, &[0x0a, 0x0b, 0x0c][..])]));
    }
}

#[test]
fn an_element_past_the_block_ends_the_iteration_only() {
    let mut packet = ONE_BYTE.to_vec();
    packet[20] = 0x3f;
    let view = RtpView::parse(&packet).unwrap();
    assert_eq!(view.exts().count(), 1);
    assert_eq!(view.payload().len(), 3);
}

#[test]
fn padding_is_stripped() {
    let mut out = [0xaa; 64];
    out[..ONE_BYTE.len()].copy_from_slice(ONE_BYTE);
    let len = pad(&mut out, ONE_BYTE.len(), 5).unwrap();
    let view = RtpView::parse(&out[..len]).unwrap();
    assert_eq!(view.padding_len, 5);
    assert_eq!(view.payload(), &[0x10, 0x02, 0x03]);
    assert_eq!(out[len - 5..len], [0, 0, 0, 0, 5]);
    assert_eq!(pad(&mut out, len, 5), None, "padded already");
}

#[test]
fn a_packet_of_padding_only_has_no_payload() {
    let mut out = [0; 300];
    let len = write_header(&mut out, &HEADER, &[]).unwrap();
    let len = pad(&mut out, len, 255).unwrap();
    let view = RtpView::parse(&out[..len]).unwrap();
    assert_eq!((len, view.padding_len), (267, 255));
    assert!(view.payload().is_empty());
}

#[test]
fn bad_padding_is_refused_after_decryption_only() {
    let mut packet = ONE_BYTE.to_vec();
    packet[0] |= PADDING_BIT;
    for count in [0, 4, 255] {
        packet[30] = count;
        assert_eq!(RtpView::parse(&packet), Err(RtpError::Padding), "{count}");
        assert!(parse_header(&packet).unwrap().padding);
    }
    assert_eq!(RtpView::parse(&packet[..28]), Err(RtpError::Padding));
}

#[test]
fn every_truncation_of_the_header_is_refused() {
    for len in 0..28 {
        assert_eq!(
            parse_header(&ONE_BYTE[..len]),
            Err(RtpError::Truncated),
            "{len}"
        );
    }
    assert_eq!(parse_header(&[0x40, 0]), Err(RtpError::Version));
}

#[test]
fn an_element_is_overwritten_in_place() {
    let mut packet = ONE_BYTE.to_vec();
    ext_mut(&mut packet, 3)
        .unwrap()
        .copy_from_slice(&[0xab, 0xcd]);
    let mut expected = ONE_BYTE.to_vec();
    expected[21..23].copy_from_slice(&[0xab, 0xcd]);
    assert_eq!(packet, expected);
    assert_eq!(ext_mut(&mut packet, 4), Some(&mut b"0".to_owned()[..]));
    assert_eq!(ext_mut(&mut packet, 9), None);
}

proptest! {
    #[test]
    fn written_headers_parse_back(
        marker: bool,
        pt in 0u8..128,
        seq: u16,
        timestamp: u32,
        ssrc: u32,
        contents in vec((1u8..=255, vec(any::<u8>(), 0..24)), 0..8),
        payload in vec(any::<u8>(), 0..40),
        padding in 0u8..40,
    ) {
        let header = RtpHeader {
            marker,
            pt: Pt(pt),
            seq: SeqNo(seq),
            timestamp: RtpTime(timestamp),
            ssrc: Ssrc(ssrc),
        };
        let exts: Vec<(u8, &[u8])> = contents.iter().map(|(id, ext)| (*id, &ext[..])).collect();
        let mut out = [0xff; 512];
        let payload_at = write_header(&mut out, &header, &exts).unwrap();
        prop_assert_eq!(payload_at, header_len(&exts));
        let mut len = payload_at + payload.len();
        out[payload_at..len].copy_from_slice(&payload);
        if padding > 0 {
            len = pad(&mut out, len, padding).unwrap();
        }
        let view = RtpView::parse(&out[..len]).unwrap();
        let parsed = RtpHeader {
            marker: view.marker,
            pt: view.pt,
            seq: view.seq,
            timestamp: view.timestamp,
            ssrc: view.ssrc,
        };
        prop_assert_eq!(parsed, header);
        prop_assert_eq!(view.header_len(), payload_at);
        prop_assert_eq!(view.payload(), &payload[..]);
        prop_assert_eq!(view.padding_len, usize::from(padding));
        prop_assert!(view.exts().eq(exts.iter().copied()));
        for (id, _) in &exts {
            let expected = view.ext(*id).unwrap().to_vec();
            let mut copy = out;
            prop_assert_eq!(ext_mut(&mut copy[..len], *id).unwrap(), &expected[..]);
        }
    }

    #[test]
    fn noise_never_panics(mut bytes in vec(any::<u8>(), 0..80), id: u8) {
        if let Some(first) = bytes.first_mut() {
            *first = (*first & 0x3f) | VERSION_2;
        }
        let _ = RtpView::parse(&bytes).map(|view| view.exts().count());
        let _ = parse_header(&bytes).map(|header| header.exts().count());
        let _ = ext_mut(&mut bytes, id);
        let _ = pad(&mut bytes, 12, id);
    }
}
