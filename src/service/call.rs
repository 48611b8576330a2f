//! One call, as server and service see it.
//!
//! The server makes it at the request's head and hands it on in the request's extensions. Clones share it.

use std::{
    ops::Deref,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue, request::Parts};
use tokio::time::Instant;

use super::{
    deadline::{Deadline, Ending, MalformedTimeout},
    request_id::{REQUEST_ID, accept_or_make},
};
use crate::{
    access::Identity,
    translate::Fields,
    upstream::{Headers, Wanted},
};

/// W3C trace context, which is sent on as it came.
const TRACE: [HeaderName; 2] = [
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
];

/// Longest trace header that is sent on, in bytes: `tracestate` may have 512.
const MAX_TRACE_BYTES: usize = 512;

const UNBLOCKED: u64 = u64::MAX;

/// A call from its head to its last byte.
#[derive(Clone, Debug)]
pub(crate) struct Call(Arc<State>);

/// What the request's head says, and what has happened since.
#[derive(Debug)]
pub(crate) struct State {
    /// The full path of the method, as `/package.Service/Method`.
    method: Box<str>,
    pub(crate) begun: Instant,
    /// `None` where nobody set a limit.
    pub(crate) deadline: Result<Option<Deadline>, MalformedTimeout>,
    /// What goes to the upstream beside the request's body.
    pub(crate) headers: Headers,
    /// Who makes it, and what its metadata says about the upstream.
    pub(crate) wanted: Wanted,
    model: OnceLock<String>,
    fields: OnceLock<Fields>,
    pub(super) failure: OnceLock<Failure>,
    /// Why the server ends the call; unset while it does not.
    pub(crate) ending: OnceLock<Ending>,
    pub(super) first_response: OnceLock<Instant>,
    pub(super) n_responses: AtomicU64,
    n_deltas: AtomicU64,
    /// When hyper took the last piece that it has not asked to follow; microseconds since `begun`, or [`UNBLOCKED`].
    blocked: AtomicU64,
}

/// What the log says of a failed call.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The reason of the status's `google.rpc.ErrorInfo`.
    pub(crate) reason: &'static str,
    /// The error with its causes.
    pub(crate) cause: Option<String>,
}

// === impl Call ===

impl Deref for Call {
    type Target = State;

    fn deref(&self) -> &State {
        &self.0
    }
}

impl Call {
    /// The call whose request has this head. Its deadline counts from now.
    pub(crate) fn at_head(
        head: &Parts,
        max_duration: Option<Duration>,
        identity: Identity,
    ) -> Self {
        Self(Arc::new(State {
            method: head.uri.path().into(),
            begun: Instant::now(),
            deadline: Deadline::of(&head.headers, max_duration),
            headers: Headers::new(
                accept_or_make(head.headers.get(REQUEST_ID)),
                trace(&head.headers),
            ),
            wanted: Wanted::of(&head.headers, identity),
            model: OnceLock::new(),
            fields: OnceLock::new(),
            failure: OnceLock::new(),
            ending: OnceLock::new(),
            first_response: OnceLock::new(),
            n_responses: AtomicU64::new(0),
            n_deltas: AtomicU64::new(0),
            blocked: AtomicU64::new(UNBLOCKED),
        }))
    }

    /// A request's call, and its message.
    pub(super) fn parts<T>(request: tonic::Request<T>) -> (Self, T) {
        let (_metadata, mut extensions, message) = request.into_parts();
        // The server puts a call into each request.
        let call = extensions.remove().unwrap_or_else(|| {
            let (head, ()) = http::Request::new(()).into_parts();
            Self::at_head(&head, None, Identity::default())
        });
        (call, message)
    }
}

// === impl State ===

impl State {
    pub(crate) fn id(&self) -> &str {
        // Visible ASCII by construction.
        self.headers.request_id.to_str().unwrap_or_default()
    }

    /// The model that the request names; empty for the default one.
    pub(crate) fn model(&self) -> &str {
        self.model.get().map_or("", String::as_str)
    }

    /// The fields of the request, which an error of the upstream is about.
    pub(crate) fn fields(&self) -> Fields {
        self.fields.get().copied().unwrap_or_default()
    }

    /// Who makes it.
    pub(crate) fn identity(&self) -> &Identity {
        &self.wanted.identity
    }

    pub(crate) fn set_model(&self, model: &str) {
        // A request names one model.
        let _ = self.model.set(model.to_owned());
    }

    pub(crate) fn set_fields(&self, fields: Fields) {
        let _ = self.fields.set(fields);
    }

    /// The full path of the method, as `/package.Service/Method`.
    pub(super) fn path(&self) -> &str {
        &self.method
    }

    /// The method's own name, as `StreamGenerate`.
    pub(crate) fn method_name(&self) -> &str {
        self.method.rsplit('/').next().unwrap_or_default()
    }

    /// Whether the answer is streamed, so that no library repeats the call once it has begun.
    pub(crate) fn is_stream(&self) -> bool {
        self.method_name().starts_with("Stream")
    }

    /// Whether the method may be sent several messages, with any time between them: reflection alone.
    pub(crate) fn takes_many_messages(&self) -> bool {
        self.method.starts_with("/grpc.reflection.")
    }

    /// Whether the method is of a service that every gRPC server offers: health or reflection.
    pub(crate) fn is_standard(&self) -> bool {
        self.method.starts_with("/grpc.")
    }

    /// Whether the method is of the service that tells probes whether the server takes calls.
    pub(crate) fn is_health(&self) -> bool {
        self.method.starts_with("/grpc.health.")
    }

    /// The call has failed. The first failure counts.
    pub(crate) fn fail(&self, reason: &'static str, cause: Option<String>) {
        let _ = self.failure.set(Failure { reason, cause });
    }

    /// Ends the call, which its parts learn when they are next polled. The first ending counts.
    pub(crate) fn end(&self, ending: Ending) {
        let _ = self.ending.set(ending);
    }

    /// A response goes to the caller.
    pub(crate) fn responded(&self, is_delta: bool) {
        if self.n_responses.fetch_add(1, Relaxed) == 0 {
            let _ = self.first_response.set(Instant::now());
        }
        self.n_deltas.fetch_add(u64::from(is_delta), Relaxed);
    }

    /// Deltas of text or of tool calls among the responses.
    pub(crate) fn n_deltas(&self) -> u64 {
        self.n_deltas.load(Relaxed)
    }

    /// A piece of the response was given to the transport, which asks for the next one when it could send this one.
    pub(crate) fn handed_over(&self) {
        let micros = u64::try_from(self.begun.elapsed().as_micros());
        self.blocked.store(micros.unwrap_or(UNBLOCKED), Relaxed);
    }

    /// The transport asks for the next piece.
    pub(crate) fn resumed(&self) {
        self.blocked.store(UNBLOCKED, Relaxed);
    }

    /// Since when the last piece waits for the caller to read; `None` where it does not.
    pub(crate) fn blocked_since(&self) -> Option<Instant> {
        let micros = Some(self.blocked.load(Relaxed)).filter(|&micros| micros != UNBLOCKED)?;
        Some(self.begun + Duration::from_micros(micros))
    }
}

fn trace(headers: &HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
    let is_fit = |value: &&HeaderValue| value.len() <= MAX_TRACE_BYTES && value.to_str().is_ok();
    let value = |name| {
        let value = headers.get(&name).filter(is_fit)?.clone();
        Some((name, value))
    };
    TRACE.into_iter().filter_map(value).collect()
}
