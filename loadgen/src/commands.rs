//! What each command does.

use std::error::Error;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use millrace_loadgen::capacity::{self, Search};
use millrace_loadgen::client::Server;
use millrace_loadgen::media::recording::Recording;
use millrace_loadgen::own_cost::{self, Bed, Traffic};
use millrace_loadgen::relay::Relay;
use millrace_loadgen::report::model::{Phase, Results, median};
use millrace_loadgen::run::{Hold, Run, RunConfig, SETTLE, Sampling};
use millrace_loadgen::scenario::{BUILT_IN_NAMES, Scenario, built_in, from_toml};
use millrace_loadgen::signal::Signal;
use millrace_loadgen::token::{ApiKey, Permission};
use tokio::sync::watch;

use crate::cli;
use crate::progress::Progress;
use crate::summary;

/// Whether the service level held.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    Met,
    Broken,
}

type Outcome = Result<Verdict, Box<dyn Error>>;

pub(crate) async fn run(args: &cli::Run) -> Outcome {
    let (config, relay) = config(&args.common).await?;
    let slo = config.slo;
    let size = args.size.unwrap_or(config.scenario.size_default);
    let name = format!("{} x {size}", config.scenario.name);
    let mut run = Run::start(config, on_interrupt())?;
    let mut progress = Progress::new();
    progress.begin_load(name.clone());
    let hold = Hold {
        size,
        duration: args.duration,
        phase: Phase::Raise,
        share_of_knee: None,
    };
    let held = run.hold(hold, &mut |live| progress.show_live(live)).await;
    let failure = held.map(|_| ()).err();
    let mut results = run.finish().await;
    progress.end();
    results.notes.extend(relay.map(|it| it.spoiled.to_string()));
    for step in &results.steps {
        println!("{name}");
        for line in summary::lines(step, &slo) {
            println!("  {line}");
        }
    }
    write(&args.common, &results)?;
    say_notes(&results);
    if let Some(failure) = failure {
        return Err(failure.into());
    }
    let met = results.steps.iter().all(|step| slo.is_met(step));
    Ok(if met { Verdict::Met } else { Verdict::Broken })
}

pub(crate) async fn capacity(args: &cli::Capacity) -> Outcome {
    let (config, relay) = config(&args.common).await?;
    let search = Search {
        start: args.start.unwrap_or(config.scenario.size_default).max(1),
        limit: args.limit,
        step: args.step,
        hold: args.hold,
    };
    let mut run = Run::start(config, on_interrupt())?;
    let mut progress = Progress::new();
    let found = capacity::find(&mut run, search, &mut progress).await;
    let mut results = run.finish().await;
    progress.end();
    results.notes.extend(relay.map(|it| it.spoiled.to_string()));
    if !results.interrupted {
        measure_own_cost(&args.common, &mut results).await;
    }
    write(&args.common, &results)?;
    say_notes(&results);
    let found = found?;
    println!("{found}");
    Ok(if found.knee.is_some() {
        Verdict::Met
    } else {
        Verdict::Broken
    })
}

/// What receiving such a load costs us, on the same CPUs: the server is idle by now.
async fn measure_own_cost(common: &cli::Common, results: &mut Results) {
    let Some(traffic) = Traffic::of(results) else {
        return;
    };
    let cpu = common.cpu.first().copied();
    let server_cpus = results.server.cpus.as_ref();
    let other = server_cpus.and_then(|cpus| cpus.first().map(|it| *it as usize));
    let bed = Bed {
        cpu,
        source_cpu: other.filter(|other| cpu.is_some_and(|cpu| cpu != *other)),
        receive_interval: Duration::from_micros(common.receive_interval_us),
        rounds: 3,
        window: Duration::from_secs(1),
    };
    match own_cost::measure(traffic, bed).await {
        Ok(cost) => {
            for line in summary::own_cost(&cost) {
                println!("{line}");
            }
            results.own_cost = Some(cost);
        }
        Err(error) => {
            let note = format!("what the generator itself costs was not measured: {error}");
            results.notes.push(note);
        }
    }
}

pub(crate) async fn join(join: &cli::Join) -> Outcome {
    let key = ApiKey::new(&join.server.api_key, &join.server.api_secret);
    let permission = Permission {
        publish: false,
        subscribe: true,
    };
    let token = key.join_token(&join.room, &join.identity, permission, SystemTime::now());
    let begun = Instant::now();
    let (mut signal, response) =
        Signal::join(&join.server.url, &join.server.tls()?, &token, true).await?;
    let server = response.server_info.unwrap_or_default();
    println!(
        "joined {} as {} in {:.1} ms; server {} (protocol {}), {} others in the room",
        join.room,
        join.identity,
        begun.elapsed().as_secs_f64() * 1e3,
        server.version,
        server.protocol,
        response.other_participants.len()
    );
    signal.leave().await?;
    Ok(Verdict::Met)
}

