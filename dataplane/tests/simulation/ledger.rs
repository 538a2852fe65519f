//! What reached the shards, and what they sent of it to each copy: the oracles' memory.

use std::collections::{BTreeMap, BTreeSet};

use millrace_shared::ids::{DownTrackId, Pt, Ssrc};
use millrace_shared::link::{Codec, ExtKind, Layer, MediaKind, RedMapping};
use millrace_shared::time::{ExtSeq, RtpTime, SeqNo, Timestamp};
use millrace_shared::wire::rtcp::SenderInfo;
use millrace_shared::wire::rtp::RtpView;

use crate::av1;
use crate::content::{Content, Descriptor};
use crate::encoder::AUDIO_PT;
use crate::h265;
use crate::media::{DOWN_PT, DOWN_RTX_PT, down_ext_ids};
use crate::verdict::{Oracle, Verdict};
use crate::vp9;

/// Of subscribers that know RED.
pub(crate) const DOWN_RED_PT: Pt = Pt(112);
const DOWN_BLOCK_PT: Pt = Pt(113);

/// A packet that a shard took from the network with a tuple that was valid.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Accepted {
    pub(crate) content: Content,
    pub(crate) at: Timestamp,
    /// A newer one was there before it.
    pub(crate) late: bool,
}

/// One encoding as it arrived.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    pub(crate) packets: BTreeMap<u64, Accepted>,
    /// Padding, and what came while the track was muted: nobody is to get it.
    pub(crate) silent: BTreeSet<u64>,
    /// Of those, what crossed a lane while a mute or its end crossed another, or what a full lane
    /// may have lost: it may have come before the mute's end or after it.
    pub(crate) unsure: BTreeSet<u64>,
    highest: u64,
}

impl Arrivals {
    fn note(&mut self, at: Timestamp, content: Content, silent: bool, unsure: bool) {
        let late = content.seq < self.highest;
        self.highest = self.highest.max(content.seq);
        if self.packets.contains_key(&content.seq) {
            return;
        }
        if unsure {
            self.unsure.insert(content.seq);
        }
        if silent || unsure {
            self.silent.insert(content.seq);
        }
        self.packets
            .insert(content.seq, Accepted { content, at, late });
    }
}

/// A packet as it left for a subscriber.
#[derive(Clone, Debug)]
pub(crate) struct SentPacket {
    pub(crate) at: Timestamp,
    pub(crate) content: Content,
    pub(crate) rtp_time: RtpTime,
    pub(crate) marker: bool,
    pub(crate) descriptor: Descriptor,
}

/// What the subscriber of a copy may get, from a time on.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Wish {
    pub(crate) since: Timestamp,
    pub(crate) max_layer: Layer,
    pub(crate) paused: bool,
}

/// All that was sent of one copy.
#[derive(Debug)]
pub(crate) struct Copy {
    pub(crate) peer: usize,
    pub(crate) down: DownTrackId,
    pub(crate) track: u16,
    pub(crate) codec: Codec,
    pub(crate) ssrc: Ssrc,
    pub(crate) rtx_ssrc: Ssrc,
    pub(crate) wishes: Vec<Wish>,
    pub(crate) removed: bool,
    /// Since then nothing has happened that could interrupt it.
    pub(crate) steady_since: Timestamp,
    pub(crate) sent: BTreeMap<u64, SentPacket>,
    highest: Option<ExtSeq>,
    /// The packet sent last, by number.
    rtx_last: Option<ExtSeq>,
    packets: u32,
    bytes: u32,
    pub(crate) reported_at: Timestamp,
    /// Original numbers of what was sent again.
    pub(crate) again: BTreeSet<u64>,
}

/// What a copy is, before anything was sent.
#[derive(Copy, Clone, Debug)]
pub(crate) struct CopyOf {
    pub(crate) peer: usize,
    pub(crate) down: DownTrackId,
    pub(crate) track: u16,
    pub(crate) codec: Codec,
    pub(crate) ssrc: Ssrc,
}

/// What the oracles must excuse.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Excuses {
    /// Packets for this peer that found no room in the send arena, or in a lane between shards.
    pub(crate) refused: u64,
}

impl Copy {
    pub(crate) fn new(copy: &CopyOf, wish: Wish) -> Self {
        Self {
            peer: copy.peer,
            down: copy.down,
            track: copy.track,
            codec: copy.codec,
            ssrc: copy.ssrc,
            rtx_ssrc: Ssrc(copy.ssrc.0 + 1),
            wishes: vec![wish],
            removed: false,
            steady_since: wish.since,
            sent: BTreeMap::new(),
            highest: None,
            rtx_last: None,
            packets: 0,
            bytes: 0,
            reported_at: Timestamp::ZERO,
            again: BTreeSet::new(),
        }
    }

