use std::io::IsTerminal as _;

use millrace_controlplane::config::LoggingConfig;
use tracing_subscriber::EnvFilter;

/// Sends log lines to standard error. `RUST_LOG` adds to the configured level, or refines it.
pub(crate) fn start(config: &LoggingConfig) {
    let level = match config.level.as_str() {
        "" => "info",
        level => level,
    };
    // The libraries' own debug output would drown ours.
    let default = format!(
        "warn,millrace={level},millrace_controlplane={level},millrace_dataplane={level},millrace_shared={level},millrace_netio={level}"
    );
    let added = std::env::var("RUST_LOG").unwrap_or_default();
    let filter = EnvFilter::builder().parse_lossy(format!("{default},{added}"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        // Said on standard error as well, by a macro that panics where the log itself failed: on a
        // full disk the node would end.
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    if config.json {
        builder.json().flatten_event(true).init();
    } else {
        builder.init();
    }
}
