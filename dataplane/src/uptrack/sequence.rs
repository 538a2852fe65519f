//! Extended sequence numbers of one SSRC, and which of them arrived (RFC 3550 §A.1, RFC 3711
//! §3.3.2 has the same window).

use millrace_shared::drop::DropReason;
use millrace_shared::limits::RECEIVE_WINDOW_PACKETS;
use millrace_shared::time::{ExtSeq, SeqNo};

/// RFC 3550 §A.1, MAX_DROPOUT: a larger step forward is a restart of the stream.
pub const DROPOUT_PACKETS_MAX: u16 = 3000;

const WINDOW: u64 = RECEIVE_WINDOW_PACKETS as u64;
const WORDS: usize = RECEIVE_WINDOW_PACKETS / 64;

#[derive(Clone, Debug)]
pub struct SequenceWindow {
    highest: Option<ExtSeq>,
    /// Where extended numbers begin, or go on after the stream began anew: they never return, not
    /// even for packets that come behind the first.
    floor: ExtSeq,
    /// Bit `seq % WINDOW`: `seq` arrived; of the `WINDOW` numbers up to `highest`.
    seen: [u64; WORDS],
    /// What follows a packet far off: if it comes, the stream restarted.
    restart_next: Option<SeqNo>,
}

/// A packet that was not seen before.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Accepted {
    pub seq: ExtSeq,
    pub order: Order,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Order {
    /// First packet of the stream.
    First,
    /// Newest so far; `missing` numbers directly before it have not arrived.
    Newest { missing: u64 },
    /// Older than the newest.
    Late,
    /// First packet after the sender began anew elsewhere. The one before it showed the jump, was
    /// dropped for it, and can be asked for.
    Restart,
}

impl Default for SequenceWindow {
    fn default() -> Self {
        Self {
            highest: None,
            floor: ExtSeq::first(SeqNo(0)),
            seen: [0; WORDS],
            restart_next: None,
        }
    }
}

impl SequenceWindow {
    /// Takes a packet of the media stream.
    pub fn accept(&mut self, seq: SeqNo) -> Result<Accepted, DropReason> {
        let Some(highest) = self.highest else {
            return Ok(Accepted {
                seq: self.begin(seq),
                order: Order::First,
            });
        };
        let near = self.accept_near(highest, seq);
        if near != Err(DropReason::RtpTooOld) {
            self.restart_next = None;
            return near;
        }
        // RFC 3550 §A.1: two sequential packets far off make a new start.
        if self.restart_next.replace(seq.wrapping_add(1)) != Some(seq) {
            return near;
        }
        self.rebase();
        Ok(Accepted {
            seq: self.begin(seq),
            order: Order::Restart,
        })
    }

    /// Takes the original number of a retransmission. It neither starts nor restarts the stream.
    pub fn accept_repair(&mut self, seq: SeqNo) -> Result<Accepted, DropReason> {
        let highest = self.highest.ok_or(DropReason::RtxUnusable)?;
        self.accept_near(highest, seq)
    }

    pub fn highest(&self) -> Option<ExtSeq> {
        self.highest
    }

    /// The stream begins anew, perhaps under another SSRC; extended numbers go on.
    pub fn rebase(&mut self) {
        if let Some(highest) = self.highest.take() {
            self.floor = ExtSeq(highest.0 + WINDOW);
        }
        self.seen = [0; WORDS];
        self.restart_next = None;
    }

    /// Sets the first number of the stream: the next one from the floor on that ends in `seq`.
    fn begin(&mut self, seq: SeqNo) -> ExtSeq {
        let step = seq.0.wrapping_sub(self.floor.seq().0);
        let first = ExtSeq(self.floor.0 + u64::from(step));
        self.highest = Some(first);
        self.mark(first);
        first
    }

    fn accept_near(&mut self, highest: ExtSeq, seq: SeqNo) -> Result<Accepted, DropReason> {
        let ext = highest.extend(seq);
        if ext > highest {
            let step = ext.0 - highest.0;
            if step > u64::from(DROPOUT_PACKETS_MAX) {
                return Err(DropReason::RtpTooOld);
            }
            self.forget(highest.0 + 1, step);
            self.highest = Some(ext);
            self.mark(ext);
            let order = Order::Newest { missing: step - 1 };
            return Ok(Accepted { seq: ext, order });
        }
        if ext.0 + WINDOW <= highest.0 {
            return Err(DropReason::RtpTooOld);
        }
        if self.is_marked(ext) {
            return Err(DropReason::RtpDuplicate);
        }
        self.mark(ext);
        Ok(Accepted {
            seq: ext,
            order: Order::Late,
        })
    }

    /// Clears the bits of `count` numbers from `first` on, which stand for older ones so far.
    fn forget(&mut self, first: u64, count: u64) {
        if count >= WINDOW {
            self.seen = [0; WORDS];
            return;
        }
        for seq in first..first + count {
            let (word, bit) = place(ExtSeq(seq));
            self.seen[word] &= !bit;
        }
    }