    pub(crate) fn wish(&self) -> Wish {
        *self.wishes.last().unwrap()
    }

    pub(crate) fn paused(&self) -> bool {
        self.wish().paused
    }

    /// A packet that the shard wrote for this copy, in an earlier tick if it was `carried`. What the
    /// subscriber makes of it: the number it stands for, and its content.
    pub(crate) fn note(
        &mut self,
        now: Timestamp,
        rtp: &RtpView<'_>,
        carried: bool,
        excuses: Excuses,
        verdict: &mut Verdict,
    ) -> Option<(SeqNo, Content)> {
        let down = self.down;
        let rtx = rtp.ssrc == self.rtx_ssrc;
        let blame = |verdict: &mut Verdict, oracle, what: &str| {
            let (seq, ssrc) = (rtp.seq, rtp.ssrc);
            verdict.blame(
                now,
                oracle,
                format!("copy {down}: {what} ({ssrc:?} {seq:?})"),
            );
        };
        if self.removed && !carried {
            blame(verdict, Oracle::Stranger, "it was removed");
        }
        if self.paused() && !rtx && !carried {
            blame(verdict, Oracle::Stranger, "it is paused");
        }
        let pt = match (self.codec.kind(), rtx) {
            (MediaKind::Audio, _) => self.audio_pt(),
            (MediaKind::Video, false) => DOWN_PT,
            (MediaKind::Video, true) => DOWN_RTX_PT,
        };
        if rtp.pt != pt {
            blame(verdict, Oracle::Content, "payload type");
        }
        let (seq, payload) = match (rtx, rtp.payload().split_first_chunk()) {
            (true, Some((seq, rest))) => (SeqNo(u16::from_be_bytes(*seq)), rest),
            _ => (rtp.seq, rtp.payload()),
        };
        let Some((content, descriptor)) = self.read(rtp, payload) else {
            blame(verdict, Oracle::Content, "not what a publisher wrote");
            return None;
        };
        if content.track != self.track {
            blame(verdict, Oracle::Stranger, "of another track");
            return None;
        }
        let packet = SentPacket {
            at: now,
            content,
            rtp_time: rtp.timestamp,
            marker: rtp.marker,
            descriptor,
        };
        if packet.marker != content.is_last() && self.codec.kind() == MediaKind::Video {
            blame(verdict, Oracle::Content, "marker");
        }
        if rtx {
            self.note_again(seq, rtp.seq, &packet, excuses, |oracle, what| {
                blame(verdict, oracle, what);
            });
        } else {
            self.bytes = self.bytes.wrapping_add(payload.len() as u32);
            self.packets += 1;
            let ext = self.extend(seq);
            self.highest = self.highest.max(Some(ext));
            if self.sent.insert(ext.0, packet).is_some() {
                blame(verdict, Oracle::Sequence, "number used twice");
            }
        }
        Some((seq, content))
    }

    fn read(&self, rtp: &RtpView<'_>, payload: &[u8]) -> Option<(Content, Descriptor)> {
        let content = match (self.codec, self.red()) {
            (Codec::H264, _) => Content::of_h264(payload),
            (Codec::H265, _) => h265::read(payload),
            (Codec::Red, Some(RedMapping::Blocks(pt))) => Content::of_red(payload, pt),
            (Codec::Opus | Codec::Red, _) => Content::of_audio(payload),
            (Codec::Av1, _) => {
                let id = down_ext_ids().id(ExtKind::DependencyDescriptor);
                av1::read(payload, id.and_then(|id| rtp.ext(id)))
            }
            (Codec::Vp9, _) => {
                let read = vp9::read(payload);
                return read.map(|(content, it)| (content, Descriptor::Vp9(it)));
            }
            _ => {
                let read = Content::of_vp8(payload);
                return read.map(|(content, it)| (content, Descriptor::Vp8(it)));
            }
        };
        content.map(|content| (content, Descriptor::None))
    }

    /// What becomes of RED: some subscribers know it, some do not.
    pub(crate) fn red(&self) -> Option<RedMapping> {
        (self.codec == Codec::Red).then_some(if self.down.0.is_multiple_of(2) {
            RedMapping::Blocks(DOWN_BLOCK_PT)
        } else {
            RedMapping::Unwrap
        })
    }

    pub(crate) fn audio_pt(&self) -> Pt {
        match self.red() {
            Some(RedMapping::Blocks(_)) => DOWN_RED_PT,
            _ => AUDIO_PT,
        }
    }

