//! The admin port: plaintext HTTP for probes and for Prometheus, which need neither gRPC nor a certificate.

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, sync::watch, task::JoinSet, time};

use super::{answer::Answers, health::ServingStatus, listener::ACCEPT_PAUSE};
use crate::service::Readiness;

/// Connections open at once. Probes need one each, for a moment.
const MAX_CONNECTIONS: usize = 64;

/// Answers until it is dropped, with its connections.
pub(super) async fn serve(
    listener: Option<TcpListener>,
    health: watch::Receiver<ServingStatus>,
    upstreams: watch::Receiver<Readiness>,
    answers: Arc<Answers>,
) -> Infallible {
    let Some(listener) = listener else {
        return std::future::pending().await;
    };
    let mut connections = JoinSet::new();
    loop {
        while connections.len() >= MAX_CONNECTIONS {
            connections.join_next().await;
        }
        while connections.try_join_next().is_some() {}
        let Ok((stream, _peer)) = listener.accept().await else {
            time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let (health, upstreams) = (health.clone(), upstreams.clone());
        let answers = Arc::clone(&answers);
        let service = service_fn(move |request| {
            let is_serving = *health.borrow() == ServingStatus::Serving;
            let answered = match request.uri().path() {
                "/metrics" => metrics(&request, &answers),
                _ => answer(&request, is_serving, &upstreams.borrow()),
            };
            async move { Ok::<_, Infallible>(answered) }
        });
        let mut http = http1::Builder::new();
        // A request that is not there within hyper's 30 s is not waited for, so that idle connections go.
        http.timer(TokioTimer::new());
        connections.spawn(http.serve_connection(TokioIo::new(stream), service));
    }
}

fn answer(
    request: &Request<Incoming>,
    is_serving: bool,
    upstreams: &Readiness,
) -> Response<Full<Bytes>> {
    let asks_for_upstreams = request.uri().query() == Some("upstream");
    let (status, text) = match request.uri().path() {
        "/livez" => (StatusCode::OK, "ok\n"),
        "/readyz" if !is_serving => (StatusCode::SERVICE_UNAVAILABLE, "not serving\n"),
        "/readyz" if asks_for_upstreams && upstreams.get("upstream") != Some(&true) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "an upstream has no replica that answers\n",
        ),
        "/readyz" => (StatusCode::OK, "ok\n"),
        _ => (
            StatusCode::NOT_FOUND,
            "there are /livez, /readyz and /metrics\n",
        ),
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response
}

fn metrics(request: &Request<Incoming>, answers: &Answers) -> Response<Full<Bytes>> {
    let metrics = &answers.telemetry.metrics;
    let n_bytes = i64::try_from(answers.admission.held_bytes());
    metrics.request_memory.set(n_bytes.unwrap_or(i64::MAX));
    let accept = request.headers().get(header::ACCEPT);
    let accept = accept.and_then(|accept| accept.to_str().ok());
    let (content_type, text) = metrics.encode(accept.unwrap_or_default());
    let mut response = Response::new(Full::from(text));
    let content_type = HeaderValue::from_static(content_type);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    response
}
