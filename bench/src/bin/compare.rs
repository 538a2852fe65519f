//! The same load against two servers in turn, A B A B, each alone on its CPU.
#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use clap::Parser;
use millrace_bench::bed::Bed;
use millrace_bench::stats::Spread;
use millrace_loadgen::report::latency::Latency;
use millrace_loadgen::report::model::{Results, Step};

const PORT: u16 = 7_880;
const KEY: &str = "devkey";
const SECRET: &str = "a-secret-of-the-bench-bed-with-32-characters";
const SERVER_CPU: usize = 0;
const LOAD_CPU: usize = 1;
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs a load against two LiveKit-compatible servers in turn and prints both and their ratio.
///
/// A server is a command, started on the bench bed (needs root): two network namespaces and a veth
/// pair that cuts trains, the server on CPU 0, the load on CPU 1. Or it is a server that runs
/// already, given as URL#PID, with the API key `devkey` and the secret of `--secret`.
#[derive(Parser, Debug)]
struct Arguments {
    /// First server, as NAME=COMMAND or NAME=URL#PID
    #[arg(long, value_parser = server)]
    a: Server,
    /// Second server
    #[arg(long, value_parser = server)]
    b: Server,
    /// Scenario of millrace-loadgen and its size, as livestream:100; may be given again
    #[arg(long, required = true, value_parser = load)]
    load: Vec<Load>,
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    #[arg(long, default_value = "10s")]
    duration: String,
    #[arg(long, default_value = SECRET)]
    secret: String,
    /// Where the JSON of every run goes
    #[arg(long, default_value = "target/compare")]
    output: PathBuf,
}

#[derive(Clone, Debug)]
struct Server {
    name: String,
    origin: Origin,
}

#[derive(Clone, Debug)]
enum Origin {
    Command(Vec<String>),
    Running { url: String, pid: u32 },
}

fn server(text: &str) -> Result<Server, String> {
    let (name, origin) = text.split_once('=').ok_or("NAME=COMMAND or NAME=URL#PID")?;
    let origin = if origin.starts_with("ws://") || origin.starts_with("wss://") {
        let (url, pid) = origin.split_once('#').ok_or("a URL needs #PID behind it")?;
        let pid = pid.parse().map_err(|_| format!("{pid} is no process"))?;
        let url = url.to_owned();
        Origin::Running { url, pid }
    } else {
        Origin::Command(origin.split_whitespace().map(str::to_owned).collect())
    };
    let name = name.to_owned();
    Ok(Server { name, origin })
}

#[derive(Clone, Debug)]
struct Load {
    scenario: String,
    size: u32,
}

fn load(text: &str) -> Result<Load, String> {
    let (scenario, size) = text.split_once(':').ok_or("SCENARIO:SIZE")?;
    let size = size.parse().map_err(|_| format!("{size} is no number"))?;
    let scenario = scenario.to_owned();
    Ok(Load { scenario, size })
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments
        .load
        .iter()
        .try_for_each(|it| compare(&arguments, it))
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("compare: {sentence}");
            ExitCode::FAILURE
        }
    }
}

fn compare(arguments: &Arguments, load: &Load) -> Result<(), String> {
    fs::create_dir_all(&arguments.output).map_err(|error| error.to_string())?;
    let mut figures: [Vec<Figures>; 2] = [Vec::new(), Vec::new()];
    for round in 0..arguments.rounds {
        for (server, figures) in [&arguments.a, &arguments.b].into_iter().zip(&mut figures) {
            let name = format!("{}-{}-{}-{round}", load.scenario, load.size, server.name);
            let page = arguments.output.join(name).with_extension("html");
            let results = measure(arguments, server, load, &page)?;
            figures.push(Figures::of(&results)?);
        }
    }
    print(arguments, load, &figures);
    Ok(())
}

/// One run of the generator against one server.
fn measure(
    arguments: &Arguments,
    server: &Server,
    load: &Load,
    page: &Path,
) -> Result<Results, String> {
    let generator = std::env::current_exe()
        .map_err(|error| error.to_string())?
        .with_file_name("millrace-loadgen");
    let generator = generator.to_str().ok_or("a path that is no text")?;
    let (mut command, url, pid, on_bed) = match &server.origin {
        Origin::Running { url, pid } => (Command::new(generator), url.clone(), *pid, None),
        Origin::Command(words) => {
            let bed = Bed::make()?;
            let child = start(&bed, words)?;
            let command = Bed::command(&bed.client_namespace, LOAD_CPU, generator);
            let url = format!("ws://{}:{PORT}", Bed::server_address());
            let pid = child.0.id();
            (command, url, pid, Some((child, bed)))
        }
    };
    command
        .args(["run", &load.scenario, "--size", &load.size.to_string()])
        .args([
            "--url",
            &url,
            "--api-key",
            KEY,
            "--duration",
            &arguments.duration,
        ])
        .args(["--api-secret", &arguments.secret])
        .args(["--pid", &pid.to_string(), "--cpu", &LOAD_CPU.to_string()])
        .arg("--report")
        .arg(page)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if on_bed.is_some() {
        command.args(["--source", &format!("{}/16", millrace_bench::bed::CLIENTS)]);
    }
    let _ = fs::remove_file(page.with_extension("json"));
    // It ends with a failure where the service level breaks, which is a result.
    command.status().map_err(|error| error.to_string())?;
    drop(on_bed);
    Results::read(&page.with_extension("json")).map_err(|error| error.to_string())
}

