//! A subscriber's copy of a track: the forwarder decides whether and how a packet goes, the
//! streams number what is sent and hear how it arrived.

mod alignment;
mod forwarder;
mod keyframe;
#[cfg(test)]
mod model_tests;
mod outgoing;
mod rewriter;
mod rtx;
mod segments;
mod selector;
mod sent;
mod stream_tx;
#[cfg(test)]
mod tests;
mod vp8;

use millrace_shared::ids::{DownTrackId, Mid, Pt, Ssrc, TrackId};
use millrace_shared::link::{DownTrackConfig, ExtIds, Layer, MediaKind, PtMapping, TrackReport};
use millrace_shared::time::{ExtSeq, NtpTime, RtpTime, SeqNo, Timestamp};
use millrace_shared::wire::rtcp::{ReportBlock, SenderInfo};

use self::forwarder::Forwarder;
use self::keyframe::KeyframeRequest;
pub use self::outgoing::{Outgoing, TransportExts};
use self::rewriter::{Rewriter, Rewritten};
use self::rtx::RtxTx;
use self::segments::{SEGMENTS_AUDIO_MAX, SEGMENTS_VIDEO_MAX};
use self::stream_tx::{StreamTx, Timeline};
use self::vp8::Vp8Start;
use crate::packet::{LayerClocks, Packet};

/// Where the streams of a copy start. RFC 3550 §5.1 wants sequence number and media time random,
/// so that encryption does not start from known plaintext.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct StartValues {
    pub seq: SeqNo,
    pub rtx_seq: SeqNo,
    pub rtp_time: RtpTime,
    pub picture_id: u16,
    pub tl0_pic_idx: u8,
    pub key_idx: u8,
}

impl StartValues {
    pub fn from_random(random: u64) -> Self {
        // A second word; as the values are sent in the clear, nothing depends on its quality.
        let more = random.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
        Self {
            seq: start_seq(random as u16),
            rtx_seq: start_seq((random >> 16) as u16),
            rtp_time: RtpTime((random >> 32) as u32),
            picture_id: more as u16 & 0x7fff,
            tl0_pic_idx: (more >> 16) as u8,
            key_idx: (more >> 24) as u8 & 0x1f,
        }
    }
}

/// RFC 3711 §3.3.1: a receiver starts with roll-over count 0, so the first packets, which may be
/// lost, must not lie across the wrap.
const fn start_seq(random: u16) -> SeqNo {
    SeqNo(random & 0x7fff)
}

/// Where a packet that was sent came from: what to look up in the packet store to send it again.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Source {
    pub spatial: u8,
    /// In the numbers of that encoding.
    pub seq: ExtSeq,
    sent: rewriter::Source,
}

#[derive(Debug)]
pub struct DownTrack {
    id: DownTrackId,
    track: TrackId,
    kind: MediaKind,
    mid: Mid,
    cname: Box<str>,
    pts: Box<[PtMapping]>,
    ext_ids: ExtIds,
    clock_rate_hz: u32,
    forwarder: Forwarder,
    keyframe_request: KeyframeRequest,
    stream: StreamTx,
    /// Kept once it was there: its numbers must go on, not start anew.
    rtx: Option<RtxTx>,
    /// RTX is negotiated, and NACK.
    answers_nacks: bool,
    rtx_seq_start: SeqNo,
    unmapped_packets: u64,
}

// Beside it on the heap: at most 768 B of segments and 384 B of retransmission times.
const _: () = assert!(size_of::<DownTrack>() <= 640);

impl DownTrack {
    pub fn new(config: DownTrackConfig, start: StartValues) -> Self {
        let vp8 = Vp8Start {
            picture_id: start.picture_id,
            tl0_pic_idx: start.tl0_pic_idx,
            key_idx: start.key_idx,
        };
        let segments_max = match config.kind {
            MediaKind::Audio => SEGMENTS_AUDIO_MAX,
            MediaKind::Video => SEGMENTS_VIDEO_MAX,
        };
        let rewriter = Rewriter::new(start_seq(start.seq.0), start.rtp_time, vp8, segments_max);
        let mut down = Self {
            id: config.down,
            track: config.track,
            kind: config.kind,
            mid: Mid::new_const(),
            cname: Box::default(),
            pts: Box::default(),
            ext_ids: ExtIds::default(),
            clock_rate_hz: 0,
            forwarder: Forwarder::new(config.kind, config.max_layer, config.paused, rewriter),
            keyframe_request: KeyframeRequest::default(),
            stream: StreamTx::new(config.ssrc),
            rtx: None,
            answers_nacks: false,
            rtx_seq_start: start_seq(start.rtx_seq.0),
            unmapped_packets: 0,
        };
        down.update(config);
        down
    }

