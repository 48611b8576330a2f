//! A connection of the web port: gRPC-Web, and the playground.
//!
//! Each has an HTTP/2 connection of its own to the server, inside this process. So a call from a browser is a call as
//! any other, with the same limits, deadlines and log lines, and ends when the browser leaves. gRPC over HTTP/2 passes
//! through.

use std::{
    convert::Infallible,
    future::poll_fn,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header,
};
use hyper::{body::Incoming, client::conn::http2, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream},
    sync::watch,
    time,
};
use tokio_util::io::InspectReader;
use tonic::body::Body;
use tonic_web::GrpcWebLayer;
use tower::{Layer, ServiceExt};
use tower_http::cors::{AllowHeaders, CorsLayer};

use super::{
    answer::Answers,
    call::{Calls, Executor},
    connection::{self, LAST_WORDS, PREFACE_TIMEOUT, Phase, unopened},
    page,
};
use crate::{config, service::request_id::REQUEST_ID};

/// No request's head is shorter, and what is shorter than HTTP/2's preface may be its beginning.
const MAGIC_LEN: usize = 24;

/// What waits on one stream inside the process, so that a slow browser slows the upstream.
const WINDOW_BYTES: u32 = 64 << 10;

/// Time that a caller has for a request's head, which includes the pause after the last.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a browser may remember that an origin is allowed.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_secs(3600);

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// Headers that a page may read, beside those that every page may.
const EXPOSED: [HeaderName; 5] = [
    GRPC_STATUS,
    HeaderName::from_static("grpc-message"),
    HeaderName::from_static("grpc-status-details-bin"),
    HeaderName::from_static("grpc-retry-pushback-ms"),
    REQUEST_ID,
];

/// Sends calls to the server.
type Sender = http2::SendRequest<Body>;

/// What the connection inside the process is served with.
type Inner = (Vec<String>, Arc<Answers>, watch::Receiver<Phase>);

/// Serves a connection until its caller, its age or the server ends it. Dropping it ends its calls.
pub(super) async fn serve(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    is_local: bool,
    web: Arc<config::Web>,
    (names, answers, phases): Inner,
) {
    // Where the parts of both HTTP/2 sides run.
    let tasks = Calls::new(None);
    let (near, far) = tokio::io::duplex(WINDOW_BYTES as usize);
    let inner = Box::pin(connection::serve(far, names, answers, phases));
    let Ok((sender, client)) = handshake(near, tasks.executor()).await else {
        return;
    };
    let mut calls = pin!(async { tokio::join!(inner, client) });
    let is_open = Arc::new(AtomicBool::new(false));
    let (opened, mut n_read) = (Arc::clone(&is_open), 0_usize);
    let socket = InspectReader::new(stream, move |bytes| {
        n_read = n_read.saturating_add(bytes.len());
        opened.store(n_read >= MAGIC_LEN, Ordering::Relaxed);
    });
    let service = service_fn(|request| answer(Arc::clone(&web), is_local, sender.clone(), request));
    let mut builder = auto::Builder::new(tasks.executor());
    let mut http1 = builder.http1();
    http1.timer(TokioTimer::new());
    http1.header_read_timeout(HEAD_TIMEOUT);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(socket), service));
    tokio::select! {
        _ended = connection.as_mut() => return,
        () = unopened(&is_open, PREFACE_TIMEOUT) => return,
        _ended = calls.as_mut() => {}
        never = poll_fn(|cx| tasks.poll_reap(cx)) => match never {},
    }
    connection.as_mut().graceful_shutdown();
    // One that does not read is cut.
    let _ = time::timeout(LAST_WORDS, connection).await;
}

async fn handshake(
    stream: DuplexStream,
    executor: Executor,
) -> hyper::Result<(
    Sender,
    http2::Connection<TokioIo<DuplexStream>, Body, Executor>,
)> {
    http2::Builder::new(executor)
        .initial_stream_window_size(WINDOW_BYTES)
        .handshake(TokioIo::new(stream))
        .await
}

