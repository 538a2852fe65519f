//! Changes to an input as fuzzers make them, from a seed.

const LEN_MAX: usize = 4_096;
/// Values at which counts and lengths turn over.
const INTERESTING: [u8; 9] = [0, 1, 0x0f, 0x10, 0x7f, 0x80, 0xbe, 0xfe, 0xff];

#[derive(Debug)]
pub(crate) struct Mutator {
    state: u64,
}

impl Mutator {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    pub(crate) fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        let at = self.below(list.len());
        &list[at]
    }

    /// One to eight changes.
    pub(crate) fn mutate(&mut self, input: &[u8]) -> Vec<u8> {
        let mut bytes = input.to_vec();
        for _ in 0..=self.below(8) {
            self.change(&mut bytes);
        }
        bytes.truncate(LEN_MAX);
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            bytes.push(self.byte());
            return;
        }
        let at = self.below(bytes.len());
        match self.below(8) {
            0 => bytes[at] ^= 1 << self.below(8),
            1 => bytes[at] = self.byte(),
            2 => bytes[at] = *self.pick(&INTERESTING),
            3 => bytes[at] = bytes[at].wrapping_add(self.below(5) as u8).wrapping_sub(2),
            4 => bytes.truncate(at),
            5 => {
                let value = self.byte();
                bytes.insert(at, value);
            }
            6 => {
                bytes.remove(at);
            }
            // A piece once more, somewhere else.
            _ => {
                let end = at + self.below(bytes.len() - at) + 1;
                let piece = bytes[at..end].to_vec();
                let to = self.below(bytes.len());
                bytes.splice(to..to, piece);
            }
        }
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.next() as u8
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    /// Xorshift64*.
    fn next(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}