    fn mark(&mut self, seq: ExtSeq) {
        let (word, bit) = place(seq);
        self.seen[word] |= bit;
    }

    fn is_marked(&self, seq: ExtSeq) -> bool {
        let (word, bit) = place(seq);
        self.seen[word] & bit != 0
    }
}

const fn place(seq: ExtSeq) -> (usize, u64) {
    let index = seq.0 % WINDOW;
    ((index / 64) as usize, 1 << (index % 64))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn ext(window: &mut SequenceWindow, seq: u16) -> u64 {
        window.accept(SeqNo(seq)).unwrap().seq.0
    }

    #[test]
    fn counts_cycles() {
        let mut window = SequenceWindow::default();
        assert_eq!(ext(&mut window, 65_534), 0x1_fffe);
        assert_eq!(ext(&mut window, 1), 0x2_0001);
        assert_eq!(ext(&mut window, 65_535), 0x1_ffff);
        assert_eq!(window.accept(SeqNo(65_535)), Err(DropReason::RtpDuplicate));
        assert_eq!(window.highest(), Some(ExtSeq(0x2_0001)));
    }

    #[test]
    fn a_reordered_first_packet_is_taken() {
        let mut window = SequenceWindow::default();
        assert_eq!(ext(&mut window, 0), 0x1_0000);
        assert_eq!(ext(&mut window, 65_535), 0xffff);
    }

    /// RFC 3550 §A.1: one stray packet changes nothing, two in sequence restart the stream.
    #[test]
    fn restarts_after_two_sequential_packets_far_off() {
        let mut window = SequenceWindow::default();
        ext(&mut window, 10_000);
        assert_eq!(window.accept(SeqNo(50_000)), Err(DropReason::RtpTooOld));
        assert_eq!(ext(&mut window, 10_001), 0x1_0000 + 10_001);
        assert_eq!(window.accept(SeqNo(50_001)), Err(DropReason::RtpTooOld));
        assert_eq!(window.accept(SeqNo(8_000)), Err(DropReason::RtpTooOld));
        let accepted = window.accept(SeqNo(8_001)).unwrap();
        assert_eq!(accepted.order, Order::Restart);
        assert_eq!(accepted.seq, ExtSeq(0x2_0000 + 8_001));
        // The packet that showed the jump may come again.
        assert_eq!(
            window.accept_repair(SeqNo(8_000)).unwrap().order,
            Order::Late
        );
    }

    #[test]
    fn a_retransmission_neither_starts_nor_restarts() {
        let mut window = SequenceWindow::default();
        assert_eq!(window.accept_repair(SeqNo(7)), Err(DropReason::RtxUnusable));
        ext(&mut window, 7);
        for seq in [40_000, 40_001, 40_002] {
            assert_eq!(window.accept_repair(SeqNo(seq)), Err(DropReason::RtpTooOld));
        }
        assert_eq!(window.highest(), Some(ExtSeq(0x1_0007)));
    }

    #[test]
    fn another_ssrc_goes_on_above() {
        let mut window = SequenceWindow::default();
        ext(&mut window, 500);
        window.rebase();
        assert_eq!(ext(&mut window, 3), 0x2_0003);
    }

    /// The new stream starts right above the old one, and its first packets come in disorder.
    #[test]
    fn numbers_before_another_ssrc_never_return() {
        let mut window = SequenceWindow::default();
        let used = [500, 501, 502].map(|seq| ext(&mut window, seq));
        window.rebase();
        ext(&mut window, 505);
        for seq in [504, 503, 502, 501] {
            assert!(ext(&mut window, seq) > used[2]);
        }
    }

    proptest! {
        /// Against a set of all numbers ever accepted.
        #[test]
        fn agrees_with_a_naive_model(
            start in any::<u16>(),
            steps in prop::collection::vec((-1_100_i64..40, 0_i64..60), 1..600),
        ) {
            let mut window = SequenceWindow::default();
            let first = window.accept(SeqNo(start)).unwrap().seq.0;
            let mut seen = BTreeSet::from([first]);
            for (back, forward) in steps {
                let highest = *seen.last().unwrap();
                let seq = highest.saturating_add_signed(if forward < 50 { forward } else { back });
                let expected = if seq + WINDOW <= highest {
                    Err(DropReason::RtpTooOld)
                } else if seen.contains(&seq) {
                    Err(DropReason::RtpDuplicate)
                } else if seq > highest {
                    Ok(Order::Newest { missing: seq - highest - 1 })
                } else {
                    Ok(Order::Late)
                };
                let accepted = window.accept_repair(ExtSeq(seq).seq());
                prop_assert_eq!(accepted.map(|accepted| accepted.order), expected);
                if let Ok(accepted) = accepted {
                    prop_assert_eq!(accepted.seq.0, seq);
                    seen.insert(seq);
                }
            }
        }
    }
}
