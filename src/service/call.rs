//! One call, as server and service see it.
//!
//! The server makes it at the request's head and hands it on in the request's extensions. Clones share it.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue, request::Parts};
use tokio::time::Instant;

use super::{
    deadline::{Deadline, Limit, MalformedTimeout},
    request_id::{REQUEST_ID, RequestId},
};
use crate::{translate::Fields, upstream::Headers};

/// W3C trace context, which is sent on as it came.
const TRACE: [HeaderName; 2] = [
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
];

/// Longest trace header that is sent on, in bytes: `tracestate` may have 512.
const MAX_TRACE_BYTES: usize = 512;

/// A call from its head to its last byte.
#[derive(Clone, Debug)]
pub(crate) struct Call(Arc<State>);

#[derive(Debug)]
struct State {
    method: Box<str>,
    begun: Instant,
    deadline: Result<Option<Deadline>, MalformedTimeout>,
    headers: Headers,
    id: RequestId,
    model: OnceLock<String>,
    fields: OnceLock<Fields>,
    failure: OnceLock<Failure>,
    ending: OnceLock<Ending>,
    first_response: OnceLock<Instant>,
    n_responses: AtomicU64,
    n_deltas: AtomicU64,
    /// Pieces of the response that were given to the transport.
    n_pieces: AtomicU64,
    /// Whether the last piece still waits for the caller to read.
    is_blocked: AtomicBool,
}

/// Why the server ends a call that would have gone on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The process stops, and running calls have had their time.
    Draining,
    /// The connection has reached its greatest age, and its calls have had their time.
    ConnectionAged,
    /// The caller has not read for too long.
    CallerTooSlow,
    /// The deadline has passed.
    Expired(Limit),
}

/// What the log says of a failed call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The reason of the status's `google.rpc.ErrorInfo`.
    pub(crate) reason: &'static str,
    /// The error with its causes.
    pub(crate) cause: Option<String>,
}

// === impl Call ===

impl Call {
    /// The call whose request has this head. Its deadline counts from now.
    pub(crate) fn at_head(head: &Parts, max_duration: Option<Duration>) -> Self {
        let id = RequestId::accept_or_make(head.headers.get(REQUEST_ID));
        Self(Arc::new(State {
            method: head.uri.path().into(),
            begun: Instant::now(),
            deadline: Deadline::of(&head.headers, max_duration),
            headers: Headers {
                request_id: id.as_header().clone(),
                trace: trace(&head.headers),
            },
            id,
            model: OnceLock::new(),
            fields: OnceLock::new(),
            failure: OnceLock::new(),
            ending: OnceLock::new(),
            first_response: OnceLock::new(),
            n_responses: AtomicU64::new(0),
            n_deltas: AtomicU64::new(0),
            n_pieces: AtomicU64::new(0),
            is_blocked: AtomicBool::new(false),
        }))
    }

    /// A request's call, and its message.
    pub(super) fn parts<T>(request: tonic::Request<T>) -> (Self, T) {
        let (_metadata, mut extensions, message) = request.into_parts();
        // The server puts a call into each request.
        let call = extensions.remove::<Self>();
        let call =
            call.unwrap_or_else(|| Self::at_head(&http::Request::new(()).into_parts().0, None));
        (call, message)
    }

    /// The full path of the method, as `/package.Service/Method`.
    pub(crate) fn method(&self) -> &str {
        &self.0.method
    }

    pub(crate) fn id(&self) -> &RequestId {
        &self.0.id
    }

    /// What goes to the upstream beside the request's body.
    pub(crate) fn headers(&self) -> &Headers {
        &self.0.headers
    }

    pub(crate) fn begun(&self) -> Instant {
        self.0.begun
    }

    /// When the call must have ended; `None` where nobody set a limit.
    ///
    /// # Errors
    ///
    /// The caller's `grpc-timeout` cannot be read.
    pub(crate) fn deadline(&self) -> Result<Option<Deadline>, MalformedTimeout> {
        self.0.deadline
    }

    /// The model that the request names; empty for the default one.
    pub(crate) fn model(&self) -> &str {
        self.0.model.get().map_or("", String::as_str)
    }

    pub(crate) fn set_model(&self, model: &str) {
        // A request names one model.
        let _ = self.0.model.set(model.to_owned());
    }

    /// The fields of the request, which an error of the upstream is about.
    pub(crate) fn fields(&self) -> Fields {
        self.0.fields.get().copied().unwrap_or_default()
    }

    pub(crate) fn set_fields(&self, fields: Fields) {
        let _ = self.0.fields.set(fields);
    }

    /// The method's own name, as `StreamGenerate`.
    pub(crate) fn method_name(&self) -> &str {
        self.method().rsplit('/').next().unwrap_or_default()
    }

    /// Whether the answer is streamed, so that no library repeats the call once it has begun.
    pub(crate) fn is_stream(&self) -> bool {
        self.method_name().starts_with("Stream")
    }

    /// Whether the method is of a service that every gRPC server offers: health or reflection.
    pub(crate) fn is_standard(&self) -> bool {
        self.method().starts_with("/grpc.")
    }

    /// Why the call failed; `None` while it has not.
    pub(crate) fn failure(&self) -> Option<&Failure> {
        self.0.failure.get()
    }

    /// The call has failed. The first failure counts.
    pub(crate) fn fail(&self, failure: Failure) {
        let _ = self.0.failure.set(failure);
    }

    /// Why the server ends the call; `None` while it does not.
    pub(crate) fn ending(&self) -> Option<Ending> {
        self.0.ending.get().copied()
    }

    /// Ends the call, which its parts learn when they are next polled. The first ending counts.
    pub(crate) fn end(&self, ending: Ending) {
        let _ = self.0.ending.set(ending);
    }

    /// A response goes to the caller.
    pub(crate) fn responded(&self, is_delta: bool) {
        if self.0.n_responses.fetch_add(1, Relaxed) == 0 {
            let _ = self.0.first_response.set(Instant::now());
        }
        self.0.n_deltas.fetch_add(u64::from(is_delta), Relaxed);
    }

    pub(crate) fn first_response(&self) -> Option<Instant> {
        self.0.first_response.get().copied()
    }

    pub(crate) fn n_responses(&self) -> u64 {
        self.0.n_responses.load(Relaxed)
    }

    /// Deltas of text or of tool calls among the responses.
    pub(crate) fn n_deltas(&self) -> u64 {
        self.0.n_deltas.load(Relaxed)
    }

    /// A piece of the response was given to the transport, which asks for the next one when it could send this one.
    pub(crate) fn handed_over(&self) {
        self.0.n_pieces.fetch_add(1, Relaxed);
        self.0.is_blocked.store(true, Relaxed);
    }

    /// The transport asks for the next piece.
    pub(crate) fn resumed(&self) {
        self.0.is_blocked.store(false, Relaxed);
    }

    /// The number of the piece that waits for the caller to read; `None` where none does.
    pub(crate) fn blocked_at(&self) -> Option<u64> {
        let is_blocked = self.0.is_blocked.load(Relaxed);
        is_blocked.then(|| self.0.n_pieces.load(Relaxed))
    }
}

fn trace(headers: &HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
    let is_fit = |value: &HeaderValue| {
        let bytes = value.as_bytes();
        bytes.len() <= MAX_TRACE_BYTES && bytes.iter().all(|byte| matches!(byte, b' '..=b'~'))
    };
    let value = |name: HeaderName| {
        let value = headers.get(&name).filter(|value| is_fit(value))?;
        Some((name, value.clone()))
    };
    TRACE.into_iter().filter_map(value).collect()
}
