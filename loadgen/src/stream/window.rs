//! Which sequence numbers of a stream have come.

use std::collections::VecDeque;

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

/// Keeps what has not come: mostly nothing, so that a packet in order touches one line of memory.
#[derive(Clone, Debug, Default)]
#[repr(C)]
pub struct SequenceWindow {
    highest: Option<ExtSeq>,
    first: ExtSeq,
    /// Numbers between `first` and `highest` that have not come, ascending, of the last [`WINDOW`]
    /// when the last gap was found.
    missing: VecDeque<u64>,
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
            self.highest = Some(ext);
            if step == 1 {
                return (ext, Arrival::Next);
            }
            self.miss(highest.0 + 1, ext.0);
            return (ext, Arrival::Gap(step - 1));
        }
        let age = highest.0 - ext.0;
        if age > STEP_MAX {
            return (self.begin(seq), Arrival::Restart);
        }
        // What came before the first packet was never missed.
        if age >= WINDOW || ext < self.first {
            return (ext, Arrival::Old);
        }
        match self.missing.binary_search(&ext.0) {
            Ok(at) => {
                self.missing.remove(at);
                (ext, Arrival::Late)
            }
            Err(_) => (ext, Arrival::Duplicate),
        }
    }

    fn begin(&mut self, seq: SeqNo) -> ExtSeq {
        let ext = ExtSeq::first(seq);
        self.missing.clear();
        self.first = ext;
        self.highest = Some(ext);
        ext
    }

    /// Numbers from `from` on, before `highest`, have not come. Those too old to be looked for are
    /// forgotten.
    fn miss(&mut self, from: u64, highest: u64) {
        let oldest = highest.saturating_sub(WINDOW - 1);
        let forgotten = self.missing.partition_point(|number| *number < oldest);
        self.missing.drain(..forgotten);
        self.missing.extend(from.max(oldest)..highest);
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
    fn a_number_is_looked_for_as_long_as_the_window_is() {
        let mut window = SequenceWindow::default();
        for seq in 0..1500_u16 {
            window.push(SeqNo(seq));
        }
        assert_eq!(window.push(SeqNo(1502)).1, Arrival::Gap(2));
        assert_eq!(window.push(SeqNo(1500)).1, Arrival::Late);
        for seq in 1503..=1501 + 1023 {
            window.push(SeqNo(seq));
        }
        assert_eq!(window.push(SeqNo(1501)).1, Arrival::Late);
        assert_eq!(window.push(SeqNo(1502)).1, Arrival::Duplicate);
        assert_eq!(window.push(SeqNo(1501)).1, Arrival::Duplicate);
        window.push(SeqNo(2525));
        assert_eq!(window.push(SeqNo(1501)).1, Arrival::Old);
        assert_eq!(window.expected(), 2526);
    }

    #[test]
    fn what_is_missing_does_not_pile_up() {
        let mut window = SequenceWindow::default();
        for seq in (0..30_000).step_by(3) {
            window.push(SeqNo(seq));
        }
        assert!(window.missing.len() as u64 <= WINDOW * 2 / 3);
        // A gap longer than the window.
        let highest = window.highest().unwrap();
        window.push(highest.seq().wrapping_add(2000));
        assert_eq!(window.missing.len() as u64, WINDOW - 1);
        let oldest = highest.seq().wrapping_add(2000 - 1023);
        assert_eq!(window.push(oldest).1, Arrival::Late);
        assert_eq!(window.push(oldest.wrapping_add(u16::MAX)).1, Arrival::Old);
    }
}
