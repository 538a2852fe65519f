//! One transport with its streams, on its media thread.

use std::net::SocketAddr;

use millrace_netio::{TrainHint, Transmit};
use millrace_shared::drop::DropReason;
use millrace_shared::dtls::{Identity, PollBuffer};
use millrace_shared::ice::Tuple;
use millrace_shared::ids::Ssrc;
use millrace_shared::time::{Epoch, Timestamp};
use millrace_shared::wire::class::{DatagramClass, classify};
use millrace_shared::wire::rtcp::RtcpCompound;
use tokio::sync::mpsc::UnboundedSender;

use super::{NewPeer, PeerEvent, PeerId};
use crate::impair::Link;
use crate::measure::Meter;
use crate::sdp::Description;
use crate::stream::publisher::{PublishedTrack, Publisher};
use crate::stream::receiver::{Receiver, StreamMap};
use crate::transport::{Outlet, Transport, TransportEvent};

/// What a media thread lends a peer for one call.
pub(super) struct Surroundings<'a> {
    pub(super) now: Timestamp,
    pub(super) epoch: &'a Epoch,
    pub(super) meter: &'a mut Meter,
    pub(super) buffer: &'a mut PollBuffer,
    pub(super) tx: &'a mut dyn Transmit,
}

/// What a packet of media needs stands first, in two lines of memory: with hundreds of clients each
/// line that a packet touches is a wait.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Peer {
    /// When its timer fires.
    pub(super) armed: Timestamp,
    inbound: Option<Box<Link>>,
    pub(super) id: PeerId,
    sampled: bool,
    media_seen: bool,
    connected: bool,
    receiver: Receiver,
    sample_rank: Option<u32>,
    transport: Box<Transport>,
    /// Timeouts, kept here: most packets are media and do not change them.
    transport_due: Timestamp,
    publisher_due: Timestamp,
    way: Way,
    publisher: Option<Publisher>,
    /// Tracks that wait for the transport.
    unpublished: Vec<PublishedTrack>,
    events: UnboundedSender<(PeerId, PeerEvent)>,
}

// What stands first in a receiver takes 72 bytes.
const _: () = assert!(std::mem::offset_of!(Peer, receiver) + 72 <= 128);

/// The way out of one peer.
#[derive(Debug)]
struct Way {
    local: SocketAddr,
    hint: TrainHint,
    /// What would leave is forgotten.
    silent: bool,
    outbound: Option<Box<Link>>,
}

/// Datagrams that did not leave.
#[derive(Default)]
struct Stuck {
    failed: u64,
    impaired: u64,
}

impl Stuck {
    fn count(self, meter: &mut Meter) {
        meter.counters.send_failed += self.failed;
        meter.counters.impaired += self.impaired;
    }
}

struct PeerOutlet<'a> {
    now: Timestamp,
    way: &'a mut Way,
    tx: &'a mut dyn Transmit,
    stuck: &'a mut Stuck,
}

impl PeerOutlet<'_> {
    /// Past the impairment.
    fn transmit(&mut self, remote: SocketAddr, datagram: &[u8]) {
        if self.way.silent {
            return;
        }
        let path = Tuple {
            local: self.way.local,
            remote,
        };
        match self.tx.reserve(&path, &mut self.way.hint, datagram.len()) {
            Some(slot) => slot.copy_from_slice(datagram),
            None => self.stuck.failed += 1,
        }
    }

    /// What the impairment has held back until now.
    fn transmit_due(&mut self) {
        let now = self.now;
        while let Some((remote, datagram)) =
            self.way.outbound.as_mut().and_then(|link| link.pop(now))
        {
            self.transmit(remote, &datagram);
        }
    }
}

impl Outlet for PeerOutlet<'_> {
    fn send(&mut self, remote: SocketAddr, datagram: &[u8]) {
        let Some(link) = &mut self.way.outbound else {
            return self.transmit(remote, datagram);
        };
        if !link.push(self.now, remote, datagram) {
            self.stuck.impaired += 1;
        }
    }
}

impl Peer {
    pub(super) fn new(new: NewPeer, identity: &Identity, epoch: &Epoch) -> Self {
        let mut receiver = Receiver::new(Ssrc((new.seed >> 32) as u32 | 1));
        let connected = new.established.is_some();
        let silent = new.established.as_ref().is_some_and(|it| it.silent);
        let mut transport = Transport::new(&new.ice, identity, epoch, new.seed);
        if let Some(established) = new.established {
            transport.establish(established.remote, &established.keys);
            receiver.set_map(established.map);
        }
        Self {
            armed: Timestamp::NEVER,
            inbound: new.impairment.map(|it| Box::new(Link::new(it, !new.seed))),
            id: new.id,
            sampled: new.sample_rank.is_some(),
            media_seen: false,
            connected,
            receiver,
            sample_rank: new.sample_rank,
            transport: Box::new(transport),
            transport_due: Timestamp::NEVER,
            publisher_due: Timestamp::NEVER,
            way: Way {
                local: new.local,
                hint: TrainHint::default(),
                silent,
                outbound: new.impairment.map(|it| Box::new(Link::new(it, new.seed))),
            },
            publisher: None,
            unpublished: Vec::new(),
            events: new.events,
        }
    }

