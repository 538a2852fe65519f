//! Ingress side of a track: puts its packets in order, repairs them, and keeps them for those
//! subscribers who miss one.
//!
//! A track takes 2 KiB, 8 KiB for each encoding that lost a packet once, and what its [`store`]
//! needs.

pub mod describe;
mod encoding;
mod former;
pub mod keyframe;
mod mirror;
pub mod nack;
mod reports;
pub mod sequence;
pub mod store;
pub mod stream_rx;

use std::time::Duration;

use arrayvec::ArrayVec;
use millrace_shared::drop::DropReason;
use millrace_shared::ids::{Pt, Ssrc, TrackId};
use millrace_shared::limits::SPATIAL_LAYERS_MAX;
use millrace_shared::link::{ExtIds, ExtKind, MediaKind, UpCodec, UpTrackConfig};
use millrace_shared::time::{ExtSeq, SeqNo, Timestamp};
use millrace_shared::wire::rtp::RtpView;

use self::describe::describe;
use self::encoding::EncodingRx;
use self::nack::NackBatch;
use self::stream_rx::RxPacket;
use crate::packet::{CARRIED_EXTS, Packet, PacketMeta};

/// Which stream of its track an SSRC is.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct StreamRole {
    pub spatial: u8,
    pub rtx: bool,
}

/// How a packet of an SSRC that nobody knows says where it belongs.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct StreamClaim<'a> {
    pub ssrc: Ssrc,
    pub pt: Pt,
    pub rid: Option<&'a str>,
    pub repaired_rid: Option<&'a str>,
}

#[derive(Clone, Debug)]
pub enum Received<'a> {
    Packet(Packet<'a>),
    /// Padding took a sequence number, or a packet of a muted track: subscribers get nothing, and
    /// miss nothing.
    Padding {
        spatial: u8,
        seq: ExtSeq,
    },
}

/// A PLI to send to the publisher.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct KeyframeRequest {
    pub spatial: u8,
    pub ssrc: Ssrc,
}

/// A NACK to send to the publisher.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Nack {
    pub ssrc: Ssrc,
    pub seqs: NackBatch,
}

#[derive(Debug)]
pub struct UpTrack {
    track: TrackId,
    kind: MediaKind,
    codecs: Vec<UpCodec>,
    nack: bool,
    muted: bool,
    encodings: ArrayVec<EncodingRx, SPATIAL_LAYERS_MAX>,
    /// Frames of all encodings, to see which of them fell silent.
    frames: u32,
}

impl UpTrack {
    pub fn new(config: &UpTrackConfig) -> Self {
        let mut track = Self {
            track: config.track,
            kind: config.kind,
            codecs: Vec::new(),
            nack: false,
            muted: false,
            encodings: ArrayVec::new(),
            frames: 0,
        };
        track.update(config);
        track
    }

    /// Takes a new description; encodings that are in both keep their state.
    pub fn update(&mut self, config: &UpTrackConfig) {
        self.codecs.clone_from(&config.codecs);
        self.nack = config.nack;
        let described = |spatial| {
            config
                .encodings
                .iter()
                .any(|found| found.spatial == spatial)
        };
        self.encodings
            .retain(|encoding| described(encoding.spatial));
        for description in config.encodings.iter().take(SPATIAL_LAYERS_MAX) {
            match self.encoding_mut(description.spatial) {
                Some(encoding) => encoding.update(description),
                None => self
                    .encodings
                    .push(EncodingRx::new(config.kind, description)),
            }
        }
        self.encodings
            .sort_unstable_by_key(|encoding| encoding.spatial);
        for encoding in &mut self.encodings {
            let interval_ms = config.pli_interval_ms.get(usize::from(encoding.spatial));
            let interval = Duration::from_millis(interval_ms.copied().unwrap_or(0).into());
            encoding.keyframes.set_interval(interval);
        }
    }

    pub fn track(&self) -> TrackId {
        self.track
    }

    pub fn kind(&self) -> MediaKind {
        self.kind
    }

    /// While muted nothing is handed on, but streams stay in step.
    pub fn set_muted(&mut self, muted: bool) {
        self.muted = muted;
    }

    pub fn is_muted(&self) -> bool {
        self.muted
    }

    /// Whether the track negotiated this payload type, for itself or its retransmissions.
    pub fn has_pt(&self, pt: Pt) -> bool {
        self.codec(pt, false).or(self.codec(pt, true)).is_some()
    }

