//! The good call: publishers and subscribers who notice nothing, or should not. And a control flow
//! over a relay of this process instead of the node: what it suffers is the machine's fault.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use millrace_shared::time::Timestamp;

use crate::client::media::{Mark, now};
use crate::client::session::{Joining, Role, Session};
use crate::node::Node;
use crate::outcome::{Outcome, Said as _};

pub(crate) const PUBLISHERS: u64 = 3;
pub(crate) const SUBSCRIBERS: usize = 6;
/// Between two packets of a publisher: 50 a second of a kilobyte, 400 kbit/s.
const PACKET_INTERVAL: Duration = Duration::from_millis(20);
/// A subscriber that hears nothing of a publisher for so long has lost it.
const SILENCE_MAX: Duration = Duration::from_millis(1_500);
/// Until everybody hears everybody.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(15);

/// What one window measured.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) control_p99_us: u64,
    /// Received of what was sent, of all subscribers.
    pub(crate) delivered: f64,
}

#[derive(Debug)]
struct Shared {
    stop: AtomicBool,
    latencies: Mutex<Histogram<u64>>,
    control: Mutex<Histogram<u64>>,
    sent: AtomicU64,
    received: AtomicU64,
    /// When each subscriber last heard each publisher.
    heard: Vec<[AtomicU64; PUBLISHERS as usize]>,
    ended: Mutex<Vec<String>>,
}

#[derive(Debug)]
pub(crate) struct Call {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// The participants' own sockets: what is sent on them comes from a validated tuple.
    pub(crate) tuples: Vec<UdpSocket>,
}