/// A server of ours, ended when dropped.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(bed: &Bed, words: &[String]) -> Result<Started, String> {
    let (program, rest) = words.split_first().ok_or("an empty command")?;
    let address = Bed::server_address();
    let config = format!(
        "port: {PORT}\nrtc:\n  udp_port: 7882\n  tcp_port: 7881\n  use_external_ip: false\n\
         logging:\n  level: warn\nkeys:\n  {KEY}: {SECRET}\n"
    );
    let child = Bed::command(&bed.server_namespace, SERVER_CPU, program)
        .args(rest)
        .args(["--node-ip", &address.to_string()])
        .env("LIVEKIT_CONFIG", config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("{program} does not start: {error}"))?;
    let mut started = Started(child);
    let begun = Instant::now();
    while !bed.listens(PORT)? {
        if let Ok(Some(status)) = started.0.try_wait() {
            return Err(format!("{program} ended with {status}"));
        }
        if begun.elapsed() > START_TIMEOUT {
            return Err(format!("{program} does not listen on {address}:{PORT}"));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(started)
}

/// What is compared, of one run.
struct Figures(Vec<(&'static str, Option<f64>)>);

impl Figures {
    fn of(results: &Results) -> Result<Self, String> {
        let step = results.steps.last().ok_or("a run without a step")?;
        Ok(Self(vec![
            (
                "packets/s delivered",
                Some(step.delivered.packets as f64 / step.measured_s),
            ),
            ("lost, %", Some(lost_percent(step))),
            (
                "server CPU, %",
                cpu_s(step).map(|it| 100.0 * it / step.measured_s),
            ),
            (
                "CPU per packet, us",
                cpu_s(step).map(|it| 1e6 * it / (step.delivered.packets.max(1)) as f64),
            ),
            ("latency p50, us", micros(&step.latency, 50.0)),
            ("latency p99, us", micros(&step.latency, 99.0)),
            (
                "RSS, MB",
                step.usage.as_ref().map(|it| it.rss_bytes as f64 / 1e6),
            ),
            ("RSS per subscriber, kB", rss_per_subscriber(results, step)),
            (
                "join p50, ms",
                micros(&step.joins.latency, 50.0).map(|it| it / 1e3),
            ),
            (
                "generator limited",
                Some(f64::from(u8::from(step.generator.limited_by.is_some()))),
            ),
        ]))
    }
}

fn micros(latency: &Latency, percentile: f64) -> Option<f64> {
    latency.percentile_ns(percentile).map(|it| it as f64 / 1e3)
}

fn lost_percent(step: &Step) -> f64 {
    100.0 * step.integrity.lost as f64 / (step.integrity.expected.max(1)) as f64
}

fn cpu_s(step: &Step) -> Option<f64> {
    step.usage
        .as_ref()
        .map(|it| it.cpu_user_s + it.cpu_system_s)
}

fn rss_per_subscriber(results: &Results, step: &Step) -> Option<f64> {
    let grown = step
        .usage
        .as_ref()?
        .rss_bytes
        .checked_sub(results.server.rss_idle_bytes?)?;
    Some(grown as f64 / 1e3 / f64::from(step.offered.subscribers.max(1)))
}

fn print(arguments: &Arguments, load: &Load, figures: &[Vec<Figures>; 2]) {
    let [a, b] = figures;
    println!(
        "{} {}, {} rounds of {}: median (min-max)",
        load.scenario, load.size, arguments.rounds, arguments.duration
    );
    println!(
        "| figure | {} | {} | {0}/{1} by round |",
        arguments.a.name, arguments.b.name
    );
    println!("|---|---|---|---|");
    let names = a.first().map_or(&[][..], |first| &first.0);
    for (row, (name, _)) in names.iter().enumerate() {
        let values =
            |of: &[Figures]| -> Vec<f64> { of.iter().filter_map(|it| it.0.get(row)?.1).collect() };
        let (left, right) = (values(a), values(b));
        let ratios: Vec<f64> = left.iter().zip(&right).map(|(a, b)| a / b).collect();
        let cell = |values: &[f64]| {
            if values.is_empty() {
                "-".to_owned()
            } else {
                Spread::of(values).to_string()
            }
        };
        println!(
            "| {name} | {} | {} | {} |",
            cell(&left),
            cell(&right),
            cell(&ratios)
        );
    }
    println!();
}
