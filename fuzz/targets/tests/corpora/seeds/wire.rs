//! STUN, RTP and RTCP as clients send them.

use millrace_shared::ids::{Pt, Ssrc};
use millrace_shared::time::{NtpTime, RtpTime, SeqNo};
use millrace_shared::wire::rtcp::{FirEntry, ReportBlock, RtcpWriter, SenderInfo, TransportCcHead};
use millrace_shared::wire::rtp::{RtpHeader, header_len, pad, write_header};
use millrace_shared::wire::stun::{
    BindingError, BindingRequest, IceRole, IntegrityKey, TransactionId, write_binding_error,
    write_binding_request, write_binding_success,
};

const SSRC: Ssrc = Ssrc(0x1234_5678);

pub(crate) fn stun() -> Vec<Vec<u8>> {
    let key = IntegrityKey::new(b"abcdefghijklmnopqrstuv");
    let transaction_id = TransactionId(*b"transaction!");
    let mut seeds = Vec::new();
    for (role, use_candidate) in [
        (IceRole::Controlling(7), true),
        (IceRole::Controlling(7), false),
        (IceRole::Controlled(9), false),
    ] {
        let request = BindingRequest {
            transaction_id,
            username: "0abc:peer",
            priority: 1_853_824_767,
            role,
            use_candidate,
        };
        seeds.push(written(|out| write_binding_request(out, &request, &key)));
    }
    for mapped in ["192.0.2.7:4000", "[2001:db8::7]:4000"] {
        let mapped = mapped.parse().unwrap();
        seeds.push(written(|out| {
            write_binding_success(out, transaction_id, mapped, &key)
        }));
    }
    for (code, reason, unknown) in [
        (401, "Unauthorized", [].as_slice()),
        (420, "Unknown Attribute", &[0x7fff, 0x0026]),
        (487, "Role Conflict", &[]),
    ] {
        let error = BindingError {
            transaction_id,
            code,
            reason,
            unknown,
        };
        seeds.push(written(|out| write_binding_error(out, &error, None)));
    }
    // A client that needs something we do not know.
    let mut odd = seeds[0].clone();
    odd[21] = 0x30;
    seeds.push(odd);
    seeds
}

pub(crate) fn rtp() -> Vec<Vec<u8>> {
    let short: &[(u8, &[u8])] = &[(1, b"m1"), (4, &[0, 7]), (5, &[0x90])];
    let simulcast: &[(u8, &[u8])] = &[(1, b"m1"), (2, b"q"), (3, b"q"), (4, &[0xff, 0xff])];
    let long: &[(u8, &[u8])] = &[(1, b"m1"), (8, &[0x80; 20])];
    let high_id: &[(u8, &[u8])] = &[(15, &[1]), (200, &[]), (1, b"m1")];
    let mut seeds = Vec::new();
    for exts in [&[], short, simulcast, long, high_id] {
        for payload in [b"".as_slice(), b"\xfc\xff\xfe", &[0x90; 40]] {
            let header = RtpHeader {
                marker: payload.len() == 3,
                pt: Pt(111),
                seq: SeqNo(65_535),
                timestamp: RtpTime(0xffff_ff00),
                ssrc: SSRC,
            };
            let mut out = vec![0; header_len(exts)];
            write_header(&mut out, &header, exts).unwrap();
            out.extend_from_slice(payload);
            seeds.push(out);
        }
    }
    let mut padded = seeds[2].clone();
    let len = padded.len();
    padded.resize(len + 12, 0);
    pad(&mut padded, len, 12).unwrap();
    seeds.push(padded);
    // Two CSRCs in front of an extension block.
    let mut mixed = seeds[4].clone();
    mixed[0] |= 2;
    mixed.splice(12..12, [9; 8]);
    seeds.push(mixed);
    seeds
}

pub(crate) fn rtcp() -> Vec<Vec<u8>> {
    let block = ReportBlock {
        ssrc: SSRC,
        fraction_lost: 12,
        cumulative_lost: -7,
        highest_seq: 0x1_0005,
        jitter: 300,
        last_sr: 0x8899_aabb,
        delay_since_last_sr: 0x1_0000,
    };
    let info = SenderInfo {
        ntp: NtpTime(0xe000_0000_8000_0000),
        rtp_time: RtpTime(90_000),
        packets: 100,
        bytes: 100_000,
    };
    let head = TransportCcHead {
        sender_ssrc: Ssrc(1),
        media_ssrc: SSRC,
        base_seq: SeqNo(65_530),
        reference_time: 0x00ab_cdef,
        feedback_count: 3,
    };
    let fir = FirEntry {
        media_ssrc: SSRC,
        request_seq: 4,
    };
    let run = [Some(4); 40];
    let mixed: Vec<_> = (0..60_i16)
        .map(|n| (n % 3 != 0).then_some(n * 40 - 700))
        .collect();
    let lost: Vec<_> = (0..200).map(|n| (n % 90 == 0).then_some(1)).collect();
    let compound = |write: &dyn Fn(&mut RtcpWriter<'_>) -> Option<()>| {
        written(|out| {
            let mut writer = RtcpWriter::new(out);
            write(&mut writer)?;
            Some(writer.len())
        })
    };
    vec![
        compound(&|it| {
            it.sender_report(SSRC, &info, &[block])?;
            it.sdes_cname(SSRC, "alice@example")?;
            it.bye(&[SSRC, Ssrc(2)])
        }),
        compound(&|it| it.receiver_report(Ssrc(1), &[block; 31])),
        compound(&|it| it.receiver_report(Ssrc(1), &[])),
        compound(&|it| it.nack(Ssrc(1), SSRC, [65_530, 65_535, 0, 9, 200].map(SeqNo))),
        compound(&|it| it.pli(Ssrc(1), SSRC)),
        compound(&|it| it.fir(Ssrc(1), &[fir])),
        compound(&|it| it.remb(Ssrc(1), 2_500_000, &[SSRC, Ssrc(3)])),
        compound(&|it| it.transport_cc(&head, run.iter().copied())),
        compound(&|it| it.transport_cc(&head, mixed.iter().copied())),
        compound(&|it| it.transport_cc(&head, lost.iter().copied())),
        // A BYE with a reason, and libwebrtc's padded feedback.
        vec![
            0x81, 203, 0, 3, 0, 0, 0, 1, 7, b't', b'h', b'e', b' ', b'e', b'n', b'd',
        ],
        vec![0xa1, 206, 0, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 4],
    ]
}

fn written(write: impl FnOnce(&mut [u8]) -> Option<usize>) -> Vec<u8> {
    let mut out = vec![0; 1_400];
    let len = write(&mut out).unwrap();
    out.truncate(len);
    out
}