impl Call {
    pub(crate) fn start(node: &Node) -> Outcome<Self> {
        let histogram = || Histogram::new_with_bounds(1, 60_000_000, 3).said("histogram");
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            latencies: Mutex::new(histogram()?),
            control: Mutex::new(histogram()?),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            heard: (0..SUBSCRIBERS).map(|_| Default::default()).collect(),
            ended: Mutex::default(),
        });
        let mut call = Self {
            shared,
            threads: Vec::new(),
            tuples: Vec::new(),
        };
        for number in 0..PUBLISHERS {
            let identity = format!("publisher-{number}");
            let joining = Joining::new("call", &identity, Role::Publisher);
            let session = Session::connected(node, &joining, number)?;
            call.tuples.push(session.socket.try_clone().said("socket")?);
            call.spawn(&identity, move |shared| publish(session, shared));
        }
        for index in 0..SUBSCRIBERS {
            let identity = format!("subscriber-{index}");
            let joining = Joining::new("call", &identity, Role::Subscriber);
            let session = Session::connected(node, &joining, 100 + index as u64)?;
            call.tuples.push(session.socket.try_clone().said("socket")?);
            call.spawn(&identity, move |shared| subscribe(session, index, shared));
        }
        call.spawn("control", control);
        let begin = Instant::now();
        while let Err(why) = call.check() {
            if begin.elapsed() > SETTLE_TIMEOUT {
                return Err(format!("the call does not come about: {why}"));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(call)
    }

    fn spawn(&mut self, name: &str, run: impl FnOnce(&Shared) + Send + 'static) {
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new().name(name.to_owned());
        if let Ok(thread) = thread.spawn(move || run(&shared)) {
            self.threads.push(thread);
        }
    }

    /// Whether every subscriber hears every publisher, and no session has ended.
    pub(crate) fn check(&self) -> Outcome<()> {
        let ended = lock(&self.shared.ended);
        if let Some(why) = ended.first() {
            return Err(format!(
                "{} good sessions ended, the first: {why}",
                ended.len()
            ));
        }
        let now = now();
        for (subscriber, publishers) in self.shared.heard.iter().enumerate() {
            for (publisher, heard) in publishers.iter().enumerate() {
                let heard = Timestamp::from_nanos(heard.load(Ordering::Relaxed));
                if now.since(heard) > SILENCE_MAX {
                    return Err(format!(
                        "subscriber {subscriber} has not heard publisher {publisher} for {:?}",
                        now.since(heard)
                    ));
                }
            }
        }
        Ok(())
    }

    /// Forgets what was measured.
    pub(crate) fn open_window(&self) {
        lock(&self.shared.latencies).clear();
        lock(&self.shared.control).clear();
        self.shared.sent.store(0, Ordering::Relaxed);
        self.shared.received.store(0, Ordering::Relaxed);
    }

    /// What was measured since [`Call::open_window`].
    pub(crate) fn window(&self) -> Window {
        let latencies = lock(&self.shared.latencies);
        let sent = self.shared.sent.load(Ordering::Relaxed) * SUBSCRIBERS as u64;
        let received = self.shared.received.load(Ordering::Relaxed);
        Window {
            p50_us: latencies.value_at_quantile(0.5),
            p99_us: latencies.value_at_quantile(0.99),
            control_p99_us: lock(&self.shared.control).value_at_quantile(0.99),
            delivered: received as f64 / sent.max(1) as f64,
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn running(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn note_end(&self, session: &Session) -> bool {
        if let Some(why) = &session.ended {
            let text = format!("participant {}: {why}", session.number);
            lock(&self.ended).push(text);
        }
        session.ended.is_some()
    }
}

fn publish(mut session: Session, shared: &Shared) {
    let mut due = Instant::now();
    while shared.running() && !shared.note_end(&session) {
        if let Ok(packet) = session.rtp() {
            session.send(&packet);
            shared.sent.fetch_add(1, Ordering::Relaxed);
        }
        due += PACKET_INTERVAL;
        session.serve(due.saturating_duration_since(Instant::now()), &mut |_| {});
        session.rtcp.clear();
    }
    session.leave();
}

fn subscribe(mut session: Session, index: usize, shared: &Shared) {
    while shared.running() && !shared.note_end(&session) {
        session.serve(Duration::from_millis(200), &mut |rtp| {
            let at = now();
            let Some(mark) = Mark::of_packet(rtp) else {
                return;
            };
            let publisher = usize::try_from(mark.publisher).unwrap_or(usize::MAX);
            if let Some(heard) = shared.heard[index].get(publisher) {
                heard.store(at.as_nanos(), Ordering::Relaxed);
                shared.received.fetch_add(1, Ordering::Relaxed);
                record(&shared.latencies, at.since(mark.sent_at));
            }
        });
        session.rtcp.clear();
    }
    session.leave();
}

/// The same packets at the same pace, from one thread over a second to a third.
fn control(shared: &Shared) {
    let sockets = UdpSocket::bind("127.0.0.1:0").and_then(|receiver| {
        let relay = UdpSocket::bind("127.0.0.1:0")?;
        let sender = UdpSocket::bind("127.0.0.1:0")?;
        sender.connect(relay.local_addr()?)?;
        let timeout = Some(Duration::from_millis(100));
        receiver.set_read_timeout(timeout)?;
        relay.set_read_timeout(timeout)?;
        let to = receiver.local_addr()?;
        Ok((receiver, relay, sender, to))
    });
    let Ok((receiver, relay, sender, to)) = sockets else {
        return;
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut packet = [0; 1_500];
            while shared.running() {
                if let Ok(len) = relay.recv(&mut packet) {
                    let _ = relay.send_to(&packet[..len], to);
                }
            }
        });
        scope.spawn(|| {
            let mut packet = [0; 1_000];
            let mut due = Instant::now();
            while shared.running() {
                Mark::now(0).write(&mut packet);
                // Lost ones are not measured.
                let _ = sender.send(&packet);
                due += PACKET_INTERVAL / 4;
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
            }
        });
        let mut packet = [0; 1_500];
        while shared.running() {
            if let Ok(len) = receiver.recv(&mut packet)
                && let Some(mark) = Mark::read(&packet[..len])
            {
                record(&shared.control, now().since(mark.sent_at));
            }
        }
    });
}

fn record(histogram: &Mutex<Histogram<u64>>, latency: Duration) {
    let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
    lock(histogram).saturating_record(micros);
}
