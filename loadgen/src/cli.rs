//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

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
    /// Join one silent client, say what the server tells it, and leave
    Join(Join),
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
