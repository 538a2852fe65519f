//! A run: clients of a scenario join a server, hold a load while everything is measured, and leave.

mod crowd;
mod hold;
mod rooms;
mod sampling;

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use millrace_shared::dtls::{Identity, IdentityError};
use millrace_shared::time::Epoch;
use thiserror::Error;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::watch;

use crate::client::Server;
use crate::dial::DialError;
use crate::machine;
use crate::pump::{Pump, PumpConfig, PumpError, Sample, Source, epoch};
use crate::report::model::{self, Results, Slo, Step};
use crate::report::verdict::Bottleneck;
use crate::scenario::Scenario;
use crate::shard_metrics::MetricsPage;
use crate::watch::Process;

use crowd::Crowd;
pub use hold::{Hold, Live, Second};
pub use sampling::Sampling;

/// After the last join, before measuring: key frames, and layers that a server raises by and by.
pub const SETTLE: Duration = Duration::from_secs(2);

#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RunError {
    #[error(transparent)]
    Pump(#[from] PumpError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("process {pid} cannot be watched: {source}")]
    Watch { pid: u32, source: std::io::Error },
    #[error(transparent)]
    Url(#[from] DialError),
    #[error("nobody could join: {0}")]
    NobodyJoined(String),
}

/// Where clients send from.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum SourceChoice {
    /// Addresses of the loopback network: for a server on this host.
    #[default]
    Loopback,
    /// A network that is routed to this host as a whole, divided among the media threads.
    Network { first: Ipv4Addr, count: u32 },
    /// A port for each transport.
    Ports { first: u16, count: u16 },
}

impl SourceChoice {
    fn of_thread(&self, index: usize, threads: usize) -> Source {
        let threads_u32 = u32::try_from(threads).unwrap_or(1);
        let index_u32 = u32::try_from(index).unwrap_or(0);
        match self {
            Self::Loopback => Source::loopback(index),
            Self::Network { first, count } => {
                let share = count / threads_u32;
                Source::Network {
                    first: Ipv4Addr::from_bits(first.to_bits() + index_u32 * share),
                    count: share,
                }
            }
            Self::Ports { first, count } => {
                let share = count / u16::try_from(threads).unwrap_or(1);
                Source::Ports {
                    ip: Ipv4Addr::UNSPECIFIED.into(),
                    first: first + u16::try_from(index).unwrap_or(0) * share,
                    count: share,
                }
            }
        }
    }
}

/// Everything a run needs to know.
#[derive(Clone, Debug)]
pub struct RunConfig {
    pub server: Server,
    pub scenario: Scenario,
    /// Media threads, each with the CPU it is pinned to.
    pub threads: Vec<Option<usize>>,
    pub source: SourceChoice,
    /// How long packets may lie before they are looked at.
    pub receive_interval: Duration,
    pub joins_per_s: f64,
    /// Between the last join and measuring; mostly [`SETTLE`].
    pub settle: Duration,
    pub sampling: Sampling,
    /// The server's process, to be watched.
    pub pid: Option<u32>,
    /// Page with the server's metrics; otherwise `/metrics` of its URL.
    pub metrics: Option<String>,
    pub slo: Slo,
    /// As it was typed, without secrets.
    pub command_line: Vec<String>,
}

/// A run in progress.
#[derive(Debug)]
pub struct Run {
    config: RunConfig,
    pumps: Vec<Pump>,
    samples: UnboundedReceiver<Sample>,
    crowd: Crowd,
    metrics: MetricsPage,
    /// Of all timestamps.
    epoch: Epoch,
    began: Instant,
    results: Results,
    interrupted: watch::Receiver<bool>,
}

