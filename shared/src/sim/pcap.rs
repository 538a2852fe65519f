//! Captures of simulated datagrams, for Wireshark: the classic pcap format with nanoseconds
//! (<https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-05.html>), each packet beginning with
//! its IP header (link type RAW).

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};

use crate::time::Timestamp;

const MAGIC_NANOSECONDS: u32 = 0xa1b2_3c4d;
const LINK_TYPE_RAW: u32 = 101;
const SNAP_LEN: u32 = 65_535;
const PROTOCOL_UDP: u8 = 17;
const UDP_HEADER_LEN: usize = 8;

#[derive(Debug)]
pub struct PcapWriter<W> {
    out: W,
}

impl<W: Write> PcapWriter<W> {
    pub fn new(mut out: W) -> io::Result<Self> {
        for word in [
            MAGIC_NANOSECONDS,
            4 << 16 | 2,
            0,
            0,
            SNAP_LEN,
            LINK_TYPE_RAW,
        ] {
            out.write_all(&word.to_le_bytes())?;
        }
        Ok(Self { out })
    }

    /// A datagram; both addresses are of one family.
    pub fn udp(
        &mut self,
        at: Timestamp,
        from: SocketAddr,
        to: SocketAddr,
        payload: &[u8],
    ) -> io::Result<()> {
        let packet = ip_packet(from, to, payload)
            .ok_or_else(|| io::Error::other("two families of addresses, or too long"))?;
        let len = u32::try_from(packet.len()).map_err(io::Error::other)?;
        let seconds = at.as_nanos() / 1_000_000_000;
        let nanos = at.as_nanos() % 1_000_000_000;
        for word in [seconds as u32, nanos as u32, len, len] {
            self.out.write_all(&word.to_le_bytes())?;
        }
        self.out.write_all(&packet)
    }

    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }
}

fn ip_packet(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Option<Vec<u8>> {
    let udp_len = u16::try_from(UDP_HEADER_LEN + payload.len()).ok()?;
    let mut packet = Vec::with_capacity(40 + usize::from(udp_len));
    let mut pseudo = Vec::with_capacity(40);
    match (from.ip(), to.ip()) {
        (IpAddr::V4(source), IpAddr::V4(target)) => {
            // RFC 791 §3.1: version and length, then no fragments, 64 hops.
            packet.extend_from_slice(&[0x45, 0]);
            packet.extend_from_slice(&udp_len.checked_add(20)?.to_be_bytes());
            packet.extend_from_slice(&[0, 0, 0x40, 0, 64, PROTOCOL_UDP, 0, 0]);
            packet.extend_from_slice(&source.octets());
            packet.extend_from_slice(&target.octets());
            let sum = checksum(&packet);
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
            pseudo.extend_from_slice(&packet[12..20]);
        }
        (IpAddr::V6(source), IpAddr::V6(target)) => {
            packet.extend_from_slice(&[0x60, 0, 0, 0]);
            packet.extend_from_slice(&udp_len.to_be_bytes());
            packet.extend_from_slice(&[PROTOCOL_UDP, 64]);
            packet.extend_from_slice(&source.octets());
            packet.extend_from_slice(&target.octets());
            pseudo.extend_from_slice(&packet[8..40]);
        }
        _ => return None,
    }
    let udp_at = packet.len();
    packet.extend_from_slice(&from.port().to_be_bytes());
    packet.extend_from_slice(&to.port().to_be_bytes());
    packet.extend_from_slice(&udp_len.to_be_bytes());
    packet.extend_from_slice(&[0, 0]);
    packet.extend_from_slice(payload);
    // RFC 768: over a pseudo header of addresses, protocol and length; 0 would mean none.
    pseudo.extend_from_slice(&[0, PROTOCOL_UDP]);
    pseudo.extend_from_slice(&udp_len.to_be_bytes());
    pseudo.extend_from_slice(&packet[udp_at..]);
    let sum = match checksum(&pseudo) {
        0 => 0xffff,
        sum => sum,
    };
    packet[udp_at + 6..udp_at + 8].copy_from_slice(&sum.to_be_bytes());
    Some(packet)
}

/// RFC 1071 §1.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for pair in bytes.chunks(2) {
        let low = pair.get(1).copied().unwrap_or(0);
        sum += u32::from(u16::from_be_bytes([pair[0], low]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capture(from: &str, to: &str, payload: &[u8]) -> Vec<u8> {
        let mut pcap = PcapWriter::new(Vec::new()).unwrap();
        let at = Timestamp::from_nanos(3_000_000_007);
        let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
        pcap.udp(at, from, to, payload).unwrap();
        pcap.finish().unwrap()
    }

    #[test]
    fn a_record_says_when_and_how_long() {
        let bytes = capture("192.0.2.1:7882", "198.51.100.7:40000", b"abc");
        assert_eq!(bytes[..4], MAGIC_NANOSECONDS.to_le_bytes());
        assert_eq!(bytes[4..8], [2, 0, 4, 0]);
        let record = &bytes[24..];
        assert_eq!(record[..8], [3, 0, 0, 0, 7, 0, 0, 0]);
        assert_eq!(record[8..12], 31_u32.to_le_bytes());
        assert_eq!(record.len(), 16 + 31);
        assert_eq!(&record[record.len() - 3..], b"abc");
    }

    // RFC 1071 §1: over a packet with its checksum the sum is zero.
    #[test]
    fn checksums_hold() {
        let v4 = &capture("192.0.2.1:7882", "198.51.100.7:40000", b"abc")[40..];
        assert_eq!(checksum(&v4[..20]), 0);
        let pseudo = [&v4[12..20], &[0, 17, 0, 11], &v4[20..]].concat();
        assert_eq!(checksum(&pseudo), 0);
        let v6 = &capture("[2001:db8::1]:1", "[2001:db8::2]:2", b"abcd")[40..];
        assert_eq!(v6.len(), 40 + 8 + 4);
        let pseudo = [&v6[8..40], &[0, 17, 0, 12], &v6[40..]].concat();
        assert_eq!(checksum(&pseudo), 0);
    }

    #[test]
    fn families_do_not_mix() {
        let mut pcap = PcapWriter::new(Vec::new()).unwrap();
        let (v4, v6) = ("192.0.2.1:1".parse().unwrap(), "[::1]:1".parse().unwrap());
        assert!(pcap.udp(Timestamp::ZERO, v4, v6, b"").is_err());
    }
}