    /// Stops being sampled if its rank is higher.
    pub(super) fn sample_up_to(&mut self, rank: u32) {
        if self.sampled && self.sample_rank.is_none_or(|own| own > rank) {
            self.sampled = false;
            self.receiver.stop_sampling();
        }
    }

    pub(super) fn set_remote(&mut self, now: Timestamp, description: &Description, offered: bool) {
        self.transport.set_remote(now, description, offered);
        self.transport_due = self.transport.next_timeout();
        for candidate in &description.candidates {
            self.add_candidate(now, candidate.addr);
        }
        self.receiver.set_map(if offered {
            StreamMap::of_answer(description)
        } else {
            StreamMap::of(description)
        });
    }

    pub(super) fn add_candidate(&mut self, now: Timestamp, addr: SocketAddr) {
        // A socket of one family cannot send to the other.
        if addr.is_ipv4() == self.way.local.is_ipv4() {
            self.transport.add_candidate(now, addr);
            self.transport_due = self.transport.next_timeout();
        }
    }

    pub(super) fn publish(&mut self, now: Timestamp, tracks: Vec<PublishedTrack>) {
        self.unpublished.extend(tracks);
        self.begin_publishing(now);
    }

    fn begin_publishing(&mut self, now: Timestamp) {
        if self.connected && !self.unpublished.is_empty() {
            let tracks = std::mem::take(&mut self.unpublished);
            let publisher = Publisher::new(now, tracks);
            self.publisher_due = publisher.next_timeout();
            self.publisher = Some(publisher);
        }
    }

    pub(super) fn next_timeout(&self) -> Timestamp {
        self.transport_due
            .min(self.receiver.next_timeout())
            .min(self.publisher_due)
            .min(held(self.inbound.as_deref()))
            .min(held(self.way.outbound.as_deref()))
    }

    pub(super) fn local(&self) -> SocketAddr {
        self.way.local
    }

    pub(super) fn handle_timeout(&mut self, around: &mut Surroundings<'_>) {
        let now = around.now;
        while let Some((from, mut datagram)) = self.inbound.as_mut().and_then(|it| it.pop(now)) {
            // Counted where it matters to the result.
            let _ = match classify(&datagram) {
                Some(DatagramClass::Rtp) => self.receive_rtp(&mut datagram, around),
                class => self.receive_other(class, from, &mut datagram, around),
            };
        }
        let mut stuck = Stuck::default();
        if now >= self.transport_due {
            let mut out = PeerOutlet {
                now,
                way: &mut self.way,
                tx: around.tx,
                stuck: &mut stuck,
            };
            let event = self.transport.handle_timeout(now, around.buffer, &mut out);
            self.transport_due = self.transport.next_timeout();
            self.act_on(now, event);
        }
        if let Some(remote) = self.transport.remote()
            && let Some(srtp) = self.transport.srtp()
        {
            let mut out = PeerOutlet {
                now,
                way: &mut self.way,
                tx: around.tx,
                stuck: &mut stuck,
            };
            if now >= self.receiver.next_timeout() {
                let mut send = |compound: &[u8]| {
                    let mut packet = [0; 1500];
                    packet[..compound.len()].copy_from_slice(compound);
                    if let Ok(len) = srtp.tx.protect_rtcp(&mut packet, compound.len()) {
                        out.send(remote, &packet[..len]);
                    }
                };
                self.receiver.handle_timeout(now, around.meter, &mut send);
            }
            if let Some(publisher) = &mut self.publisher
                && now >= self.publisher_due
            {
                let mut send = |packet: &[u8]| out.send(remote, packet);
                let (epoch, meter) = (around.epoch, &mut *around.meter);
                publisher.handle_timeout(now, epoch, &mut srtp.tx, meter, &mut send);
                self.publisher_due = publisher.next_timeout();
            }
        }
        let mut out = PeerOutlet {
            now,
            way: &mut self.way,
            tx: around.tx,
            stuck: &mut stuck,
        };
        out.transmit_due();
        stuck.count(around.meter);
    }

    /// Returns when the peer wants to be called, if the datagram made that sooner.
    pub(super) fn receive(
        &mut self,
        from: SocketAddr,
        datagram: &mut [u8],
        around: &mut Surroundings<'_>,
    ) -> Timestamp {
        if let Some(link) = &mut self.inbound {
            if !link.push(around.now, from, datagram) {
                around.meter.counters.impaired += 1;
            }
            return link.next_timeout();
        }
        let class = classify(datagram);
        // What is dropped is counted where it matters to the result.
        if class == Some(DatagramClass::Rtp) {
            let _ = self.receive_rtp(datagram, around);
            return self.receiver.next_timeout();
        }
        let _ = self.receive_other(class, from, datagram, around);
        self.next_timeout()
    }

