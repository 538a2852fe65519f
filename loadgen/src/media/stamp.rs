//! The end of every payload we send: when it left, which packet it is, and a checksum. A server
//! that forwards media carries it along; a payload descriptor, which servers rewrite, lies before
//! everything that the checksum covers.

use millrace_shared::time::Timestamp;
use thiserror::Error;

/// Marks the first byte of a stamp, so that other senders' packets are told from damaged ones.
const MAGIC: u32 = 0x4d69_6c6c;

/// Which encoding of which track a packet belongs to. Unique within one run.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Origin {
    /// Track of the run, at most 2^24.
    pub track: u32,
    /// Simulcast encoding, 0 the smallest.
    pub layer: u8,
}

impl Origin {
    const fn bits(self) -> u32 {
        (self.track << 8) | self.layer as u32
    }

    const fn from_bits(bits: u32) -> Self {
        Self {
            track: bits >> 8,
            layer: bits.to_le_bytes()[0],
        }
    }
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Stamp {
    pub origin: Origin,
    /// Counts the packets of an origin.
    pub index: u32,
    pub sent_at: Timestamp,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum StampError {
    #[error("the payload has no stamp")]
    Absent,
    #[error("the payload is not what was sent")]
    Corrupt,
}

impl Stamp {
    /// Bytes at the end of a payload: magic, origin, index, time, length covered, checksum.
    pub const LEN: usize = 4 + 4 + 4 + 8 + 2 + 4;
    const COVERED_AT: usize = 20;
    const CHECKSUM_AT: usize = 22;

    /// Fills the last [`Self::LEN`] bytes of `payload`, whose first `descriptor_len` bytes a server
    /// may rewrite and change in length. `None` if it is too short, or longer than 65,535 bytes.
    pub fn write(&self, payload: &mut [u8], descriptor_len: usize) -> Option<()> {
        let stamp_at = payload.len().checked_sub(Self::LEN)?;
        let covered = u16::try_from(stamp_at.checked_sub(descriptor_len)?).ok()?;
        let (body, stamp) = payload.split_at_mut(stamp_at);
        stamp[0..4].copy_from_slice(&MAGIC.to_be_bytes());
        stamp[4..8].copy_from_slice(&self.origin.bits().to_be_bytes());
        stamp[8..12].copy_from_slice(&self.index.to_be_bytes());
        stamp[12..20].copy_from_slice(&self.sent_at.as_nanos().to_be_bytes());
        stamp[Self::COVERED_AT..Self::CHECKSUM_AT].copy_from_slice(&covered.to_be_bytes());
        let checksum = checksum(&body[descriptor_len..], &stamp[..Self::CHECKSUM_AT]);
        stamp[Self::CHECKSUM_AT..].copy_from_slice(&checksum.to_be_bytes());
        Some(())
    }

    /// Reads and checks the stamp of a received payload.
    pub fn read(payload: &[u8]) -> Result<Self, StampError> {
        let (body, stamp) = payload
            .split_last_chunk::<{ Self::LEN }>()
            .ok_or(StampError::Absent)?;
        if word(stamp, 0) != MAGIC {
            return Err(StampError::Absent);
        }
        let covered = usize::from(u16::from_be_bytes([
            stamp[Self::COVERED_AT],
            stamp[Self::COVERED_AT + 1],
        ]));
        let start = body.len().checked_sub(covered).ok_or(StampError::Corrupt)?;
        if checksum(&body[start..], &stamp[..Self::CHECKSUM_AT]) != word(stamp, Self::CHECKSUM_AT) {
            return Err(StampError::Corrupt);
        }
        let sent_at = (u64::from(word(stamp, 12)) << 32) | u64::from(word(stamp, 16));
        Ok(Self {
            origin: Origin::from_bits(word(stamp, 4)),
            index: word(stamp, 8),
            sent_at: Timestamp::from_nanos(sent_at),
        })
    }
}

fn word(stamp: &[u8; Stamp::LEN], at: usize) -> u32 {
    u32::from_be_bytes([stamp[at], stamp[at + 1], stamp[at + 2], stamp[at + 3]])
}

/// CRC-32 finds every burst of up to 32 bits; authenticity is the business of SRTP.
fn checksum(body: &[u8], stamp: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(body);
    crc.update(stamp);
    crc.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp {
        origin: Origin {
            track: 0x12_3456,
            layer: 2,
        },
        index: 77,
        sent_at: Timestamp::from_nanos(0x1_0000_0002),
    };

    fn payload() -> Vec<u8> {
        let mut payload: Vec<u8> = (0..100).collect();
        STAMP.write(&mut payload, 6).unwrap();
        payload
    }

    #[test]
    fn what_was_written_is_read() {
        assert_eq!(Stamp::read(&payload()), Ok(STAMP));
    }

    #[test]
    fn a_server_may_rewrite_and_shorten_the_descriptor() {
        let mut payload = payload();
        payload[..6].fill(0xff);
        assert_eq!(Stamp::read(&payload), Ok(STAMP));
        assert_eq!(Stamp::read(&payload[2..]), Ok(STAMP));
    }

    #[test]
    fn any_other_change_is_found() {
        for at in 6..100 {
            let mut payload = payload();
            payload[at] ^= 1;
            let expected = if (74..78).contains(&at) {
                StampError::Absent
            } else {
                StampError::Corrupt
            };
            assert_eq!(Stamp::read(&payload), Err(expected), "byte {at}");
        }
    }

    #[test]
    fn short_payloads() {
        assert_eq!(STAMP.write(&mut [0; 30], 6), None);
        assert_eq!(Stamp::read(&[0; 10]), Err(StampError::Absent));
    }
}
