//! Everything that a subscriber's transport receives, and the feedback for it.

mod map;
mod reports;
mod stream;

use std::time::Duration;

use millrace_shared::ids::Ssrc;
use millrace_shared::time::{SeqNo, Timestamp};
use millrace_shared::wire::rtcp::{RtcpPacket, RtcpWriter};
use millrace_shared::wire::rtp::{RtpView, parse_header};
use millrace_shared::wire::rtp_ext;

pub use map::{RxCodec, SYNTHETIC_PT, SYNTHETIC_TRANSPORT_CC, StreamMap};
use stream::{Needs, RxStream};

use super::twcc::ArrivalLog;
use crate::measure::Meter;

/// libwebrtc sends transport-wide feedback every 50 to 250 ms.
const FEEDBACK_INTERVAL: Duration = Duration::from_millis(100);
/// RFC 3550 §6.2 with the load of a video call; libwebrtc's value for video.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// What we say we can take where a server wants REMB: more than any scenario sends.
const REMB_BPS: u64 = 100_000_000;
/// Streams of one transport; a server that makes up more gets no state for them.
const STREAMS_MAX: usize = 1024;
/// Blocks of one report (RFC 3550 §6.4.1).
const BLOCKS_MAX: usize = 31;
/// Feedback and reports wait for a full millisecond, so that those of many clients go together.
/// Browsers are less exact: libwebrtc lets such timers be late by up to 17 ms.
const GRID_NS: u64 = 1_000_000;
pub(super) const RTCP_LEN_MAX: usize = 1200;

/// Where plain RTCP compounds go, to be protected and sent.
pub type RtcpOutlet<'a> = &'a mut dyn FnMut(&[u8]);

/// What every packet needs stands first: see [`crate::pump`]'s peers.
#[derive(Debug)]
#[repr(C)]
pub struct Receiver {
    feedback_at: Timestamp,
    report_at: Timestamp,
    /// When some stream asks for packets or a key frame.
    needs_at: Timestamp,
    /// That of `map`.
    transport_cc: Option<u8>,
    /// Of `streams`, in their order: to look for a packet's stream without touching the others.
    ssrcs: Box<[u32]>,
    streams: Vec<RxStream>,
    arrivals: ArrivalLog,
    ssrc: Ssrc,
    map: StreamMap,
}

const _: () = assert!(std::mem::offset_of!(Receiver, arrivals) <= 72);

impl Receiver {
    /// `ssrc` is the one that our reports come from.
    pub fn new(ssrc: Ssrc) -> Self {
        Self {
            feedback_at: Timestamp::NEVER,
            report_at: Timestamp::NEVER,
            needs_at: Timestamp::NEVER,
            transport_cc: None,
            ssrcs: Box::default(),
            streams: Vec::new(),
            arrivals: ArrivalLog::default(),
            ssrc,
            map: StreamMap::default(),
        }
    }

    /// Takes what a new description says; streams that it names no more end.
    pub fn set_map(&mut self, map: StreamMap) {
        self.transport_cc = map.transport_cc;
        self.map = map;
        self.streams.retain(|stream| self.map.keeps(stream.ssrc()));
        self.ssrcs = self.streams.iter().map(RxStream::ssrc).collect();
    }

    /// What comes from now on is given to [`Self::receive_counted`].
    pub fn stop_sampling(&mut self) {
        for stream in &mut self.streams {
            stream.stop_sampling();
        }
    }

    pub fn streams_len(&self) -> usize {
        self.streams.len()
    }

    pub fn next_timeout(&self) -> Timestamp {
        self.feedback_at.min(self.report_at).min(self.needs_at)
    }

    /// A packet of a client that is not sampled, still encrypted: counted by its header. False for
    /// a retransmission: which packet it repairs shows only when it is decrypted, and it is to be
    /// passed to [`Self::receive_sampled`].
    #[must_use]
    pub fn receive_counted(&mut self, now: Timestamp, datagram: &[u8], meter: &mut Meter) -> bool {
        let Ok(header) = parse_header(datagram) else {
            meter.counters.strayed += 1;
            return true;
        };
        let Some((stream, repairs)) = self.stream(now, header.ssrc.0, header.pt.0) else {
            meter.counters.strayed += 1;
            return true;
        };
        if repairs {
            return false;
        }
        let needs = stream.count(now, header.seq, header.marker, meter);
        self.need(needs);
        if let Some(number) = self.transport_cc.and_then(|id| header.ext(id)) {
            self.log_arrival(now, number);
        }
        true
    }