    /// Takes what a renegotiation changed. Kind, track and SSRCs of a copy do not change.
    pub fn update(&mut self, config: DownTrackConfig) {
        debug_assert_eq!((self.id, self.track), (config.down, config.track));
        debug_assert_eq!((self.kind, self.stream.ssrc), (config.kind, config.ssrc));
        self.mid = config.mid;
        self.cname = config.cname.into_boxed_str();
        self.pts = config.pts.into_boxed_slice();
        self.ext_ids = config.ext_ids;
        self.answers_nacks = config.nack && config.rtx_ssrc.is_some();
        if let Some(ssrc) = config.rtx_ssrc.filter(|_| self.answers_nacks) {
            let start = self.rtx_seq_start;
            let rtx = self.rtx.get_or_insert_with(|| RtxTx::new(ssrc, start));
            debug_assert_eq!(rtx.ssrc, ssrc);
        }
        self.set_layer(config.max_layer, config.paused);
    }

    pub fn id(&self) -> DownTrackId {
        self.id
    }

    pub fn track(&self) -> TrackId {
        self.track
    }

    pub fn ssrc(&self) -> Ssrc {
        self.stream.ssrc
    }

    pub fn cname(&self) -> &str {
        &self.cname
    }

    /// The highest layer the subscriber wants, and whether it wants anything.
    pub fn set_layer(&mut self, max_layer: Layer, paused: bool) {
        self.forwarder.set_layer(max_layer, paused);
        if paused {
            self.stream.pause();
        }
    }

    /// Which encodings are being received: bit n is spatial layer n. Without it no video is sent.
    pub fn set_live_layers(&mut self, live_layers: u8) {
        self.forwarder.selector.set_live_layers(live_layers);
    }

    /// Spatial layer being sent.
    pub fn current_spatial(&self) -> Option<u8> {
        self.forwarder.selector.current()
    }

    /// The encoding without a key frame of which the subscriber's wish cannot be met.
    pub fn wanted_keyframe(&self) -> Option<u8> {
        self.forwarder.selector.wanted_keyframe()
    }

    /// The encoding to ask for a key frame now, on our own behalf.
    pub fn keyframe_due(&mut self, now: Timestamp) -> Option<u8> {
        let wanted = self.forwarder.selector.wanted_keyframe();
        self.keyframe_request.due(now, wanted, self.stream.rtt())
    }

    /// The subscriber asks for a key frame: of which encoding to ask the publisher.
    pub fn keyframe_requested(&self) -> Option<u8> {
        self.forwarder.selector.refresh_layer()
    }

    /// When to look for a sender report or a key frame request that is due. Changes with every
    /// other call.
    pub fn next_timeout(&self) -> Timestamp {
        let wanted = self.forwarder.selector.wanted_keyframe();
        self.keyframe_request
            .next_timeout(wanted)
            .min(self.stream.next_timeout())
    }

    /// Whether and how a packet goes to the subscriber. What is returned must be sent or dropped;
    /// its sequence number is used up.
    pub fn forward(
        &mut self,
        now: Timestamp,
        packet: &Packet<'_>,
        clocks: &LayerClocks,
    ) -> Option<Outgoing> {
        let meta = &packet.meta;
        self.clock_rate_hz = clocks.clock_rate_hz;
        let Some(mapping) = self.mapping(meta.pt) else {
            self.unmapped_packets += 1;
            self.forwarder.skip(meta.spatial, meta.seq);
            return None;
        };
        let forwarded = self.forwarder.forward(meta, clocks)?;
        let mid = self.mid_unless(self.stream.heard);
        let Rewritten { seq, rtp_time, vp8 } = forwarded.rewritten;
        let mut outgoing = Outgoing::new(packet, self.stream.ssrc, mapping.down, seq)
            .with_rewritten(packet, rtp_time, vp8)
            .with_exts(self.ext_ids, mid);
        if let Some(red) = mapping.red {
            outgoing = outgoing.with_red(packet, red)?;
        }
        let payload_len = outgoing.payload_len(packet);
        self.stream.sent(now, payload_len, forwarded.starts);
        if forwarded.starts {
            self.keyframe_request.met();
        }
        if let Some(rtx) = &mut self.rtx {
            rtx.earn();
        }
        Some(outgoing)
    }

