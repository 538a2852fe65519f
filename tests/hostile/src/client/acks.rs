//! Acknowledgements of SCTP that no library would send.

const COMMON_HEADER_LEN: usize = 12;
const DATA: u8 = 0;
const SACK: u8 = 3;
const COOKIE_ACK: u8 = 11;
const WINDOW: u32 = 1 << 20;

/// What it takes to write them: the common header of a session's packets, and what the node sent.
#[derive(Debug, Default)]
pub(crate) struct Acks {
    header: [u8; COMMON_HEADER_LEN],
    /// TSNs that came, from the first after [`Acks::forget`] to the last.
    tsns: Option<(u32, u32)>,
}

impl Acks {
    /// Reads a packet of the session.
    pub(crate) fn sent(&mut self, packet: &[u8]) {
        if let Some(header) = packet.first_chunk() {
            self.header = *header;
        }
    }

    /// Reads a packet of the node.
    pub(crate) fn received(&mut self, packet: &[u8]) {
        let mut rest = packet.get(COMMON_HEADER_LEN..).unwrap_or_default();
        while let Some(&[chunk_type, _, high, low, a, b, c, d]) = rest.first_chunk() {
            if chunk_type == DATA {
                let tsn = u32::from_be_bytes([a, b, c, d]);
                let (first, last) = self.tsns.unwrap_or((tsn, tsn));
                let is_news = tsn.wrapping_sub(last).cast_signed() > 0;
                self.tsns = Some((first, if is_news { tsn } else { last }));
            }
            let len = usize::from(u16::from_be_bytes([high, low])).max(4);
            rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        }
    }

    /// What came up to now is acknowledged already.
    pub(crate) fn forget(&mut self) {
        self.tsns = None;
    }

    /// All but the last `count` are acknowledged from now on.
    pub(crate) fn keep_back(&mut self, count: u32) {
        if self.count() > count
            && let Some((first, last)) = &mut self.tsns
        {
            *first = last.wrapping_sub(count - 1);
        }
    }

    /// Messages from the first to the last.
    pub(crate) fn count(&self) -> u32 {
        self.tsns
            .map_or(0, |(first, last)| last.wrapping_sub(first) + 1)
    }

    /// Everything but the first message, said so many times over. `None` until two have come.
    pub(crate) fn all_but_the_first(&self, times: u16) -> Option<Vec<u8>> {
        Some(self.packet(&self.chunk(times)?))
    }

    /// The same within a COOKIE ACK, which has no value: libraries go on where they think it ends.
    pub(crate) fn hidden(&self, times: u16) -> Option<Vec<u8>> {
        let sack = self.chunk(times)?;
        let len = u16::try_from(4 + sack.len()).ok()?;
        let mut cover = vec![COOKIE_ACK, 0];
        cover.extend_from_slice(&len.to_be_bytes());
        cover.extend_from_slice(&sack);
        Some(self.packet(&cover))
    }

    fn chunk(&self, times: u16) -> Option<Vec<u8>> {
        let (first, _) = self.tsns?;
        let end = u16::try_from(self.count()).ok().filter(|end| *end >= 2)?;
        let mut chunk = vec![SACK, 0];
        chunk.extend_from_slice(&(16 + 4 * times).to_be_bytes());
        chunk.extend_from_slice(&first.wrapping_sub(1).to_be_bytes());
        chunk.extend_from_slice(&WINDOW.to_be_bytes());
        chunk.extend_from_slice(&times.to_be_bytes());
        chunk.extend_from_slice(&[0, 0]);
        for _ in 0..times {
            chunk.extend_from_slice(&2_u16.to_be_bytes());
            chunk.extend_from_slice(&end.to_be_bytes());
        }
        Some(chunk)
    }

    fn packet(&self, chunk: &[u8]) -> Vec<u8> {
        let mut packet = [&self.header[..], chunk].concat();
        let checksum = crc32c(&packet);
        packet[8..COMMON_HEADER_LEN].copy_from_slice(&checksum.to_le_bytes());
        packet
    }
}

/// RFC 9260 appendix A, with the checksum's own field taken as zero.
fn crc32c(packet: &[u8]) -> u32 {
    let bytes = packet.iter().enumerate();
    let crc = bytes.fold(!0_u32, |mut crc, (at, byte)| {
        let in_field = (8..COMMON_HEADER_LEN).contains(&at);
        crc ^= u32::from(if in_field { 0 } else { *byte });
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 * (crc & 1));
        }
        crc
    });
    !crc
}
