//! Attacks on a node that carries a call: what a stranger, a participant or a client can send, and
//! whether the call notices. Ends with a failure when one attack does what it should not.
#![forbid(unsafe_code)]

mod arena;
mod attacks;
mod call;
mod client;
mod node;
mod outcome;
mod report;
mod token;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;

use arena::{Arena, Finding};
use attacks::Attack;
use call::{Call, Window};
use node::Node;
use outcome::{Outcome, Said as _};
use report::{Row, mebibytes, millis};

/// How long the call is measured before the first attack.
const IDLE_QUICK: Duration = Duration::from_secs(5);
const IDLE_DEEP: Duration = Duration::from_secs(20);
/// How long memory may take to come back.
const MEMORY_QUICK: Duration = Duration::from_secs(15);
const MEMORY_DEEP: Duration = Duration::from_secs(60);
/// What scheduling adds on a machine whose two CPUs the attackers, the call and the node share.
const LATENCY_NOISE_US: u64 = 5_000;
/// Long enough for a 99th percentile: the call has 900 packets a second.
const WINDOW_MIN: Duration = Duration::from_secs(2);
/// How often an attack is run in which nothing but the latency was wrong.
const ATTEMPTS_MAX: usize = 3;
/// What the allocator keeps of the peaks, by how many threads met them. Measured: 5 to 10 MiB.
const MEMORY_NOISE: u64 = 16 << 20;