    /// Finds the stream that an unknown SSRC of this track (by its MID, or as the only one that
    /// has the payload type) stands for, and learns the SSRC. None if it is none of ours.
    ///
    /// A stream that had another SSRC goes on under the new one: packets of the old one are
    /// strangers from then on, unless the publisher comes back to it (`former.rs`). Its repairs change
    /// with it; without it only for a stream that goes on while the one before does not.
    pub fn resolve(&mut self, now: Timestamp, claim: &StreamClaim<'_>) -> Option<StreamRole> {
        let rtx = self.codec(claim.pt, true).is_some();
        if !rtx && self.codec(claim.pt, false).is_none() {
            return None;
        }
        let index = self.claimed(claim, rtx)?;
        let encoding = self.encodings.get_mut(index)?;
        encoding.learn(now, claim.ssrc, rtx).then_some(StreamRole {
            spatial: encoding.spatial,
            rtx,
        })
    }

    fn claimed(&self, claim: &StreamClaim<'_>, rtx: bool) -> Option<usize> {
        // RFC 8852 §3: retransmissions name the stream they repair.
        let rid = if rtx {
            claim.repaired_rid.or(claim.rid)
        } else {
            claim.rid
        };
        let mut encodings = self.encodings.iter();
        if let Some(rid) = rid
            && let Some(found) =
                encodings.position(|encoding| encoding.rid.is_some_and(|known| &*known == rid))
        {
            return Some(found);
        }
        let mut encodings = self.encodings.iter();
        let known = encodings.position(|encoding| {
            let ssrc = if rtx {
                encoding.rx.rtx_ssrc()
            } else {
                encoding.rx.ssrc()
            };
            ssrc == Some(claim.ssrc)
        });
        // Without simulcast there is only one that it can be.
        known.or(match self.encodings.as_slice() {
            [only] if rid.is_none() || only.rid.is_none() => Some(0),
            _ => None,
        })
    }

