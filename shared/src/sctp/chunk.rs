//! The chunks of an SCTP packet (RFC 9260 §3), as far as the bounds of this module read them
//! themselves: the library tells neither TSNs nor acknowledgements.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

/// RFC 9260 §3.1.
pub(super) const COMMON_HEADER_LEN: usize = 12;
pub(super) const CHUNK_HEADER_LEN: usize = 4;
/// Of a SACK's value without gap blocks and duplicates.
const SACK_LEN_MIN: usize = 12;
pub(super) const DATA: u8 = 0;
pub(super) const INIT: u8 = 1;
pub(super) const SACK: u8 = 3;
const HEARTBEAT: u8 = 4;
const SHUTDOWN: u8 = 7;
const SHUTDOWN_ACK: u8 = 8;
const ERROR: u8 = 9;
const COOKIE_ACK: u8 = 11;
const SHUTDOWN_COMPLETE: u8 = 14;
const RECONFIG: u8 = 130;
const FORWARD_TSN: u8 = 192;
/// RFC 6525 §4.1 and §4.4, the parameters that data channels need.
const OUTGOING_RESET: u16 = 13;
const RESET_RESPONSE: u16 = 16;
const RESET_RESPONSE_LEN: usize = 12;

/// Whether the packet is an INIT, which always comes alone.
pub(super) fn is_init(packet: &[u8]) -> bool {
    packet.get(COMMON_HEADER_LEN) == Some(&INIT)
}

/// Whether each chunk is as long as it says. The library goes on where what it understood ends: a
/// chunk that says more would hide others from us.
pub(super) fn is_exact(packet: &[u8]) -> bool {
    chunks(packet).all(|(chunk_type, value)| match chunk_type {
        SACK => Sack::parse(value).is_some_and(|sack| sack.len == value.len()),
        COOKIE_ACK | SHUTDOWN_ACK | SHUTDOWN_COMPLETE => value.is_empty(),
        SHUTDOWN => value.len() == 4,
        FORWARD_TSN => value.len() >= 4 && value.len().is_multiple_of(4),
        HEARTBEAT => parameters(value).is_some_and(|count| count == 1),
        RECONFIG => {
            let count = parameters(value).filter(|count| (1..=2).contains(count));
            count.is_some() && resets(value).all(|is_exact| is_exact)
        }
        ERROR => parameters(value).is_some(),
        _ => true,
    })
}

/// How many parameters fill a value (RFC 9260 §3.2.1), the last of them with or without its padding;
/// `None` when they do not.
fn parameters(value: &[u8]) -> Option<usize> {
    let mut rest = value;
    let mut count = 0;
    while !rest.is_empty() {
        let [_, _, high, low] = *rest.first_chunk()?;
        let len = usize::from(u16::from_be_bytes([high, low]));
        if len < CHUNK_HEADER_LEN || len > rest.len() {
            return None;
        }
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        count += 1;
    }
    Some(count)
}

/// Whether each parameter of a RECONFIG is one we know, in a length that it can have.
fn resets(value: &[u8]) -> impl Iterator<Item = bool> {
    let mut rest = value;
    std::iter::from_fn(move || {
        let [a, b, high, low] = *rest.first_chunk()?;
        let len = usize::from(u16::from_be_bytes([high, low]));
        rest = rest
            .get(len.next_multiple_of(4).max(CHUNK_HEADER_LEN)..)
            .unwrap_or_default();
        Some(match u16::from_be_bytes([a, b]) {
            // The streams are two bytes each.
            OUTGOING_RESET => len.is_multiple_of(2),
            RESET_RESPONSE => len == RESET_RESPONSE_LEN,
            _ => false,
        })
    })
}

/// TSNs of the DATA chunks of a packet.
pub(super) fn data_tsns(packet: &[u8]) -> impl Iterator<Item = u32> {
    values(packet, DATA).filter_map(|value| value.first_chunk().map(|it| u32::from_be_bytes(*it)))
}

pub(super) fn sacks(packet: &[u8]) -> impl Iterator<Item = Sack<'_>> {
    values(packet, SACK).filter_map(Sack::parse)
}

/// An acknowledgement (RFC 9260 §3.3.4).
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) struct Sack<'a> {
    pub(super) cumulative_tsn: u32,
    pub(super) window: u32,
    /// Start and end, relative to the cumulative TSN.
    blocks: &'a [[u8; 4]],
    /// Of the value, by its counts of blocks and of duplicates.
    len: usize,
}

impl<'a> Sack<'a> {
    fn parse(value: &'a [u8]) -> Option<Self> {
        let (&[a, b, c, d, e, f, g, h, gaps @ .., i, j], rest) =
            value.split_first_chunk::<SACK_LEN_MIN>()?;
        let (blocks, _) = rest.as_chunks();
        let count = usize::from(u16::from_be_bytes(gaps));
        let duplicates = usize::from(u16::from_be_bytes([i, j]));
        Some(Self {
            cumulative_tsn: u32::from_be_bytes([a, b, c, d]),
            window: u32::from_be_bytes([e, f, g, h]),
            blocks: blocks.get(..count)?,
            len: SACK_LEN_MIN + 4 * (count + duplicates),
        })
    }

    /// Whether no gap block overlaps an earlier one: then all of them together cover no more chunks
    /// than are under way.
    pub(super) fn is_ordered(&self) -> bool {
        let mut last_end = 0;
        self.blocks.iter().all(|&[a, b, c, d]| {
            let (start, end) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            let follows = last_end < start && start <= end;
            last_end = end;
            follows
        })
    }
}

