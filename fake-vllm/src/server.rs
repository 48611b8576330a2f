//! The HTTP of the simulated vLLM: its routes, and bodies whole or as server-sent events.
//!
//! Head, events and end of a body are a write each, as uvicorn writes them: hyper writes what it has whenever the body
//! is pending, which [`yield_now`] makes it.

use std::{
    convert::Infallible,
    future,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures_core::Stream;
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Method, Response, StatusCode,
    body::{Frame, Incoming},
    header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::{net::TcpStream, task::yield_now, time};

use crate::{
    answer::Answer,
    embedding,
    error::Error,
    fault::{Failed, Fault},
    request::{Request, text},
    script, tokenizer,
    wire::Wire,
};

/// The model that the demo serves.
pub const MODEL: &str = "demo";

/// What hyper holds of a body whose caller reads slowly, in bytes: the least that it takes.
const MAX_BUFFER: usize = 8192;

/// Answers a request as JSON.
type Answering = fn(&Value, &Settings) -> Result<Value, Error>;

/// The routes of generation, which take POST alone, as those below.
const GENERATION: [&str; 3] = [
    "/v1/chat/completions",
    "/v1/chat/completions/batch",
    "/v1/completions",
];

/// The routes beside generation.
const ROUTES: [(&str, Answering); 5] = [
    ("/v1/embeddings", embedding::embed),
    ("/score", embedding::score),
    ("/rerank", embedding::rerank),
    ("/tokenize", tokenizer::tokenize),
    ("/detokenize", tokenizer::detokenize),
];

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// How a simulated vLLM answers. The default is the demo's.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The one model that it serves.
    pub model: String,
    /// Most tokens of a prompt and its answer together. A token of a prompt is four bytes.
    pub max_model_len: usize,
    /// Time between two writes of a stream; zero writes as fast as the caller reads.
    pub write_interval: Duration,
    /// Tokens that are written at once, each as an event and a chunk of its own. At least 1.
    pub tokens_per_write: usize,
}

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Server {
    settings: Arc<Settings>,
    failed: Failed,
    /// Each generation that runs holds a clone.
    running: Arc<()>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            model: MODEL.to_owned(),
            max_model_len: 131_072,
            // About the pace of a model of a few billion parameters on one GPU.
            write_interval: Duration::from_millis(25),
            tokens_per_write: 1,
        }
    }
}

// === impl Server ===

