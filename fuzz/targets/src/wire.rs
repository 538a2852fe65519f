//! STUN, RTP and RTCP.

use millrace_shared::payload::dependency_descriptor::DependencyDescriptor;
use millrace_shared::wire::class::{DatagramClass, classify};
use millrace_shared::wire::rtcp::{
    PayloadFeedback, RtcpCompound, RtcpPacket, RtcpWriter, TransportCc, TransportFeedback,
};
use millrace_shared::wire::rtp::{RtpHeader, RtpView, ext_mut, header_len, write_header};
use millrace_shared::wire::rtp_ext;
use millrace_shared::wire::stun::{
    BindingError, IntegrityKey, StunView, write_binding_error, write_binding_success,
};

/// Extension elements of one packet that are compared one by one.
const EXTS_COMPARED_MAX: usize = 64;
/// Statuses of a transport-wide feedback that are written again.
const STATUSES_REWRITTEN_MAX: u16 = 4_096;

pub(crate) fn stun(message: &[u8]) {
    let Ok(view) = StunView::parse(message) else {
        return;
    };
    // RFC 7983 §7 takes only the messages with small method numbers for STUN.
    let class = classify(message);
    assert!(class == Some(DatagramClass::Stun) || message.first() > Some(&3));
    assert!(!view.fingerprint_ok() || view.has_fingerprint());
    let key = IntegrityKey::new(b"that nobody was told of");
    assert!(!view.verify_integrity(&key), "a password was guessed");
    let username = view.username().unwrap_or_default();
    assert!(username.len() <= message.len());
    assert_eq!(
        view.role().is_some(),
        view.controlling().or(view.controlled()).is_some()
    );

    // Whatever was asked, the answer is one that we would read.
    let mut out = [0; 512];
    let mapped = view
        .xor_mapped_address()
        .unwrap_or_else(|| ([192, 0, 2, 1], 7).into());
    let len = write_binding_success(&mut out, view.transaction_id(), mapped, &key)
        .expect("an answer fits");
    let answer = StunView::parse(&out[..len]).expect("an answer is well-formed");
    assert!(answer.verify_integrity(&key) && answer.fingerprint_ok());
    // An IPv4 address in IPv6 clothes is answered without them.
    let answered = std::net::SocketAddr::new(mapped.ip().to_canonical(), mapped.port());
    assert_eq!(answer.xor_mapped_address(), Some(answered));
    if let Some(attribute) = view.unknown_required() {
        let error = BindingError {
            transaction_id: view.transaction_id(),
            code: 420,
            reason: "Unknown Attribute",
            unknown: &[attribute],
        };
        let len = write_binding_error(&mut out, &error, None).expect("an error fits");
        let answer = StunView::parse(&out[..len]).expect("an error is well-formed");
        assert_eq!(answer.error_code(), Some((420, error.reason)));
    }
}

pub(crate) fn rtp(packet: &[u8]) {
    let Ok(view) = RtpView::parse(packet) else {
        return;
    };
    assert_eq!(
        view.header_len() + view.payload().len() + view.padding_len,
        packet.len()
    );
    let exts: Vec<(u8, &[u8])> = view.exts().take(EXTS_COMPARED_MAX).collect();
    let mut copy = packet.to_vec();
    for (id, ext) in &exts {
        let first = exts.iter().find(|(found, _)| found == id);
        assert_eq!(view.ext(*id), first.map(|(_, ext)| *ext));
        read_ext(ext);
        let place = ext_mut(&mut copy, *id).expect("what is found can be overwritten");
        assert_eq!(Some(&*place), view.ext(*id));
        place.fill(0x5a);
        // The same length of other content: nothing else moves.
        let again = RtpView::parse(&copy).expect("the header is as it was");
        assert_eq!(again.header_len(), view.header_len());
        assert_eq!(again.payload(), view.payload());
        copy.copy_from_slice(packet);
    }
    rewrite_header(&view, &exts);
}

fn read_ext(ext: &[u8]) {
    let _ = rtp_ext::transport_cc(ext);
    let _ = rtp_ext::abs_send_time(ext);
    if let Some(level) = rtp_ext::audio_level(ext) {
        assert_eq!(rtp_ext::write_audio_level(level).first(), ext.first());
    }
    for token in [rtp_ext::mid(ext), rtp_ext::rid(ext)].into_iter().flatten() {
        assert!(!token.is_empty() && ext.starts_with(token.as_bytes()));
    }
    let _ = DependencyDescriptor::parse(ext).map(|it| it.keyframe_start());
}

