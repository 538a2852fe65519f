use std::time::Duration;

use millrace_shared::ids::Ssrc;
use millrace_shared::payload::h264;
use millrace_shared::payload::vp8::Vp8View;
use millrace_shared::time::{ExtSeq, NtpTime, SeqNo, Timestamp};
use millrace_shared::wire::rtcp::{ReportBlock, RtcpWriter};
use millrace_shared::wire::rtp::RtpView;

use super::reports::Reception;
use super::{RTCP_LEN_MAX, RtcpOutlet, RxCodec};
use crate::measure::{LAYERS, Meter};
use crate::media::packetize::VideoCodec;
use crate::media::{Origin, Stamp, StampError};
use crate::stream::freeze::FreezeDetector;
use crate::stream::nack::NackList;
use crate::stream::{Arrival, SequenceWindow};

/// How long we wait for a key frame before we ask for one, and again.
const KEY_FRAME_WAIT: Duration = Duration::from_millis(500);
const KEY_FRAME_REPEAT: Duration = Duration::from_secs(1);

/// When a stream wants to be called again.
#[derive(Copy, Clone, Debug)]
pub(super) struct Needs {
    pub(super) at: Timestamp,
}

impl Default for Needs {
    fn default() -> Self {
        Self {
            at: Timestamp::NEVER,
        }
    }
}

/// What a packet counted by its header needs stands first, within two lines of memory.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct RxStream {
    ssrc: Ssrc,
    codec: RxCodec,
    received: u64,
    window: SequenceWindow,
    reception: Reception,
    nack: NackList,
    /// Its packets are decrypted, so that a key frame shows.
    sampled: bool,
    /// When to ask for a key frame: decoding cannot go on without one.
    key_frame_at: Timestamp,
    freeze: FreezeDetector,
    /// It has frozen before.
    frozen: bool,
    last: Option<(Origin, u32, ExtSeq)>,
}

const _: () = assert!(std::mem::offset_of!(RxStream, reception) <= 128);

impl RxStream {
    pub(super) fn new(ssrc: Ssrc, codec: RxCodec) -> Self {
        Self {
            ssrc,
            codec,
            received: 0,
            window: SequenceWindow::default(),
            reception: Reception::default(),
            nack: NackList::default(),
            sampled: false,
            key_frame_at: Timestamp::NEVER,
            freeze: FreezeDetector::default(),
            frozen: false,
            last: None,
        }
    }

    pub(super) fn ssrc(&self) -> u32 {
        self.ssrc.0
    }

    /// A packet of which only the header is read.
    pub(super) fn count(
        &mut self,
        now: Timestamp,
        seq: SeqNo,
        marker: bool,
        meter: &mut Meter,
    ) -> Needs {
        let (_, arrival) = self.sequence(now, seq, meter);
        if matches!(arrival, Arrival::Next | Arrival::Gap(_)) && marker && !self.codec.audio {
            meter.counters.frames += 1;
        }
        match arrival {
            // What was needed before still is, and the receiver knows.
            Arrival::Next => Needs::default(),
            _ => self.needs(),
        }
    }

    /// A packet of which everything is read. `codec` is of its payload type: a server may switch.
    pub(super) fn receive(
        &mut self,
        now: Timestamp,
        view: &RtpView<'_>,
        codec: Option<RxCodec>,
        meter: &mut Meter,
    ) -> Needs {
        self.sampled = true;
        let begins = self.window.highest().is_none();
        let (seq, arrival) = self.sequence(now, view.seq, meter);
        if matches!(arrival, Arrival::Duplicate | Arrival::Old) {
            return self.needs();
        }
        let clock_rate = self.codec.clock_rate;
        self.reception.jitter(now, view.timestamp, clock_rate);
        if begins && !self.codec.audio {
            self.key_frame_at = now + KEY_FRAME_WAIT;
        }
        if !view.payload().is_empty() {
            self.content(now, seq, view.payload(), meter);
            self.picture(now, view, codec, meter);
        }
        self.needs()
    }

    /// A retransmission of `original`.
    pub(super) fn recover(
        &mut self,
        now: Timestamp,
        original: SeqNo,
        payload: &[u8],
        meter: &mut Meter,
    ) -> Needs {
        let (seq, arrival) = self.window.push(original);
        match arrival {
            Arrival::Late => {
                self.nack.remove(seq);
                meter.counters.recovered += 1;
                self.check(payload, meter);
            }
            // Sent again while the original was on its way: no fault of the server.
            Arrival::Duplicate | Arrival::Old => {}
            Arrival::Next | Arrival::Gap(_) | Arrival::Restart => {
                self.missed(now, seq, arrival, meter);
            }
        }
        self.needs()
    }

    pub(super) fn stop_sampling(&mut self) {
        self.sampled = false;
        self.key_frame_at = Timestamp::NEVER;
    }

    pub(super) fn sender_report(&mut self, now: Timestamp, ntp: NtpTime) {
        self.reception.sender_report(now, ntp);
    }

    pub(super) fn report_block(&mut self, now: Timestamp) -> Option<ReportBlock> {
        let received = self.received;
        self.reception.block(now, self.ssrc, received, &self.window)
    }

