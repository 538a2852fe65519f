//! Retransmission to the subscriber (RFC 4588): its own stream, and a limit on what a NACK can
//! make us send.
//!
//! Without RTX nothing is sent again. The same sequence number would have to carry the same bytes
//! to the last bit, for a second plaintext under one AEAD nonce gives the key away (RFC 7714
//! §8.4), and transport-wide sequence numbers and send times differ with every sending.

use std::time::Duration;

use millrace_shared::ids::Ssrc;
use millrace_shared::time::{ExtSeq, SeqNo, Timestamp};

/// Packets whose last retransmission is remembered; losses in a row up to this many do not
/// displace each other.
const REMEMBERED_PACKETS: usize = 64;
/// Least time between two retransmissions of a packet: receivers ask again after a round trip.
const INTERVAL_MIN: Duration = Duration::from_millis(20);
const INTERVAL_MAX: Duration = Duration::from_millis(500);
/// A retransmission costs two, a packet sent earns one: in the long run at most half as many
/// packets are sent again as were sent, which serves a loss of a third.
const COST: u16 = 2;
/// Retransmissions that may follow at once: a lost key frame.
const BURST_PACKETS: u16 = 128;

#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
struct Last {
    seq: SeqNo,
    /// Low half of milliseconds. A packet that comes up again after exactly 65 s waits once more.
    at_ms: u16,
}

#[derive(Debug)]
pub(super) struct RtxTx {
    pub(super) ssrc: Ssrc,
    /// The subscriber reported on it, so it knows whose it is.
    pub(super) heard: bool,
    seq_last: ExtSeq,
    credit: u16,
    last: Box<[Option<Last>; REMEMBERED_PACKETS]>,
}

impl RtxTx {
    pub(super) fn new(ssrc: Ssrc, seq: SeqNo) -> Self {
        Self {
            ssrc,
            heard: false,
            seq_last: ExtSeq(ExtSeq::first(seq).0 - 1),
            credit: BURST_PACKETS * COST,
            last: Box::new([None; REMEMBERED_PACKETS]),
        }
    }

    pub(super) fn earn(&mut self) {
        self.credit = (self.credit + 1).min(BURST_PACKETS * COST);
    }

    /// Whether a NACK of `seq` is answered now; counts it if so.
    pub(super) fn allow(&mut self, now: Timestamp, seq: SeqNo, rtt: Duration) -> bool {
        let Some(credit) = self.credit.checked_sub(COST) else {
            return false;
        };
        let interval = (rtt / 2).clamp(INTERVAL_MIN, INTERVAL_MAX);
        let now_ms = now.as_millis() as u16;
        let last = &mut self.last[usize::from(seq.0) % REMEMBERED_PACKETS];
        let recent = last.is_some_and(|last| {
            let since_ms = u128::from(now_ms.wrapping_sub(last.at_ms));
            last.seq == seq && since_ms < interval.as_millis()
        });
        if recent {
            return false;
        }
        *last = Some(Last { seq, at_ms: now_ms });
        self.credit = credit;
        true
    }

    /// The number of the next packet on the RTX stream.
    pub(super) fn next_seq(&mut self) -> ExtSeq {
        self.seq_last = ExtSeq(self.seq_last.0 + 1);
        self.seq_last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: fn(u64) -> Timestamp = Timestamp::from_millis;

    fn rtx() -> RtxTx {
        RtxTx::new(Ssrc(2), SeqNo(9))
    }

    #[test]
    fn a_packet_is_not_sent_again_within_half_a_round_trip() {
        let mut rtx = rtx();
        let rtt = Duration::from_millis(100);
        assert!(rtx.allow(AT(70_000), SeqNo(5), rtt));
        assert!(!rtx.allow(AT(70_049), SeqNo(5), rtt));
        assert!(rtx.allow(AT(70_050), SeqNo(5), rtt));
        assert!(rtx.allow(AT(70_050), SeqNo(6), rtt));
    }

    #[test]
    fn a_flood_of_nacks_is_answered_up_to_the_burst_then_by_what_is_sent() {
        let mut rtx = rtx();
        let allowed = |rtx: &mut RtxTx| {
            (0..1_000_u16)
                .filter(|n| rtx.allow(AT(1_000), SeqNo(*n), Duration::ZERO))
                .count()
        };
        assert_eq!(allowed(&mut rtx), usize::from(BURST_PACKETS));
        assert_eq!(allowed(&mut rtx), 0);
        for _ in 0..10 {
            rtx.earn();
        }
        assert_eq!(allowed(&mut rtx), 5);
    }

    #[test]
    fn its_numbers_start_as_asked_and_count_by_one() {
        let mut rtx = rtx();
        assert_eq!(rtx.next_seq(), ExtSeq::first(SeqNo(9)));
        assert_eq!(rtx.next_seq().seq(), SeqNo(10));
    }
}
