//! Accepts connections, and survives running out of descriptors.

use std::{
    collections::HashMap,
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time,
};

use super::{
    answer::Answers,
    connection::{self, Phase},
    web,
};
use crate::{config, telemetry::Counted};

/// Pause after a failed accept: where descriptors or memory have run out, the next one fails at once too.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

type Accepted = io::Result<(TcpStream, SocketAddr)>;

/// The sockets, and the connections that came from them.
#[derive(Debug)]
pub(super) struct Listener {
    socket: TcpListener,
    web: Option<(TcpListener, Arc<config::Web>)>,
    connections: JoinSet<()>,
    answers: Arc<Answers>,
    phases: watch::Receiver<Phase>,
    /// By address; each of its connections has a clone, so that they can be counted.
    sources: HashMap<IpAddr, Arc<()>>,
    /// Whether the last accept failed, so that a lasting failure is logged once.
    is_failing: bool,
}

// === impl Listener ===

impl Listener {
    pub(super) fn new(
        socket: TcpListener,
        web: Option<(TcpListener, config::Web)>,
        answers: Arc<Answers>,
        phases: watch::Receiver<Phase>,
    ) -> Self {
        Self {
            socket,
            web: web.map(|(socket, web)| (socket, Arc::new(web))),
            connections: JoinSet::new(),
            answers,
            phases,
            sources: HashMap::new(),
            is_failing: false,
        }
    }

    /// Accepts connections until it is dropped, which loses none.
    pub(super) async fn accept(&mut self) -> Infallible {
        loop {
            tokio::select! {
                accepted = self.socket.accept() => self.accepted(accepted, None).await,
                (accepted, web) = accept_web(self.web.as_ref()) => {
                    self.accepted(accepted, Some(web)).await;
                }
                Some(ended) = self.connections.join_next() => report(ended),
            }
        }
    }

    /// Closes the socket and hands over the connections.
    pub(super) fn close(self) -> JoinSet<()> {
        self.connections
    }

    /// `web` says that it is a connection of the web port.
    async fn accepted(&mut self, accepted: Accepted, web: Option<Arc<config::Web>>) {
        match accepted {
            Ok((stream, remote)) => self.admit(stream, remote.ip(), web),
            Err(error) if is_of_the_caller(&error) => {}
            Err(error) => self.pause(&error).await,
        }
    }

    fn admit(&mut self, stream: TcpStream, address: IpAddr, web: Option<Arc<config::Web>>) {
        self.is_failing = false;
        while let Some(ended) = self.connections.try_join_next() {
            report(ended);
        }
        let config = &self.answers.config;
        if self.connections.len() >= config.max_connections {
            tracing::debug!("closed a connection above the limit");
            return;
        }
        // At times, so that accepting takes the same time however many addresses there are.
        if self.sources.len() > 2 * self.connections.len() {
            self.sources
                .retain(|_, source| Arc::strong_count(source) > 1);
        }
        // A caller is the same by IPv4 and by IPv6 that maps it.
        let source = self.sources.entry(address.to_canonical()).or_default();
        let n_others = Arc::strong_count(source) - 1;
        if config
            .max_connections_per_source
            .is_some_and(|most| n_others >= most)
        {
            tracing::debug!(%address, "closed a connection above the limit of its address");
            return;
        }
        if let Err(error) = set_options(&stream, config) {
            // The caller has gone already, or the system lacks an option; neither keeps it from being served.
            tracing::debug!(%error, "could not set a socket option");
        }
        let connections = &self.answers.telemetry.metrics.connections;
        let source = (Arc::clone(source), Counted::begin(connections, usize::MAX));
        let (answers, phases) = (Arc::clone(&self.answers), self.phases.clone());
        self.connections.spawn(async move {
            open(stream, web, answers, phases).await;
            drop(source);
        });
    }

    async fn pause(&mut self, error: &io::Error) {
        if !self.is_failing {
            tracing::warn!(%error, "cannot accept connections for now");
            self.is_failing = true;
        }
        time::sleep(ACCEPT_PAUSE).await;
    }
}

async fn accept_web(web: Option<&(TcpListener, Arc<config::Web>)>) -> (Accepted, Arc<config::Web>) {
    match web {
        Some((socket, web)) => (socket.accept().await, Arc::clone(web)),
        None => std::future::pending().await,
    }
}

/// Shakes hands where TLS is on, and serves the connection.
async fn open(
    stream: TcpStream,
    web: Option<Arc<config::Web>>,
    answers: Arc<Answers>,
    phases: watch::Receiver<Phase>,
) {
    let peer = stream.peer_addr().ok();
    let local = stream.local_addr();
    let is_local = local.is_ok_and(|address| address.ip().is_loopback());
    // What a plain gRPC connection has no use for is boxed.
    match (&answers.tls, web) {
        (None, None) => connection::serve(stream, Vec::new(), answers, phases).await,
        (None, Some(web)) => {
            let inner = (Vec::new(), answers, phases);
            Box::pin(web::serve(stream, is_local, web, inner)).await;
        }
        (Some(tls), web) => match tls.accept(stream, web.is_some()).await {
            Ok((stream, names)) => match web {
                None => {
                    let answers = Arc::clone(&answers);
                    Box::pin(connection::serve(stream, names, answers, phases)).await;
                }
                Some(web) => {
                    let inner = (names, Arc::clone(&answers), phases);
                    Box::pin(web::serve(stream, is_local, web, inner)).await;
                }
            },
            Err(error) => {
                tracing::warn!(%error, ?peer, "refused a connection: the TLS handshake failed");
            }
        },
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if ended.is_err_and(|error| error.is_panic()) {
        tracing::error!("a connection panicked");
    }
}

/// Whether a failed accept concerns one connection alone, so that the next can be accepted at once.
fn is_of_the_caller(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    let kind = error.kind();
    [
        ConnectionAborted,
        ConnectionRefused,
        ConnectionReset,
        Interrupted,
    ]
    .contains(&kind)
}

/// Sends small frames at once, and lets the kernel find a caller that is gone.
///
/// HTTP/2 pings find it too, but what waits in a full send buffer holds the socket until the kernel gives up, which
/// takes a quarter of an hour where it is not told otherwise.
fn set_options(stream: &TcpStream, config: &config::Server) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let Some(interval) = config.keepalive_interval else {
        return Ok(());
    };
    let socket = SockRef::from(stream);
    // The kernel counts in seconds.
    let idle = interval.max(Duration::from_secs(1));
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(idle))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(interval + config.keepalive_timeout))?;
    Ok(())
}
