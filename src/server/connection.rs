//! One connection, from its preface to its last call.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_stream::stream;
use http::Request;
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
    time,
};
use tokio_stream::{Stream, StreamExt};
use tokio_util::io::InspectReader;

use super::{
    answer::{Answers, answer},
    call::{Calls, Executor},
    preface::Preface,
};
use crate::{
    config,
    service::{call::Call, deadline::Ending},
};

/// Time to send the last statuses of cut calls. Callers that do not read must not hold up the end of the process.
pub(super) const LAST_WORDS: Duration = Duration::from_millis(750);

/// Time that a caller has for its preface and for acknowledging the settings, which take a round trip.
pub(super) const PREFACE_TIMEOUT: Duration = Duration::from_secs(10);

/// The phase of the server's shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Serving,
    /// Connections are told to go away, and running calls go on.
    GoingAway,
    /// Running calls end.
    Ending,
}

/// Serves a connection until its caller, its age or the server ends it. Dropping it ends its calls.
///
/// `names` are those of its caller's certificate.
pub(super) async fn serve(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    names: Vec<String>,
    answers: Arc<Answers>,
    phases: watch::Receiver<Phase>,
) {
    let config = &answers.config;
    let calls = Calls::new(config.write_stall_timeout);
    let is_open = Arc::new(AtomicBool::new(false));
    let mut going_away = pin!(going_away(config, phases, &calls, &is_open));
    let mut preface = Preface::new();
    let opened = Arc::clone(&is_open);
    let socket = InspectReader::new(stream, move |bytes| {
        if !preface.is_done {
            preface.read(bytes);
            opened.store(preface.is_done, Ordering::Relaxed);
        }
    });
    let service = service_fn(|request: Request<Incoming>| {
        let (head, body) = request.into_parts();
        let identity = answers.access.identify(&head.headers, &names);
        let call = Call::at_head(&head, answers.max_duration, identity);
        calls.begin(call.clone());
        let request = Request::from_parts(head, body);
        answer(Arc::clone(&answers), call, request)
    });
    let connection =
        http2(config, calls.executor()).serve_connection(TokioIo::new(socket), service);
    let mut connection = pin!(connection);
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "connection ended");
                }
                return;
            }
            never = poll_fn(|cx| calls.poll_reap(cx)) => match never {},
            going_away = going_away.next() => match going_away {
                Some(()) => connection.as_mut().graceful_shutdown(),
                None => return,
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
        // What a caller may send on one stream before it is read: the protocol's own default.
        .initial_stream_window_size(64 << 10)
        // The same for all streams of a connection, so that a few large requests move at once.
        .initial_connection_window_size(1 << 20)
        // What waits for the network on one stream: a frame. Beside it, hyper holds the next piece of the response. More
        // would only wait here, and keep the service from seeing that its caller is slow.
        .max_send_buf_size(16 << 10)
        // Metadata of a request, as HTTP/2 counts it: tokens and tracing fit, and nobody fills memory with it.
        .max_header_list_size(16 << 10)
        // Streams that may be reset before they were even accepted; more ends the connection (CVE-2023-44487). h2 allows
        // 20, which a proxy that cancels the calls of many callers in one write can pass.
        .max_pending_accept_reset_streams(100)
        // Streams that may be reset for the caller's own faults, before the connection is ended for them.
        .max_local_error_reset_streams(128)
        .keep_alive_interval(config.keepalive_interval)
        .keep_alive_timeout(config.keepalive_timeout);
    builder
}

/// Yields when the connection is to take no further calls, ends those that run in their time, and ends when it is to be
/// closed.
fn going_away(
    config: &config::Server,
    mut phases: watch::Receiver<Phase>,
    calls: &Calls,
    is_open: &AtomicBool,
) -> impl Stream<Item = ()> {
    stream! {
        let is_draining = tokio::select! {
            () = unopened(is_open, PREFACE_TIMEOUT) => return,
            () = reached(&mut phases, Phase::GoingAway) => true,
            () = elapsed(config.max_connection_age.map(jittered)) => false,
            () = calls.idle_for(config.max_connection_idle) => false,
        };
        yield ();
        if !is_draining {
            tokio::select! {
                // Without a preface there are no calls to wait for.
                () = unopened(is_open, LAST_WORDS) => return,
                () = reached(&mut phases, Phase::GoingAway) => {}
                () = elapsed(config.max_connection_age_grace) => {
                    calls.end(Ending::ConnectionAged);
                    time::sleep(LAST_WORDS).await;
                    return;
                }
            }
        }
        calls.drain();
        tokio::select! {
            () = unopened(is_open, LAST_WORDS) => return,
            () = reached(&mut phases, Phase::Ending) => calls.end(Ending::Draining),
        }
        time::sleep(LAST_WORDS).await;
    }
}

/// Returns once the server has reached `phase`.
async fn reached(phases: &mut watch::Receiver<Phase>, phase: Phase) {
    if phases.wait_for(|now| *now >= phase).await.is_err() {
        // The server is gone, and with it whoever waits.
        std::future::pending().await
    }
}

/// Returns where the connection has not begun to speak HTTP/2 within `limit`, and never otherwise.
pub(super) async fn unopened(is_open: &AtomicBool, limit: Duration) {
    time::sleep(limit).await;
    if is_open.load(Ordering::Relaxed) {
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