/// What was read is written and read again.
fn rewrite_header(view: &RtpView<'_>, exts: &[(u8, &[u8])]) {
    let header = RtpHeader {
        marker: view.marker,
        pt: view.pt,
        seq: view.seq,
        timestamp: view.timestamp,
        ssrc: view.ssrc,
    };
    let mut out = vec![0; header_len(exts)];
    let len = write_header(&mut out, &header, exts).expect("there is room for what was read");
    assert_eq!(len, out.len());
    let again = RtpView::parse(&out).expect("what we write is well-formed");
    assert_eq!(
        (again.seq, again.ssrc, again.pt, again.marker),
        (view.seq, view.ssrc, view.pt, view.marker)
    );
    assert!(again.exts().eq(exts.iter().copied()));
}

pub(crate) fn rtcp(compound: &[u8]) {
    let mut packets = 0;
    for packet in RtcpCompound::parse(compound) {
        packets += 1;
        if let Ok(packet) = packet {
            read_rtcp(&packet, compound.len());
        }
    }
    // A header has four bytes; a broken one ends the compound.
    assert!(packets <= compound.len() / 4 + 1);
}

fn read_rtcp(packet: &RtcpPacket<'_>, len: usize) {
    match packet {
        RtcpPacket::SenderReport(report) => assert!(report.blocks().count() <= 31),
        RtcpPacket::ReceiverReport(report) => {
            let blocks: Vec<_> = report.blocks().collect();
            let mut out = [0; 1_500];
            let mut writer = RtcpWriter::new(&mut out);
            writer
                .receiver_report(report.ssrc, &blocks)
                .expect("31 blocks at most");
            let again = RtcpCompound::parse(writer.written()).next();
            let Some(Ok(RtcpPacket::ReceiverReport(again))) = again else {
                unreachable!("a report was written: {again:?}");
            };
            assert!(again.blocks().eq(blocks));
        }
        RtcpPacket::Sdes(sdes) => {
            assert!(sdes.cnames().map(|(_, cname)| cname.len()).sum::<usize>() <= len);
        }
        RtcpPacket::Bye(bye) => {
            assert!(bye.ssrcs().count() <= 31);
            assert!(bye.reason().unwrap_or_default().len() <= len);
        }
        RtcpPacket::TransportFeedback(TransportFeedback::Nack(nack)) => {
            assert!(nack.seqs().count() <= len / 4 * 17);
        }
        RtcpPacket::TransportFeedback(TransportFeedback::TransportCc(feedback)) => {
            read_transport_cc(feedback);
        }
        RtcpPacket::PayloadFeedback(PayloadFeedback::Fir(fir)) => {
            assert!(fir.entries().count() <= len / 8);
        }
        RtcpPacket::PayloadFeedback(PayloadFeedback::Remb(remb)) => {
            assert!(remb.ssrcs().count() <= 255);
        }
        _ => {}
    }
}

fn read_transport_cc(feedback: &TransportCc<'_>) {
    let count = feedback.status_count();
    let statuses: Vec<_> = feedback.statuses().collect();
    assert_eq!(statuses.len(), usize::from(count));
    let arrived = statuses
        .iter()
        .filter_map(|status| Some((status.seq, status.arrival_us?)));
    assert!(feedback.arrivals().eq(arrived));
    if count > STATUSES_REWRITTEN_MAX {
        return;
    }
    let mut last_us = 0;
    let deltas: Vec<Option<i16>> = statuses
        .iter()
        .map(|status| {
            let at_us = status.arrival_us?;
            let ticks = (at_us - last_us) / 250;
            last_us = at_us;
            i16::try_from(ticks).ok()
        })
        .collect();
    let mut out = vec![0; 64 + 4 * statuses.len()];
    let mut writer = RtcpWriter::new(&mut out);
    writer
        .transport_cc(&feedback.head, deltas.iter().copied())
        .expect("as many statuses as were read");
    let again = RtcpCompound::parse(writer.written()).next();
    let Some(Ok(RtcpPacket::TransportFeedback(TransportFeedback::TransportCc(again)))) = again
    else {
        unreachable!("a feedback was written: {again:?}");
    };
    assert_eq!(again.head, feedback.head);
    assert!(again.statuses().eq(statuses));
}
