//! A packet on its way to one subscriber: written once, into the buffer it leaves from.

use arrayvec::ArrayVec;
use millrace_shared::ids::{Mid, Pt, Ssrc};
use millrace_shared::link::{ExtIds, ExtKind, RedMapping};
use millrace_shared::payload::PictureId;
use millrace_shared::payload::red::RedView;
use millrace_shared::payload::vp8::{Vp8Descriptor, Vp8View, write_descriptor};
use millrace_shared::srtp::roll_over_count;
use millrace_shared::time::{ExtSeq, RtpTime, SeqNo};
use millrace_shared::wire::rtp::{RtpHeader, header_len, write_header};

use crate::packet::{CARRIED_EXTS, Packet, Vp8Fields};

/// Extension elements of a packet: the carried ones, mid, transport-cc, abs-send-time.
const EXTS_MAX: usize = CARRIED_EXTS.len() + 3;
/// RFC 4588 §4: the original sequence number stands before the payload.
const OSN_LEN: usize = 2;

/// Values of the extensions that belong to the transport and not to the track. Each is written
/// where it was negotiated; a missing value as zeros, to be filled in when the packet leaves.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct TransportExts {
    pub transport_cc: Option<u16>,
    /// 6.18 fixed point, as on the wire.
    pub abs_send_time: Option<[u8; 3]>,
}

/// The descriptor to write instead of the publisher's.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
struct Vp8Rewrite {
    descriptor: Vp8Descriptor,
    /// Length of the publisher's.
    replaced_len: u8,
}

/// Everything about a packet to a subscriber that is not in the packet itself. What it writes is
/// as long as it says: the caller reserves the buffer by it.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Outgoing {
    seq: ExtSeq,
    rtp_time: RtpTime,
    ssrc: Ssrc,
    pt: Pt,
    /// Number of the media packet that a retransmission repeats.
    original: Option<SeqNo>,
    vp8: Option<Vp8Rewrite>,
    /// Bytes of RED before the primary block, left out.
    red_len: u16,
    /// Payload type written into the headers of RED blocks.
    red_blocks: Option<Pt>,
    ext_ids: ExtIds,
    /// Present as long as the subscriber may not know whose SSRC this is.
    mid: Option<Mid>,
}

const _: () = assert!(size_of::<Outgoing>() <= 96);

impl Outgoing {
    /// A media packet.
    pub(super) fn new(packet: &Packet<'_>, ssrc: Ssrc, pt: Pt, seq: ExtSeq) -> Self {
        Self {
            seq,
            rtp_time: packet.meta.rtp_time,
            ssrc,
            pt,
            original: None,
            vp8: None,
            red_len: 0,
            red_blocks: None,
            ext_ids: ExtIds::default(),
            mid: None,
        }
    }

    pub(super) fn with_rewritten(
        mut self,
        packet: &Packet<'_>,
        rtp_time: RtpTime,
        vp8: Option<Vp8Fields>,
    ) -> Self {
        self.rtp_time = rtp_time;
        self.vp8 = vp8.and_then(|fields| rewrite_descriptor(packet.payload, &fields));
        self
    }

    pub(super) fn with_exts(mut self, ext_ids: ExtIds, mid: Option<Mid>) -> Self {
        self.ext_ids = ext_ids;
        self.mid = mid;
        self
    }

    /// Fits a RED payload to the subscriber; `None` if it is no RED (RFC 2198 §3).
    pub(super) fn with_red(mut self, packet: &Packet<'_>, mapping: RedMapping) -> Option<Self> {
        let red = RedView::parse(packet.payload).ok()?;
        match mapping {
            RedMapping::Unwrap => self.red_len = u16::try_from(red.primary_offset).ok()?,
            RedMapping::Blocks(pt) => self.red_blocks = Some(pt),
        }
        Some(self)
    }

    /// Makes it a retransmission of the media packet `original`.
    pub(super) fn with_original(mut self, original: SeqNo) -> Self {
        self.original = Some(original);
        self
    }

    pub fn ssrc(&self) -> Ssrc {
        self.ssrc
    }

    pub fn seq(&self) -> ExtSeq {
        self.seq
    }

    pub fn rtp_time(&self) -> RtpTime {
        self.rtp_time
    }

    /// RFC 3711 §3.3.1.
    pub fn roc(&self) -> u32 {
        roll_over_count(self.seq)
    }

    /// It carries a transport-wide sequence number, so it uses one up.
    pub fn transport_cc(&self) -> bool {
        self.ext_ids.id(ExtKind::TransportCc).is_some()
    }