    pub(super) fn handle_timeout(
        &mut self,
        now: Timestamp,
        sender: Ssrc,
        meter: &mut Meter,
        out: RtcpOutlet<'_>,
    ) -> Needs {
        let due = self.nack.due(now);
        let mut buffer = [0; RTCP_LEN_MAX];
        let mut writer = RtcpWriter::new(&mut buffer);
        if !due.seqs.is_empty() && writer.nack(sender, self.ssrc, due.seqs).is_some() {
            meter.counters.nacks_sent += 1;
        }
        if due.given_up {
            self.key_frame_at = self.key_frame_at.min(now);
        }
        if now >= self.key_frame_at && writer.pli(sender, self.ssrc).is_some() {
            meter.counters.plis_sent += 1;
            // Of packets that stay encrypted we cannot tell whether it came.
            self.key_frame_at = if self.sampled {
                now + KEY_FRAME_REPEAT
            } else {
                Timestamp::NEVER
            };
        }
        if !writer.is_empty() {
            out(writer.written());
        }
        self.needs()
    }

    fn needs(&self) -> Needs {
        Needs {
            at: self.nack.next_timeout().min(self.key_frame_at),
        }
    }

    fn sequence(&mut self, now: Timestamp, seq: SeqNo, meter: &mut Meter) -> (ExtSeq, Arrival) {
        let (ext, arrival) = self.window.push(seq);
        match arrival {
            Arrival::Late => {
                self.nack.remove(ext);
                meter.counters.reordered += 1;
            }
            Arrival::Duplicate => meter.counters.duplicated += 1,
            Arrival::Old => meter.counters.strayed += 1,
            Arrival::Next => {}
            Arrival::Gap(_) | Arrival::Restart => self.missed(now, ext, arrival, meter),
        }
        if !matches!(arrival, Arrival::Duplicate | Arrival::Old) {
            self.received += 1;
        }
        (ext, arrival)
    }

    fn missed(&mut self, now: Timestamp, seq: ExtSeq, arrival: Arrival, meter: &mut Meter) {
        match arrival {
            Arrival::Gap(count) => {
                meter.counters.missing += count;
                if self.codec.nack && !self.nack.add_gap(now, seq, count) {
                    self.key_frame_at = self.key_frame_at.min(now);
                }
            }
            Arrival::Restart => {
                self.nack.clear();
                self.received = 0;
                self.reception = Reception::default();
                self.last = None;
            }
            _ => {}
        }
    }

    fn check(&self, payload: &[u8], meter: &mut Meter) -> Option<Stamp> {
        match Stamp::read(payload) {
            Ok(stamp) => {
                let layer = if self.codec.audio {
                    0
                } else {
                    1 + usize::from(stamp.origin.layer).min(LAYERS - 2)
                };
                meter.counters.layer_bytes[layer] += payload.len() as u64;
                Some(stamp)
            }
            Err(StampError::Corrupt) => {
                meter.counters.corrupted += 1;
                None
            }
            Err(StampError::Absent) => {
                meter.counters.unstamped += 1;
                None
            }
        }
    }

    fn content(&mut self, now: Timestamp, seq: ExtSeq, payload: &[u8], meter: &mut Meter) {
        let Some(stamp) = self.check(payload, meter) else {
            return;
        };
        meter.record_latency(self.codec.audio, now.since(stamp.sent_at));
        let Some((origin, index, last_seq)) = self.last else {
            self.last = Some((stamp.origin, stamp.index, seq));
            return;
        };
        if seq <= last_seq {
            return;
        }
        if origin == stamp.origin {
            let indices = u64::from(stamp.index.wrapping_sub(index));
            let numbers = seq.0 - last_seq.0;
            // A publisher's restart would count wildly: its indices begin anew.
            if (numbers..1 << 16).contains(&indices) {
                meter.counters.skipped += indices - numbers;
            }
        }
        self.last = Some((stamp.origin, stamp.index, seq));
    }

    fn picture(
        &mut self,
        now: Timestamp,
        view: &RtpView<'_>,
        codec: Option<RxCodec>,
        meter: &mut Meter,
    ) {
        if self.codec.audio {
            return;
        }
        if view.marker {
            meter.counters.frames += 1;
        }
        if let Some(freeze) = self.freeze.packet(now, view.timestamp) {
            meter.record_freeze(freeze);
            if !std::mem::replace(&mut self.frozen, true) {
                meter.counters.frozen += 1;
            }
        }
        let key = match codec.and_then(|codec| codec.video) {
            Some(VideoCodec::Vp8) => {
                Vp8View::parse(view.payload()).is_ok_and(|it| it.keyframe_start())
            }
            Some(VideoCodec::H264) => h264::keyframe_start(view.payload()),
            // Of another codec we cannot tell.
            None => true,
        };
        if key {
            self.key_frame_at = Timestamp::NEVER;
            if self.reception.last_key_frame != Some(view.timestamp) {
                self.reception.last_key_frame = Some(view.timestamp);
                meter.counters.key_frames += 1;
            }
        }
    }
}
