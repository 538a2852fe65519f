use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::time::{NtpTime, RtpTime, SeqNo};

/// A sender report with one block, a source description, and another application's feedback.
const COMPOUND: [u8; 84] = [
    0x81, 0xc8, 0x00, 0x0c, 0x11, 0x22, 0x33, 0x44, // SR of 0x11223344
    0xe0, 0x01, 0x02, 0x03, 0x80, 0x00, 0x00, 0x00, // NTP
    0x00, 0x01, 0x5f, 0x90, 0x00, 0x00, 0x01, 0x00, // RTP time 90000, 256 packets
    0x00, 0x02, 0x00, 0x00, // 131072 bytes
    0x55, 0x66, 0x77, 0x88, 0x40, 0xff, 0xff, 0xfe, // 1/4 lost, -2 in all
    0x00, 0x01, 0x00, 0x05, 0x00, 0x00, 0x00, 0x2a, // cycle 1, seq 5; jitter 42
    0x02, 0x03, 0x80, 0x00, 0x00, 0x01, 0x80, 0x00, // LSR; DLSR 1.5 s
    0x81, 0xca, 0x00, 0x03, 0x11, 0x22, 0x33, 0x44, // SDES
    0x01, 0x03, b'm', b'r', b'1', 0x00, 0x00, 0x00, // CNAME
    0x8f, 0xce, 0x00, 0x03, 0x11, 0x22, 0x33, 0x44, // application feedback
    0x00, 0x00, 0x00, 0x00, b'X', b'X', b'X', b'X', //
];

const SENDER: Ssrc = Ssrc(0x1122_3344);
const MEDIA: Ssrc = Ssrc(0x5566_7788);

const INFO: SenderInfo = SenderInfo {
    ntp: NtpTime(0xe001_0203_8000_0000),
    rtp_time: RtpTime(90_000),
    packets: 256,
    bytes: 131_072,
};

const BLOCK: ReportBlock = ReportBlock {
    ssrc: MEDIA,
    fraction_lost: 64,
    cumulative_lost: -2,
    highest_seq: 0x1_0005,
    jitter: 42,
    last_sr: 0x0203_8000,
    delay_since_last_sr: 0x1_8000,
};

fn one(packet: &[u8]) -> RtcpPacket<'_> {
    let mut packets = RtcpCompound::parse(packet);
    let first = packets.next().unwrap().unwrap();
    assert!(packets.next().is_none());
    first
}