impl Server {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings: Arc::new(settings),
            failed: Failed::default(),
            running: Arc::default(),
        }
    }

    /// Answers the requests of one connection until it closes.
    pub(crate) async fn serve(self: Arc<Self>, stream: TcpStream) {
        // Without it, the system holds an event back until the one before is acknowledged.
        let _ = stream.set_nodelay(true);
        let answer = |request| async { Ok::<_, Infallible>(self.answer(request).await) };
        let connection = http1::Builder::new()
            .max_buf_size(MAX_BUFFER)
            // One write for all chunks that are ready, where vectored writes take few of them.
            .writev(false)
            .serve_connection(TokioIo::new(stream), service_fn(answer));
        // A caller that leaves in the middle is an error of the connection, which concerns nobody here.
        let _ = connection.await;
    }

    async fn answer(&self, request: hyper::Request<Incoming>) -> Response<Body> {
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/health") => whole(200, String::new()),
            (&Method::GET, "/version") => whole(200, r#"{"version":"0.32.0"}"#.to_owned()),
            (&Method::GET, "/v1/models") => {
                let (id, max) = (&self.settings.model, self.settings.max_model_len);
                whole(
                    200,
                    format!(
                        r#"{{"object":"list","data":[{{"id":"{id}","object":"model","created":0,"owned_by":"vllm","max_model_len":{max}}}]}}"#
                    ),
                )
            }
            (&Method::GET, "/load") => {
                let n_running = Arc::strong_count(&self.running) - 1;
                whole(200, format!(r#"{{"server_load":{n_running}}}"#))
            }
            (&Method::POST, path) if GENERATION.contains(&path) => {
                let response = self.generate(request).await;
                response.unwrap_or_else(|error| whole(error.status, error.body))
            }
            (method, path) => match ROUTES.iter().find(|route| route.0 == path) {
                Some(&(_path, answer)) if method == Method::POST => {
                    let answered = self.tell(request, answer).await;
                    answered.unwrap_or_else(|error| whole(error.status, error.body))
                }
                None if !GENERATION.contains(&path) => {
                    whole(404, r#"{"detail":"Not Found"}"#.to_owned())
                }
                Some(_) | None => whole(405, r#"{"detail":"Method Not Allowed"}"#.to_owned()),
            },
        }
    }

    /// Answers at once and whole.
    async fn tell(
        &self,
        request: hyper::Request<Incoming>,
        answer: Answering,
    ) -> Result<Response<Body>, Error> {
        let request: Value = read(request.into_body()).await?;
        let (asked, model) = (&request["model"], &self.settings.model);
        if asked.as_str().is_some_and(|asked| asked != model) {
            let message = format!("The model `{}` does not exist.", text(asked));
            return Err(Error::new(404, message, Some("model")));
        }
        Ok(whole(200, answer(&request, &self.settings)?.to_string()))
    }

    async fn generate(&self, request: hyper::Request<Incoming>) -> Result<Response<Body>, Error> {
        let running = Arc::clone(&self.running);
        let settings = Arc::clone(&self.settings);
        let (head, body) = request.into_parts();
        let request: Request = read(body).await?;
        let (is_stream, n_each) = (request.stream, request.n.unwrap_or(1));
        let wants_usage = request.stream_options["include_usage"] == true;
        let requests = request.each();
        let mut answers = Vec::new();
        for request in &requests {
            let max_tokens = request.max_tokens(&settings.model, settings.max_model_len)?;
            let mut answer = Answer::new(script::message(request), request, max_tokens);
            match self.failed.next(&request.question()) {
                Some(Fault::Refused(error)) => return Err(error),
                Some(Fault::Aborted) => answer.abort(),
                Some(Fault::Silent) => future::pending().await,
                None => {}
            }
            answers.push(answer);
        }
        let random = format!("{:016x}", fastrand::u64(..));
        let own_id = head.headers.get("x-request-id");
        let own_id = own_id.and_then(|id| id.to_str().ok());
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let wire = Wire {
            object: match (head.uri.path(), is_stream) {
                ("/v1/completions", _) => "text_completion",
                (_, true) => "chat.completion.chunk",
                (_, false) => "chat.completion",
            },
            id: format!("chatcmpl-{}", own_id.unwrap_or(&random)),
            created: since_epoch.map_or(0, |time| time.as_secs()),
            model: settings.model.clone(),
            n_prompt_tokens: requests.iter().map(Request::n_prompt_tokens).sum(),
            answers,
            n_each,
        };
        if is_stream {
            let frames = frames(wire, wants_usage, settings, running);
            return Ok(response(200, "text/event-stream; charset=utf-8", frames));
        }
        let n_pauses = wire.n_steps().saturating_sub(1) / settings.tokens_per_write.max(1);
        let n_pauses = u32::try_from(n_pauses).unwrap_or(u32::MAX);
        time::sleep(settings.write_interval.saturating_mul(n_pauses)).await;
        Ok(whole(200, wire.body()))
    }
}

/// A JSON body.
async fn read<T: DeserializeOwned>(body: Incoming) -> Result<T, Error> {
    let malformed = |error: &dyn ToString| Error::new(400, error.to_string(), None);
    let body = body.collect().await.map_err(|error| malformed(&error))?;
    serde_json::from_slice(&body.to_bytes()).map_err(|error| malformed(&error))
}

/// A stream's events, each a frame; where the stream pauses, hyper writes.
fn frames(
    wire: Wire,
    wants_usage: bool,
    settings: Arc<Settings>,
    running: Arc<()>,
) -> impl Stream<Item = Result<Frame<Bytes>, Infallible>> + Send + 'static {
    let event = |data: &str| Ok(Frame::data(Bytes::from(format!("data: {data}\n\n"))));
    async_stream::stream! {
        let _running = running;
        yield_now().await;
        for chunk in (0..wire.n_choices()).filter_map(|index| wire.role_chunk(index)) {
            yield event(&chunk);
        }
        let mut due = time::Instant::now();
        for step in 0..wire.n_steps() {
            if step.is_multiple_of(settings.tokens_per_write) {
                yield_now().await;
                // Not for zero, since a timer rounds up to a millisecond.
                if !settings.write_interval.is_zero() {
                    time::sleep_until(due).await;
                }
                // A stream that falls behind does not catch up in a burst.
                due = (due + settings.write_interval).max(time::Instant::now());
            }
            for chunk in (0..wire.n_choices()).filter_map(|index| wire.token_chunk(index, step)) {
                yield event(&chunk);
            }
        }
        yield_now().await;
        if wants_usage {
            yield event(&wire.usage_chunk());
            yield_now().await;
        }
        yield event("[DONE]");
        yield_now().await;
    }
}

/// A response with a body of known length: JSON, or nothing.
fn whole(status: u16, body: String) -> Response<Body> {
    let length = HeaderValue::from(body.len());
    let frames = async_stream::stream! {
        yield_now().await;
        yield Ok(Frame::data(Bytes::from(body)));
    };
    let mut response = response(status, "application/json", frames);
    response.headers_mut().insert(CONTENT_LENGTH, length);
    if status == 503 {
        let after = HeaderValue::from_static("1");
        response.headers_mut().insert(RETRY_AFTER, after);
    }
    response
}

fn response(
    status: u16,
    content_type: &'static str,
    frames: impl Stream<Item = Result<Frame<Bytes>, Infallible>> + Send + 'static,
) -> Response<Body> {
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    let content_type = HeaderValue::from_static(content_type);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}
