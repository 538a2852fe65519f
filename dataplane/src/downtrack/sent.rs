//! Which of the newest outgoing sequence numbers were used.

/// Numbers behind the newest that a late packet may still fill, as many as the packet store of a
/// video layer keeps.
pub(super) const SENT_WINDOW_PACKETS: u32 = 512;

const WORDS: usize = (SENT_WINDOW_PACKETS / u64::BITS) as usize;
const _: () = assert!(SENT_WINDOW_PACKETS.is_power_of_two());
const _: () = assert!(SENT_WINDOW_PACKETS as usize == millrace_shared::limits::STORE_PACKETS_VIDEO);

/// One bit per number. RFC 7714 §8.4: one number used for two plaintexts under one key gives the
/// authentication key away, so this holds whatever the stages before it let through.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct SentWindow([u64; WORDS]);

impl SentWindow {
    /// The `count` numbers up to `last` become the newest, none of them sent.
    pub(super) fn advance(&mut self, last: u64, count: u64) {
        for age in 0..count.min(u64::from(SENT_WINDOW_PACKETS)) {
            let (word, bit) = Self::place(last.wrapping_sub(age));
            self.0[word] &= !bit;
        }
    }

    /// Marks `number`; false if it was sent before.
    pub(super) fn claim(&mut self, number: u64) -> bool {
        let (word, bit) = Self::place(number);
        let free = self.0[word] & bit == 0;
        self.0[word] |= bit;
        free
    }

    pub(super) fn contains(&self, number: u64) -> bool {
        let (word, bit) = Self::place(number);
        self.0[word] & bit != 0
    }

    fn place(number: u64) -> (usize, u64) {
        let index = number % u64::from(SENT_WINDOW_PACKETS);
        (
            (index / u64::from(u64::BITS)) as usize,
            1 << (index % u64::from(u64::BITS)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_given_once() {
        let mut sent = SentWindow::default();
        sent.advance(1_003, 4);
        assert!(sent.claim(1_003));
        assert!(sent.claim(1_001));
        assert!(!sent.claim(1_001));
        assert!(sent.contains(1_001));
        assert!(!sent.contains(1_002));
        sent.advance(1_003 + u64::from(SENT_WINDOW_PACKETS), 1_000);
        assert!(sent.claim(1_003 + u64::from(SENT_WINDOW_PACKETS)));
    }
}