impl Run {
    /// Starts the media threads. `interrupted` ends what is going on, early but in order.
    pub fn start(config: RunConfig, interrupted: watch::Receiver<bool>) -> Result<Self, RunError> {
        let identity = Identity::generate()?;
        let epoch = epoch();
        let (samples_tx, samples) = unbounded_channel();
        let mut pumps = Vec::new();
        for (index, cpu) in config.threads.iter().enumerate() {
            let pump = PumpConfig {
                index,
                cpu: *cpu,
                source: config.source.of_thread(index, config.threads.len()),
                receive_interval: config.receive_interval,
                epoch,
                identity: identity.clone(),
            };
            pumps.push(Pump::start(pump, samples_tx.clone())?);
        }
        let server = server_facts(&config)?;
        let (url, page) = (&config.server.url, config.metrics.as_deref());
        let metrics = MetricsPage::new(url, page, &config.server.tls)?;
        let began = Instant::now();
        let crowd = Crowd::new(
            config.server.clone(),
            pumps.iter().map(Pump::handle).collect(),
            identity.fingerprint(),
            config.sampling,
            began,
        );
        let results = Results {
            schema: model::SCHEMA,
            generator: format!("millrace-loadgen {}", env!("CARGO_PKG_VERSION")),
            started_at: rfc3339_now(),
            command_line: config.command_line.clone(),
            scenario: model::Scenario {
                name: config.scenario.name.clone(),
                description: config.scenario.description.clone(),
                subscribers_noun: config.scenario.noun.clone(),
                codecs: config.scenario.codecs(),
                seed: 0,
            },
            slo: config.slo,
            machine: machine::facts(),
            server,
            ..Results::default()
        };
        Ok(Self {
            config,
            pumps,
            samples,
            crowd,
            metrics,
            epoch,
            began,
            results,
            interrupted,
        })
    }

    pub fn is_interrupted(&self) -> bool {
        *self.interrupted.borrow()
    }

    pub fn slo(&self) -> &Slo {
        &self.config.slo
    }

    /// What the load's size counts.
    pub fn noun(&self) -> &str {
        &self.config.scenario.noun
    }

    /// What a step that broke the service level ran into.
    pub fn bottleneck(&self, step: &Step) -> Bottleneck {
        Bottleneck::of(&self.results, step)
    }

    /// A sentence for the reader of the results.
    pub fn note(&mut self, note: String) {
        self.results.notes.push(note);
    }

    /// Everybody leaves, the threads end, and what was found comes out.
    pub async fn finish(mut self) -> Results {
        self.crowd.dismiss().await;
        if let Some(info) = self.crowd.server_info() {
            self.results.server.version.clone_from(&info.version);
            self.results.server.node_id = Some(info.node_id.clone());
        }
        if let Ok(told) = self.metrics.read().await {
            // A server that is compatible with another names that one's version to clients.
            if let Some(version) = told.version() {
                self.results.server.version = version.to_owned();
                self.results.server.name = "Millrace".to_owned();
            }
            self.results.server.backend = told.backend().map(str::to_owned);
        }
        for error in self.crowd.errors() {
            self.results.notes.push(error);
        }
        for pump in self.pumps {
            pump.stop();
        }
        self.results.interrupted = *self.interrupted.borrow();
        self.results
    }
}

fn server_facts(config: &RunConfig) -> Result<model::Server, RunError> {
    let mut server = model::Server {
        url: config.server.url.clone(),
        pid: config.pid,
        ..model::Server::default()
    };
    if let Some(pid) = config.pid {
        let process = Process { pid };
        let reading = process
            .read()
            .map_err(|source| RunError::Watch { pid, source })?;
        server.rss_idle_bytes = Some(reading.rss_bytes);
        server.name = process.name().unwrap_or_default();
        server.cpus = process.cpus();
        server.cpu_quota = process.cpu_quota();
        let shards: HashSet<u32> = reading
            .threads
            .iter()
            .filter_map(|thread| thread.shard())
            .collect();
        server.shards = Some(u32::try_from(shards.len()).unwrap_or(0)).filter(|it| *it > 0);
    }
    Ok(server)
}

/// The time of day in UTC (RFC 3339), by the civil calendar.
fn rfc3339_now() -> String {
    let since_epoch = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    rfc3339(since_epoch.as_secs())
}

fn rfc3339(unix_s: u64) -> String {
    // Days to a date by the proleptic Gregorian calendar, with years that begin in March
    // (Hinnant, "chrono-Compatible Low-Level Date Algorithms").
    let days = unix_s / 86_400 + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (unix_s / 3600 % 24, unix_s / 60 % 60, unix_s % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(rfc3339(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(1_795_264_653), "2026-11-21T12:37:33Z");
    }

    #[test]
    fn threads_divide_a_network() {
        let choice = SourceChoice::Network {
            first: Ipv4Addr::new(10, 9, 0, 1),
            count: 200,
        };
        assert_eq!(
            choice.of_thread(1, 2),
            Source::Network {
                first: Ipv4Addr::new(10, 9, 0, 101),
                count: 100
            }
        );
    }
}
