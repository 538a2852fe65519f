//! One encoding of a publisher: frames into packets, and the packets it keeps for retransmission.

use std::collections::VecDeque;

use millrace_shared::ids::{Pt, Ssrc};
use millrace_shared::link::{Codec, MediaKind};
use millrace_shared::payload::PictureId;
use millrace_shared::payload::vp8::{Vp8Descriptor, Vp8Temporal};
use millrace_shared::sim::Prng;
use millrace_shared::srtp::roll_over_count;
use millrace_shared::time::{ExtSeq, RtpTime, SeqNo, Timestamp};
use millrace_shared::wire::rtp::{RtpHeader, header_len, pad, write_header};
use millrace_shared::wire::rtp_ext::{AudioLevel, write_audio_level, write_transport_cc};

use crate::av1;
use crate::content::Content;
use crate::h265;
use crate::media::{DESCRIPTOR_EXT_ID, UP_PT, UP_RTX_PT};
use crate::vp9::{Vp9Picture, Vp9Shape};

pub(crate) const AUDIO_PT: Pt = Pt(100);
pub(crate) const RED_PT: Pt = Pt(63);
/// Packets kept for retransmission.
const HISTORY_PACKETS: usize = 600;

/// What a packet is for.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Load {
    Media,
    /// Takes a number of the media stream and carries nothing.
    Padding,
    /// A retransmission of nothing, to find out how much the path carries.
    Probe,
}

/// A packet before protection.
#[derive(Clone, Debug)]
pub(crate) struct Plain {
    pub(crate) bytes: Vec<u8>,
    pub(crate) header_len: usize,
    pub(crate) roc: u32,
    pub(crate) load: Load,
    pub(crate) content: Content,
    pub(crate) transport_cc: u16,
}

/// Which frames need which.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Temporal {
    None,
    /// The pattern 0 1.
    Two,
    /// The pattern 0 2 1 2, in which the second 2 needs the 1.
    Three,
    /// The pattern 0 1, in which most of 1 need the 1 before: a subscriber can go up only at the
    /// others, which have the layer sync bit.
    Chained,
}

/// What an encoding produces.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct EncoderConfig {
    pub(crate) codec: Codec,
    pub(crate) track: u16,
    pub(crate) spatial: u8,
    pub(crate) ssrc: Ssrc,
    pub(crate) mid: &'static str,
    pub(crate) rid: Option<&'static str>,
    pub(crate) temporal: Temporal,
    pub(crate) long_picture_id: bool,
    pub(crate) vp9: Vp9Shape,
    pub(crate) seq: SeqNo,
    /// Packets of a frame are at most these; key frames have four times as many.
    pub(crate) packets_max: u64,
    /// Frames from one key frame to the next; 0: when asked.
    pub(crate) key_interval: u32,
}

#[derive(Debug)]
struct Kept {
    content: Content,
    payload: Vec<u8>,
    rtp_time: RtpTime,
    marker: bool,
}

#[derive(Debug)]
pub(crate) struct Encoder {
    pub(crate) config: EncoderConfig,
    random: Prng,
    next: ExtSeq,
    rtx_next: ExtSeq,
    rtp_base: u32,
    frame: u32,
    /// The newest frame of each temporal layer.
    newest: [u32; 3],
    /// In the pattern of temporal layers.
    position: u8,
    picture: u16,
    tl0: u8,
    key_idx: u8,
    /// Audio of the packet before.
    before: Vec<u8>,
    pub(crate) key_wanted: bool,
    history: VecDeque<Kept>,
    pub(crate) packets: u32,
    pub(crate) bytes: u32,
}

impl Encoder {
    pub(crate) fn new(config: EncoderConfig, mut random: Prng) -> Self {
        Self {
            config,
            next: ExtSeq::first(config.seq),
            rtx_next: ExtSeq::first(SeqNo(random.below(0x8000) as u16)),
            rtp_base: random.next_u64() as u32,
            frame: 0,
            newest: [0; 3],
            position: 0,
            picture: random.below(0x8000) as u16,
            tl0: random.next_u64() as u8,
            key_idx: random.below(32) as u8,
            before: Vec::new(),
            key_wanted: true,
            history: VecDeque::new(),
            packets: 0,
            bytes: 0,
            random,
        }
    }

    pub(crate) fn rtx_ssrc(&self) -> Ssrc {
        Ssrc(self.config.ssrc.0 + 1_000_000)
    }

    fn clock_rate_khz(&self) -> u64 {
        match self.config.codec.kind() {
            MediaKind::Audio => 48,
            MediaKind::Video => 90,
        }
    }

    pub(crate) fn rtp_time(&self, at: Timestamp) -> RtpTime {
        let ticks = at.as_micros() * self.clock_rate_khz() / 1_000;
        RtpTime(self.rtp_base.wrapping_add(ticks as u32))
    }

