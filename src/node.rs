//! A node from start to shutdown: both planes in one process, or the control plane alone.

use std::error::Error;
use std::fmt::Write as _;
use std::num::NonZero;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use millrace_controlplane::auth;
use millrace_controlplane::config::{self, Config, Loaded};
use millrace_controlplane::dataplane_client::link;
use millrace_controlplane::http::{self, Listener, Sockets};
use millrace_controlplane::room::Rooms;
use millrace_shared::limits::EVENTS_QUEUED_MAX;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::cli::{Invocation, JoinToken};
use crate::media::Media;
use crate::signals::Signals;
use crate::{cli_commands, logging, settings};

/// How long clients' sockets may take over their last message when the node ends.
const SOCKETS_DRAIN_TIMEOUT: Duration = Duration::from_millis(800);
/// How long rooms may take to say goodbye.
const ROOMS_SHUTDOWN_TIMEOUT: Duration = Duration::from_millis(500);
/// How long shards may take over goodbyes to their peers.
pub(crate) const MEDIA_SHUTDOWN_TIMEOUT: Duration = Duration::from_millis(400);
/// How long the start waits for a data plane before it serves HTTP without one.
const LINK_FIRST_TIMEOUT: Duration = Duration::from_secs(1);

/// Runs both planes in this process until a signal ends it.
pub(crate) fn run(invocation: &Invocation) -> Result<(), Box<dyn Error>> {
    with_runtime(invocation, async |config| {
        let signals = Signals::listen()?;
        let site = Site::bind(config).await?;
        let shards = config.shards(available_cpus());
        let (media, events) = Media::start(config, shards)?;
        let rooms = Rooms::start(
            settings::rooms(config, &site.node_id, shards),
            media.commands(),
            events,
        );
        rooms.ready().await;
        let serving = site.serve(config, &rooms)?;
        signals.wait_for_end().await;
        serving.stop();
        close_rooms(&rooms).await;
        serving.drain().await;
        let media_ended = tokio::task::spawn_blocking(move || media.shut_down());
        if timeout(MEDIA_SHUTDOWN_TIMEOUT, media_ended).await.is_err() {
            tracing::warn!("some shards did not end in time");
        }
        Ok(())
    })
}

/// Runs the control plane alone. Its end, whatever the signal, ends no call: the data plane keeps
/// what the next one needs.
pub(crate) fn run_controlplane(invocation: &Invocation) -> Result<(), Box<dyn Error>> {
    with_runtime(invocation, async |config| {
        let signals = Signals::listen()?;
        let site = Site::bind(config).await?;
        let (events_in, events) = mpsc::channel(EVENTS_QUEUED_MAX);
        let (commands, link) = link::open(config.link_socket(), events_in);
        // The data plane knows how many shards there are; they all say hello at once.
        let settings = settings::rooms(config, &site.node_id, 1);
        let rooms = Rooms::start(settings, Arc::new(commands.clone()), events);
        let mut linked = tokio::spawn(link.run(rooms.clone()));
        // Clients that come back at once find their session taken back.
        let _ = timeout(LINK_FIRST_TIMEOUT, rooms.ready()).await;
        let serving = site.serve(config, &rooms)?;
        tokio::select! {
            () = signals.wait_for_end() => {}
            ended = &mut linked => {
                // It can go on with no data plane, so no client may wait for it.
                serving.stop();
                return Err(ended?.into());
            }
        }
        serving.stop();
        let detached = async {
            rooms.detach().await;
            commands.flush().await;
        };
        if timeout(ROOMS_SHUTDOWN_TIMEOUT, detached).await.is_err() {
            tracing::warn!("the data plane did not take over all rooms in time");
        }
        serving.drain().await;
        Ok(())
    })
}

fn with_runtime(
    invocation: &Invocation,
    serve: impl AsyncFnOnce(&Config) -> Result<(), Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    let config = load(invocation)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("control")
        .build()?;
    let done = runtime.block_on(serve(&config));
    // Nothing that still runs may hold the process back.
    runtime.shutdown_background();
    done
}

/// The configuration, with logging as it says.
pub(crate) fn load(invocation: &Invocation) -> Result<Config, Box<dyn Error>> {
    let Loaded { config, warnings } = invocation.load()?;
    logging::start(&config.logging);
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    Ok(config)
}

pub(crate) fn available_cpus() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

/// What HTTP is served on.
struct Site {
    node_id: String,
    listeners: Vec<Listener>,
    metrics_listeners: Vec<Listener>,
}

impl Site {
    async fn bind(config: &Config) -> Result<Self, Box<dyn Error>> {
        let hosts = config.bind_addresses.as_deref();
        Ok(Self {
            node_id: auth::generate_id("ND_"),
            listeners: http::bind(hosts, config.port).await?,
            metrics_listeners: match config.prometheus.port {
                0 => Vec::new(),
                port => http::bind(hosts, port).await?,
            },
        })
    }

    fn serve(self, config: &Config, rooms: &Rooms) -> Result<Serving, Box<dyn Error>> {
        let sockets = Sockets::default();
        let http_settings = http::Settings::new(config, self.node_id.clone());
        let service = http::service(rooms.clone(), http_settings.clone(), sockets.clone());
        let metrics = http::metrics_service(rooms.clone(), http_settings, sockets.clone());
        let (stop, stopped) = watch::channel(false);
        for listener in self.metrics_listeners {
            tokio::spawn(listener.serve(metrics.clone(), stopped.clone()));
        }
        announce(config, &self.node_id, &self.listeners)?;
        for listener in self.listeners {
            tokio::spawn(listener.serve(service.clone(), stopped.clone()));
        }
        Ok(Serving { sockets, stop })
    }
}

/// HTTP being served.
struct Serving {
    sockets: Sockets,
    stop: watch::Sender<bool>,
}

impl Serving {
    fn stop(&self) {
        self.stop.send_replace(true);
    }

    async fn drain(&self) {
        if timeout(SOCKETS_DRAIN_TIMEOUT, self.sockets.drained())
            .await
            .is_err()
        {
            tracing::warn!(
                sockets = self.sockets.count(),
                "some clients did not close in time"
            );
        }
    }
}

async fn close_rooms(rooms: &Rooms) {
    if timeout(ROOMS_SHUTDOWN_TIMEOUT, rooms.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("some rooms did not close in time");
    }
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