    fn extend(&self, seq: SeqNo) -> ExtSeq {
        self.highest
            .map_or(ExtSeq::first(seq), |highest| highest.extend(seq))
    }

    /// RFC 4588 §4: the original under another number.
    fn note_again(
        &mut self,
        seq: SeqNo,
        rtx_seq: SeqNo,
        packet: &SentPacket,
        excuses: Excuses,
        mut blame: impl FnMut(Oracle, &str),
    ) {
        let ext = self
            .rtx_last
            .map_or(ExtSeq::first(rtx_seq), |last| last.extend(rtx_seq));
        if let Some(last) = self.rtx_last {
            let step = ext.0.wrapping_sub(last.0);
            if step == 0 || step > excuses.refused + 1 {
                blame(Oracle::Sequence, "retransmissions do not count by one");
            }
        }
        self.rtx_last = Some(ext);
        self.again.insert(self.extend(seq).0);
        let original = self.sent.get(&self.extend(seq).0);
        match original {
            Some(sent) => {
                let same = (sent.content, sent.rtp_time, sent.marker, sent.descriptor)
                    == (
                        packet.content,
                        packet.rtp_time,
                        packet.marker,
                        packet.descriptor,
                    );
                if !same {
                    blame(Oracle::Retransmission, "differs from the original");
                }
            }
            None if excuses.refused == 0 => {
                blame(Oracle::Retransmission, "of what was never sent");
            }
            None => {}
        }
    }

    /// RFC 3550 §6.4.1. `captured` gives the capture times that a wallclock may stand for.
    pub(crate) fn note_report(
        &mut self,
        now: Timestamp,
        info: &SenderInfo,
        captured_us: &[i64],
        excuses: Excuses,
        verdict: &mut Verdict,
    ) {
        self.reported_at = now;
        let down = self.down;
        let mut blame = |what: String| {
            verdict.blame(now, Oracle::Report, format!("copy {down}: {what}"));
        };
        let over = info.packets.wrapping_sub(self.packets);
        if u64::from(over) > excuses.refused || (over == 0 && info.bytes != self.bytes) {
            let (packets, bytes) = (self.packets, self.bytes);
            blame(format!("{info:?}, sent {packets} packets of {bytes} bytes"));
        }
        let Some((_, newest)) = self.sent.last_key_value() else {
            if excuses.refused == 0 {
                blame("nothing was sent".to_owned());
            }
            return;
        };
        let khz = self.clock_rate_khz();
        let off_ms = captured_us.iter().map(|at_us| {
            let since_us = at_us - newest.content.captured_us as i64;
            let ticks = since_us * khz / 1_000;
            let expected = newest.rtp_time.wrapping_add(ticks as u32);
            (i64::from(info.rtp_time.distance(expected)) / khz).abs()
        });
        let off_ms = off_ms.min().unwrap_or(0);
        if off_ms > REPORT_ERROR_MS_MAX {
            blame(format!("its media time is {off_ms} ms off"));
        }
    }

    pub(crate) fn clock_rate_khz(&self) -> i64 {
        match self.codec.kind() {
            MediaKind::Audio => 48,
            MediaKind::Video => 90,
        }
    }
}

/// Rounding of ticks and of NTP fractions.
const REPORT_ERROR_MS_MAX: i64 = 2;

/// Everything that the oracles remember.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// By track and spatial layer.
    pub(crate) arrivals: BTreeMap<(u16, u8), Arrivals>,
    pub(crate) copies: Vec<Copy>,
    /// Tracks with picture ids of 7 bits.
    pub(crate) short_ids: BTreeSet<u16>,
    /// Transport-wide numbers that reached the shard, by peer.
    pub(crate) heard: BTreeMap<usize, BTreeSet<u16>>,
    pub(crate) excuses: BTreeMap<usize, Excuses>,
}

impl Ledger {
    pub(crate) fn accept(&mut self, now: Timestamp, content: Content, silent: bool, unsure: bool) {
        let encoding = (content.track, content.spatial);
        let arrivals = self.arrivals.entry(encoding).or_default();
        arrivals.note(now, content, silent, unsure);
    }

    pub(crate) fn excuses(&self, peer: usize) -> Excuses {
        self.excuses.get(&peer).copied().unwrap_or_default()
    }

    /// The copy that a peer knows by an SSRC, the newest of them.
    pub(crate) fn copy_of(&mut self, peer: usize, ssrc: Ssrc) -> Option<&mut Copy> {
        let mut copies = self.copies.iter_mut().rev();
        copies.find(|copy| copy.peer == peer && (copy.ssrc == ssrc || copy.rtx_ssrc == ssrc))
    }
}