    /// The packets of what is captured now.
    pub(crate) fn frame(&mut self, now: Timestamp, transport_cc: &mut u16) -> Vec<Plain> {
        self.frame += 1;
        match self.config.codec.kind() {
            MediaKind::Audio => vec![self.audio(now, transport_cc)],
            MediaKind::Video => self.video(now, transport_cc),
        }
    }

    fn audio(&mut self, now: Timestamp, transport_cc: &mut u16) -> Plain {
        let content = self.content(now, 0, self.frame, (0, 1));
        let len = self.random.within(40..=90) as usize;
        let mut payload = content.audio(len);
        if self.config.codec == Codec::Red {
            let red = Content::red(AUDIO_PT, &self.before, &payload);
            self.before = std::mem::replace(&mut payload, red);
        }
        self.send(now, content, payload, transport_cc)
    }

    fn video(&mut self, now: Timestamp, transport_cc: &mut u16) -> Vec<Plain> {
        let wanted = std::mem::take(&mut self.key_wanted);
        let key = match self.config.key_interval {
            0 => wanted,
            interval => self.frame % interval == 1,
        };
        let (temporal, needs, sync) = self.place(key);
        self.newest[usize::from(temporal)] = self.frame;
        self.picture = self.picture.wrapping_add(1) & 0x7fff;
        if temporal == 0 {
            self.tl0 = self.tl0.wrapping_add(1);
        }
        self.key_idx = (self.key_idx + u8::from(key)) & 0x1f;
        let most = self.config.packets_max * if key { 4 } else { 1 };
        let count = self.random.within(1..=most) as u8;
        let count = count.max(self.config.vp9.spatial_layers);
        let mut packets = Vec::new();
        for index in 0..count {
            let content = self.content(now, temporal, needs, (index, count));
            let payload = self.picture(&content, sync);
            packets.push(self.send(now, content, payload, transport_cc));
        }
        match self.random.below(60) {
            0 => packets.push(self.fill(now, Load::Padding, transport_cc)),
            1 => packets.push(self.fill(now, Load::Probe, transport_cc)),
            _ => {}
        }
        packets
    }

    /// The payload of a packet of video.
    fn picture(&mut self, content: &Content, layer_sync: bool) -> Vec<u8> {
        let len = self.random.within(40..=140) as usize;
        // Now and then a packet as long as they come.
        let len = if self.random.one_in(40) { 1_000 } else { len };
        if self.config.codec == Codec::H264 {
            return content.h264(len);
        }
        if self.config.codec == Codec::H265 {
            return h265::payload(content, len);
        }
        if self.config.codec == Codec::Av1 {
            return av1::payload(content, len);
        }
        if self.config.codec == Codec::Vp9 {
            let picture = Vp9Picture {
                shape: self.config.vp9,
                temporal: self.config.temporal,
                id: self.picture,
                tl0: self.tl0,
            };
            return picture.payload(content, len);
        }
        let long = self.config.long_picture_id;
        let descriptor = Vp8Descriptor {
            partition_start: content.index == 0,
            picture_id: Some(PictureId {
                value: if long {
                    self.picture
                } else {
                    self.picture & 0x7f
                },
                long,
            }),
            tl0_pic_idx: Some(self.tl0),
            temporal: Some(Vp8Temporal {
                id: content.temporal,
                layer_sync,
            }),
            key_idx: Some(self.key_idx),
            ..Vp8Descriptor::default()
        };
        content.vp8(&descriptor, len)
    }

    /// Temporal layer, what the frame needs, and the layer sync bit.
    fn place(&mut self, key: bool) -> (u8, u32, bool) {
        if key {
            self.position = 1;
            self.newest = [self.frame; 3];
            return (0, self.frame, true);
        }
        let position = self.position;
        self.position = (position + 1) % 16;
        match (self.config.temporal, position % 4) {
            (Temporal::None, _) | (Temporal::Three, 0) => (0, self.newest[0], false),
            (Temporal::Two, 0 | 2) => (0, self.newest[0], false),
            (Temporal::Two, _) => (1, self.newest[0], true),
            (Temporal::Three, 1) => (2, self.newest[0], true),
            (Temporal::Three, 2) => (1, self.newest[0], true),
            (Temporal::Three, _) => (2, self.newest[1], false),
            (Temporal::Chained, 0 | 2) => (0, self.newest[0], false),
            (Temporal::Chained, _) if position == 1 => (1, self.newest[0], true),
            (Temporal::Chained, _) => (1, self.newest[1], false),
        }
    }

    fn content(&self, now: Timestamp, temporal: u8, needs: u32, place: (u8, u8)) -> Content {
        Content {
            track: self.config.track,
            spatial: self.config.spatial,
            temporal,
            frame: self.frame,
            needs,
            index: place.0,
            count: place.1,
            seq: self.next.0,
            captured_us: now.as_micros(),
        }
    }

