//! Accepts connections, and survives running out of descriptors.

use std::{collections::HashMap, convert::Infallible, io, net::IpAddr, sync::Arc, time::Duration};

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
};
use crate::config;

/// Pause after a failed accept: where descriptors or memory have run out, the next one fails at once too.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The socket, and the connections that came from it.
#[derive(Debug)]
pub(super) struct Listener {
    socket: TcpListener,
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
        answers: Arc<Answers>,
        phases: watch::Receiver<Phase>,
    ) -> Self {
        Self {
            socket,
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
                accepted = self.socket.accept() => match accepted {
                    Ok((stream, remote)) => self.admit(stream, remote.ip()),
                    Err(error) if is_of_the_caller(&error) => {}
                    Err(error) => self.pause(&error).await,
                },
                Some(ended) = self.connections.join_next() => report(ended),
            }
        }
    }

    /// Closes the socket and hands over the connections.
    pub(super) fn close(self) -> JoinSet<()> {
        self.connections
    }

    fn admit(&mut self, stream: TcpStream, address: IpAddr) {
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
        let source = Arc::clone(source);
        let connection = connection::accept(stream, Arc::clone(&self.answers), self.phases.clone());
        self.connections.spawn(async move {
            connection.await;
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
