//! The same load against two servers in turn, A B A B, each alone on its CPU.
#![forbid(unsafe_code)]

mod aim;
mod args;
mod ceiling;
mod figures;
mod goals;
mod run;
mod scrape;
mod server;
mod watch;

use std::fs;
use std::io::ErrorKind;
use std::process::ExitCode;

use clap::Parser as _;

use args::{Arguments, Command, Load, RunArguments, Server, Size};
use figures::{CPU_PER_PACKET, Figures, Rounds};
use run::Trial;

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Run(arguments) => run(&arguments),
        Command::Goals { output } => {
            goals::print(&output);
            Ok(())
        }
        Command::Scrape { address } => scrape::print_for_ever(&address),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("compare: {sentence}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &RunArguments) -> Result<(), String> {
    fs::create_dir_all(&arguments.output).map_err(|error| error.to_string())?;
    // Looking must not take the server's time. Where it cannot be pinned it takes some.
    let _ = millrace_netio::pin_to_cpu(server::LOAD_CPU);
    arguments
        .load
        .iter()
        .try_for_each(|load| compare(arguments, load))
}

fn compare(arguments: &RunArguments, load: &Load) -> Result<(), String> {
    let file = format!("{}{}.json", arguments.tag, load.file_name());
    let file = arguments.output.join(file);
    // What an earlier run measured must not pass for this one's if this one fails.
    if let Err(error) = fs::remove_file(&file)
        && error.kind() != ErrorKind::NotFound
    {
        return Err(format!("{}: {error}", file.display()));
    }
    let servers: Vec<&Server> = std::iter::once(&arguments.a).chain(&arguments.b).collect();
    let share = (load.size == Size::Most).then_some(arguments.share);
    let mut notes = Vec::new();
    let mut sizes = Vec::new();
    for server in &servers {
        let aimed = aim::size(arguments, server, load)?;
        notes.extend(aimed.note);
        sizes.push(aimed.size);
    }
    let mut rounds = Rounds {
        load: load.text.clone(),
        duration_s: arguments.duration,
        share,
        servers: servers
            .iter()
            .map(|server| (server.name.clone(), Vec::new()))
            .collect(),
        notes,
    };
    for round in 0..arguments.rounds {
        for (index, server) in servers.iter().enumerate() {
            let trial = Trial {
                server,
                load,
                size: sizes[index],
                duration_s: arguments.duration,
                share,
            };
            let figures = measure(arguments, &trial, round, &mut rounds.notes)?;
            rounds.servers[index].1.push(figures);
        }
    }
    rounds.print();
    rounds.write(&file)
}

fn measure(
    arguments: &RunArguments,
    trial: &Trial<'_>,
    round: usize,
    notes: &mut Vec<String>,
) -> Result<Figures, String> {
    let (load, server) = (trial.load, trial.server);
    let name = format!(
        "run-{}{}-{}-{round}.html",
        arguments.tag,
        load.file_name(),
        server.name
    );
    let outcome = trial.run(arguments, &arguments.output.join(name))?;
    let mut figures = figures::of(&outcome, load)?;
    if let Some(why) = &outcome.step()?.generator.limited_by {
        notes.push(format!(
            "{}, round {}: the generator was the limit: {why}",
            server.name,
            round + 1
        ));
    }
    if let Some(error) = outcome.results.notes.first() {
        notes.push(format!("{}, round {}: {error}", server.name, round + 1));
    }
    if arguments.ceiling && trial.share.is_some() {
        ceiling::compare(&mut figures)?;
    }
    eprintln!(
        "{} round {} on {}: {}",
        load.text,
        round + 1,
        server.name,
        figures.get(CPU_PER_PACKET).map_or_else(
            || "done".to_owned(),
            |it| format!("{it:.2} us of CPU per packet")
        )
    );
    Ok(figures)
}