    fn send(
        &mut self,
        now: Timestamp,
        content: Content,
        payload: Vec<u8>,
        transport_cc: &mut u16,
    ) -> Plain {
        let kept = Kept {
            content,
            rtp_time: self.rtp_time(now),
            marker: content.is_last(),
            payload,
        };
        self.packets += 1;
        self.bytes += kept.payload.len() as u32;
        let pt = match self.config.codec.kind() {
            MediaKind::Audio if self.config.codec == Codec::Red => RED_PT,
            MediaKind::Audio => AUDIO_PT,
            MediaKind::Video => UP_PT,
        };
        let (seq, ssrc) = (self.next, self.config.ssrc);
        self.next = ExtSeq(seq.0 + 1);
        let packet = self.packet((ssrc, pt, seq), &kept, None, transport_cc);
        if self.config.codec.kind() == MediaKind::Video {
            self.history.push_back(kept);
            if self.history.len() > HISTORY_PACKETS {
                self.history.pop_front();
            }
        }
        packet
    }

    /// What a publisher sends to fill its rate, with the media time of the frame before: padding
    /// alone, or an empty retransmission (RFC 4588 §4).
    pub(crate) fn fill(&mut self, now: Timestamp, load: Load, transport_cc: &mut u16) -> Plain {
        let kept = Kept {
            content: self.content(now, 0, self.frame, (0, 1)),
            rtp_time: self.rtp_time(now),
            marker: false,
            payload: Vec::new(),
        };
        let (stream, original) = if load == Load::Padding {
            let seq = self.next;
            self.next = ExtSeq(seq.0 + 1);
            ((self.config.ssrc, UP_PT, seq), None)
        } else {
            let seq = self.rtx_next;
            self.rtx_next = ExtSeq(seq.0 + 1);
            ((self.rtx_ssrc(), UP_RTX_PT, seq), Some(kept.content))
        };
        let original = original.map(|content| ExtSeq(content.seq).seq());
        let mut plain = self.packet(stream, &kept, original, transport_cc);
        plain.load = load;
        if load == Load::Padding {
            let len = plain.bytes.len();
            plain.bytes.resize(len + 100, 0);
            pad(&mut plain.bytes, len, 100).unwrap();
        }
        plain
    }

    /// A packet once more, on the RTX stream (RFC 4588 §4), if it is still kept.
    pub(crate) fn again(&mut self, seq: SeqNo, transport_cc: &mut u16) -> Option<Plain> {
        let index = self
            .history
            .iter()
            .position(|kept| ExtSeq(kept.content.seq).seq() == seq)?;
        let kept = &self.history[index];
        let stream = (self.rtx_ssrc(), UP_RTX_PT, self.rtx_next);
        let packet = self.packet(stream, kept, Some(seq), transport_cc);
        self.rtx_next = ExtSeq(self.rtx_next.0 + 1);
        Some(packet)
    }

    fn packet(
        &self,
        (ssrc, pt, seq): (Ssrc, Pt, ExtSeq),
        kept: &Kept,
        original: Option<SeqNo>,
        transport_cc: &mut u16,
    ) -> Plain {
        *transport_cc = transport_cc.wrapping_add(1);
        let number = write_transport_cc(SeqNo(*transport_cc));
        let level = write_audio_level(AudioLevel {
            below_overload_db: 30,
            voice: true,
        });
        let mut exts: Vec<(u8, &[u8])> = vec![(1, self.config.mid.as_bytes()), (4, &number)];
        if self.config.codec.kind() == MediaKind::Audio {
            exts.push((5, &level));
        }
        if let Some(rid) = self.config.rid {
            exts.push((if original.is_some() { 3 } else { 2 }, rid.as_bytes()));
        }
        let descriptor = av1::descriptor(&kept.content);
        if let Some(descriptor) = &descriptor
            && self.config.codec == Codec::Av1
            && !kept.payload.is_empty()
        {
            exts.push((DESCRIPTOR_EXT_ID, descriptor));
        }
        let prefix = original.map_or(Vec::new(), |seq| seq.0.to_be_bytes().to_vec());
        let header = RtpHeader {
            marker: kept.marker,
            pt,
            seq: seq.seq(),
            timestamp: kept.rtp_time,
            ssrc,
        };
        let mut bytes = vec![0; header_len(&exts)];
        let header_len = write_header(&mut bytes, &header, &exts).unwrap();
        bytes.extend_from_slice(&prefix);
        bytes.extend_from_slice(&kept.payload);
        Plain {
            bytes,
            header_len,
            roc: roll_over_count(seq),
            load: Load::Media,
            content: kept.content,
            transport_cc: *transport_cc,
        }
    }
}