/// Whether `tsn` comes after `other` (RFC 9260 §1.6).
pub(super) fn is_after(tsn: u32, other: u32) -> bool {
    tsn.wrapping_sub(other).cast_signed() > 0
}

/// The values of the chunks of one type.
fn values(packet: &[u8], chunk_type: u8) -> impl Iterator<Item = &[u8]> {
    chunks(packet).filter_map(move |(found, value)| (found == chunk_type).then_some(value))
}

/// The types and values of the chunks, as far as the packet is well-formed.
fn chunks(packet: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = packet.get(COMMON_HEADER_LEN..).unwrap_or_default();
    std::iter::from_fn(move || {
        let [found, _, high, low] = *rest.first_chunk::<CHUNK_HEADER_LEN>()?;
        let len = usize::from(u16::from_be_bytes([high, low])).max(CHUNK_HEADER_LEN);
        let value = rest.get(CHUNK_HEADER_LEN..len)?;
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((found, value))
    })
}

/// A packet of chunks of these types and values, without a checksum.
#[cfg(test)]
pub(super) fn packet(chunks: &[(u8, &[u8])]) -> Vec<u8> {
    let mut packet = vec![0; COMMON_HEADER_LEN];
    for (chunk_type, value) in chunks {
        let len = u16::try_from(CHUNK_HEADER_LEN + value.len()).unwrap();
        packet.extend_from_slice(&[*chunk_type, 0]);
        packet.extend_from_slice(&len.to_be_bytes());
        packet.extend_from_slice(value);
        packet.resize(packet.len().next_multiple_of(4), 0);
    }
    packet
}

/// The value of a SACK.
#[cfg(test)]
pub(super) fn sack_value(cumulative_tsn: u32, window: usize, blocks: &[(u16, u16)]) -> Vec<u8> {
    let mut value = cumulative_tsn.to_be_bytes().to_vec();
    value.extend_from_slice(&u32::try_from(window).unwrap().to_be_bytes());
    value.extend_from_slice(&u16::try_from(blocks.len()).unwrap().to_be_bytes());
    value.extend_from_slice(&[0, 0]);
    for (start, end) in blocks {
        value.extend_from_slice(&start.to_be_bytes());
        value.extend_from_slice(&end.to_be_bytes());
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_of_each_type_are_found_among_others() {
        let data = [0, 0, 0, 9, 1, 2, 3, 4, 5];
        let sack = sack_value(7, 1_000, &[(2, 3), (5, 5)]);
        let packet = packet(&[(DATA, &data), (SACK, &sack), (192, &[]), (DATA, &data)]);
        assert_eq!(data_tsns(&packet).collect::<Vec<_>>(), [9, 9]);
        let sacks: Vec<_> = sacks(&packet).collect();
        assert_eq!(sacks.len(), 1);
        assert_eq!((sacks[0].cumulative_tsn, sacks[0].window), (7, 1_000));
        assert!(sacks[0].is_ordered());
    }

    #[test]
    fn gap_blocks_that_overlap_or_go_back_are_told() {
        let is_ordered = |blocks: &[(u16, u16)]| {
            let value = sack_value(7, 0, blocks);
            Sack::parse(&value).unwrap().is_ordered()
        };
        assert!(is_ordered(&[]));
        assert!(is_ordered(&[(2, 2), (3, 65_535)]));
        for blocks in [
            [(2, 4), (4, 5)],
            [(5, 6), (2, 3)],
            [(0, 1), (3, 3)],
            [(4, 3), (5, 6)],
        ] {
            assert!(!is_ordered(&blocks), "{blocks:?}");
        }
    }

    #[test]
    fn chunks_that_hide_others_are_told() {
        let sack = sack_value(7, 1_000, &[(2, 3)]);
        let with_more = |value: &[u8]| [value, &[3, 0, 0, 16], &[0; 12]].concat();
        let heartbeat = [0, 1, 0, 6, 1, 2, 0, 0];
        let reset = [0, 13, 0, 18, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 1, 0, 0];
        let response = [0, 16, 0, 12, 0, 0, 0, 1, 0, 0, 0, 1];
        for (chunk_type, value) in [
            (SACK, &sack[..]),
            (COOKIE_ACK, &[]),
            (SHUTDOWN, &[0; 4]),
            (HEARTBEAT, &heartbeat),
            (HEARTBEAT, &heartbeat[..6]),
            (RECONFIG, &reset),
            (RECONFIG, &response),
            (RECONFIG, &[&reset[..], &response].concat()),
            (ERROR, &[0, 9, 0, 4]),
        ] {
            assert!(is_exact(&packet(&[(chunk_type, value)])), "{chunk_type}");
            if chunk_type != ERROR {
                let hides = packet(&[(chunk_type, &with_more(value))]);
                assert!(!is_exact(&hides), "{chunk_type}");
            }
        }
        // A response that says it is longer, and a stream that is half there.
        let mut long = response.to_vec();
        long[3] = 28;
        assert!(!is_exact(&packet(&[(RECONFIG, &with_more(&long))])));
        let mut odd = reset.to_vec();
        odd[3] = 19;
        assert!(!is_exact(&packet(&[(RECONFIG, &odd)])));
    }

    #[test]
    fn malformed_packets_end_the_walk() {
        for len in 0..40 {
            for fill in [0, 3, 0xff] {
                let bytes = vec![fill; len];
                let _ = values(&bytes, fill).count() + sacks(&bytes).count();
                let _ = (is_exact(&bytes), parameters(&bytes), resets(&bytes).count());
            }
        }
        assert!(!is_init(&[]));
        // It says two blocks and has one.
        let mut value = sack_value(7, 0, &[(2, 4)]);
        value[9] = 2;
        assert_eq!(Sack::parse(&value), None);
    }
}