    /// Length of the plain RTP packet that [`Outgoing::write`] makes of `packet`.
    pub fn len(&self, packet: &Packet<'_>) -> usize {
        let exts = self.exts(packet, &[0; 2], &[0; 3]);
        header_len(&exts) + self.payload_len(packet)
    }

    /// Writes the packet and returns the length of its header, which SRTP leaves in the clear.
    /// `out` holds at least [`Outgoing::len`] bytes.
    pub fn write(&self, packet: &Packet<'_>, exts: &TransportExts, out: &mut [u8]) -> usize {
        let transport_cc = exts.transport_cc.unwrap_or_default().to_be_bytes();
        let abs_send_time = exts.abs_send_time.unwrap_or_default();
        let elements = self.exts(packet, &transport_cc, &abs_send_time);
        let header = RtpHeader {
            marker: packet.meta.marker,
            pt: self.pt,
            seq: self.seq.seq(),
            timestamp: self.rtp_time,
            ssrc: self.ssrc,
        };
        let header_len = write_header(out, &header, &elements);
        let written = header_len.and_then(|len| self.write_payload(packet, out.get_mut(len..)?));
        assert!(written.is_some(), "a buffer shorter than the packet");
        header_len.unwrap_or_default()
    }

    pub(super) fn payload_len(&self, packet: &Packet<'_>) -> usize {
        let original = self.original.map_or(0, |_| OSN_LEN);
        let descriptor = self.vp8.map_or(0, |vp8| vp8.descriptor.encoded_len());
        original + descriptor + self.payload_kept(packet).len()
    }

    fn write_payload(&self, packet: &Packet<'_>, out: &mut [u8]) -> Option<()> {
        let mut rest = out;
        if let Some(original) = self.original {
            let (osn, behind) = rest.split_first_chunk_mut::<OSN_LEN>()?;
            *osn = original.0.to_be_bytes();
            rest = behind;
        }
        if let Some(vp8) = self.vp8 {
            let len = write_descriptor(rest, &vp8.descriptor)?;
            rest = rest.get_mut(len..)?;
        }
        let kept = self.payload_kept(packet);
        let written = rest.get_mut(..kept.len())?;
        written.copy_from_slice(kept);
        if let Some(pt) = self.red_blocks {
            map_red_blocks(written, pt);
        }
        Some(())
    }

    /// What of the payload goes unchanged.
    fn payload_kept<'a>(&self, packet: &Packet<'a>) -> &'a [u8] {
        let replaced_len = self.vp8.map_or(usize::from(self.red_len), |vp8| {
            usize::from(vp8.replaced_len)
        });
        packet.payload.get(replaced_len..).unwrap_or_default()
    }

    fn exts<'a>(
        &'a self,
        packet: &Packet<'a>,
        transport_cc: &'a [u8; 2],
        abs_send_time: &'a [u8; 3],
    ) -> ArrayVec<(u8, &'a [u8]), EXTS_MAX> {
        let mid = self.mid.as_ref().map(|mid| (ExtKind::Mid, mid.as_bytes()));
        let own = [
            (ExtKind::TransportCc, transport_cc.as_slice()),
            (ExtKind::AbsSendTime, abs_send_time.as_slice()),
        ];
        own.into_iter()
            .chain(mid)
            .chain(packet.exts.iter().copied())
            .filter_map(|(kind, ext)| self.ext_ids.id(kind).map(|id| (id, ext)))
            .collect()
    }
}

/// RFC 2198 §3: a header of four bytes with the high bit set for each redundant block, and one of
/// a single byte for the primary one. All blocks have the same payload type.
fn map_red_blocks(payload: &mut [u8], pt: Pt) {
    let mut at = 0;
    while let Some(header) = payload.get_mut(at) {
        let follows = *header & 0x80;
        *header = follows | pt.0;
        if follows == 0 {
            return;
        }
        at += 4;
    }
}

/// The publisher's descriptor with `fields` in place of its own. None leaves it as it is.
fn rewrite_descriptor(payload: &[u8], fields: &Vp8Fields) -> Option<Vp8Rewrite> {
    let view = Vp8View::parse(payload).ok()?;
    Some(Vp8Rewrite {
        descriptor: Vp8Descriptor {
            picture_id: fields.picture_id.map(|id| PictureId {
                value: id.value,
                long: id.long,
            }),
            tl0_pic_idx: fields.tl0_pic_idx,
            key_idx: fields.key_idx,
            ..view.descriptor
        },
        replaced_len: u8::try_from(view.descriptor_len).ok()?,
    })
}
