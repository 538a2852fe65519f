//! What a subscriber says of what we send it: the input of bandwidth estimation.

use millrace_shared::time::{ExtSeq, Timestamp};
use millrace_shared::wire::rtcp::{Remb, TransportCc};

/// Feedback about one transport's sending, as last heard.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SubscriberFeedback {
    remb: Option<RembEstimate>,
    packets: PacketFeedback,
}

/// A receiver's own estimate (draft-alvestrand-rmcat-remb-03).
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct RembEstimate {
    pub bitrate_bps: u64,
    pub arrival: Timestamp,
}

/// Sum of transport-wide feedback. A packet counts once, by the first feedback that names it.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct PacketFeedback {
    pub acked: u64,
    pub lost: u64,
    /// When feedback came last.
    pub arrival: Option<Timestamp>,
    /// First number that none has named yet.
    next: Option<ExtSeq>,
}

impl SubscriberFeedback {
    pub fn note_remb(&mut self, now: Timestamp, remb: &Remb<'_>) {
        self.remb = Some(RembEstimate {
            bitrate_bps: remb.bitrate_bps,
            arrival: now,
        });
    }

    pub fn note_transport_cc(&mut self, now: Timestamp, feedback: &TransportCc<'_>) {
        let packets = &mut self.packets;
        packets.arrival = Some(now);
        let base_seq = feedback.head.base_seq;
        let base = match packets.next {
            Some(next) => next.extend(base_seq),
            None => ExtSeq::first(base_seq),
        };
        let begin = packets.next.map_or(base, |next| next.max(base));
        let end = ExtSeq(base.0 + u64::from(feedback.status_count()));
        if end <= begin {
            return;
        }
        let numbered = feedback
            .arrivals()
            .map(|(seq, _)| ExtSeq(base.0 + u64::from(seq.0.wrapping_sub(base_seq.0))));
        let acked = numbered.filter(|seq| *seq >= begin).count() as u64;
        packets.acked += acked;
        packets.lost += end.0 - begin.0 - acked;
        packets.next = Some(end);
    }

    /// The last estimate that the subscriber sent.
    pub fn remb(&self) -> Option<RembEstimate> {
        self.remb
    }

    pub fn packets(&self) -> PacketFeedback {
        self.packets
    }
}

#[cfg(test)]
mod tests {
    use millrace_shared::ids::Ssrc;
    use millrace_shared::time::SeqNo;
    use millrace_shared::wire::rtcp::{
        PayloadFeedback, RtcpCompound, RtcpPacket, RtcpWriter, TransportCcHead, TransportFeedback,
    };

    use super::*;

    fn tell(feedback: &mut SubscriberFeedback, base_seq: u16, deltas: &[Option<i16>]) {
        let mut bytes = [0; 256];
        let mut writer = RtcpWriter::new(&mut bytes);
        let head = TransportCcHead {
            sender_ssrc: Ssrc(1),
            media_ssrc: Ssrc(2),
            base_seq: SeqNo(base_seq),
            reference_time: 0,
            feedback_count: 0,
        };
        writer.transport_cc(&head, deltas.iter().copied()).unwrap();
        writer.remb(Ssrc(1), 1_500_000, &[Ssrc(2)]).unwrap();
        for packet in RtcpCompound::parse(writer.written()) {
            match packet.unwrap() {
                RtcpPacket::TransportFeedback(TransportFeedback::TransportCc(packet)) => {
                    feedback.note_transport_cc(Timestamp::from_millis(5), &packet);
                }
                RtcpPacket::PayloadFeedback(PayloadFeedback::Remb(remb)) => {
                    feedback.note_remb(Timestamp::from_millis(5), &remb);
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn counts_each_packet_once() {
        let mut feedback = SubscriberFeedback::default();
        tell(&mut feedback, 65_534, &[Some(1), None, Some(1), Some(1)]);
        // Tells the last two again.
        tell(&mut feedback, 0, &[Some(1), Some(1), None, Some(1)]);
        let packets = feedback.packets();
        assert_eq!((packets.acked, packets.lost), (4, 2));
        let remb = feedback.remb().unwrap();
        assert_eq!(remb.bitrate_bps, 1_500_000);
        assert_eq!(remb.arrival, Timestamp::from_millis(5));
    }
}
