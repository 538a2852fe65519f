//! The command line.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use millrace_loadgen::dial::{Address, DialError, Tls, Trust};
use millrace_loadgen::impair::Impairment;
use millrace_loadgen::pump::RECEIVE_INTERVAL;
use millrace_loadgen::relay::Faults;
use millrace_loadgen::report::model::Slo;
use millrace_loadgen::run::SourceChoice;

/// Loads a LiveKit-compatible server with clients that publish and receive media, and measures what
/// comes through.
#[derive(Debug, Parser)]
#[command(name = "millrace-loadgen", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Hold one load and measure it
    Run(Run),
    /// Raise the load until the service level breaks, and look at it around that point
    Capacity(Capacity),
    /// Join one silent client, say what the server tells it, and leave
    Join(Join),
    /// Measure what the generator itself costs per packet, beyond receiving it
    OwnCost(OwnCost),
    /// Draw the report of a run again from its JSON
    Report(Report),
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Server {
    /// The server, as clients are given it
    #[arg(long, env = "LIVEKIT_URL", default_value = "ws://127.0.0.1:7880")]
    pub(crate) url: String,
    #[arg(long, env = "LIVEKIT_API_KEY", default_value = "devkey")]
    pub(crate) api_key: String,
    #[arg(
        long,
        env = "LIVEKIT_API_SECRET",
        hide_env_values = true,
        default_value = "secret"
    )]
    pub(crate) api_secret: String,
    /// Trust the certificates of these authorities (PEM) instead of those that this host trusts
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    pub(crate) ca: Option<PathBuf>,
    /// Trust whatever certificate the server shows
    #[arg(long)]
    pub(crate) insecure: bool,
}