    /// A sequence number of the publisher that carried padding only.
    pub fn skip(&mut self, spatial: u8, seq: ExtSeq) {
        self.forwarder.skip(spatial, seq);
    }

    /// Packets of a payload type that the subscriber did not accept, since the last call.
    pub fn take_unmapped_packets(&mut self) -> u64 {
        std::mem::take(&mut self.unmapped_packets)
    }

    /// Where a packet that was sent, and that NACKs may ask for, came from.
    pub fn source(&self, seq: SeqNo) -> Option<Source> {
        self.rtx.as_ref().filter(|_| self.answers_nacks)?;
        let sent = self.forwarder.rewriter.source(seq)?;
        Some(Source {
            spatial: sent.spatial,
            seq: sent.seq,
            sent,
        })
    }

    /// Whether a packet may be sent again now; it then counts as sent.
    pub fn allow_rtx(&mut self, now: Timestamp, seq: SeqNo) -> bool {
        let rtt = self.stream.rtt();
        self.rtx
            .as_mut()
            .is_some_and(|rtx| rtx.allow(now, seq, rtt))
    }

    /// RFC 4588 §4: the packet of `source`, from the store, on the stream of retransmissions.
    pub fn outgoing_rtx(&mut self, source: &Source, packet: &Packet<'_>) -> Option<Outgoing> {
        let mapping = self.mapping(packet.meta.pt)?;
        let pt = mapping.down_rtx?;
        let rewriter = &self.forwarder.rewriter;
        let Rewritten { seq, rtp_time, vp8 } = rewriter.again(&packet.meta, &source.sent)?;
        let mid = self.mid_unless(self.rtx.as_ref()?.heard);
        let ext_ids = self.ext_ids;
        let rtx = self.rtx.as_mut()?;
        let outgoing = Outgoing::new(packet, rtx.ssrc, pt, rtx.next_seq())
            .with_rewritten(packet, rtp_time, vp8)
            .with_original(seq.seq())
            .with_exts(ext_ids, mid);
        if let Some(red) = mapping.red {
            return outgoing.with_red(packet, red);
        }
        Some(outgoing)
    }

    /// The subscriber's reception report on one of the two streams.
    pub fn receiver_report(&mut self, now: Timestamp, block: &ReportBlock) {
        if block.ssrc == self.stream.ssrc {
            self.stream.reception(now, block, self.clock_rate_hz);
        } else if let Some(rtx) = self.rtx.as_mut().filter(|rtx| rtx.ssrc == block.ssrc) {
            rtx.heard = true;
        }
    }

    /// Loss by the subscriber's newest reception report, in 1/256.
    pub fn fraction_lost(&self) -> u8 {
        self.stream.fraction_lost()
    }

    /// A sender report, if one is due.
    pub fn sender_report(
        &mut self,
        now: Timestamp,
        ntp_now: NtpTime,
        clocks: &LayerClocks,
    ) -> Option<(Ssrc, SenderInfo)> {
        let rewriter = &self.forwarder.rewriter;
        let (spatial, rtp_offset) = rewriter.media_time_line()?;
        let timeline = Timeline {
            clock: clocks.layers.get(usize::from(spatial)).copied().flatten(),
            rtp_offset,
            latest: rewriter.latest()?,
            clock_rate_hz: clocks.clock_rate_hz,
        };
        let info = self
            .stream
            .sender_report(now, ntp_now, self.kind, &timeline)?;
        Some((self.stream.ssrc, info))
    }

    /// What the subscriber got since the last call.
    pub fn report(&mut self) -> TrackReport {
        self.stream.report(self.current_spatial())
    }

    fn mapping(&self, up: Pt) -> Option<PtMapping> {
        self.pts.iter().find(|mapping| mapping.up == up).copied()
    }

    /// RFC 8843 §9.2: the MID tells the subscriber which m-line an SSRC belongs to. Once it has
    /// reported on the SSRC it knows.
    fn mid_unless(&self, heard: bool) -> Option<Mid> {
        (!heard).then_some(self.mid)
    }
}
