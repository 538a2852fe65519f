//! What publishers send and subscribers negotiate: VP8 with RTX, and the extension ids of both.

use millrace_shared::ids::{DownTrackId, Mid, Pt, Rid, Ssrc, TrackId};
use millrace_shared::link::{
    Codec, DownTrackConfig, Encoding, ExtIds, ExtKind, Layer, MediaKind, PtMapping, UpCodec,
    UpTrackConfig,
};
use millrace_shared::payload::PictureId;
use millrace_shared::payload::vp8::{Vp8Descriptor, Vp8Temporal, write_descriptor};
use millrace_shared::srtp::roll_over_count;
use millrace_shared::time::{ExtSeq, RtpTime, SeqNo};
use millrace_shared::wire::rtp::{RtpHeader, header_len, write_header};
use millrace_shared::wire::rtp_ext::write_transport_cc;

pub(crate) const UP_PT: Pt = Pt(96);
pub(crate) const UP_RTX_PT: Pt = Pt(97);
pub(crate) const DOWN_PT: Pt = Pt(110);
pub(crate) const DOWN_RTX_PT: Pt = Pt(111);
pub(crate) const RIDS: [&str; 3] = ["q", "h", "f"];

pub(crate) const PLI_INTERVAL_MS: u32 = 500;
/// Of publishers' AV1.
pub(crate) const DESCRIPTOR_EXT_ID: u8 = 7;

/// Of all publishers.
pub(crate) fn up_ext_ids() -> ExtIds {
    let mut ids = ExtIds::default();
    ids.set(ExtKind::Mid, 1);
    ids.set(ExtKind::Rid, 2);
    ids.set(ExtKind::RepairedRid, 3);
    ids.set(ExtKind::TransportCc, 4);
    ids.set(ExtKind::AudioLevel, 5);
    ids.set(ExtKind::VideoOrientation, 6);
    ids.set(ExtKind::DependencyDescriptor, DESCRIPTOR_EXT_ID);
    ids
}

/// Of a subscriber: none where the publisher has it.
pub(crate) fn down_ext_ids() -> ExtIds {
    let mut ids = ExtIds::default();
    ids.set(ExtKind::Mid, 9);
    ids.set(ExtKind::TransportCc, 10);
    ids.set(ExtKind::AbsSendTime, 11);
    ids.set(ExtKind::VideoOrientation, 12);
    ids.set(ExtKind::DependencyDescriptor, 13);
    ids
}

/// A published VP8 track whose SSRCs are learned from MID and RID where it is simulcast.
pub(crate) fn video(track: TrackId, mid: &str, layers: u8) -> UpTrackConfig {
    let encodings = (0..layers)
        .map(|spatial| Encoding {
            rid: (layers > 1).then(|| Rid::from(RIDS[usize::from(spatial)]).unwrap()),
            spatial,
            ssrc: None,
            rtx_ssrc: None,
        })
        .collect();
    UpTrackConfig {
        track,
        mid: Mid::from(mid).unwrap(),
        kind: MediaKind::Video,
        codecs: vec![UpCodec {
            pt: UP_PT,
            codec: Codec::Vp8,
            clock_rate_hz: 90_000,
            rtx_pt: Some(UP_RTX_PT),
        }],
        encodings,
        nack: true,
        pli_interval_ms: [PLI_INTERVAL_MS; 3],
    }
}

pub(crate) fn copy(down: DownTrackId, track: TrackId, ssrc: u32) -> DownTrackConfig {
    DownTrackConfig {
        down,
        track,
        kind: MediaKind::Video,
        mid: Mid::from("s1").unwrap(),
        cname: "publisher".to_owned(),
        ssrc: Ssrc(ssrc),
        rtx_ssrc: Some(Ssrc(ssrc + 1)),
        pts: vec![PtMapping {
            up: UP_PT,
            down: DOWN_PT,
            down_rtx: Some(DOWN_RTX_PT),
            red: None,
        }],
        ext_ids: down_ext_ids(),
        nack: true,
        max_layer: Layer::BEST,
        paused: false,
    }
}

/// An RTP packet before protection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Plain {
    pub(crate) bytes: Vec<u8>,
    pub(crate) header_len: usize,
    pub(crate) roc: u32,
    pub(crate) seq: SeqNo,
    payload: Vec<u8>,
    rtp_time: RtpTime,
    marker: bool,
}

