//! UDP sockets with the options that forwarding needs.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::sys;

/// A bound socket. Blocking: io_uring waits by itself, and everything else asks for MSG_DONTWAIT.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    pub(crate) bound: SocketAddr,
}

/// What [`Socket::open`] needs to know.
#[derive(Copy, Clone, Debug)]
pub(crate) struct SocketOptions {
    pub(crate) reuse_port: bool,
    pub(crate) buffer_len: usize,
}

impl Socket {
    pub(crate) fn open(addr: SocketAddr, options: SocketOptions) -> io::Result<Self> {
        let family = if addr.is_ipv4() {
            libc::AF_INET
        } else {
            libc::AF_INET6
        };
        let fd = sys::udp_socket(family)?;
        let mut socket = Self { fd, bound: addr };
        socket.set_options(options)?;
        sys::bind(socket.as_fd(), &addr)?;
        socket.bound = sys::local_addr(socket.as_fd())?;
        Ok(socket)
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Whether this socket sends from `local`.
    pub(crate) fn serves(&self, local: &SocketAddr) -> bool {
        self.bound.is_ipv4() == local.is_ipv4()
            && self.bound.port() == local.port()
            && (self.bound.ip() == local.ip()
                || self.bound.ip().is_unspecified()
                || local.ip().is_unspecified())
    }

    fn set_options(&self, options: SocketOptions) -> io::Result<()> {
        if self.bound.is_ipv4() {
            self.set(libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?;
            // Saves the choice of an IP identification per packet (7 % of the sending thread's
            // samples without trains); nothing we send needs fragmenting.
            let probe = libc::IP_PMTUDISC_PROBE;
            self.set(libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, probe)?;
        } else {
            self.set(libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
            self.set(libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
            let probe = libc::IPV6_PMTUDISC_PROBE;
            self.set(libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, probe)?;
        }
        // Once per datagram received: the time it waits for us is part of the forwarding latency.
        // Where the host refuses it, that part is missing from the figure and nothing else.
        let _ = self.set(libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1);
        if options.reuse_port {
            self.set(libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
        }
        let len = i32::try_from(options.buffer_len).unwrap_or(i32::MAX);
        // The forced options exceed net.core.{r,w}mem_max, with CAP_NET_ADMIN.
        for (forced, plain) in [
            (libc::SO_RCVBUFFORCE, libc::SO_RCVBUF),
            (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF),
        ] {
            if self.set(libc::SOL_SOCKET, forced, len).is_err() {
                self.set(libc::SOL_SOCKET, plain, len)?;
            }
        }
        Ok(())
    }

    /// The receive buffer that the kernel granted; it reports twice the number it was given.
    pub(crate) fn receive_buffer_len(&self) -> io::Result<usize> {
        let doubled = sys::option(self.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUF)?;
        Ok(usize::try_from(doubled).unwrap_or(0) / 2)
    }

    /// Whether the kernel knows UDP_SEGMENT (Linux 4.18).
    pub(crate) fn segments(&self) -> bool {
        sys::option(self.as_fd(), libc::SOL_UDP, libc::UDP_SEGMENT).is_ok()
    }

    pub(crate) fn set(&self, level: i32, name: i32, value: i32) -> io::Result<()> {
        sys::set_option(self.as_fd(), level, name, value)
    }
}
