//! Which local address each transport gets. A server tells transports apart by address and port, so
//! no two may share both.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use millrace_netio::{Backend, Config as NetConfig};

/// Where a media thread's transports send from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// One socket, and an address of a network that is local as a whole for each transport: of
    /// 127.0.0.0/8, or one routed to this host with `ip route add local`.
    Network { first: Ipv4Addr, count: u32 },
    /// One socket for each transport, with ports from this one on.
    Ports { ip: IpAddr, first: u16, count: u16 },
}

impl Source {
    /// The part of the loopback network that thread `index` uses.
    pub fn loopback(index: usize) -> Self {
        let block = 64 + u8::try_from(index % 128).unwrap_or(0);
        Self::Network {
            first: Ipv4Addr::new(127, block, 0, 1),
            count: 60_000,
        }
    }

    pub(super) fn net_config(&self) -> NetConfig {
        let bind = match self {
            Self::Network { .. } => vec![(Ipv4Addr::UNSPECIFIED, 0).into()],
            Self::Ports { ip, first, count } => (0..*count)
                .map(|offset| SocketAddr::new(*ip, first.saturating_add(offset)))
                .collect(),
        };
        // A datagram that arrives while we nap need not tell a ring that waits for it. Where the server
        // is on this machine it is the server's CPU that tells: half a microsecond a packet.
        let backend = match self {
            Self::Network { .. } => Backend::Mmsg,
            // A call for each socket would be more than is saved.
            Self::Ports { .. } => Backend::Auto,
        };
        NetConfig {
            backend,
            bind,
            // A burst of everything at once, as after a stall of the thread.
            socket_buffer_len: 32 << 20,
            receive_buffers: 4096,
            drain_max: 512,
            ..NetConfig::default()
        }
    }
}

/// What tells the transport with this local address from others of its thread, counted from 0. Of a
/// socket per transport that is the port: the address may be unspecified.
pub(super) fn local_number(source: &Source, local: SocketAddr) -> usize {
    let number = match (source, local.ip()) {
        (Source::Network { first, .. }, IpAddr::V4(ip)) => {
            ip.to_bits().wrapping_sub(first.to_bits())
        }
        (Source::Network { .. }, IpAddr::V6(_)) => u32::MAX,
        (Source::Ports { first, .. }, _) => u32::from(local.port().wrapping_sub(*first)),
    };
    number as usize
}

/// Hands out addresses; one that was given back is used again last.
#[derive(Debug)]
pub(crate) struct Locals {
    port: u16,
    network: Option<(u32, u32)>,
    used: u32,
    free: VecDeque<SocketAddr>,
}

impl Locals {
    pub(crate) fn new(source: &Source, bound: &[SocketAddr]) -> Self {
        let network = match source {
            Source::Network { first, count } => Some((first.to_bits(), *count)),
            Source::Ports { .. } => None,
        };
        Self {
            port: bound.first().map_or(0, SocketAddr::port),
            network,
            used: 0,
            free: if network.is_some() {
                VecDeque::new()
            } else {
                bound.iter().copied().collect()
            },
        }
    }

    pub(crate) fn take(&mut self) -> Option<SocketAddr> {
        if let Some((first, count)) = self.network
            && self.used < count
        {
            let ip = Ipv4Addr::from_bits(first + self.used);
            self.used += 1;
            return Some((ip, self.port).into());
        }
        self.free.pop_front()
    }

    pub(crate) fn give_back(&mut self, local: SocketAddr) {
        self.free.push_back(local);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_a_network_are_used_once_before_they_are_reused() {
        let source = Source::Network {
            first: Ipv4Addr::new(127, 64, 0, 255),
            count: 2,
        };
        let mut locals = Locals::new(&source, &[([0, 0, 0, 0], 9).into()]);
        let first = locals.take().unwrap();
        assert_eq!(first, ([127, 64, 0, 255], 9).into());
        locals.give_back(first);
        assert_eq!(locals.take(), Some(([127, 64, 1, 0], 9).into()));
        assert_eq!(locals.take(), Some(first));
        assert_eq!(locals.take(), None);
    }

    #[test]
    fn each_socket_serves_one_transport() {
        let source = Source::Ports {
            ip: Ipv4Addr::UNSPECIFIED.into(),
            first: 5000,
            count: 2,
        };
        let bound = source.net_config().bind;
        let mut locals = Locals::new(&source, &bound);
        assert_eq!(locals.take().unwrap().port(), 5000);
        assert_eq!(locals.take().unwrap().port(), 5001);
        assert_eq!(locals.take(), None);
    }
}
