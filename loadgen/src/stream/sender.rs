//! One RTP stream that we send, with the one that repairs it.

use millrace_shared::drop::DropReason;
use millrace_shared::ids::{Pt, Ssrc};
use millrace_shared::link::{ExtIds, ExtKind};
use millrace_shared::srtp::{SrtpTx, roll_over_count};
use millrace_shared::time::{ExtSeq, NtpTime, RtpTime, SeqNo};
use millrace_shared::wire::rtcp::SenderInfo;
use millrace_shared::wire::rtp::{RtpHeader, write_header};
use millrace_shared::wire::rtp_ext::{
    AudioLevel, write_abs_send_time, write_audio_level, write_transport_cc,
};

/// Longest packet we make: payload, header with extensions, original sequence number, tag.
pub(super) const PACKET_LEN_MAX: usize = 1400;
/// Packets kept for retransmission, a power of two: more than a second of the largest encoding.
const STORE_PACKETS: usize = 512;

/// Names of a stream that go into header extensions.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct StreamNames {
    pub(super) mid: String,
    pub(super) rid: Option<&'static str>,
}

/// What of a packet changes from packet to packet.
#[derive(Copy, Clone, Debug)]
pub(super) struct PacketHead {
    pub(super) marker: bool,
    pub(super) timestamp: RtpTime,
    pub(super) level: Option<AudioLevel>,
    pub(super) transport_cc: SeqNo,
    pub(super) ntp: NtpTime,
}

#[derive(Debug)]
struct Stored {
    seq: SeqNo,
    marker: bool,
    timestamp: RtpTime,
    payload: Vec<u8>,
}

#[derive(Debug)]
struct Repair {
    ssrc: Ssrc,
    pt: Pt,
    next: ExtSeq,
    store: Vec<Option<Stored>>,
}

#[derive(Debug)]
pub(super) struct TxStream {
    ssrc: Ssrc,
    pt: Pt,
    names: StreamNames,
    ids: ExtIds,
    next: ExtSeq,
    repair: Option<Repair>,
    packets: u32,
    bytes: u32,
    last_timestamp: RtpTime,
}

impl TxStream {
    pub(super) fn new(
        ssrc: u32,
        pt: u8,
        repair: Option<(u32, u8)>,
        ids: ExtIds,
        names: StreamNames,
    ) -> Self {
        // RFC 3550 §5.1: streams begin with a random number. In the lower half, so that a server
        // that loses the first packets is not wrong about the cycle.
        let first = |ssrc: u32| ExtSeq::first(SeqNo((ssrc & 0x3fff) as u16));
        Self {
            ssrc: Ssrc(ssrc),
            pt: Pt(pt),
            names,
            ids,
            next: first(ssrc),
            repair: repair.map(|(ssrc, pt)| Repair {
                ssrc: Ssrc(ssrc),
                pt: Pt(pt),
                next: first(ssrc),
                store: (0..STORE_PACKETS).map(|_| None).collect(),
            }),
            packets: 0,
            bytes: 0,
            last_timestamp: RtpTime(0),
        }
    }

    pub(super) fn ssrc(&self) -> Ssrc {
        self.ssrc
    }

    pub(super) fn has_sent(&self) -> bool {
        self.packets > 0
    }

    /// Writes a protected packet into `out` and keeps it for retransmission.
    pub(super) fn write(
        &mut self,
        out: &mut [u8; PACKET_LEN_MAX],
        head: &PacketHead,
        payload: &[u8],
        srtp: &SrtpTx,
    ) -> Result<usize, DropReason> {
        let seq = self.next;
        let header = RtpHeader {
            marker: head.marker,
            pt: self.pt,
            seq: seq.seq(),
            timestamp: head.timestamp,
            ssrc: self.ssrc,
        };
        let rid_ext = self.names.rid.map(|rid| (ExtKind::Rid, rid));
        let len = seal(
            out,
            &header,
            head,
            &self.names,
            rid_ext,
            &self.ids,
            &[payload],
            srtp,
            seq,
        )?;
        self.next = ExtSeq(seq.0 + 1);
        self.packets = self.packets.wrapping_add(1);
        self.bytes = self.bytes.wrapping_add(payload.len() as u32);
        self.last_timestamp = head.timestamp;
        if let Some(repair) = &mut self.repair {
            repair.keep(seq.seq(), head, payload);
        }
        Ok(len)
    }

