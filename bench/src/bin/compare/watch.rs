//! Looks at a server's process while a load comes and goes.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use millrace_bench::bed::Bed;
use millrace_loadgen::watch::Process;

use crate::scrape::{self, Counters};
use crate::server::{LOAD_CPU, Ready, Running};

const PERIOD: Duration = Duration::from_millis(200);

/// A look at the process.
#[derive(Copy, Clone, PartialEq, Debug, Default)]
pub(crate) struct Look {
    /// Since the watch began.
    pub(crate) at_s: f64,
    pub(crate) cpu_s: f64,
    pub(crate) rss_bytes: u64,
}

impl Look {
    pub(crate) fn at(pid: u32, at: Duration) -> Option<Self> {
        let totals = Process { pid }.totals().ok()?;
        Some(Self {
            at_s: at.as_secs_f64(),
            cpu_s: totals.user_s + totals.system_s,
            rss_bytes: totals.rss_bytes,
        })
    }
}

/// What was seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) looks: Vec<Look>,
    /// With the time since the watch began; of Millrace alone.
    pub(crate) counters: Vec<(f64, Counters)>,
}

impl Seen {
    /// The last look before a time.
    pub(crate) fn before(&self, at_s: f64) -> Option<Look> {
        let earlier = self.looks.iter().take_while(|look| look.at_s <= at_s);
        earlier.last().copied()
    }

    /// How much each counter grew per second between two times.
    pub(crate) fn rates(&self, from_s: f64, to_s: f64) -> Option<Counters> {
        let mut within = self
            .counters
            .iter()
            .filter(|(at_s, _)| (from_s..=to_s).contains(at_s));
        let first = within.next()?;
        let last = within.next_back()?;
        let rate = |(name, value): (&String, &f64)| {
            let grown = value - first.1.get(name)?;
            Some((name.clone(), grown / (last.0 - first.0)))
        };
        Some(last.1.iter().filter_map(rate).collect())
    }
}

/// Looks now and then until it is ended.
pub(crate) struct Watch {
    begun: Instant,
    over: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
    looker: JoinHandle<()>,
    scraper: Option<(Running, JoinHandle<()>)>,
}

impl Watch {
    pub(crate) fn begin(server: &Ready) -> Self {
        let begun = Instant::now();
        let over = Arc::new(AtomicBool::new(false));
        let seen = Arc::new(Mutex::new(Seen::default()));
        let pid = server.pid;
        let looker = {
            let (over, seen) = (Arc::clone(&over), Arc::clone(&seen));
            std::thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let look = Look::at(pid, begun.elapsed());
                    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                    seen.looks.extend(look);
                    drop(seen);
                    std::thread::sleep(PERIOD);
                }
            })
        };
        let scraper = spawn_scraper(server).and_then(|mut child| {
            let lines = BufReader::new(child.0.stdout.take()?).lines();
            let seen = Arc::clone(&seen);
            let reader = std::thread::spawn(move || {
                for line in lines.map_while(Result::ok) {
                    let counters = (begun.elapsed().as_secs_f64(), scrape::read_line(&line));
                    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                    seen.counters.push(counters);
                }
            });
            Some((child, reader))
        });
        Self {
            begun,
            over,
            seen,
            looker,
            scraper,
        }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    pub(crate) fn end(self) -> Seen {
        self.over.store(true, Ordering::Relaxed);
        // A thread that panicked has said so; what it saw counts.
        let _ = self.looker.join();
        if let Some((child, reader)) = self.scraper {
            drop(child);
            let _ = reader.join();
        }
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Ourselves, in the client's namespace; nothing where there is no bed.
fn spawn_scraper(server: &Ready) -> Option<Running> {
    let address = server.url.strip_prefix("ws://")?;
    let this = std::env::current_exe().ok()?;
    let mut command = match &server.bed {
        Some(bed) => Bed::command(&bed.client_namespace, LOAD_CPU, this.to_str()?),
        None => Command::new(this),
    };
    command
        .args(["scrape", address])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map(Running)
        .ok()
}
