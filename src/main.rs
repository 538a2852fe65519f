//! Command line and wiring of the planes.
#![forbid(unsafe_code)]

mod cli;
mod cli_commands;
mod logging;
mod media;
mod node;
mod settings;
mod signals;

use std::process::ExitCode;

use cli::Subcommand;
use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let invocation = cli::parse();
    let done = match &invocation.command {
        None => node::run(&invocation),
        Some(Subcommand::Dataplane) => media::run_dataplane(&invocation),
        Some(Subcommand::Controlplane) => node::run_controlplane(&invocation),
        Some(command) => cli_commands::run(command, &invocation),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("millrace: {error}");
            ExitCode::FAILURE
        }
    }
}
