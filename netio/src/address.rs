//! Socket addresses and control messages as the kernel lays them out (ip(7), ipv6(7), cmsg(3)),
//! written and read byte by byte.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::time::Duration;

/// Room for a `sockaddr_in6` (28 bytes), rounded so that what follows it stays aligned.
pub(crate) const NAME_LEN: usize = 32;
/// Room for an `in6_pktinfo` (40 bytes with header and padding), and a segment size (24 bytes) or a
/// time stamp (32 bytes).
pub(crate) const CONTROL_LEN: usize = 80;

const FAMILY_INET: u16 = libc::AF_INET as u16;
const FAMILY_INET6: u16 = libc::AF_INET6 as u16;
const HEADER_LEN: usize = size_of::<libc::cmsghdr>();
const ALIGN: usize = size_of::<usize>();

const _: () = assert!(HEADER_LEN == size_of::<usize>() + 8);
const _: () = assert!(size_of::<libc::sockaddr_in6>() <= NAME_LEN);
const _: () = assert!(CONTROL_LEN >= 2 * HEADER_LEN + 20 + 4 + size_of::<libc::timespec>());

/// Writes `addr` as a `sockaddr_in` or `sockaddr_in6`; returns its length.
pub(crate) fn encode_name(addr: &SocketAddr, out: &mut [u8; NAME_LEN]) -> usize {
    *out = [0; NAME_LEN];
    out[2..4].copy_from_slice(&addr.port().to_be_bytes());
    match addr {
        SocketAddr::V4(v4) => {
            out[..2].copy_from_slice(&FAMILY_INET.to_ne_bytes());
            out[4..8].copy_from_slice(&v4.ip().octets());
            size_of::<libc::sockaddr_in>()
        }
        SocketAddr::V6(v6) => {
            out[..2].copy_from_slice(&FAMILY_INET6.to_ne_bytes());
            out[4..8].copy_from_slice(&v6.flowinfo().to_be_bytes());
            out[8..24].copy_from_slice(&v6.ip().octets());
            out[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
            size_of::<libc::sockaddr_in6>()
        }
    }
}

pub(crate) fn decode_name(name: &[u8]) -> Option<SocketAddr> {
    let family = u16::from_ne_bytes(*name.first_chunk()?);
    let port = u16::from_be_bytes(*name.get(2..)?.first_chunk()?);
    match family {
        FAMILY_INET => {
            let ip: [u8; 4] = *name.get(4..)?.first_chunk()?;
            Some(SocketAddrV4::new(Ipv4Addr::from(ip), port).into())
        }
        FAMILY_INET6 => {
            let ip: [u8; 16] = *name.get(8..)?.first_chunk()?;
            let scope = u32::from_ne_bytes(*name.get(24..)?.first_chunk()?);
            // The flow label is the sender's and no part of where it is.
            Some(SocketAddrV6::new(Ipv6Addr::from(ip), port, 0, scope).into())
        }
        _ => None,
    }
}

/// Writes the control messages of a send: the source address, unless it is unspecified, and the
/// segment size of a train. Returns their length.
pub(crate) fn encode_control(
    source: &SocketAddr,
    segment_len: Option<u16>,
    out: &mut [u8; CONTROL_LEN],
) -> usize {
    let mut at = 0;
    if !source.ip().is_unspecified() {
        at += match source {
            SocketAddr::V4(v4) => {
                // in_pktinfo: interface index, source address, destination (ignored on send).
                let mut info = [0u8; 12];
                info[4..8].copy_from_slice(&v4.ip().octets());
                encode_message(&mut out[at..], libc::IPPROTO_IP, libc::IP_PKTINFO, &info)
            }
            SocketAddr::V6(v6) => {
                // in6_pktinfo: address, interface index (needed for link-local ones only).
                let mut info = [0u8; 20];
                info[..16].copy_from_slice(&v6.ip().octets());
                info[16..].copy_from_slice(&v6.scope_id().to_ne_bytes());
                encode_message(
                    &mut out[at..],
                    libc::IPPROTO_IPV6,
                    libc::IPV6_PKTINFO,
                    &info,
                )
            }
        };
    }
    if let Some(len) = segment_len {
        let len = len.to_ne_bytes();
        at += encode_message(&mut out[at..], libc::SOL_UDP, libc::UDP_SEGMENT, &len);
    }
    at
}

fn encode_message(out: &mut [u8], level: i32, kind: i32, value: &[u8]) -> usize {
    let len = HEADER_LEN + value.len();
    let space = len.next_multiple_of(ALIGN);
    let out = &mut out[..space];
    out.fill(0);
    out[..ALIGN].copy_from_slice(&len.to_ne_bytes());
    out[ALIGN..ALIGN + 4].copy_from_slice(&level.to_ne_bytes());
    out[ALIGN + 4..HEADER_LEN].copy_from_slice(&kind.to_ne_bytes());
    out[HEADER_LEN..len].copy_from_slice(value);
    space
}

/// What the kernel says about a datagram beside its sender.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Arrived {
    /// The address it was sent to.
    pub(crate) local: SocketAddr,
    /// When the kernel got it, since 1970.
    pub(crate) at: Option<Duration>,
}

