//! What a call leaves for its line in the log, the metrics and the traces.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{HeaderMap, HeaderName, HeaderValue};
use prometheus_client::metrics::histogram::Histogram;
use tokio::time::Instant;

use super::{
    Telemetry,
    metrics::{Label, Labels},
    replicas::{Counted, Series},
    traces::Spans,
};
use crate::proto::{FinishReason, Usage};

/// The codes by number, as grpc-go writes them and as OpenTelemetry does.
const CODES: &str = "OK Canceled Unknown InvalidArgument DeadlineExceeded NotFound AlreadyExists PermissionDenied \
    ResourceExhausted FailedPrecondition Aborted OutOfRange Unimplemented Internal Unavailable DataLoss Unauthenticated";
const STATUS_CODES: &str = "OK CANCELLED UNKNOWN INVALID_ARGUMENT DEADLINE_EXCEEDED NOT_FOUND ALREADY_EXISTS \
    PERMISSION_DENIED RESOURCE_EXHAUSTED FAILED_PRECONDITION ABORTED OUT_OF_RANGE UNIMPLEMENTED INTERNAL UNAVAILABLE \
    DATA_LOSS UNAUTHENTICATED";

/// The record of a call, which those who serve it write a few times, and never for a chunk.
#[derive(Debug, Default)]
pub(crate) struct Record(Mutex<Facts>);

/// What is known of a call.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    telemetry: Option<Arc<Telemetry>>,
    in_flight: Option<Counted>,
    pub(super) spans: Option<Spans>,
    /// In hexadecimal, of its own spans or of its caller's.
    pub(crate) trace_id: Option<String>,
    /// When the upstream was first asked.
    pub(super) begun: Option<Instant>,
    /// The last one.
    pub(crate) attempt: Option<Attempt>,
    /// Seconds from `begun` to the first chunk of a stream.
    pub(super) first_chunk: Option<f64>,
    pub(crate) prompt_tokens: Option<i32>,
    pub(crate) completion_tokens: Option<i32>,
    pub(super) finish_reasons: Vec<String>,
}

/// A request to a replica.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) begun: Instant,
    /// By the conventions for GenAI, as `chat`.
    pub(crate) operation: &'static str,
    /// The model that the replica is asked for; empty where it chooses.
    pub(crate) model: String,
    /// What the caller asked for, and what the replica is asked for, as labels.
    pub(crate) labels: [Label; 2],
    pub(crate) series: Arc<Series>,
}

/// How a call ended.
#[derive(Debug)]
pub(crate) struct Ended<'a> {
    /// The full path of its method.
    pub(crate) path: &'a str,
    /// The number of its status.
    pub(crate) code: i32,
    /// The reason of its `ErrorInfo`; empty where it is OK.
    pub(crate) reason: &'static str,
    pub(crate) seconds: f64,
    /// The configured caller that it is of.
    pub(crate) caller: Option<&'a str>,
}

/// Observes the time between the chunks of a stream.
#[derive(Debug)]
pub(crate) struct Pace(Option<Histogram>, Instant);

impl Record {
    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call begins. `sent` is the trace context of its request.
    pub(super) fn begin(
        &self,
        telemetry: &Arc<Telemetry>,
        path: &str,
        sent: &[(HeaderName, HeaderValue)],
    ) {
        let mut facts = self.facts();
        facts.telemetry = Some(Arc::clone(telemetry));
        facts.in_flight = Counted::begin(&telemetry.metrics.calls_in_flight, usize::MAX);
        facts.spans = telemetry.tracing.spans(path, sent);
        facts.trace_id = facts
            .spans
            .as_ref()
            .map(Spans::trace_id)
            .or_else(|| trace_id(sent));
    }

    /// A replica is asked.
    pub(crate) fn attempt(&self, attempt: Attempt) {
        attempt.series.attempts.inc();
        let mut facts = self.facts();
        facts.begun.get_or_insert(attempt.begun);
        if let Some(spans) = &mut facts.spans {
            spans.attempt(&attempt);
        }
        facts.attempt = Some(attempt);
    }

    /// Puts the trace context of the attempt into the headers of its request, where the call has spans.
    pub(crate) fn inject(&self, headers: &mut HeaderMap) {
        if let Some(spans) = &self.facts().spans {
            spans.inject(headers);
        }
    }

    /// The head of an answer is there.
    pub(crate) fn answered(&self) {
        if let Some(attempt) = &self.facts().attempt {
            attempt
                .series
                .first_byte
                .observe(attempt.begun.elapsed().as_secs_f64());
        }
    }

    /// The first chunk of a stream is there.
    pub(crate) fn first_chunk(&self) -> Pace {
        let (mut facts, now) = (self.facts(), Instant::now());
        facts.first_chunk = facts.begun.map(|begun| (now - begun).as_secs_f64());
        let metrics = facts.telemetry.as_ref().map(|telemetry| &telemetry.metrics);
        let labels = facts.attempt.as_ref().map(Attempt::labels);
        let chunks = metrics
            .zip(labels)
            .map(|(metrics, labels)| metrics.chunks.get_or_create_owned(&labels));
        Pace(chunks, now)
    }

    /// The upstream has counted tokens; its last counts are those of the whole answer.
    pub(crate) fn used(&self, usage: Option<&Usage>) {
        if let Some(usage) = usage {
            let mut facts = self.facts();
            facts.prompt_tokens = usage.prompt_tokens;
            facts.completion_tokens = usage.completion_tokens;
        }
    }

    /// A choice has ended.
    pub(crate) fn finished(&self, reason: FinishReason) {
        let name = reason.as_str_name().trim_start_matches("FINISH_REASON_");
        let name = name.to_ascii_lowercase();
        self.facts().finish_reasons.push(name);
    }

    /// The call has ended; nothing is left here.
    pub(super) fn take(&self) -> Facts {
        let mut facts = std::mem::take(&mut *self.facts());
        facts.in_flight = None;
        facts
    }
}

impl Attempt {
    /// The labels that all metrics of an operation have.
    pub(super) fn labels(&self) -> Labels {
        let [request, response] = self.labels.clone();
        vec![
            ("gen_ai_operation_name", self.operation.into()),
            ("gen_ai_provider_name", "vllm".into()),
            ("gen_ai_request_model", request),
            ("gen_ai_response_model", response),
        ]
    }
}

impl Ended<'_> {
    /// The name of the code for the metrics, and that for the traces.
    pub(super) fn code_names(&self) -> (&'static str, &'static str) {
        let n = usize::try_from(self.code).unwrap_or(2);
        let name = |names: &'static str| names.split(' ').nth(n).unwrap_or_default();
        (name(CODES), name(STATUS_CODES))
    }
}

impl Pace {
    /// A chunk is there, or several that came together.
    pub(crate) fn chunk(&mut self) {
        if let Self(Some(histogram), last) = self {
            let now = Instant::now();
            histogram.observe((now - *last).as_secs_f64());
            *last = now;
        }
    }
}

/// <https://www.w3.org/TR/trace-context/#traceparent-header>: a version, the id of the trace, that of the span, flags.
fn trace_id(sent: &[(HeaderName, HeaderValue)]) -> Option<String> {
    let (_, traceparent) = sent.iter().find(|(name, _)| name == "traceparent")?;
    let id = traceparent.to_str().ok()?.split('-').nth(1)?;
    (id.len() == 32).then(|| id.to_owned())
}
