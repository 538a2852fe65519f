//! A relay between clients and a server that spoils media on purpose, and counts how often: what
//! the generator then measures is known beforehand.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use millrace_shared::wire::class::{DatagramClass, classify};
use tokio::net::UdpSocket;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

const DATAGRAM_LEN_MAX: usize = 2048;

/// What happens to media from the server. Every n-th packet of a client; 0 is never.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Faults {
    /// All of it comes later by this.
    pub delay: Duration,
    /// Each packet takes so long, one after the other and for all clients together: a server with
    /// too slow a processor.
    pub service: Duration,
    pub duplicate_every: u64,
    /// Swapped with the packet behind it, within a frame.
    pub reorder_every: u64,
    /// Preceded by one that a stranger could have made of it.
    pub forge_every: u64,
    pub drop_every: u64,
}

/// How often each happened.
#[derive(Debug, Default)]
pub struct Spoiled {
    pub duplicated: AtomicU64,
    pub reordered: AtomicU64,
    pub forged: AtomicU64,
    pub dropped: AtomicU64,
}

impl fmt::Display for Spoiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        write!(
            f,
            "of all packets since the first join the relay duplicated {}, reordered {}, forged {} and \
             dropped {}",
            count(&self.duplicated),
            count(&self.reordered),
            count(&self.forged),
            count(&self.dropped)
        )
    }
}

/// A running relay; it ends when this is dropped.
#[derive(Debug)]
pub struct Relay {
    /// Where clients send to.
    pub address: SocketAddr,
    pub spoiled: Arc<Spoiled>,
    task: JoinHandle<()>,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Relay {
    /// Relays between its own address on loopback and `server`.
    pub async fn start(server: SocketAddr, faults: Faults) -> io::Result<Self> {
        let socket = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?);
        let address = socket.local_addr()?;
        let spoiled = Arc::new(Spoiled::default());
        let task = tokio::spawn(relay(socket, server, faults, Arc::clone(&spoiled)));
        Ok(Self {
            address,
            spoiled,
            task,
        })
    }
}

/// Towards the server, and a way back for each client.
async fn relay(socket: Arc<UdpSocket>, server: SocketAddr, faults: Faults, spoiled: Arc<Spoiled>) {
    let mut clients: HashMap<SocketAddr, (Arc<UdpSocket>, Guard)> = HashMap::new();
    let busy_until = Arc::new(Mutex::new(Instant::now()));
    let mut datagram = [0; DATAGRAM_LEN_MAX];
    loop {
        let Ok((len, client)) = socket.recv_from(&mut datagram).await else {
            continue;
        };
        let upstream = match clients.entry(client) {
            Entry::Occupied(known) => Arc::clone(&known.get().0),
            Entry::Vacant(new) => {
                let Ok(upstream) = upstream(server).await else {
                    continue;
                };
                let back = Back {
                    downstream: Arc::clone(&socket),
                    client,
                    faults,
                    spoiled: Arc::clone(&spoiled),
                    busy_until: Arc::clone(&busy_until),
                    count: 0,
                    held: None,
                };
                let task = Guard(tokio::spawn(back.run(Arc::clone(&upstream))));
                new.insert((Arc::clone(&upstream), task));
                upstream
            }
        };
        // What cannot be sent is lost, as on any network.
        let _ = upstream.send(&datagram[..len]).await;
    }
}

async fn upstream(server: SocketAddr) -> io::Result<Arc<UdpSocket>> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    socket.connect(server).await?;
    Ok(Arc::new(socket))
}

/// Ends the way back of a client with the relay.
#[derive(Debug)]
struct Guard(JoinHandle<()>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// From the server to one client.
struct Back {
    downstream: Arc<UdpSocket>,
    client: SocketAddr,
    faults: Faults,
    spoiled: Arc<Spoiled>,
    /// When the packets before are done.
    busy_until: Arc<Mutex<Instant>>,
    count: u64,
    held: Option<Vec<u8>>,
}

impl Back {
    async fn run(mut self, upstream: Arc<UdpSocket>) {
        let (queue, queued) = unbounded_channel();
        let sender = Guard(tokio::spawn(send_in_time(
            queued,
            Arc::clone(&self.downstream),
            self.client,
        )));
        let mut datagram = [0; DATAGRAM_LEN_MAX];
        loop {
            let Ok(len) = upstream.recv(&mut datagram).await else {
                // An ICMP error of something sent before.
                continue;
            };
            if self.pass(&datagram[..len], &queue).is_none() {
                drop(sender);
                return;
            }
        }
    }

    fn served(&self, now: Instant) -> Instant {
        if self.faults.service.is_zero() {
            return now;
        }
        // A task that panicked has left it as it was.
        let mut busy_until = self
            .busy_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *busy_until = now.max(*busy_until) + self.faults.service;
        *busy_until
    }

    /// `None` when nobody sends any more.
    fn pass(&mut self, datagram: &[u8], queue: &UnboundedSender<(Instant, Vec<u8>)>) -> Option<()> {
        let now = Instant::now();
        if classify(datagram) != Some(DatagramClass::Rtp) {
            return queue.send((now, datagram.to_vec())).ok();
        }
        let due = self.served(now) + self.faults.delay;
        self.count += 1;
        let every = |n: u64| n > 0 && self.count.is_multiple_of(n);
        let add = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
        if every(self.faults.drop_every) {
            add(&self.spoiled.dropped);
            return Some(());
        }
        if every(self.faults.forge_every) {
            add(&self.spoiled.forged);
            let mut forged = datagram.to_vec();
            if let Some(last) = forged.last_mut() {
                *last ^= 0x55;
            }
            queue.send((due, forged)).ok()?;
        }
        // The marker bit ends a frame: its packet has none of its frame behind it.
        let ends_frame = datagram.get(1).is_some_and(|byte| byte & 0x80 != 0);
        if every(self.faults.reorder_every) && !ends_frame && self.held.is_none() {
            add(&self.spoiled.reordered);
            self.held = Some(datagram.to_vec());
            return Some(());
        }
        queue.send((due, datagram.to_vec())).ok()?;
        if every(self.faults.duplicate_every) {
            add(&self.spoiled.duplicated);
            queue.send((due, datagram.to_vec())).ok()?;
        }
        match self.held.take() {
            Some(held) => queue.send((due, held)).ok(),
            None => Some(()),
        }
    }
}

async fn send_in_time(
    mut queued: UnboundedReceiver<(Instant, Vec<u8>)>,
    downstream: Arc<UdpSocket>,
    client: SocketAddr,
) {
    while let Some((due, datagram)) = queued.recv().await {
        if due > Instant::now() {
            sleep_until(due).await;
        }
        // What cannot be sent is lost, as on any network.
        let _ = downstream.send_to(&datagram, client).await;
    }
}
