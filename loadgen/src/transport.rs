//! One WebRTC transport of a client: ICE, DTLS in either role, SRTP, and data channels over SCTP.
//! No sockets, no clock.

use std::net::SocketAddr;

use millrace_shared::drop::DropReason;
use millrace_shared::dtls::{Dtls, DtlsOutput, Identity, PollBuffer};
use millrace_shared::link::{Fingerprint, IceCredentials};
use millrace_shared::sctp::{Role, Sctp, SctpOutput};
use millrace_shared::srtp::{MasterKey, SrtpRx, SrtpTx};
use millrace_shared::time::{Epoch, Timestamp};

use crate::ice::{IceAgent, IceEvent};
use crate::sdp::Description;

/// Where datagrams leave.
pub trait Outlet {
    fn send(&mut self, remote: SocketAddr, datagram: &[u8]);
}

/// Collects, for tests and relays.
impl Outlet for Vec<(SocketAddr, Vec<u8>)> {
    fn send(&mut self, remote: SocketAddr, datagram: &[u8]) {
        self.push((remote, datagram.to_vec()));
    }
}

/// SRTP keys of both directions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Keys {
    pub local: MasterKey,
    pub remote: MasterKey,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TransportEvent {
    /// Media may flow.
    Connected {
        remote: SocketAddr,
        keys: Box<Keys>,
    },
    Failed(&'static str),
    /// The server closed DTLS.
    Closed,
}

/// Both directions of SRTP.
#[derive(Debug)]
pub struct Srtp {
    pub tx: SrtpTx,
    pub rx: SrtpRx,
}

impl Srtp {
    fn new(keys: &Keys) -> Self {
        Self {
            tx: SrtpTx::new(&keys.local),
            rx: SrtpRx::new(&keys.remote),
        }
    }
}

#[derive(Debug)]
pub struct Transport {
    ice: IceAgent,
    /// The server's address where nothing was to be checked.
    settled: Option<SocketAddr>,
    identity: Identity,
    epoch: Epoch,
    /// The server begins the handshake.
    dtls_server: bool,
    dtls: Option<Dtls>,
    dtls_timeout: Timestamp,
    expected: Option<Fingerprint>,
    peer_proved: bool,
    handshake_done: bool,
    keys: Option<Keys>,
    srtp: Option<Srtp>,
    data_channels: bool,
    sctp: Option<Sctp>,
    over: bool,
}

impl Transport {
    pub fn new(
        local: &IceCredentials,
        identity: &Identity,
        epoch: &Epoch,
        tie_breaker: u64,
    ) -> Self {
        Self {
            ice: IceAgent::new(local, tie_breaker),
            settled: None,
            identity: identity.clone(),
            epoch: *epoch,
            dtls_server: false,
            dtls: None,
            dtls_timeout: Timestamp::NEVER,
            expected: None,
            peer_proved: false,
            handshake_done: false,
            keys: None,
            srtp: None,
            data_channels: false,
            sctp: None,
            over: false,
        }
    }

    /// Takes a connection that was agreed on elsewhere: without checks and handshake.
    pub fn establish(&mut self, remote: SocketAddr, keys: &Keys) {
        self.settled = Some(remote);
        self.srtp = Some(Srtp::new(keys));
    }

    /// Takes the server's description. `offered` is whether ours was the offer.
    pub fn set_remote(&mut self, now: Timestamp, description: &Description, offered: bool) {
        self.expected.get_or_insert(description.fingerprint);
        self.data_channels |= description.has_data_channels();
        self.dtls_server = description.dtls_active;
        if self.dtls_server && self.dtls.is_none() {
            self.dtls = Some(Dtls::new(&self.identity, &self.epoch, now));
        }
        // RFC 8445 §6.1.1: the offerer controls, unless the other side is lite.
        let controlling = offered || description.ice_lite;
        let event = self.ice.set_remote(now, &description.ice, controlling);
        if matches!(event, Some(IceEvent::Selected(_))) {
            self.begin_handshake(now);
            // The first flight leaves with the next timeout, at once.
            self.dtls_timeout = now;
        }
    }

    fn begin_handshake(&mut self, now: Timestamp) {
        if !self.dtls_server {
            self.dtls = Some(Dtls::new_client(&self.identity, &self.epoch, now));
        }
    }

    pub fn add_candidate(&mut self, now: Timestamp, remote: SocketAddr) {
        if self.ice.selected().is_none() {
            self.ice.add_candidate(now, remote);
        }
    }

    /// The server's address, once nominated.
    pub fn remote(&self) -> Option<SocketAddr> {
        self.settled.or_else(|| self.ice.selected())
    }

    pub fn srtp(&mut self) -> Option<&mut Srtp> {
        self.srtp.as_mut()
    }

    pub fn next_timeout(&self) -> Timestamp {
        if self.over {
            return Timestamp::NEVER;
        }
        let sctp = self
            .sctp
            .as_ref()
            .map_or(Timestamp::NEVER, Sctp::next_timeout);
        self.ice.next_timeout().min(self.dtls_timeout).min(sctp)
    }

    pub fn handle_timeout(
        &mut self,
        now: Timestamp,
        buffer: &mut PollBuffer,
        out: &mut dyn Outlet,
    ) -> Option<TransportEvent> {
        if self.over {
            return None;
        }
        if self.ice.handle_timeout(now, out) == Some(IceEvent::Failed) {
            self.over = true;
            return Some(TransportEvent::Failed("no answer to ICE checks"));
        }
        if now >= self.dtls_timeout
            && let Some(dtls) = &mut self.dtls
        {
            dtls.handle_timeout(now);
        }
        if let Some(sctp) = &mut self.sctp
            && now >= sctp.next_timeout()
        {
            sctp.handle_timeout(now);
        }
        self.pump(now, buffer, out)
    }

    pub fn receive_stun(
        &mut self,
        now: Timestamp,
        from: SocketAddr,
        datagram: &[u8],
        buffer: &mut PollBuffer,
        out: &mut dyn Outlet,
    ) -> Result<Option<TransportEvent>, DropReason> {
        match self.ice.receive(now, from, datagram, out)? {
            Some(IceEvent::Selected(_)) => {
                self.begin_handshake(now);
                Ok(self.pump(now, buffer, out))
            }
            Some(IceEvent::Failed) | None => Ok(None),
        }
    }

    pub fn receive_dtls(
        &mut self,
        now: Timestamp,
        datagram: &[u8],
        buffer: &mut PollBuffer,
        out: &mut dyn Outlet,
    ) -> Result<Option<TransportEvent>, DropReason> {
        let dtls = self.dtls.as_mut().ok_or(DropReason::DtlsUnexpected)?;
        dtls.receive(now, datagram)?;
        Ok(self.pump(now, buffer, out))
    }

    /// Says goodbye: the server sees a close_notify.
    pub fn close(&mut self, now: Timestamp, buffer: &mut PollBuffer, out: &mut dyn Outlet) {
        if let Some(dtls) = &mut self.dtls {
            dtls.close(now);
        }
        self.pump(now, buffer, out);
        self.over = true;
    }

    /// Moves everything that a call above made: DTLS datagrams out, SCTP packets through DTLS.
    fn pump(
        &mut self,
        now: Timestamp,
        buffer: &mut PollBuffer,
        out: &mut dyn Outlet,
    ) -> Option<TransportEvent> {
        let mut event = None;
        loop {
            let happened = self.pump_dtls(now, buffer, out);
            event = event.or(happened);
            let Some(packet) = self.next_sctp_packet(now) else {
                break;
            };
            if let Some(dtls) = &mut self.dtls {
                // What DTLS cannot take is lost like a datagram: SCTP sends it again.
                let _ = dtls.send(now, &packet);
            }
        }
        event
    }

    fn pump_dtls(
        &mut self,
        now: Timestamp,
        buffer: &mut PollBuffer,
        out: &mut dyn Outlet,
    ) -> Option<TransportEvent> {
        let remote = self.ice.selected()?;
        let dtls = self.dtls.as_mut()?;
        let mut event = None;
        while let Some(output) = dtls.poll(buffer) {
            match output {
                DtlsOutput::Datagram(datagram) => out.send(remote, datagram),
                DtlsOutput::PeerFingerprint(found) => {
                    self.peer_proved = Some(found) == self.expected;
                }
                DtlsOutput::Keys { local, remote } => self.keys = Some(Keys { local, remote }),
                DtlsOutput::Connected => self.handshake_done = true,
                DtlsOutput::ApplicationData(data) => {
                    if let Some(sctp) = &mut self.sctp {
                        // A packet that SCTP refuses is the server's fault and shows there.
                        let _ = sctp.receive(now, data);
                    }
                }
                DtlsOutput::Closed => {
                    self.over = true;
                    event = Some(TransportEvent::Closed);
                }
                DtlsOutput::Failed => {
                    self.over = true;
                    event = Some(TransportEvent::Failed("the DTLS handshake failed"));
                }
            }
        }
        self.dtls_timeout = dtls.next_timeout();
        event.or_else(|| self.connect(remote))
    }

    /// Takes the keys into use, once, when the peer is the one of the description.
    fn connect(&mut self, remote: SocketAddr) -> Option<TransportEvent> {
        if self.srtp.is_some() || !self.handshake_done {
            return None;
        }
        let keys = self.keys.clone()?;
        if !self.peer_proved {
            self.over = true;
            return Some(TransportEvent::Failed("the certificate is another one"));
        }
        self.srtp = Some(Srtp::new(&keys));
        if self.data_channels {
            let role = if self.dtls_server {
                Role::DtlsServer
            } else {
                Role::DtlsClient
            };
            self.sctp = Some(Sctp::new(role, &self.epoch));
        }
        Some(TransportEvent::Connected {
            remote,
            keys: Box::new(keys),
        })
    }

    fn next_sctp_packet(&mut self, now: Timestamp) -> Option<bytes::Bytes> {
        let sctp = self.sctp.as_mut()?;
        loop {
            match sctp.poll(now)? {
                SctpOutput::Datagram(packet) => return Some(packet),
                // Channels are kept open and their messages dropped: the load is media.
                SctpOutput::Established
                | SctpOutput::ChannelOpened { .. }
                | SctpOutput::Message { .. }
                | SctpOutput::ChannelClosed { .. }
                | SctpOutput::Closed => {}
            }
        }
    }
}
