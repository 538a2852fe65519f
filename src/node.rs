//! One node: both planes, from start to shutdown.

use std::error::Error;
use std::fmt::Write as _;
use std::io;
use std::num::NonZero;
use std::thread;
use std::time::Duration;

use millrace_controlplane::auth;
use millrace_controlplane::config::{self, Config, Loaded};
use millrace_controlplane::http::{self, Listener, Sockets};
use millrace_controlplane::room::Rooms;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::cli::{Invocation, JoinToken};
use crate::media::Media;
use crate::{cli_commands, logging, settings};

/// How long clients' sockets may take over their last message when the node ends.
const SOCKETS_DRAIN_TIMEOUT: Duration = Duration::from_millis(800);
/// How long rooms may take to say goodbye.
const ROOMS_SHUTDOWN_TIMEOUT: Duration = Duration::from_millis(500);
/// How long shards may take over goodbyes to their peers.
const MEDIA_SHUTDOWN_TIMEOUT: Duration = Duration::from_millis(400);

/// Runs the server until a signal ends it.
pub(crate) fn run(invocation: &Invocation) -> Result<(), Box<dyn Error>> {
    let Loaded { config, warnings } = invocation.load()?;
    logging::start(&config.logging);
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("control")
        .build()?;
    let done = runtime.block_on(serve(&config));
    // Nothing that still runs may hold the process back.
    runtime.shutdown_background();
    done
}

async fn serve(config: &Config) -> Result<(), Box<dyn Error>> {
    let mut signals = Signals::listen()?;
    let node_id = auth::generate_id("ND_");
    let hosts = config.bind_addresses.as_deref();
    let listeners = http::bind(hosts, config.port).await?;
    let metrics_listeners = match config.prometheus.port {
        0 => Vec::new(),
        port => http::bind(hosts, port).await?,
    };

    let shards = config.shards(thread::available_parallelism().map_or(1, NonZero::get));
    let (media, events) = Media::start(config, shards)?;
    let rooms = Rooms::start(
        settings::rooms(config, &node_id, shards),
        media.commands(),
        events,
    );
    rooms.ready().await;

    let sockets = Sockets::default();
    let http_settings = http::Settings::new(config, node_id.clone());
    let service = http::service(rooms.clone(), http_settings.clone(), sockets.clone());
    let metrics = http::metrics_service(rooms.clone(), http_settings, sockets.clone());
    let (stop, stopped) = watch::channel(false);
    for listener in metrics_listeners {
        tokio::spawn(listener.serve(metrics.clone(), stopped.clone()));
    }
    announce(config, &node_id, &listeners)?;
    for listener in listeners {
        tokio::spawn(listener.serve(service.clone(), stopped.clone()));
    }

    let name = signals.next().await;
    tracing::info!(signal = name, "shutting down; a second signal ends at once");
    tokio::spawn(async move {
        signals.next().await;
        std::process::exit(1);
    });
    stop.send_replace(true);
    if timeout(ROOMS_SHUTDOWN_TIMEOUT, rooms.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("some rooms did not close in time");
    }
    if timeout(SOCKETS_DRAIN_TIMEOUT, sockets.drained())
        .await
        .is_err()
    {
        tracing::warn!(
            sockets = sockets.count(),
            "some clients did not close in time"
        );
    }
    let media_ended = tokio::task::spawn_blocking(move || media.shut_down());
    if timeout(MEDIA_SHUTDOWN_TIMEOUT, media_ended).await.is_err() {
        tracing::warn!("some shards did not end in time");
    }
    Ok(())
}

/// Says where the node is reached; in development also all that is needed to try it.
fn announce(config: &Config, node_id: &str, listeners: &[Listener]) -> Result<(), Box<dyn Error>> {
    for listener in listeners {
        tracing::info!(
            address = %listener.local_addr()?,
            udp = %config.udp_ports(),
            node_id,
            "listening for HTTP"
        );
    }
    if config.development {
        print!("{}", introduction(config)?);
    }
    Ok(())
}

fn introduction(config: &Config) -> Result<String, Box<dyn Error>> {
    let port = config.port;
    let token = JoinToken {
        room: "demo".into(),
        identity: "demo-user".into(),
        recorder: false,
        valid_for: 6,
    };
    let mut text = format!(
        "\nMillrace {}, development mode\n\n  URL         ws://localhost:{port}\n",
        env!("CARGO_PKG_VERSION")
    );
    // A secret that the operator chose is his to know.
    match config.keys.first() {
        Some((key, secret)) if config.keys == config::development_keys() => {
            write!(text, "  API key     {key}\n  API secret  {secret}\n")?;
        }
        Some((key, _)) => writeln!(text, "  API key     {key}")?,
        None => {}
    }
    write!(
        text,
        "  Demo page   http://localhost:{port}/demo\n\n  Token for room {}, identity {}, valid \
         for {} hours:\n  {}\n\n",
        token.room,
        token.identity,
        token.valid_for,
        cli_commands::join_token(config, &token)?
    )?;
    Ok(text)
}

/// The signals that end a node.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    quit: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            quit: signal(SignalKind::quit())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.quit.recv() => "SIGQUIT",
        }
    }
}