/// Reads the control messages of a receive; `bound` gives the port, and the address if the kernel
/// sent no PKTINFO.
pub(crate) fn decode_control(mut control: &[u8], bound: SocketAddr) -> Arrived {
    let mut arrived = Arrived {
        local: bound,
        at: None,
    };
    while let Some((level, kind, value, rest)) = decode_message(control) {
        match (level, kind) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                // ipi_spec_dst: the local address, which for unicast is the destination.
                if let Some(ip) = value.get(4..).and_then(<[u8]>::first_chunk::<4>) {
                    arrived.local = SocketAddr::new(IpAddr::from(*ip), bound.port());
                }
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                if let Some(local) = decode_pktinfo6(value, bound.port()) {
                    arrived.local = local;
                }
            }
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => arrived.at = decode_timespec(value),
            _ => {}
        }
        control = rest;
    }
    arrived
}

fn decode_timespec(value: &[u8]) -> Option<Duration> {
    let secs = i64::from_ne_bytes(*value.first_chunk()?);
    let nanos = i64::from_ne_bytes(*value.get(8..)?.first_chunk()?);
    Some(Duration::new(
        u64::try_from(secs).ok()?,
        u32::try_from(nanos).ok()?,
    ))
}

fn decode_pktinfo6(value: &[u8], port: u16) -> Option<SocketAddr> {
    let ip = Ipv6Addr::from(*value.first_chunk::<16>()?);
    let interface = u32::from_ne_bytes(*value.get(16..)?.first_chunk()?);
    // A scope on other addresses would make one destination look like several.
    let scope = if ip.is_unicast_link_local() {
        interface
    } else {
        0
    };
    Some(SocketAddrV6::new(ip, port, 0, scope).into())
}

fn decode_message(control: &[u8]) -> Option<(i32, i32, &[u8], &[u8])> {
    let len = usize::from_ne_bytes(*control.first_chunk()?);
    let level = i32::from_ne_bytes(*control.get(ALIGN..)?.first_chunk()?);
    let kind = i32::from_ne_bytes(*control.get(ALIGN + 4..)?.first_chunk()?);
    let value = control.get(HEADER_LEN..len)?;
    let rest = control.get(len.next_multiple_of(ALIGN)..).unwrap_or(&[]);
    Some((level, kind, value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_the_kernel_layout() {
        for text in ["192.0.2.7:5004", "[2001:db8::1]:7882", "[fe80::2%3]:9"] {
            let addr: SocketAddr = text.parse().unwrap();
            let mut name = [0; NAME_LEN];
            let len = encode_name(&addr, &mut name);
            assert_eq!(decode_name(&name[..len]), Some(addr));
            assert_eq!(decode_name(&name[..len - 13]), None);
        }
    }

    #[test]
    fn control_messages_name_source_and_segment() {
        let source: SocketAddr = "[2001:db8::1]:7882".parse().unwrap();
        let mut control = [0xff; CONTROL_LEN];
        let len = encode_control(&source, Some(1200), &mut control);
        assert_eq!(len, 64);
        let arrived = decode_control(&control[..len], "[::]:7882".parse().unwrap());
        assert_eq!((arrived.local, arrived.at), (source, None));
        let (level, kind, value, rest) = decode_message(&control[40..len]).unwrap();
        assert_eq!((level, kind), (libc::SOL_UDP, libc::UDP_SEGMENT));
        assert_eq!(value, 1200u16.to_ne_bytes());
        assert!(rest.is_empty());
    }

    #[test]
    fn malformed_control_falls_back_to_the_bound_address() {
        let bound: SocketAddr = "127.0.0.1:9".parse().unwrap();
        let mut control = [0u8; CONTROL_LEN];
        // Zero and overlong lengths end the walk instead of looping or reading past the end.
        assert_eq!(decode_control(&control, bound).local, bound);
        control[..8].copy_from_slice(&usize::MAX.to_ne_bytes());
        assert_eq!(decode_control(&control, bound).local, bound);
    }
}
