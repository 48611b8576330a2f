//! One connection, from its preface to its last call.

use std::{
    future::poll_fn,
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use async_stream::stream;
use hyper::{server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::watch,
    time,
};
use tokio_stream::{Stream, StreamExt};
use tonic::{service::Routes, transport::server::TcpConnectInfo};

use super::{
    LAST_WORDS,
    calls::{self, Calls},
    preface::Preface,
    streams::{Executor, Streams},
};
use crate::{config, telemetry::call::Ending};

/// Time that a caller has for its preface and for acknowledging the settings.
///
/// Both take a round trip; ten seconds bear with the slowest, and are what a caller can hold a socket for at no cost.
const PREFACE_TIMEOUT: Duration = Duration::from_secs(10);

/// What a caller may send on one stream before it is read: the protocol's own default.
const STREAM_WINDOW: u32 = 64 << 10;

/// The same for all streams of a connection, so that a few large requests move at once.
const CONNECTION_WINDOW: u32 = 1 << 20;

/// What waits for the network on one stream: a frame.
///
/// Beside it, hyper holds the next piece of the response. More would only wait here, and keep the service from seeing
/// that its caller is slow.
pub(super) const SEND_BUFFER: usize = 16 << 10;

/// Metadata of a request, as HTTP/2 counts it: tokens and tracing fit, and nobody fills memory with it.
const HEADER_LIST: u32 = 16 << 10;

/// Streams that may be reset before they were even accepted.
///
/// More ends the connection (CVE-2023-44487). The protocol's library allows 20, which a proxy that cancels the calls
/// of many callers in one write can pass; a hundred costs an attacker a connection every hundred frames.
const PENDING_RESETS: usize = 100;

/// Streams that may be reset for the caller's own faults, before the connection is ended for them.
const LOCAL_RESETS: usize = 128;

/// How far the server is from its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// It serves.
    Serving,
    /// Connections are told to go away, and running calls go on.
    GoingAway,
    /// Running calls end.
    Ending,
}

/// What all connections have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: config::Server,
    calls: Calls,
    phases: watch::Receiver<Phase>,
}

/// What happens to a connection beside its calls.
#[derive(Debug)]
enum Step {
    /// It takes no further calls.
    GoAway,
    /// Its running calls end.
    End(Ending),
    /// It is closed.
    Close,
}

// === impl Shared ===

impl Shared {
    pub(super) fn new(
        routes: Routes,
        config: config::Server,
        phases: watch::Receiver<Phase>,
    ) -> Self {
        let calls = Calls::new(routes, &config);
        Self {
            config,
            calls,
            phases,
        }
    }
}

/// Serves a connection until its caller, its age or the server ends it. Dropping it ends its calls.
pub(super) async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let peer = TcpConnectInfo {
        local_addr: stream.local_addr().ok(),
        remote_addr: stream.peer_addr().ok(),
    };
    let streams = Streams::new(shared.config.write_stall_timeout);
    let is_open = Arc::new(AtomicBool::new(false));
    let steps = steps(
        shared.config.clone(),
        shared.phases.clone(),
        Arc::clone(&is_open),
    );
    let mut steps = pin!(steps);
    let socket = Socket {
        stream,
        preface: Some(Preface::new()),
        is_open,
    };
    let service = service_fn(|request| calls::answer(shared.calls.clone(), peer.clone(), request));
    let connection =
        http2(&shared.config, streams.executor()).serve_connection(TokioIo::new(socket), service);
    let mut connection = pin!(connection);
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, peer = ?peer.remote_addr, "connection ended");
                }
                return;
            }
            never = poll_fn(|cx| streams.poll_reap(cx)) => match never {},
            Some(step) = steps.next() => match step {
                Step::GoAway => connection.as_mut().graceful_shutdown(),
                Step::End(ending) => streams.end(ending),
                Step::Close => return,
            },
        }
    }
}

fn http2(config: &config::Server, executor: Executor) -> http2::Builder<Executor> {
    let mut builder = http2::Builder::new(executor);
    builder
        .timer(TokioTimer::new())
        // gRPC has no use for it.
        .auto_date_header(false)
        .max_concurrent_streams(config.max_streams_per_connection)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(HEADER_LIST)
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_local_error_reset_streams(LOCAL_RESETS)
        .keep_alive_interval(config.keepalive_interval)
        .keep_alive_timeout(config.keepalive_timeout);
    builder
}

/// What happens to a connection, in its order and at its time.
fn steps(
    config: config::Server,
    mut phases: watch::Receiver<Phase>,
    is_open: Arc<AtomicBool>,
) -> impl Stream<Item = Step> {
    stream! {
        let is_draining = tokio::select! {
            () = unopened(&is_open, PREFACE_TIMEOUT) => {
                yield Step::Close;
                return;
            }
            () = reached(&mut phases, Phase::GoingAway) => true,
            () = elapsed(config.max_connection_age.map(jittered)) => false,
        };
        yield Step::GoAway;
        let grace = config.max_connection_age_grace.filter(|_| !is_draining);
        let ending = tokio::select! {
            // Without a preface there are no calls to wait for.
            () = unopened(&is_open, LAST_WORDS) => {
                yield Step::Close;
                return;
            }
            () = reached(&mut phases, Phase::Ending) => Ending::Draining,
            () = elapsed(grace) => Ending::ConnectionAged,
        };
        yield Step::End(ending);
        time::sleep(LAST_WORDS).await;
        yield Step::Close;
    }
}

/// Returns where the connection has not begun to speak HTTP/2 within `limit`, and never otherwise.
async fn unopened(is_open: &AtomicBool, limit: Duration) {
    time::sleep(limit).await;
    if is_open.load(Ordering::Relaxed) {
        std::future::pending().await
    }
}

/// Returns once the server is as near to its end as `phase`.
async fn reached(phases: &mut watch::Receiver<Phase>, phase: Phase) {
    if phases.wait_for(|now| *now >= phase).await.is_err() {
        // The server is gone, and with it this connection.
        std::future::pending().await
    }
}

/// Returns after `limit`, or never where there is none.
async fn elapsed(limit: Option<Duration>) {
    match limit {
        Some(limit) => time::sleep(limit).await,
        None => std::future::pending().await,
    }
}

/// Within a tenth, so that connections that were opened together do not end together (gRFC A9).
fn jittered(age: Duration) -> Duration {
    age.mul_f64(0.9 + 0.2 * fastrand::f64())
}

pin_project_lite::pin_project! {
    /// The socket, with an eye on the first bytes of the caller.
    struct Socket {
        #[pin]
        stream: TcpStream,
        // `None` once it is done.
        preface: Option<Preface>,
        is_open: Arc<AtomicBool>,
    }
}

// === impl Socket ===

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.project();
        let n_before = buffer.filled().len();
        let read = this.stream.poll_read(cx, buffer);
        if let Some(preface) = this.preface {
            preface.read(buffer.filled().get(n_before..).unwrap_or_default());
            if preface.is_done() {
                this.is_open.store(true, Ordering::Relaxed);
                *this.preface = None;
            }
        }
        read
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.project().stream.poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().stream.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().stream.poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.project().stream.poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