    fn receive_other(
        &mut self,
        class: Option<DatagramClass>,
        from: SocketAddr,
        datagram: &mut [u8],
        around: &mut Surroundings<'_>,
    ) -> Result<(), DropReason> {
        let now = around.now;
        let class = class.ok_or(DropReason::DatagramClass)?;
        if class == DatagramClass::Rtcp {
            return self.receive_rtcp(datagram, around);
        }
        let mut stuck = Stuck::default();
        let mut out = PeerOutlet {
            now,
            way: &mut self.way,
            tx: around.tx,
            stuck: &mut stuck,
        };
        let (transport, buffer) = (&mut self.transport, &mut *around.buffer);
        let event = if class == DatagramClass::Stun {
            transport.receive_stun(now, from, datagram, buffer, &mut out)
        } else {
            transport.receive_dtls(now, datagram, buffer, &mut out)
        };
        stuck.count(around.meter);
        self.transport_due = self.transport.next_timeout();
        self.act_on(now, event?);
        Ok(())
    }

    fn receive_rtp(
        &mut self,
        datagram: &mut [u8],
        around: &mut Surroundings<'_>,
    ) -> Result<(), DropReason> {
        let counters = &mut around.meter.counters;
        counters.received += 1;
        counters.received_bytes += datagram.len() as u64;
        if !self.media_seen {
            self.media_seen = true;
            self.tell(PeerEvent::Media);
        }
        if !self.connected {
            // The server has its half of the handshake, and sends before we can read.
            counters.strayed += 1;
            return Err(DropReason::SrtpNoKeys);
        }
        let now = around.now;
        if !self.sampled && self.receiver.receive_counted(now, datagram, around.meter) {
            return Ok(());
        }
        let srtp = self.transport.srtp().ok_or(DropReason::SrtpNoKeys)?;
        match srtp.rx.unprotect_rtp(datagram) {
            Ok(plain) => {
                around.meter.counters.sampled += u64::from(self.sampled);
                let packet = &datagram[..plain.len];
                self.receiver.receive_sampled(now, packet, around.meter);
                Ok(())
            }
            Err(reason) => {
                let counters = &mut around.meter.counters;
                match reason {
                    DropReason::SrtpReplay => counters.duplicated += 1,
                    DropReason::SrtpAuthentication => counters.forged += 1,
                    _ => counters.strayed += 1,
                }
                Err(reason)
            }
        }
    }

    fn receive_rtcp(
        &mut self,
        datagram: &mut [u8],
        around: &mut Surroundings<'_>,
    ) -> Result<(), DropReason> {
        let now = around.now;
        let remote = self.transport.remote().ok_or(DropReason::SrtpNoKeys)?;
        let srtp = self.transport.srtp().ok_or(DropReason::SrtpNoKeys)?;
        let len = srtp.rx.unprotect_rtcp(datagram)?;
        let mut stuck = Stuck::default();
        let mut out = PeerOutlet {
            now,
            way: &mut self.way,
            tx: around.tx,
            stuck: &mut stuck,
        };
        let mut send = |packet: &[u8]| out.send(remote, packet);
        for packet in RtcpCompound::parse(&datagram[..len]).flatten() {
            self.receiver.receive_rtcp(now, &packet);
            if let Some(publisher) = &mut self.publisher {
                let (epoch, meter) = (around.epoch, &mut *around.meter);
                publisher.receive_rtcp(now, epoch, &packet, &srtp.tx, meter, &mut send);
                self.publisher_due = publisher.next_timeout();
            }
        }
        stuck.count(around.meter);
        Ok(())
    }

    /// Sends bytes as they are.
    pub(super) fn inject(
        &mut self,
        to: Option<SocketAddr>,
        datagram: &[u8],
        around: &mut Surroundings<'_>,
    ) {
        let Some(remote) = to.or_else(|| self.transport.remote()) else {
            return;
        };
        let mut stuck = Stuck::default();
        let mut out = PeerOutlet {
            now: around.now,
            way: &mut self.way,
            tx: around.tx,
            stuck: &mut stuck,
        };
        out.send(remote, datagram);
        stuck.count(around.meter);
    }

    pub(super) fn close(&mut self, around: &mut Surroundings<'_>) {
        let mut stuck = Stuck::default();
        let mut out = PeerOutlet {
            now: around.now,
            way: &mut self.way,
            tx: around.tx,
            stuck: &mut stuck,
        };
        self.transport.close(around.now, around.buffer, &mut out);
        stuck.count(around.meter);
    }

    fn act_on(&mut self, now: Timestamp, event: Option<TransportEvent>) {
        match event {
            Some(TransportEvent::Connected { remote, keys }) => {
                self.connected = true;
                let local = self.way.local;
                self.tell(PeerEvent::Connected {
                    local,
                    remote,
                    keys,
                });
                self.begin_publishing(now);
            }
            Some(TransportEvent::Failed(why)) => self.tell(PeerEvent::Failed(why)),
            Some(TransportEvent::Closed) => self.tell(PeerEvent::Closed),
            None => {}
        }
    }

    fn tell(&self, event: PeerEvent) {
        // A client that is gone needs to know nothing.
        let _ = self.events.send((self.id, event));
    }
}

fn held(link: Option<&Link>) -> Timestamp {
    link.map_or(Timestamp::NEVER, Link::next_timeout)
}

#[cfg(test)]
mod tests;
