//! Listening and serving, with limits that one slow or greedy peer cannot pass.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, Request};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tower::ServiceExt as _;

use super::HttpService;
use super::refusals::Limit;
use super::strangers::{Stranger, Strangers};

/// Connections of one listener, signaling sockets included. A participant has one; each may hold
/// some 400 kB of a request's head.
const CONNECTIONS_MAX: usize = 65_536;
/// How long a peer may take over a request's head, which also ends an idle connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long to wait when accepting fails, as it does while no descriptor is free.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// A bound port.
#[derive(Debug)]
pub struct Listener {
    tcp: TcpListener,
    connections: Arc<Semaphore>,
}

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    #[error(
        "port {port} is in use on {host}: stop the program that has it (`ss -ltnp 'sport = :{port}'` \
         names it), or choose another port"
    )]
    InUse { host: String, port: u16 },
    #[error(
        "port {port} may not be opened by this user: choose one above 1023, or run \
         `setcap cap_net_bind_service=+ep` on the program"
    )]
    NotPermitted { port: u16 },
    #[error(
        "{host} is not an address of this machine: name one of `ip address`, or 0.0.0.0 for all"
    )]
    NotLocal { host: String },
    #[error("port {port} on {host} cannot be opened: {error}")]
    Other {
        host: String,
        port: u16,
        error: io::Error,
    },
}

/// Binds each host; every address of the machine when there is none. A host that is the only one of
/// its kind in a list may be missing from the machine, as `::1` is where there is no IPv6.
pub async fn bind(hosts: Option<&[String]>, port: u16) -> Result<Vec<Listener>, ListenError> {
    let Some(hosts) = hosts.filter(|hosts| !hosts.is_empty()) else {
        return Ok(vec![bind_everywhere(port).await?]);
    };
    let mut bound = Vec::new();
    let mut missing = None;
    for host in hosts {
        let listener = match host.as_str() {
            "" => bind_everywhere(port).await,
            host => bind_one(host, port).await,
        };
        match listener {
            Ok(listener) => bound.push(listener),
            Err(error @ ListenError::NotLocal { .. }) if host == "::1" => missing = Some(error),
            Err(error) => return Err(error),
        }
    }
    match missing {
        Some(error) if bound.is_empty() => Err(error),
        _ => Ok(bound),
    }
}

/// The IPv6 wildcard takes IPv4 as well, where the machine has IPv6 at all.
async fn bind_everywhere(port: u16) -> Result<Listener, ListenError> {
    match bind_one(&Ipv6Addr::UNSPECIFIED.to_string(), port).await {
        Err(ListenError::NotLocal { .. } | ListenError::Other { .. }) => {
            bind_one(&Ipv4Addr::UNSPECIFIED.to_string(), port).await
        }
        bound => bound,
    }
}

async fn bind_one(host: &str, port: u16) -> Result<Listener, ListenError> {
    match TcpListener::bind((host, port)).await {
        Ok(tcp) => Ok(Listener {
            tcp,
            connections: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
        }),
        Err(error) => {
            let host = host.to_owned();
            Err(match error.kind() {
                io::ErrorKind::AddrInUse => ListenError::InUse { host, port },
                io::ErrorKind::PermissionDenied => ListenError::NotPermitted { port },
                io::ErrorKind::AddrNotAvailable => ListenError::NotLocal { host },
                _ => ListenError::Other { host, port, error },
            })
        }
    }
}

impl Listener {
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Serves until `stop` turns true; requests under way are then finished, and signaling sockets
    /// live on.
    pub async fn serve(self, service: HttpService, mut stop: watch::Receiver<bool>) {
        let strangers = Strangers::default();
        loop {
            let accepted = tokio::select! {
                accepted = accept(&self) => accepted,
                () = stopped(&mut stop) => return,
            };
            match accepted {
                Ok((stream, remote, permit)) => {
                    let Some(stranger) = strangers.admit(remote.ip()) else {
                        service.sockets.refused(Limit::ConnectionsPerAddress);
                        tracing::trace!(%remote, "too many connections of one address");
                        continue;
                    };
                    tokio::spawn(connection(
                        stream,
                        remote,
                        service.clone(),
                        stop.clone(),
                        Place(Arc::new((permit, stranger))),
                    ));
                }
                Err(error) => {
                    tracing::debug!(%error, "no connection could be accepted");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            }
        }
    }
}

/// Waits for the word to stop; a sender that is gone has said it.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn accept(listener: &Listener) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = Arc::clone(&listener.connections)
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let (stream, remote) = listener.tcp.accept().await?;
    Ok((stream, remote, permit))
}

async fn connection(
    stream: TcpStream,
    remote: SocketAddr,
    service: HttpService,
    mut stop: watch::Receiver<bool>,
    place: Place,
) {
    // A signal message waits for no other one to fill a segment.
    let _ = stream.set_nodelay(true);
    let service = service.into_service().map_request(
        move |request: hyper::Request<hyper::body::Incoming>| {
            let mut request: Request = request.map(axum::body::Body::new);
            request.extensions_mut().insert(ConnectInfo(remote));
            request.extensions_mut().insert(place.clone());
            request
        },
    );
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
        .with_upgrades();
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = stopped(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        // Noise: scanners, broken connections.
        tracing::trace!(%error, "HTTP connection ended");
    }
}

/// A connection's place among those allowed; what outlives its requests keeps a copy.
#[derive(Clone, Debug)]
pub(super) struct Place(Arc<(OwnedSemaphorePermit, Stranger)>);

impl Place {
    /// The peer has joined.
    pub(super) fn recognise(&self) {
        self.0.1.recognise();
    }
}