/// What `write` appends to an empty compound.
fn written(write: impl FnOnce(&mut RtcpWriter<'_>) -> Option<()>) -> Vec<u8> {
    let mut out = [0xff; 1500];
    let mut writer = RtcpWriter::new(&mut out);
    write(&mut writer).unwrap();
    writer.written().to_vec()
}

#[test]
fn parses_a_compound() {
    let packets: Vec<_> = RtcpCompound::parse(&COMPOUND).collect();
    assert_eq!(packets.len(), 3);
    let Ok(RtcpPacket::SenderReport(report)) = &packets[0] else {
        panic!("{packets:?}")
    };
    assert_eq!((report.ssrc, report.info), (SENDER, INFO));
    assert!(report.blocks().eq([BLOCK]));
    assert_eq!(BLOCK.last_sr, INFO.ntp.middle_32());
    let Ok(RtcpPacket::Sdes(sdes)) = &packets[1] else {
        panic!("{packets:?}")
    };
    assert!(sdes.cnames().eq([(SENDER, "mr1")]));
    assert_eq!(
        packets[2],
        Ok(RtcpPacket::Unknown {
            packet_type: 206,
            format: 15
        })
    );
}

#[test]
fn writes_the_same_compound() {
    let mut out = [0xff; 200];
    let mut writer = RtcpWriter::new(&mut out);
    writer.sender_report(SENDER, &INFO, &[BLOCK]).unwrap();
    writer.sdes_cname(SENDER, "mr1").unwrap();
    assert_eq!(writer.written(), &COMPOUND[..68]);
}

#[test]
fn a_packet_that_does_not_fit_leaves_the_compound_as_it_was() {
    for len in 52..68 {
        let mut out = [0; 100];
        let mut writer = RtcpWriter::new(&mut out[..len]);
        writer.sender_report(SENDER, &INFO, &[BLOCK]).unwrap();
        assert_eq!(writer.sdes_cname(SENDER, "mr1"), None);
        assert_eq!(writer.written(), &COMPOUND[..52]);
    }
    let mut out = [0; 1500];
    let mut writer = RtcpWriter::new(&mut out);
    assert_eq!(writer.receiver_report(SENDER, &[BLOCK; 32]), None);
    assert_eq!(writer.bye(&[SENDER; 32]), None);
    assert!(writer.is_empty());
}

#[test]
fn a_broken_frame_is_the_last_item() {
    for len in 1..COMPOUND.len() {
        let packets: Vec<_> = RtcpCompound::parse(&COMPOUND[..len]).collect();
        let whole = [52, 68].iter().filter(|end| **end <= len).count();
        assert!(packets[..whole].iter().all(Result::is_ok), "{len}");
        assert!(!packets[whole..].iter().any(Result::is_ok), "{len}");
        assert!(packets.len() <= whole + 1);
    }
    let version: Vec<_> = RtcpCompound::parse(&[0x40, 0xc8, 0, 0]).collect();
    assert_eq!(version, [Err(RtcpError::Version)]);
}

#[test]
fn a_broken_body_does_not_hide_the_next_packet() {
    let mut bytes = vec![0x82, 0xc9, 0x00, 0x01, 0, 0, 0, 1];
    bytes.extend(written(|writer| writer.pli(SENDER, MEDIA)));
    let packets: Vec<_> = RtcpCompound::parse(&bytes).collect();
    assert_eq!(
        packets[0],
        Err(RtcpError::Truncated),
        "two blocks are promised, none is there"
    );
    let pli = Pli {
        sender_ssrc: SENDER,
        media_ssrc: MEDIA,
    };
    assert_eq!(
        packets[1],
        Ok(RtcpPacket::PayloadFeedback(PayloadFeedback::Pli(pli)))
    );
}

#[test]
fn padding_is_stripped_from_the_body() {
    let mut bytes = written(|writer| writer.nack(SENDER, MEDIA, [SeqNo(7)]));
    bytes.extend_from_slice(&[0, 0, 0, 4]);
    bytes[0] |= PADDING_BIT;
    bytes[3] += 1;
    let RtcpPacket::TransportFeedback(TransportFeedback::Nack(nack)) = one(&bytes) else {
        panic!()
    };
    assert!(nack.seqs().eq([SeqNo(7)]));
    for count in [0, 17] {
        *bytes.last_mut().unwrap() = count;
        let packets: Vec<_> = RtcpCompound::parse(&bytes).collect();
        assert_eq!(packets, [Err(RtcpError::Padding)]);
    }
}

#[test]
fn nack_packs_17_into_an_entry_across_the_wrap() {
    let seqs = (0..=17).map(|n| SeqNo(65_530).wrapping_add(n));
    let bytes = written(|writer| writer.nack(SENDER, MEDIA, seqs.clone()));
    assert_eq!(bytes[..4], [0x81, 205, 0, 4]);
    assert_eq!(
        bytes[12..],
        [0xff, 0xfa, 0xff, 0xff, 0x00, 0x0b, 0x00, 0x00]
    );
    let RtcpPacket::TransportFeedback(TransportFeedback::Nack(nack)) = one(&bytes) else {
        panic!()
    };
    assert_eq!((nack.sender_ssrc, nack.media_ssrc), (SENDER, MEDIA));
    assert!(nack.seqs().eq(seqs));
    assert!(written(|writer| writer.nack(SENDER, MEDIA, [])).is_empty());
}

#[test]
fn remb_of_chromium() {
    let bytes = [
        0x8f, 0xce, 0x00, 0x05, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, // header
        b'R', b'E', b'M', b'B', 0x01, 0x07, 0xf5, 0x63, 0x48, 0x38, 0xd2,
        0xe0, // 2^1 * 259427
    ];
    let RtcpPacket::PayloadFeedback(PayloadFeedback::Remb(remb)) = one(&bytes) else {
        panic!()
    };
    assert_eq!(remb.sender_ssrc, Ssrc(1));
    assert_eq!(remb.bitrate_bps, 2 * 0x3_f563);
    assert!(remb.ssrcs().eq([Ssrc(0x4838_d2e0)]));
    let again = written(|writer| writer.remb(Ssrc(1), 2 * 0x3_f563 + 1, &[Ssrc(0x4838_d2e0)]));
    assert_eq!(again, bytes, "rounded down");
}

#[test]
fn remb_beyond_64_bits_is_the_most_there_is() {
    let remb = |exponent_and_mantissa: [u8; 3]| {
        let mut bytes = written(|writer| writer.remb(SENDER, 0, &[]));
        bytes[17..20].copy_from_slice(&exponent_and_mantissa);
        let RtcpPacket::PayloadFeedback(PayloadFeedback::Remb(remb)) = one(&bytes) else {
            panic!()
        };
        remb.bitrate_bps
    };
    assert_eq!(remb([0xff, 0xff, 0xff]), u64::MAX);
    assert_eq!(remb([0xfc, 0x00, 0x00]), 0);
    assert_eq!(remb([0xfc, 0x00, 0x01]), 1 << 63);
    assert_eq!(remb([0xfc, 0x00, 0x02]), u64::MAX);
}

#[test]
fn fir_and_bye() {
    let entries = [
        FirEntry {
            media_ssrc: MEDIA,
            request_seq: 9,
        },
        FirEntry {
            media_ssrc: SENDER,
            request_seq: 255,
        },
    ];
    let bytes = written(|writer| writer.fir(SENDER, &entries));
    assert_eq!(bytes[..4], [0x84, 206, 0, 6]);
    let RtcpPacket::PayloadFeedback(PayloadFeedback::Fir(fir)) = one(&bytes) else {
        panic!()
    };
    assert_eq!(fir.sender_ssrc, SENDER);
    assert!(fir.entries().eq(entries));

    let mut bytes = written(|writer| writer.bye(&[SENDER, MEDIA]));
    bytes.extend_from_slice(&[3, b'o', b'f', b'f']);
    bytes[3] += 1;
    let RtcpPacket::Bye(bye) = one(&bytes) else {
        panic!()
    };
    assert!(bye.ssrcs().eq([SENDER, MEDIA]));
    assert_eq!(bye.reason(), Some("off"));
}

#[test]
fn sdes_items_other_than_cname_are_passed_over() {
    let bytes = [
        0x82, 0xca, 0x00, 0x06, // two sources
        0, 0, 0, 1, 0x02, 0x01, b'n', 0x01, 0x01, b'c', 0, 0, // NAME, CNAME, end
        0, 0, 0, 2, 0x06, 0x02, b't', b'l', 0, 0, 0, 0, // TOOL only
    ];
    let RtcpPacket::Sdes(sdes) = one(&bytes) else {
        panic!()
    };
    assert!(sdes.cnames().eq([(Ssrc(1), "c")]));
    // Without the zero at its end, the second source runs into nothing.
    let mut open = bytes;
    open[24..28].copy_from_slice(&[0x06, 0x02, b't', b'l']);
    assert_eq!(
        RtcpCompound::parse(&open).next(),
        Some(Err(RtcpError::Truncated))
    );
}

fn block() -> impl Strategy<Value = ReportBlock> {
    (any::<[u32; 5]>(), any::<u8>(), -0x80_0000..0x80_0000_i32).prop_map(
        |([ssrc, highest_seq, jitter, last_sr, delay_since_last_sr], fraction, lost)| ReportBlock {
            ssrc: Ssrc(ssrc),
            fraction_lost: fraction,
            cumulative_lost: lost,
            highest_seq,
            jitter,
            last_sr,
            delay_since_last_sr,
        },
    )
}

proptest! {
    #[test]
    fn reports_parse_back(
        ssrc: u32,
        ntp: u64,
        rtp_time: u32,
        packets: u32,
        bytes: u32,
        blocks in vec(block(), 0..=31),
    ) {
        let (ssrc, ntp, rtp_time) = (Ssrc(ssrc), NtpTime(ntp), RtpTime(rtp_time));
        let info = SenderInfo { ntp, rtp_time, packets, bytes };
        let report = written(|writer| writer.sender_report(ssrc, &info, &blocks));
        let RtcpPacket::SenderReport(report) = one(&report) else { panic!() };
        prop_assert_eq!((report.ssrc, report.info), (ssrc, info));
        prop_assert!(report.blocks().eq(blocks.iter().copied()));

        let report = written(|writer| writer.receiver_report(ssrc, &blocks));
        let RtcpPacket::ReceiverReport(report) = one(&report) else { panic!() };
        prop_assert_eq!(report.ssrc, ssrc);
        prop_assert!(report.blocks().eq(blocks));
    }

    #[test]
    fn sources_parse_back(ssrcs in vec(any::<u32>(), 0..=31), cname in "[ -~]{0,255}") {
        let ssrcs: Vec<_> = ssrcs.into_iter().map(Ssrc).collect();
        let bytes = written(|writer| writer.bye(&ssrcs));
        let RtcpPacket::Bye(bye) = one(&bytes) else { panic!() };
        prop_assert!(bye.ssrcs().eq(ssrcs));
        prop_assert_eq!(bye.reason(), None);

        let bytes = written(|writer| writer.sdes_cname(SENDER, &cname));
        let RtcpPacket::Sdes(sdes) = one(&bytes) else { panic!() };
        prop_assert!(sdes.cnames().eq([(SENDER, &cname[..])]));
    }

    #[test]
    fn feedback_parses_back(
        start: u16,
        gaps in vec(1u16..40, 0..100),
        bitrate_bps: u64,
        shift in 0u32..64,
        ssrcs in vec(any::<u32>(), 0..=255),
        entries in vec(any::<(u32, u8)>(), 0..20),
    ) {
        let mut seq = SeqNo(start);
        let mut seqs = vec![seq];
        for gap in gaps {
            seq = seq.wrapping_add(gap);
            seqs.push(seq);
        }
        let bytes = written(|writer| writer.nack(SENDER, MEDIA, seqs.iter().copied()));
        let RtcpPacket::TransportFeedback(TransportFeedback::Nack(nack)) = one(&bytes) else {
            panic!()
        };
        prop_assert!(nack.seqs().eq(seqs));

        let bitrate_bps = bitrate_bps >> shift;
        let ssrcs: Vec<_> = ssrcs.into_iter().map(Ssrc).collect();
        let bytes = written(|writer| writer.remb(SENDER, bitrate_bps, &ssrcs));
        let RtcpPacket::PayloadFeedback(PayloadFeedback::Remb(remb)) = one(&bytes) else {
            panic!()
        };
        prop_assert!(remb.bitrate_bps <= bitrate_bps);
        prop_assert!(bitrate_bps - remb.bitrate_bps <= bitrate_bps >> 17);
        prop_assert!(remb.ssrcs().eq(ssrcs));

        let entries: Vec<_> = entries
            .into_iter()
            .map(|(ssrc, request_seq)| FirEntry { media_ssrc: Ssrc(ssrc), request_seq })
            .collect();
        let bytes = written(|writer| writer.fir(SENDER, &entries));
        let RtcpPacket::PayloadFeedback(PayloadFeedback::Fir(fir)) = one(&bytes) else { panic!() };
        prop_assert!(fir.entries().eq(entries));
    }

    #[test]
    fn noise_never_panics(
        mut bytes in vec(any::<u8>(), 0..200),
        head in 0usize..32,
        packet_type in 200u8..208,
    ) {
        if bytes.len() >= 4 {
            bytes[0] = (bytes[0] & 0x20) | 0x80 | u8::try_from(head).unwrap();
            bytes[1] = packet_type;
            let words = u16::try_from((bytes.len() - 4) / 4).unwrap();
            bytes[2..4].copy_from_slice(&words.to_be_bytes());
        }
        for packet in RtcpCompound::parse(&bytes).flatten() {
            read_all(&packet);
        }
    }
}

/// Runs every iterator of a packet to its end.
fn read_all(packet: &RtcpPacket<'_>) -> usize {
    match packet {
        RtcpPacket::SenderReport(report) => report.blocks().count(),
        RtcpPacket::ReceiverReport(report) => report.blocks().count(),
        RtcpPacket::Sdes(sdes) => sdes.cnames().count(),
        RtcpPacket::Bye(bye) => bye.ssrcs().count(),
        RtcpPacket::TransportFeedback(TransportFeedback::Nack(nack)) => nack.seqs().count(),
        RtcpPacket::TransportFeedback(TransportFeedback::TransportCc(feedback)) => {
            assert_eq!(
                feedback.statuses().count(),
                usize::from(feedback.status_count())
            );
            feedback.arrivals().count()
        }
        RtcpPacket::PayloadFeedback(PayloadFeedback::Pli(_)) => 0,
        RtcpPacket::PayloadFeedback(PayloadFeedback::Fir(fir)) => fir.entries().count(),
        RtcpPacket::PayloadFeedback(PayloadFeedback::Remb(remb)) => remb.ssrcs().count(),
        RtcpPacket::Unknown { .. } => 0,
    }
}
