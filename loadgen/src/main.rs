//! Command line of the load generator.
#![forbid(unsafe_code)]

mod cli;

use std::process::ExitCode;
use std::time::{Instant, SystemTime};

use clap::Parser as _;
use millrace_loadgen::report::model::Results;
use millrace_loadgen::signal::{Signal, SignalError};
use millrace_loadgen::token::{ApiKey, Permission};

use cli::{Cli, Command, Join};

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Command::Report(report) = &cli.command {
        let drawn =
            Results::read(&report.results).and_then(|results| results.write_page(&report.output));
        return drawn.map_or_else(|error| failed(&error), |()| ExitCode::SUCCESS);
    }
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let done = runtime.block_on(async {
        match &cli.command {
            Command::Join(join) => join_silently(join).await,
            Command::Report(_) => Ok(()),
        }
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("millrace-loadgen: {error}");
    ExitCode::FAILURE
}

async fn join_silently(join: &Join) -> Result<(), SignalError> {
    let key = ApiKey::new(&join.server.api_key, &join.server.api_secret);
    let permission = Permission {
        publish: false,
        subscribe: true,
    };
    let token = key.join_token(&join.room, &join.identity, permission, SystemTime::now());
    let begun = Instant::now();
    let (mut signal, response) = Signal::join(&join.server.url, &token, true).await?;
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
    signal.leave().await
}