/// One VP8 encoding of a publisher, with its RTX stream.
#[derive(Clone, Debug)]
pub(crate) struct Vp8Encoder {
    pub(crate) ssrc: Ssrc,
    pub(crate) rtx_ssrc: Ssrc,
    pub(crate) mid: String,
    pub(crate) rid: Option<&'static str>,
    next: ExtSeq,
    rtx_next: ExtSeq,
    rtp_time: RtpTime,
    picture: u16,
    tl0: u8,
    pub(crate) payload_len: usize,
}

impl Vp8Encoder {
    pub(crate) fn new(ssrc: u32, mid: &str, rid: Option<&'static str>) -> Self {
        Self {
            ssrc: Ssrc(ssrc),
            rtx_ssrc: Ssrc(ssrc + 1_000_000),
            mid: mid.to_owned(),
            rid,
            next: ExtSeq::first(SeqNo(ssrc as u16 & 0x7fff)),
            rtx_next: ExtSeq::first(SeqNo(7)),
            rtp_time: RtpTime(ssrc.wrapping_mul(77)),
            picture: 100,
            tl0: 5,
            payload_len: 200,
        }
    }

    /// The packets of the next frame, a thirtieth of a second after the one before.
    /// `transport_cc` counts the packets of the whole transport.
    pub(crate) fn frame(
        &mut self,
        key: bool,
        packets: usize,
        transport_cc: &mut u16,
    ) -> Vec<Plain> {
        self.rtp_time = self.rtp_time.wrapping_add(3_000);
        self.picture = (self.picture + 1) & 0x7fff;
        self.tl0 = self.tl0.wrapping_add(1);
        (0..packets)
            .map(|index| {
                let payload = self.payload(key, index);
                let seq = self.next;
                self.next = ExtSeq(seq.0 + 1);
                let marker = index + 1 == packets;
                self.packet(self.ssrc, UP_PT, seq, marker, payload, transport_cc)
            })
            .collect()
    }

    /// `lost` once more, on the RTX stream (RFC 4588 §4).
    pub(crate) fn again(&mut self, lost: &Plain, transport_cc: &mut u16) -> Plain {
        let mut payload = lost.seq.0.to_be_bytes().to_vec();
        payload.extend_from_slice(&lost.payload);
        let seq = self.rtx_next;
        self.rtx_next = ExtSeq(seq.0 + 1);
        let rtp_time = std::mem::replace(&mut self.rtp_time, lost.rtp_time);
        let (ssrc, marker) = (self.rtx_ssrc, lost.marker);
        let packet = self.packet(ssrc, UP_RTX_PT, seq, marker, payload, transport_cc);
        self.rtp_time = rtp_time;
        packet
    }

    fn payload(&self, key: bool, index: usize) -> Vec<u8> {
        let descriptor = Vp8Descriptor {
            partition_start: index == 0,
            picture_id: Some(PictureId {
                value: self.picture,
                long: true,
            }),
            tl0_pic_idx: Some(self.tl0),
            temporal: Some(Vp8Temporal::default()),
            ..Vp8Descriptor::default()
        };
        let mut payload = vec![0; self.payload_len];
        let len = write_descriptor(&mut payload, &descriptor).unwrap();
        payload[len] = u8::from(!key);
        // Tells the packets apart.
        payload[len + 1..len + 3].copy_from_slice(&self.next.seq().0.to_be_bytes());
        payload
    }

    fn packet(
        &self,
        ssrc: Ssrc,
        pt: Pt,
        seq: ExtSeq,
        marker: bool,
        payload: Vec<u8>,
        transport_cc: &mut u16,
    ) -> Plain {
        *transport_cc = transport_cc.wrapping_add(1);
        let number = write_transport_cc(SeqNo(*transport_cc));
        let mut exts: Vec<(u8, &[u8])> = vec![(1, self.mid.as_bytes()), (4, &number), (6, &[1])];
        if let Some(rid) = self.rid {
            exts.push((if pt == UP_RTX_PT { 3 } else { 2 }, rid.as_bytes()));
        }
        let mut bytes = vec![0; header_len(&exts) + payload.len()];
        let header = RtpHeader {
            marker,
            pt,
            seq: seq.seq(),
            timestamp: self.rtp_time,
            ssrc,
        };
        let header_len = write_header(&mut bytes, &header, &exts).unwrap();
        bytes[header_len..].copy_from_slice(&payload);
        Plain {
            bytes,
            header_len,
            roc: roll_over_count(seq),
            seq: seq.seq(),
            payload,
            rtp_time: self.rtp_time,
            marker,
        }
    }
}