    /// Writes the packet `seq` again (RFC 4588), if it is still there.
    pub(super) fn write_repair(
        &mut self,
        out: &mut [u8; PACKET_LEN_MAX],
        seq: SeqNo,
        head: &PacketHead,
        srtp: &SrtpTx,
    ) -> Option<usize> {
        let repair = self.repair.as_mut()?;
        let slot = repair.store.get(usize::from(seq.0) % STORE_PACKETS)?;
        let stored = slot.as_ref().filter(|stored| stored.seq == seq)?;
        let header = RtpHeader {
            marker: stored.marker,
            pt: repair.pt,
            seq: repair.next.seq(),
            timestamp: stored.timestamp,
            ssrc: repair.ssrc,
        };
        let number = seq.0.to_be_bytes();
        let payload = [&number[..], &stored.payload];
        let rid_ext = self.names.rid.map(|rid| (ExtKind::RepairedRid, rid));
        let number = repair.next;
        let sealed = seal(
            out,
            &header,
            head,
            &self.names,
            rid_ext,
            &self.ids,
            &payload,
            srtp,
            number,
        );
        repair.next = ExtSeq(number.0 + 1);
        sealed.ok()
    }

    pub(super) fn sender_info(&self, ntp: NtpTime, rtp_time: RtpTime) -> SenderInfo {
        SenderInfo {
            ntp,
            rtp_time,
            packets: self.packets,
            bytes: self.bytes,
        }
    }

    pub(super) fn last_timestamp(&self) -> RtpTime {
        self.last_timestamp
    }
}

impl Repair {
    fn keep(&mut self, seq: SeqNo, head: &PacketHead, payload: &[u8]) {
        let slot = &mut self.store[usize::from(seq.0) % STORE_PACKETS];
        // The old packet's memory serves the new one.
        let mut bytes = slot.take().map_or_else(Vec::new, |old| old.payload);
        bytes.clear();
        bytes.extend_from_slice(payload);
        *slot = Some(Stored {
            seq,
            marker: head.marker,
            timestamp: head.timestamp,
            payload: bytes,
        });
    }
}

#[expect(
    clippy::too_many_arguments,
    reason = "the one place where a packet comes together"
)]
fn seal(
    out: &mut [u8; PACKET_LEN_MAX],
    header: &RtpHeader,
    head: &PacketHead,
    names: &StreamNames,
    rid: Option<(ExtKind, &'static str)>,
    ids: &ExtIds,
    payload: &[&[u8]],
    srtp: &SrtpTx,
    seq: ExtSeq,
) -> Result<usize, DropReason> {
    let number = write_transport_cc(head.transport_cc);
    let time = write_abs_send_time(head.ntp);
    let level = head.level.map(write_audio_level);
    let mut exts: [(u8, &[u8]); 5] = [(0, &[]); 5];
    let mut count = 0;
    let mut put = |kind: ExtKind, content: &'_ [u8]| -> Option<(u8, usize)> {
        let place = count;
        let id = ids.id(kind).filter(|_| !content.is_empty())?;
        count += 1;
        Some((id, place))
    };
    let contents: [(ExtKind, &[u8]); 5] = [
        (ExtKind::Mid, names.mid.as_bytes()),
        (ExtKind::TransportCc, &number),
        (ExtKind::AbsSendTime, &time),
        (
            ExtKind::AudioLevel,
            level.as_ref().map_or(&[][..], |level| &level[..]),
        ),
        rid.map_or((ExtKind::Rid, &[][..]), |(kind, rid)| {
            (kind, rid.as_bytes())
        }),
    ];
    for (kind, content) in contents {
        if let Some((id, place)) = put(kind, content) {
            exts[place] = (id, content);
        }
    }
    let header_len = write_header(out, header, &exts[..count]).ok_or(DropReason::SendLength)?;
    let mut len = header_len;
    for part in payload {
        let end = len + part.len();
        out.get_mut(len..end)
            .ok_or(DropReason::SendLength)?
            .copy_from_slice(part);
        len = end;
    }
    srtp.protect_rtp(out, header_len, len, roll_over_count(seq))
}