    /// A packet of a sampled client, decrypted.
    pub fn receive_sampled(&mut self, now: Timestamp, packet: &[u8], meter: &mut Meter) {
        let Ok(view) = RtpView::parse(packet) else {
            meter.counters.strayed += 1;
            return;
        };
        if let Some(number) = self.transport_cc.and_then(|id| view.ext(id)) {
            self.log_arrival(now, number);
        }
        if view.payload().is_empty() {
            meter.counters.padding += 1;
        }
        let codec = self.map.codec(view.pt.0);
        let Some((stream, repaired)) = self.stream(now, view.ssrc.0, view.pt.0) else {
            meter.counters.strayed += 1;
            return;
        };
        let needs = if !repaired {
            stream.receive(now, &view, codec, meter)
        } else if let Some((number, payload)) = view.payload().split_first_chunk() {
            // RFC 4588 §4: the original sequence number comes first.
            let original = SeqNo(u16::from_be_bytes(*number));
            stream.recover(now, original, payload, meter)
        } else {
            Needs::default()
        };
        self.need(needs);
    }

    /// A packet of the server's RTCP.
    pub fn receive_rtcp(&mut self, now: Timestamp, packet: &RtcpPacket<'_>) {
        if let RtcpPacket::SenderReport(report) = packet
            && let Some(index) = self.known(report.ssrc.0)
        {
            self.streams[index].sender_report(now, report.info.ntp);
        }
    }

    pub fn handle_timeout(&mut self, now: Timestamp, meter: &mut Meter, out: RtcpOutlet<'_>) {
        if now >= self.feedback_at {
            self.feedback_at = Timestamp::NEVER;
            self.send_feedback(out);
        }
        if now >= self.report_at {
            self.report_at = on_grid(now + REPORT_INTERVAL);
            self.send_reports(now, out);
        }
        if now >= self.needs_at {
            self.needs_at = Timestamp::NEVER;
            for index in 0..self.streams.len() {
                let needs = self.streams[index].handle_timeout(now, self.ssrc, meter, out);
                self.need(needs);
            }
        }
    }

    fn need(&mut self, needs: Needs) {
        self.needs_at = self.needs_at.min(needs.at);
    }

    /// `number` is the content of the header extension.
    fn log_arrival(&mut self, now: Timestamp, number: &[u8]) {
        if let Some(seq) = rtp_ext::transport_cc(number) {
            self.arrivals.record(now, seq);
            if self.feedback_at == Timestamp::NEVER {
                self.feedback_at = on_grid(now + FEEDBACK_INTERVAL);
            }
        }
    }

    /// The stream of this SSRC, or the one that it repairs, and which of the two.
    fn stream(&mut self, now: Timestamp, ssrc: u32, pt: u8) -> Option<(&mut RxStream, bool)> {
        if let Some(index) = self.known(ssrc) {
            return self.streams.get_mut(index).map(|stream| (stream, false));
        }
        if let Some(media) = self.map.repaired_by(ssrc) {
            let index = self.known(media)?;
            return self.streams.get_mut(index).map(|stream| (stream, true));
        }
        let codec = self.map.codec(pt)?;
        if codec.repairs || self.streams.len() >= STREAMS_MAX {
            return None;
        }
        if self.report_at == Timestamp::NEVER {
            self.report_at = on_grid(now + REPORT_INTERVAL);
        }
        self.streams.push(RxStream::new(Ssrc(ssrc), codec));
        self.ssrcs = self.streams.iter().map(RxStream::ssrc).collect();
        self.streams.last_mut().map(|stream| (stream, false))
    }

    fn known(&self, ssrc: u32) -> Option<usize> {
        self.ssrcs.iter().position(|own| *own == ssrc)
    }

    fn send_feedback(&mut self, out: RtcpOutlet<'_>) {
        let media = self.streams.first().map_or(Ssrc(0), |it| Ssrc(it.ssrc()));
        if self.arrivals.is_empty() {
            return;
        }
        let mut buffer = [0; RTCP_LEN_MAX];
        let mut writer = RtcpWriter::new(&mut buffer);
        if self.arrivals.write(&mut writer, self.ssrc, media).is_some() {
            out(writer.written());
        }
    }

    fn send_reports(&mut self, now: Timestamp, out: RtcpOutlet<'_>) {
        let blocks: Vec<_> = self
            .streams
            .iter_mut()
            .filter_map(|stream| stream.report_block(now))
            .collect();
        for part in blocks.chunks(BLOCKS_MAX) {
            let mut buffer = [0; RTCP_LEN_MAX];
            let mut writer = RtcpWriter::new(&mut buffer);
            let mut written = writer.receiver_report(self.ssrc, part);
            written = written.and_then(|()| writer.sdes_cname(self.ssrc, "loadgen"));
            if self.map.transport_cc.is_none() && self.map.remb {
                let ssrcs: Vec<_> = part.iter().map(|block| block.ssrc).collect();
                written = written.and_then(|()| writer.remb(self.ssrc, REMB_BPS, &ssrcs));
            }
            if written.is_some() {
                out(writer.written());
            }
        }
    }
}

fn on_grid(at: Timestamp) -> Timestamp {
    Timestamp::from_nanos(at.as_nanos().next_multiple_of(GRID_NS))
}

#[cfg(test)]
mod tests;
