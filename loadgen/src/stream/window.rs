//! Which sequence numbers of a stream have come.

use millrace_shared::time::{ExtSeq, SeqNo};

/// Numbers looked back: 20 s of audio, a second and more of the fastest video.
const WINDOW: u64 = 1024;
/// A larger step is a stream that begins again, not a loss.
const STEP_MAX: u64 = 3000;

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Arrival {
    /// The next number, or the first of all.
    Next,
    /// Newer than the next: so many between are missing.
    Gap(u64),
    /// One that was missing: late, or sent again.
    Late,
    Duplicate,
    /// Too old to be told from a duplicate.
    Old,
    /// The numbers have jumped; counting begins again here.
    Restart,
}

#[derive(Clone, Debug, Default)]
pub struct SequenceWindow {
    highest: Option<ExtSeq>,
    first: ExtSeq,
    /// Bit `n % 1024`: number `n` has come.
    seen: [u64; (WINDOW / 64) as usize],
}

impl SequenceWindow {
    pub fn highest(&self) -> Option<ExtSeq> {
        self.highest
    }

    /// Numbers from the first to the highest.
    pub fn expected(&self) -> u64 {
        self.highest
            .map_or(0, |highest| highest.0 + 1 - self.first.0)
    }

    pub fn push(&mut self, seq: SeqNo) -> (ExtSeq, Arrival) {
        let Some(highest) = self.highest else {
            return (self.begin(seq), Arrival::Next);
        };
        let ext = highest.extend(seq);
        if ext > highest {
            let step = ext.0 - highest.0;
            if step > STEP_MAX {
                return (self.begin(seq), Arrival::Restart);
            }
            for missing in highest.0 + 1..ext.0 {
                self.set(missing, false);
            }
            self.set(ext.0, true);
            self.highest = Some(ext);
            let arrival = if step == 1 {
                Arrival::Next
            } else {
                Arrival::Gap(step - 1)
            };
            return (ext, arrival);
        }
        let age = highest.0 - ext.0;
        if age > STEP_MAX {
            return (self.begin(seq), Arrival::Restart);
        }
        // What came before the first packet was never missed.
        if age >= WINDOW || ext < self.first {
            return (ext, Arrival::Old);
        }
        if self.is_set(ext.0) {
            return (ext, Arrival::Duplicate);
        }
        self.set(ext.0, true);
        (ext, Arrival::Late)
    }

    fn begin(&mut self, seq: SeqNo) -> ExtSeq {
        let ext = ExtSeq::first(seq);
        self.seen = Default::default();
        self.set(ext.0, true);
        self.first = ext;
        self.highest = Some(ext);
        ext
    }

    fn set(&mut self, number: u64, seen: bool) {
        let bit = 1 << (number % 64);
        let word = &mut self.seen[(number % WINDOW / 64) as usize];
        if seen {
            *word |= bit;
        } else {
            *word &= !bit;
        }
    }

    fn is_set(&self, number: u64) -> bool {
        self.seen[(number % WINDOW / 64) as usize] & (1 << (number % 64)) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals(seqs: &[u16]) -> Vec<Arrival> {
        let mut window = SequenceWindow::default();
        seqs.iter().map(|seq| window.push(SeqNo(*seq)).1).collect()
    }

    #[test]
    fn gaps_are_filled_once() {
        use Arrival::{Duplicate, Gap, Late, Next};
        assert_eq!(
            arrivals(&[10, 11, 14, 13, 13, 14, 12, 15]),
            [Next, Next, Gap(2), Late, Duplicate, Duplicate, Late, Next]
        );
    }

    #[test]
    fn numbers_wrap() {
        use Arrival::{Gap, Late, Next};
        assert_eq!(
            arrivals(&[65_534, 0, 65_535, 1]),
            [Next, Gap(1), Late, Next]
        );
    }

    #[test]
    fn a_jump_is_a_restart_and_an_early_packet_old() {
        use Arrival::{Next, Old, Restart};
        assert_eq!(
            arrivals(&[10, 9, 20_000, 20_001, 10]),
            [Next, Old, Restart, Next, Restart]
        );
    }

    #[test]
    fn a_bit_is_not_taken_for_one_of_the_last_round() {
        let mut window = SequenceWindow::default();
        for seq in 0..1500_u16 {
            window.push(SeqNo(seq));
        }
        assert_eq!(window.push(SeqNo(1502)).1, Arrival::Gap(2));
        assert_eq!(window.push(SeqNo(1500)).1, Arrival::Late);
        assert_eq!(window.expected(), 1503);
    }
}