    /// Takes a packet of the stream that `role` names. What it returns borrows the packet.
    pub fn receive<'a>(
        &mut self,
        now: Timestamp,
        role: StreamRole,
        rtp: &RtpView<'a>,
        ext_ids: &ExtIds,
    ) -> Result<Received<'a>, DropReason> {
        let codec = *self
            .codec(rtp.pt, role.rtx)
            .ok_or(DropReason::RtpPayloadTypeUnknown)?;
        let (seq, payload) = if role.rtx {
            original(rtp.payload())?
        } else {
            (rtp.seq, rtp.payload())
        };
        let (nack, muted) = (self.nack, self.muted);
        let index = self
            .index(role.spatial)
            .ok_or(DropReason::RtpStreamUnknown)?;
        let encoding = &mut self.encodings[index];
        if !encoding.hear(now, rtp.ssrc, role.rtx) {
            return Err(DropReason::RtpStreamUnknown);
        }

        let packet = RxPacket {
            seq,
            rtp_time: rtp.timestamp,
            clock_rate_hz: codec.clock_rate_hz,
            len: payload.len(),
            rtx: role.rtx,
        };
        let arrival = encoding.receive(now, &packet, nack, &mut self.frames)?;
        if muted || payload.is_empty() {
            return Ok(Received::Padding {
                spatial: role.spatial,
                seq: arrival.seq,
            });
        }

        let exts = carried_exts(rtp, ext_ids);
        let description = describe(codec.codec, payload, dependency_descriptor(&exts));
        let late = arrival.is_late();
        let keyframe_start =
            description.keyframe_start && encoding.note_keyframe(arrival.seq, rtp.timestamp, late);
        let packet = Packet {
            meta: PacketMeta {
                arrival: now,
                seq: arrival.seq,
                rtp_time: rtp.timestamp,
                spatial: role.spatial,
                temporal: description.temporal,
                pt: codec.pt,
                marker: rtp.marker,
                keyframe_start,
                late,
                vp8: description.vp8,
            },
            exts,
            payload,
        };
        encoding.store.insert(&packet);
        Ok(Received::Packet(packet))
    }

    /// The packet of an encoding, if it is still kept.
    pub fn stored(&self, spatial: u8, seq: ExtSeq) -> Option<Packet<'_>> {
        self.encodings[self.index(spatial)?].store.packet(seq)
    }

    /// Asks for a key frame of an encoding. None if the last request is too recent: then it is
    /// among the [`Self::due_keyframe_requests`] of [`Self::next_timeout`], unless a key frame
    /// comes before.
    pub fn request_keyframe(&mut self, now: Timestamp, spatial: u8) -> Option<KeyframeRequest> {
        let encoding = self.encoding_mut(spatial)?;
        encoding.want_keyframe();
        encoding.due_keyframe_request(now)
    }

    /// Requests that were held back, or that a gap too large for retransmission asks for.
    pub fn due_keyframe_requests(
        &mut self,
        now: Timestamp,
    ) -> ArrayVec<KeyframeRequest, SPATIAL_LAYERS_MAX> {
        let encodings = self.encodings.iter_mut();
        encodings
            .filter_map(|encoding| encoding.due_keyframe_request(now))
            .collect()
    }

    /// What to ask the publisher for again now. What does not fit is due at once again.
    pub fn due_nacks(&mut self, now: Timestamp) -> ArrayVec<Nack, SPATIAL_LAYERS_MAX> {
        let encodings = self.encodings.iter_mut();
        encodings
            .filter_map(|encoding| {
                let seqs = encoding.due_nacks(now);
                let ssrc = encoding.rx.ssrc()?;
                (!seqs.is_empty()).then_some(Nack { ssrc, seqs })
            })
            .collect()
    }

    /// When [`Self::due_keyframe_requests`] or [`Self::due_nacks`] has something. May be early.
    pub fn next_timeout(&self) -> Timestamp {
        let encodings = self.encodings.iter();
        let timeouts = encodings.map(|encoding| {
            encoding
                .nacks
                .next_timeout()
                .min(encoding.keyframes.next_timeout())
        });
        timeouts.min().unwrap_or(Timestamp::NEVER)
    }

    /// The SSRC of an encoding, once it is known.
    pub fn ssrc(&self, spatial: u8) -> Option<Ssrc> {
        self.encodings[self.index(spatial)?].rx.ssrc()
    }

    /// Every SSRC known so far with what it stands for, to find the track by.
    pub fn ssrcs(&self) -> impl Iterator<Item = (Ssrc, StreamRole)> + '_ {
        self.encodings.iter().flat_map(|encoding| {
            let spatial = encoding.spatial;
            let media = encoding.rx.ssrc().map(|ssrc| {
                (
                    ssrc,
                    StreamRole {
                        spatial,
                        rtx: false,
                    },
                )
            });
            let rtx = encoding
                .rx
                .rtx_ssrc()
                .map(|ssrc| (ssrc, StreamRole { spatial, rtx: true }));
            media.into_iter().chain(rtx)
        })
    }

    /// Bytes allocated for stored packets.
    pub fn memory_len(&self) -> usize {
        self.encodings
            .iter()
            .map(|encoding| encoding.store.memory_len())
            .sum()
    }

    /// The codec that `pt` stands for, or retransmits where `rtx` is set.
    fn codec(&self, pt: Pt, rtx: bool) -> Option<&UpCodec> {
        let mut codecs = self.codecs.iter();
        codecs.find(|codec| {
            if rtx {
                codec.rtx_pt == Some(pt)
            } else {
                codec.pt == pt
            }
        })
    }

    fn index(&self, spatial: u8) -> Option<usize> {
        self.encodings
            .iter()
            .position(|encoding| encoding.spatial == spatial)
    }

    fn encoding_mut(&mut self, spatial: u8) -> Option<&mut EncodingRx> {
        self.encodings
            .iter_mut()
            .find(|encoding| encoding.spatial == spatial)
    }
}

/// RFC 4588 §4: a retransmission begins with the original sequence number. One that holds nothing
/// else is a probe of the publisher's bandwidth.
fn original(payload: &[u8]) -> Result<(SeqNo, &[u8]), DropReason> {
    match payload.split_first_chunk() {
        Some((seq, original)) if !original.is_empty() => {
            Ok((SeqNo(u16::from_be_bytes(*seq)), original))
        }
        _ => Err(DropReason::RtxUnusable),
    }
}

type CarriedExts<'a> = ArrayVec<(ExtKind, &'a [u8]), { CARRIED_EXTS.len() }>;

fn carried_exts<'a>(rtp: &RtpView<'a>, ext_ids: &ExtIds) -> CarriedExts<'a> {
    let found = CARRIED_EXTS.into_iter().filter_map(|kind| {
        let ext = rtp.ext(ext_ids.id(kind)?)?;
        Some((kind, ext))
    });
    found.collect()
}

fn dependency_descriptor<'a>(exts: &CarriedExts<'a>) -> Option<&'a [u8]> {
    let mut exts = exts.iter();
    exts.find_map(|(kind, ext)| (*kind == ExtKind::DependencyDescriptor).then_some(*ext))
}

fn layer_bit(spatial: u8) -> u8 {
    1_u8.checked_shl(spatial.into()).unwrap_or(0)
}

#[cfg(test)]
mod tests;