#[derive(Debug, Parser)]
#[command(about)]
struct Arguments {
    /// The server to attack; the one that was built with this program otherwise
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Fewer of everything: four minutes
    #[arg(long)]
    quick: bool,
    /// All of it so many times, on one node
    #[arg(long, default_value_t = 1)]
    rounds: u32,
    /// Only attacks whose id is given; may be repeated
    #[arg(long)]
    only: Vec<String>,
    /// Also writes the table as Markdown
    #[arg(long)]
    markdown: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(sentence) => {
            eprintln!("hostile: {sentence}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the attacks; gives how many went wrong.
fn run(arguments: &Arguments) -> Outcome<usize> {
    for id in &arguments.only {
        if !attacks::all().iter().any(|attack| attack.id == id) {
            return Err(format!("no attack has the id {id}"));
        }
    }
    let binary = match &arguments.binary {
        Some(binary) => binary.clone(),
        None => std::env::current_exe()
            .said("path of this program")?
            .with_file_name("millrace"),
    };
    let node = Node::start(&binary)?;
    let call = Call::start(&node)?;
    let mut arena = Arena::new(node, call, arguments.quick);
    let idle = idle(&mut arena)?;
    let begin_rss = arena.node.rss();
    println!(
        "the call alone: p50 {} p99 {} (control flow p99 {}), memory {}",
        millis(idle.p50_us),
        millis(idle.p99_us),
        millis(idle.control_p99_us),
        mebibytes(begin_rss)
    );
    let mut rows = Vec::new();
    let rounds = (0..arguments.rounds).flat_map(|_| attacks::all());
    for attack in rounds {
        let wanted = arguments.only.iter().any(|id| id == attack.id);
        if !arguments.only.is_empty() && !wanted {
            continue;
        }
        let row = stand(&mut arena, &attack, &idle);
        report::print(&row);
        let over = arena.node.check().is_err();
        rows.push(row);
        if over {
            break;
        }
    }
    rows.push(memory(&mut arena, begin_rss));
    if let Some(row) = rows.last() {
        report::print(row);
    }
    let failed = rows.iter().filter(|row| !row.pass).count();
    println!("hostile: {} passed, {failed} failed", rows.len() - failed);
    if let Some(path) = &arguments.markdown {
        std::fs::write(path, report::markdown(&rows)).said("table")?;
    }
    Ok(failed)
}

fn idle(arena: &mut Arena) -> Outcome<Window> {
    let time = if arena.quick { IDLE_QUICK } else { IDLE_DEEP };
    arena.call.open_window();
    std::thread::sleep(time);
    arena.node.check()?;
    arena.call.check()?;
    Ok(arena.call.window())
}

/// One attack under the rules that hold for all: the node lives, the call goes on, and the slowest
/// hundredth of its packets take at most twice as long as without an attack, and what the machine
/// itself adds: as much as the control flow suffers meanwhile, and a floor.
fn stand(arena: &mut Arena, attack: &Attack, idle: &Window) -> Row {
    let mut row = attempt(arena, attack, idle);
    for _ in 1..ATTEMPTS_MAX {
        // What the attack did to the call, it does again; what another process did, it may not.
        if !row.slow || !row.pass_but_slow {
            break;
        }
        row = attempt(arena, attack, idle);
    }
    row
}

fn attempt(arena: &mut Arena, attack: &Attack, idle: &Window) -> Row {
    let before = arena.node.metrics().unwrap_or_default();
    arena.call.open_window();
    let begin = Instant::now();
    let found = (attack.run)(arena);
    let took = begin.elapsed();
    std::thread::sleep(WINDOW_MIN.saturating_sub(took));
    let window = arena.call.window();
    let mut wrong = Vec::new();
    let finding = found.unwrap_or_else(|error| Finding::new(false, error));
    if let Err(why) = arena.node.check() {
        wrong.push(why);
    }
    if let Err(why) = arena.call.check() {
        wrong.push(why);
    }
    let allowed = 2 * idle.p99_us + 2 * window.control_p99_us + LATENCY_NOISE_US;
    let pass_but_slow = finding.pass && wrong.is_empty();
    let slow = window.p99_us > allowed;
    if slow {
        wrong.push(format!("the call's p99 exceeds {}", millis(allowed)));
    }
    let mut measured = finding.measured;
    for why in &wrong {
        measured += &format!("; {why}");
    }
    measured += &format!(" ({:.0} s)", took.as_secs_f64());
    if !finding.pass {
        measured += &format!("; drops: {}", drops(&before, arena));
    }
    Row {
        id: attack.id,
        attack: attack.name,
        expected: attack.expected,
        measured,
        pass: finding.pass && wrong.is_empty(),
        pass_but_slow,
        slow,
        window: Some(window),
        rss: arena.node.rss(),
    }
}

/// What a failed attack was dropped for, to look into.
fn drops(before: &node::Metrics, arena: &Arena) -> String {
    let after = arena.node.metrics().unwrap_or_default();
    let grown: Vec<String> = after
        .iter()
        .filter_map(|(name, count)| {
            let reason = name
                .strip_prefix("millrace_drop_")?
                .strip_suffix("_total")?;
            let grown = count - before.get(name).copied().unwrap_or(0).min(*count);
            (grown > 0).then(|| format!("{reason} {grown}"))
        })
        .collect();
    grown.join(", ")
}

/// Whether memory comes back to what it was before all of it.
fn memory(arena: &mut Arena, begin_rss: u64) -> Row {
    let patience = if arena.quick {
        MEMORY_QUICK
    } else {
        MEMORY_DEEP
    };
    let allowed = begin_rss + begin_rss / 20 + MEMORY_NOISE;
    let begin = Instant::now();
    while arena.node.rss() > allowed && begin.elapsed() < patience {
        std::thread::sleep(Duration::from_millis(500));
    }
    let rss = arena.node.rss();
    Row {
        id: "all",
        attack: "memory after all attacks",
        expected: "back within 5 % and 16 MiB in a minute",
        measured: format!(
            "{} before, {} after {:.0} s",
            mebibytes(begin_rss),
            mebibytes(rss),
            begin.elapsed().as_secs_f64()
        ),
        pass: rss <= allowed && arena.node.check().is_ok(),
        pass_but_slow: false,
        slow: false,
        window: None,
        rss,
    }
}
