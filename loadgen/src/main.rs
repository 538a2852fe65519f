//! Command line of the load generator.
#![forbid(unsafe_code)]

mod cli;
mod commands;
mod progress;
mod summary;

use std::process::ExitCode;

use clap::Parser as _;
use mimalloc::MiMalloc;

use cli::{Cli, Command};
use commands::Verdict;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let done = runtime.block_on(async {
        match &cli.command {
            Command::Run(run) => commands::run(run).await,
            Command::Capacity(capacity) => commands::capacity(capacity).await,
            Command::Join(join) => commands::join(join).await,
            Command::OwnCost(own_cost) => commands::own_cost(own_cost).await,
            Command::Report(report) => commands::report(report),
        }
    });
    match done {
        Ok(Verdict::Met) => ExitCode::SUCCESS,
        // Told from a run that could not be made.
        Ok(Verdict::Broken) => ExitCode::from(2),
        Err(error) => failed(error.as_ref()),
    }
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("millrace-loadgen: {error}");
    ExitCode::FAILURE
}
