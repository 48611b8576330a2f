//! The HTTP of the simulated vLLM: its routes, and bodies whole or as server-sent events.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use futures_core::Stream;
use http_body_util::{BodyExt, Full, Limited, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Frame, Incoming},
    header::{ALLOW, CONTENT_TYPE, HeaderValue, SERVER},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Map, Value};
use tokio::net::TcpStream;

use super::{MODEL, answer::Answer, error::Rejection, request, wire::Wire};

/// About the pace of a model of a few billion parameters on one GPU.
const TOKEN_TIME: Duration = Duration::from_millis(25);

/// Time after which an idle connection is closed: vLLM's `VLLM_HTTP_TIMEOUT_KEEP_ALIVE`.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5);

/// Largest request body, in bytes. vLLM has no limit; the adapter sends at most as much.
const MAX_BODY_BYTES: usize = 64 << 20;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Answers the requests of one connection until it closes.
pub(super) async fn serve(stream: TcpStream) {
    // Without it, the system holds an event back until the one before is acknowledged.
    let _ = stream.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service_fn(answer));
    // A caller that leaves in the middle is an error of the connection, and nobody is there to hear of it.
    let _ = connection.await;
}

async fn answer(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let mut response = route(request).await;
    let headers = response.headers_mut();
    headers.insert(SERVER, HeaderValue::from_static("uvicorn"));
    Ok(response)
}

async fn route(request: Request<Incoming>) -> Response<Body> {
    let read = match (request.method(), request.uri().path()) {
        (&Method::GET, "/health") => return whole(StatusCode::OK, String::new()),
        (&Method::GET, "/version") => return whole(StatusCode::OK, version()),
        (&Method::GET, "/v1/models") => return whole(StatusCode::OK, models()),
        (&Method::POST, "/v1/chat/completions") => request::Request::chat,
        (&Method::POST, "/v1/completions") => request::Request::completion,
        (_, "/health" | "/version" | "/v1/models") => return wrong_method("GET"),
        (_, "/v1/chat/completions" | "/v1/completions") => return wrong_method("POST"),
        _ => {
            let body = r#"{"detail":"Not Found"}"#;
            return whole(StatusCode::NOT_FOUND, body.to_owned());
        }
    };
    let request_id = request.headers().get("x-request-id");
    let request_id = request_id.and_then(|id| id.to_str().ok().map(str::to_owned));
    let request = match body(request).await {
        Ok(body) => read(&body),
        Err(rejection) => Err(rejection),
    };
    match request {
        Ok(request) if request.stream.is_some() => streamed(request, request_id),
        Ok(request) => unary(&request, request_id.as_deref()).await,
        Err(rejection) => whole(rejection.status, rejection.body()),
    }
}

/// The request's body as a JSON object.
async fn body(request: Request<Incoming>) -> Result<Map<String, Value>, Rejection> {
    let media_type = request.headers().get(CONTENT_TYPE);
    let media_type = media_type.and_then(|value| value.to_str().ok()?.split(';').next());
    if media_type != Some("application/json") {
        return Err(Rejection::media_type());
    }
    let body = Limited::new(request.into_body(), MAX_BODY_BYTES);
    let Ok(body) = body.collect().await else {
        return Err(Rejection::value("Request body is cut off or too large."));
    };
    let body = body.to_bytes();
    if body.is_empty() {
        return Err(Rejection::malformed(
            "missing",
            "body",
            "Field required",
            "None",
        ));
    }
    serde_json::from_slice(&body).map_err(|error| {
        let location = format!("body.{}", error.column());
        Rejection::malformed("json_invalid", &location, "JSON decode error", "{}")
    })
}

async fn unary(request: &request::Request, request_id: Option<&str>) -> Response<Body> {
    let answers = Answer::all(request);
    let n_steps = answers.iter().map(|answer| answer.tokens.len()).max();
    let n_steps = u32::try_from(n_steps.unwrap_or_default()).unwrap_or(u32::MAX);
    tokio::time::sleep(TOKEN_TIME.saturating_mul(n_steps)).await;
    whole(
        StatusCode::OK,
        Wire::new(request, request_id).body(&answers),
    )
}

fn streamed(request: request::Request, request_id: Option<String>) -> Response<Body> {
    let events = events(request, request_id);
    let mut response = Response::new(StreamBody::new(events).boxed_unsync());
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream; charset=utf-8"),
    );
    response
}

/// The events of an answer: a token of each choice at a time, as a batching engine makes them.
fn events(
    request: request::Request,
    request_id: Option<String>,
) -> impl Stream<Item = Result<Frame<Bytes>, Infallible>> {
    async_stream::stream! {
        let answers = Answer::all(&request);
        let wire = Wire::new(&request, request_id.as_deref());
        let n_steps = answers.iter().map(|answer| answer.tokens.len()).max();
        // The role comes with the first token, and not before.
        tokio::time::sleep(TOKEN_TIME).await;
        for index in 0..answers.len() {
            if let Some(chunk) = wire.role_chunk(index) {
                yield event(&chunk);
            }
        }
        for step in 0..n_steps.unwrap_or_default() {
            if step > 0 {
                tokio::time::sleep(TOKEN_TIME).await;
            }
            for (index, answer) in answers.iter().enumerate() {
                if let Some(chunk) = wire.chunk(index, answer, step) {
                    yield event(&chunk);
                }
            }
        }
        if request.stream.is_some_and(|stream| stream.usage_at_the_end) {
            yield event(&wire.usage_chunk(&answers));
        }
        yield event("[DONE]");
    }
}

fn event(data: &str) -> Result<Frame<Bytes>, Infallible> {
    Ok(Frame::data(Bytes::from(format!("data: {data}\n\n"))))
}

/// A response with a body of known length: JSON, or nothing.
fn whole(status: StatusCode, body: String) -> Response<Body> {
    let is_json = !body.is_empty();
    let mut response = Response::new(Full::new(Bytes::from(body)).boxed_unsync());
    *response.status_mut() = status;
    if is_json {
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
    }
    response
}

fn wrong_method(allowed: &'static str) -> Response<Body> {
    let body = r#"{"detail":"Method Not Allowed"}"#;
    let mut response = whole(StatusCode::METHOD_NOT_ALLOWED, body.to_owned());
    let allowed = HeaderValue::from_static(allowed);
    response.headers_mut().insert(ALLOW, allowed);
    response
}

fn version() -> String {
    r#"{"version":"0.32.0"}"#.to_owned()
}

fn models() -> String {
    let max_model_len = super::limits::MAX_MODEL_LEN;
    format!(
        r#"{{"object":"list","data":[{{"id":"{MODEL}","object":"model","created":0,"owned_by":"vllm","root":"{MODEL}","parent":null,"max_model_len":{max_model_len},"permission":[]}}]}}"#
    )
}