/// Answers a request: a file of the page, a preflight, or a call.
async fn answer(
    web: Arc<config::Web>,
    is_local: bool,
    sender: Sender,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    if is_foreign(request.headers(), request.uri(), &web.origins, is_local) {
        return Ok(page::empty(StatusCode::FORBIDDEN));
    }
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return Ok(match web.playground {
            true => page::file(request.uri().path()),
            false => page::empty(StatusCode::NOT_FOUND),
        });
    }
    let call = tower::service_fn(move |request| forward(sender.clone(), request));
    let service = cors(&web.origins).layer(GrpcWebLayer::new().layer(call));
    let response = service.oneshot(request).await;
    Ok(response.map_or_else(
        // The connection inside the process is going away.
        |_error| page::empty(StatusCode::SERVICE_UNAVAILABLE),
        |response| match response.headers().contains_key(GRPC_STATUS) {
            // The status is in the headers. tonic-web would add a frame of trailers without one, which connect-web
            // takes for the status.
            true => response.map(|_frame| Body::empty()),
            false => response,
        },
    ))
}

/// Sends a call to the server.
async fn forward(
    mut sender: Sender,
    mut request: Request<Body>,
) -> Result<Response<Incoming>, hyper::Error> {
    let mut uri = std::mem::take(request.uri_mut()).into_parts();
    uri.scheme = Some(http::uri::Scheme::HTTP);
    uri.authority = Some(http::uri::Authority::from_static("adapter"));
    *request.uri_mut() = Uri::from_parts(uri).unwrap_or_default();
    *request.version_mut() = Version::HTTP_2;
    // Of the browser's connection alone.
    for name in [header::HOST, header::CONNECTION, header::TRANSFER_ENCODING] {
        request.headers_mut().remove(name);
    }
    sender.ready().await?;
    sender.send_request(request).await
}

/// Whether a page of an origin that is not allowed sends this. Only browsers send an origin.
///
/// `is_local`: the connection is to a loopback address. There an own origin has no name but `localhost`, since a page of
/// any site can have its site's name resolved to that address (DNS rebinding).
fn is_foreign(headers: &HeaderMap, uri: &Uri, allowed: &[String], is_local: bool) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else {
        return false;
    };
    let host = headers.get(header::HOST).map(HeaderValue::as_bytes);
    let host = uri.authority().map(|it| it.as_str().as_bytes()).or(host);
    let origin = origin.as_bytes();
    let own = [&b"http://"[..], b"https://"]
        .into_iter()
        .find_map(|scheme| origin.strip_prefix(scheme));
    let own = own.filter(|own| Some(*own) == host);
    let is_own = own.is_some_and(|own| !is_local || is_address(own));
    !is_own && !allowed.iter().any(|it| it.as_bytes() == origin)
}

/// Whether a host, with or without a port, is an address or `localhost`.
fn is_address(host: &[u8]) -> bool {
    let host = std::str::from_utf8(host).ok();
    let url = host.and_then(|host| url::Url::parse(&format!("http://{host}")).ok());
    match url.as_ref().and_then(url::Url::host) {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(_) | url::Host::Ipv6(_)) => true,
        None => false,
    }
}

fn cors(origins: &[String]) -> CorsLayer {
    let origins = origins.iter().filter_map(|it| it.parse().ok());
    CorsLayer::new()
        .allow_origin(origins.collect::<Vec<HeaderValue>>())
        .allow_methods([Method::POST])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(EXPOSED)
        .max_age(PREFLIGHT_MAX_AGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_another_origin_is_foreign_unless_it_is_allowed() {
        let allowed = ["https://chat.example".to_owned()];
        for (origin, host, foreign) in [
            (None, "127.0.0.1:8080", false),
            (Some("http://127.0.0.1:8080"), "127.0.0.1:8080", false),
            (Some("http://localhost:8080"), "localhost:8080", false),
            (Some("http://[::1]:8080"), "[::1]:8080", false),
            (Some("http://rebound.example"), "rebound.example", true),
            (Some("https://chat.example"), "127.0.0.1:8080", false),
            (Some("http://chat.example"), "127.0.0.1:8080", true),
            (Some("https://chat.example:8443"), "127.0.0.1:8080", true),
            (Some("https://chat.example.evil"), "127.0.0.1:8080", true),
            (Some("http://127.0.0.1:8081"), "127.0.0.1:8080", true),
            (Some("null"), "127.0.0.1:8080", true),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, origin.parse().unwrap());
            }
            let got = is_foreign(&headers, &Uri::from_static("/"), &allowed, true);
            assert_eq!(got, foreign, "{origin:?}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("play.example"));
        headers.insert(
            header::ORIGIN,
            HeaderValue::from_static("https://play.example"),
        );
        assert!(!is_foreign(
            &headers,
            &Uri::from_static("/"),
            &allowed,
            false
        ));
    }
}