pub(crate) async fn own_cost(args: &cli::OwnCost) -> Outcome {
    let traffic = Traffic {
        subscribers: args.subscribers,
        sampled: args.sampled,
        streams: args.streams,
        audio: args.audio,
        packet_len: args.packet_len,
        packets_per_s: args.packets_per_second,
        train: args.train,
    };
    let bed = Bed {
        cpu: args.cpu,
        source_cpu: args.source_cpu,
        receive_interval: Duration::from_micros(args.receive_interval_us),
        rounds: args.rounds,
        window: args.window,
    };
    let cost = own_cost::measure(traffic, bed).await?;
    for line in summary::own_cost(&cost) {
        println!("{line}");
    }
    let held = median(&cost.over_drain_us()).is_some_and(|it| it <= args.limit);
    Ok(if held { Verdict::Met } else { Verdict::Broken })
}

pub(crate) fn report(report: &cli::Report) -> Outcome {
    Results::read(&report.results)?.write_page(&report.output)?;
    Ok(Verdict::Met)
}

/// What to run, and the relay that is to spoil media on the way.
async fn config(common: &cli::Common) -> Result<(RunConfig, Option<Relay>), Box<dyn Error>> {
    let threads = if common.cpu.is_empty() {
        vec![None]
    } else {
        common.cpu.iter().copied().map(Some).collect()
    };
    let mut scenario = scenario(&common.scenario)?;
    for path in &common.recording {
        let parsed = Recording::parse(&fs::read(path)?);
        let recording = parsed.map_err(|error| format!("{}: {error}", path.display()))?;
        scenario.play(&Arc::new(recording));
    }
    if let Some(impairment) = common.impair {
        scenario.impair_subscribers(impairment);
    }
    let relay = match (common.media_address, common.spoil) {
        (Some(server), Some(faults)) => Some(Relay::start(server, faults).await?),
        _ => None,
    };
    let config = RunConfig {
        server: Server {
            url: common.server.url.clone(),
            key: ApiKey::new(&common.server.api_key, &common.server.api_secret),
            tls: common.server.tls()?,
            single: common.single_connection,
            media_address: relay.as_ref().map(|it| it.address).or(common.media_address),
        },
        scenario,
        threads,
        source: common.source.clone(),
        receive_interval: Duration::from_micros(common.receive_interval_us),
        joins_per_s: common.joins_per_second,
        settle: SETTLE,
        sampling: Sampling {
            subscribers: common.sampled,
        },
        pid: common.pid,
        metrics: common.metrics.clone(),
        slo: common.slo.slo(),
        command_line: command_line(std::env::args()),
    };
    Ok((config, relay))
}

fn scenario(name: &str) -> Result<Scenario, Box<dyn Error>> {
    if let Some(scenario) = built_in(name) {
        return Ok(scenario);
    }
    let text = fs::read_to_string(name).map_err(|error| {
        let names = BUILT_IN_NAMES.join(", ");
        format!("{name} is none of {names}, and cannot be read as a file: {error}")
    })?;
    from_toml(&text).map_err(|error| format!("{name}: {error}").into())
}

/// The arguments, without the secret.
fn command_line(arguments: impl Iterator<Item = String>) -> Vec<String> {
    let mut hide_next = false;
    arguments
        .map(|argument| {
            if std::mem::take(&mut hide_next) {
                return "***".to_owned();
            }
            hide_next = argument == "--api-secret";
            if argument.starts_with("--api-secret=") {
                return "--api-secret=***".to_owned();
            }
            argument
        })
        .collect()
}

/// Becomes true with the first Ctrl-C; the second one ends the process as usual.
fn on_interrupt() -> watch::Receiver<bool> {
    let (tx, rx) = watch::channel(false);
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            // Nobody listens when the run is over already.
            let _ = tx.send(true);
            eprintln!("ending; once more to end at once");
        }
        if tokio::signal::ctrl_c().await.is_ok() {
            std::process::exit(130);
        }
    });
    rx
}

fn write(common: &cli::Common, results: &Results) -> Result<(), Box<dyn Error>> {
    if let Some(page) = &common.report {
        results.write(page)?;
        println!("the report is {}", page.display());
    }
    Ok(())
}

fn say_notes(results: &Results) {
    for note in &results.notes {
        println!("note: {note}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_does_not_reach_the_report() {
        let arguments = ["x", "--api-secret", "s3cret", "--api-secret=s3cret", "run"];
        let shown = command_line(arguments.into_iter().map(str::to_owned));
        assert!(!shown.join(" ").contains("s3cret"), "{shown:?}");
        assert_eq!(shown.last().unwrap(), "run");
    }

    #[test]
    fn an_unknown_scenario_names_those_there_are() {
        let error = scenario("livstream").unwrap_err().to_string();
        assert!(error.contains("livestream"), "{error}");
    }
}