impl Server {
    pub(crate) fn tls(&self) -> Result<Tls, DialError> {
        match &self.ca {
            _ if !Address::parse(&self.url)?.secure => Ok(Tls::NONE),
            Some(file) => Tls::new(Trust::File(file)),
            None if self.insecure => Tls::new(Trust::Anyone),
            None => Tls::new(Trust::Host),
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Join {
    #[command(flatten)]
    pub(crate) server: Server,
    #[arg(long, default_value = "loadgen")]
    pub(crate) room: String,
    #[arg(long, default_value = "silent")]
    pub(crate) identity: String,
}

#[derive(Debug, Args)]
pub(crate) struct Report {
    /// The JSON that was written beside the report
    pub(crate) results: PathBuf,
    /// The page to write
    #[arg(short, long, default_value = "report.html")]
    pub(crate) output: PathBuf,
}

/// What every kind of run takes.
#[derive(Clone, Debug, Args)]
pub(crate) struct Common {
    #[command(flatten)]
    pub(crate) server: Server,
    /// audio, meeting, livestream, screenshare, churn, mixed, idle, or a TOML file
    pub(crate) scenario: String,
    /// Process of the server, whose CPU, memory and socket drops are read
    #[arg(long)]
    pub(crate) pid: Option<u32>,
    /// Page with the server's metrics, if it is not /metrics of its URL
    #[arg(long, value_name = "URL")]
    pub(crate) metrics: Option<String>,
    /// CPU for a media thread; given again, there is another thread
    #[arg(long)]
    pub(crate) cpu: Vec<usize>,
    /// Where clients send from: loopback, a network routed to this host (10.9.0.0/16), or ports
    /// (20000-20999)
    #[arg(long, default_value = "loopback", value_parser = source)]
    pub(crate) source: SourceChoice,
    /// Send media here instead of to the server's candidates
    #[arg(long)]
    pub(crate) media_address: Option<SocketAddr>,
    /// How long packets may lie before they are looked at, while more of them come. It saves
    /// wake-ups and is not in the latency: the kernel notes when packets arrive. 0 looks at once
    #[arg(long, default_value_t = RECEIVE_INTERVAL.as_micros() as u64)]
    pub(crate) receive_interval_us: u64,
    /// Clients with a single peer connection (/rtc/v1) instead of two
    #[arg(long)]
    pub(crate) single_connection: bool,
    #[arg(long, default_value_t = 50.0)]
    pub(crate) joins_per_second: f64,
    /// Subscribers of which every packet is decrypted, checked and timed, spread evenly over all. A
    /// search goes back to smaller loads with fewer of them: none begins to be sampled later
    #[arg(long, default_value_t = 30)]
    pub(crate) sampled: u32,
    /// A bad network for those who only subscribe, as loss=1%,delay=30ms,jitter=5ms,rate=2M
    #[arg(long, value_parser = impairment)]
    pub(crate) impair: Option<Impairment>,
    /// Spoil media between the server, whose UDP address is then --media-address, and its
    /// subscribers: delay=20ms,service=5us (for each packet, one after the other),
    /// duplicate=20,reorder=7,forge=100,drop=50 (every n-th packet of a client). It shows that the
    /// generator finds what is known beforehand
    #[arg(long, requires = "media_address", value_parser = faults)]
    pub(crate) spoil: Option<Faults>,
    /// Send this instead of made media: IVF with VP8, Ogg with Opus, or H.264 in Annex B
    #[arg(long, value_name = "FILE")]
    pub(crate) recording: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) slo: SloArgs,
    /// Page to write the report to; JSON and CSV are written beside it
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
}

/// The service level: a run that breaks it ends with a failure.
#[derive(Copy, Clone, Debug, Args)]
pub(crate) struct SloArgs {
    /// 99th percentile of the forwarding latency
    #[arg(long, default_value_t = 5.0)]
    slo_latency_ms: f64,
    /// Share of packets lost
    #[arg(long, default_value_t = 0.001)]
    slo_loss: f64,
    /// 99th percentile of a join
    #[arg(long, default_value_t = 2000.0)]
    slo_join_ms: f64,
}

impl SloArgs {
    pub(crate) fn slo(self) -> Slo {
        Slo {
            latency_p99_ns_max: (self.slo_latency_ms * 1e6) as u64,
            loss_ratio_max: self.slo_loss,
            join_p99_ns_max: (self.slo_join_ms * 1e6) as u64,
        }
    }
}

#[derive(Clone, Debug, Args)]
pub(crate) struct OwnCost {
    #[arg(long, default_value_t = 200)]
    pub(crate) subscribers: u32,
    /// Subscribers of which every packet is decrypted, checked and timed
    #[arg(long, default_value_t = 20)]
    pub(crate) sampled: u32,
    /// Streams to each subscriber
    #[arg(long, default_value_t = 1)]
    pub(crate) streams: u32,
    /// Streams of sound instead of pictures
    #[arg(long)]
    pub(crate) audio: bool,
    #[arg(long, default_value_t = 1100)]
    pub(crate) packet_len: usize,
    /// To all subscribers together
    #[arg(long, default_value_t = 50_000.0)]
    pub(crate) packets_per_second: f64,
    /// Packets that come to a subscriber at once
    #[arg(long, default_value_t = 2)]
    pub(crate) train: u32,
    #[arg(long, default_value_t = 5)]
    pub(crate) rounds: u32,
    /// How long each of the two is fed in a round
    #[arg(long, default_value = "1s", value_parser = duration)]
    pub(crate) window: Duration,
    #[arg(long, default_value_t = RECEIVE_INTERVAL.as_micros() as u64)]
    pub(crate) receive_interval_us: u64,
    /// CPU of the threads that receive
    #[arg(long)]
    pub(crate) cpu: Option<usize>,
    /// CPU of the thread that sends
    #[arg(long)]
    pub(crate) source_cpu: Option<usize>,
    /// Microseconds a packet beyond which the command fails
    #[arg(long, default_value_t = 0.25)]
    pub(crate) limit: f64,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) common: Common,
    /// How many viewers, listeners, participants...; what it counts depends on the scenario
    #[arg(long)]
    pub(crate) size: Option<u32>,
    /// How long to measure, as 30, 30s or 2m
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub(crate) duration: Duration,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Capacity {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Load to begin with
    #[arg(long)]
    pub(crate) start: Option<u32>,
    /// Load beyond which not to look
    #[arg(long, default_value_t = 10_000)]
    pub(crate) limit: u32,
    /// How long each load is held while searching
    #[arg(long, default_value = "8s", value_parser = duration)]
    pub(crate) step: Duration,
    /// How long 70, 95, 150 and 200 % of the knee are held
    #[arg(long, default_value = "15s", value_parser = duration)]
    pub(crate) hold: Duration,
}

fn duration(text: &str) -> Result<Duration, String> {
    let (number, factor) = match text.strip_suffix('m') {
        Some(minutes) => (minutes, 60.0),
        None => (text.strip_suffix('s').unwrap_or(text), 1.0),
    };
    let seconds = number.parse::<f64>().ok().map(|number| number * factor);
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| format!("{text} is no duration such as 30s or 2m"))
}

fn impairment(text: &str) -> Result<Impairment, String> {
    let mut impairment = Impairment::default();
    for part in text.split(',') {
        let (name, value) = part.split_once('=').ok_or("a part is name=value")?;
        let wrong = || format!("{value} is no value for {name}");
        let number = |text: &str| text.parse::<f64>().map_err(|_| wrong());
        let time = || {
            let ms = number(value.strip_suffix("ms").unwrap_or(value))?;
            Duration::try_from_secs_f64(ms / 1e3).map_err(|_| wrong())
        };
        match name {
            "loss" => {
                let percent = value.strip_suffix('%');
                let factor = if percent.is_some() { 0.01 } else { 1.0 };
                impairment.loss = number(percent.unwrap_or(value))? * factor;
            }
            "delay" => impairment.delay = time()?,
            "jitter" => impairment.jitter = time()?,
            "rate" => {
                let (digits, factor) = match value.strip_suffix(['M', 'k']) {
                    Some(digits) if value.ends_with('M') => (digits, 1e6),
                    Some(digits) => (digits, 1e3),
                    None => (value, 1.0),
                };
                impairment.rate_bps = Some((number(digits)? * factor) as u64);
            }
            _ => return Err(format!("{name} is none of loss, delay, jitter and rate")),
        }
    }
    Ok(impairment)
}

fn faults(text: &str) -> Result<Faults, String> {
    let mut faults = Faults::default();
    for part in text.split(',') {
        let (name, value) = part.split_once('=').ok_or("a part is name=value")?;
        let wrong = || format!("{value} is no value for {name}");
        let every = || value.parse().map_err(|_| wrong());
        let time = || {
            let (digits, unit_s) = match value.strip_suffix("us") {
                Some(digits) => (digits, 1e-6),
                None => (value.strip_suffix("ms").unwrap_or(value), 1e-3),
            };
            let number: f64 = digits.parse().map_err(|_| wrong())?;
            Duration::try_from_secs_f64(number * unit_s).map_err(|_| wrong())
        };
        match name {
            "delay" => faults.delay = time()?,
            "service" => faults.service = time()?,
            "duplicate" => faults.duplicate_every = every()?,
            "reorder" => faults.reorder_every = every()?,
            "forge" => faults.forge_every = every()?,
            "drop" => faults.drop_every = every()?,
            _ => {
                return Err(format!(
                    "{name} is none of delay, service, duplicate, reorder, forge and drop"
                ));
            }
        }
    }
    Ok(faults)
}

fn source(text: &str) -> Result<SourceChoice, String> {
    let network = || {
        let (ip, prefix) = text.split_once('/')?;
        let ip: Ipv4Addr = ip.parse().ok()?;
        let prefix: u32 = prefix.parse().ok().filter(|it| (8..=30).contains(it))?;
        // Without the network's own address and its broadcast.
        Some(SourceChoice::Network {
            first: Ipv4Addr::from_bits((ip.to_bits() & (u32::MAX << (32 - prefix))) + 1),
            count: (1 << (32 - prefix)) - 2,
        })
    };
    let ports = || {
        let (first, last) = text.split_once('-')?;
        let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
        Some(SourceChoice::Ports {
            first,
            count: last.checked_sub(first)?.checked_add(1)?,
        })
    };
    if text == "loopback" {
        return Ok(SourceChoice::Loopback);
    }
    network()
        .or_else(ports)
        .ok_or_else(|| format!("{text} is neither loopback, nor a network, nor a range of ports"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration("30"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("2m"), Ok(Duration::from_mins(2)));
        assert!(duration("0").is_err());
        assert!(duration("soon").is_err());
    }

    #[test]
    fn impairments() {
        let expected = Impairment {
            loss: 0.01,
            delay: Duration::from_millis(30),
            jitter: Duration::from_millis(5),
            rate_bps: Some(2_000_000),
        };
        let text = "loss=1%,delay=30ms,jitter=5,rate=2M";
        assert_eq!(impairment(text), Ok(expected));
        assert!(impairment("luck=3").is_err());
        assert!(impairment("loss").is_err());
    }

    #[test]
    fn faults_of_a_relay() {
        let expected = Faults {
            delay: Duration::from_millis(20),
            service: Duration::from_micros(5),
            forge_every: 100,
            ..Faults::default()
        };
        assert_eq!(faults("delay=20ms,service=5us,forge=100"), Ok(expected));
        assert!(faults("forge=often").is_err());
        assert!(faults("luck=3").is_err());
    }

    #[test]
    fn sources() {
        assert_eq!(source("loopback"), Ok(SourceChoice::Loopback));
        assert_eq!(
            source("10.9.0.0/16"),
            Ok(SourceChoice::Network {
                first: Ipv4Addr::new(10, 9, 0, 1),
                count: 65_534
            })
        );
        assert_eq!(
            source("20000-20009"),
            Ok(SourceChoice::Ports {
                first: 20_000,
                count: 10
            })
        );
        assert!(source("9-1").is_err());
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }
}
