//! What one call leaves for its line in the log, the metrics and the traces.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{HeaderMap, HeaderName, HeaderValue};
use prometheus_client::metrics::histogram::Histogram;
use tokio::time::Instant;

use super::{
    methods::Method,
    metrics::{Label, Labels, Metrics},
    replicas::Series,
    traces::Spans,
};

/// The record of a call, which those who serve it write; a few times in a call, and never for each chunk.
#[derive(Debug, Default)]
pub(crate) struct Record(Mutex<Facts>);

/// What is known of a call.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(super) metrics: Option<Arc<Metrics>>,
    pub(super) spans: Option<Spans>,
    /// In hexadecimal, of its own spans or of its caller's.
    pub(crate) trace_id: Option<String>,
    /// When the upstream was first asked.
    pub(super) begun: Option<Instant>,
    /// The last attempt.
    pub(crate) attempt: Option<Attempt>,
    /// Seconds from `begun` to the first chunk of a stream.
    pub(super) first_chunk: Option<f64>,
    pub(crate) prompt_tokens: Option<i32>,
    pub(crate) completion_tokens: Option<i32>,
    pub(super) finish_reasons: Vec<&'static str>,
}

/// A request to a replica.
#[derive(Debug)]
pub(crate) struct Attempt {
    /// By the GenAI conventions, as `chat`.
    pub(crate) operation: &'static str,
    /// What the caller asked for, and what the replica is asked for, as labels.
    pub(crate) models: [Label; 2],
    /// The model that the replica is asked for; empty where it chooses.
    pub(crate) model: String,
    pub(crate) series: Arc<Series>,
}

/// How a call ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended<'a> {
    pub(crate) method: &'a Method,
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
pub(crate) struct Pace {
    last: Instant,
    histogram: Option<Histogram>,
}

// === impl Record ===

impl Record {
    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call begins. `sent` is the trace context of its request.
    pub(super) fn begin(
        &self,
        metrics: &Arc<Metrics>,
        spans: Option<Spans>,
        sent: &[(HeaderName, HeaderValue)],
    ) {
        let mut facts = self.facts();
        facts.metrics = Some(Arc::clone(metrics));
        facts.trace_id = match &spans {
            Some(spans) => Some(spans.trace_id()),
            None => trace_id(sent).map(str::to_owned),
        };
        facts.spans = spans;
    }

    /// A replica is asked.
    pub(crate) fn attempt(&self, attempt: Attempt) {
        attempt.series.attempts.inc();
        let mut facts = self.facts();
        facts.begun.get_or_insert_with(Instant::now);
        if let Some(spans) = &mut facts.spans {
            spans.attempt(&attempt);
        }
        facts.attempt = Some(attempt);
    }

    /// Puts the trace context of the attempt into the headers of its request, where there is one.
    pub(crate) fn inject(&self, headers: &mut HeaderMap) {
        if let Some(spans) = &self.facts().spans {
            spans.inject(headers);
        }
    }

    /// The first chunk of a stream is there.
    pub(crate) fn first_chunk(&self) -> Pace {
        let mut facts = self.facts();
        facts.first_chunk = facts.begun.map(|begun| begun.elapsed().as_secs_f64());
        Pace {
            last: Instant::now(),
            histogram: facts.metrics.as_ref().map(|metrics| metrics.chunks(&facts)),
        }
    }

    /// The upstream has counted tokens. The last counts are those of the whole answer.
    pub(crate) fn used(&self, prompt_tokens: Option<i32>, completion_tokens: Option<i32>) {
        let mut facts = self.facts();
        facts.prompt_tokens = prompt_tokens;
        facts.completion_tokens = completion_tokens;
    }

    /// A choice has ended, by that word of the contract in lower case.
    pub(crate) fn finished(&self, reason: &'static str) {
        self.facts().finish_reasons.push(reason);
    }

    /// The call has ended. Nothing is left here.
    pub(super) fn take(&self) -> Facts {
        std::mem::take(&mut *self.facts())
    }
}

/// <https://www.w3.org/TR/trace-context/#traceparent-header>: a version, the id of the trace, that of the span, flags.
fn trace_id(sent: &[(HeaderName, HeaderValue)]) -> Option<&str> {
    let (_, traceparent) = sent.iter().find(|(name, _)| name == "traceparent")?;
    let id = traceparent.to_str().ok()?.split('-').nth(1)?;
    (id.len() == 32).then_some(id)
}

// === impl Facts ===

impl Facts {
    /// The labels that all metrics of an operation have.
    pub(super) fn labels(&self) -> Labels<4> {
        let attempt = self.attempt.as_ref();
        let [request, response] = attempt.map(|it| it.models.clone()).unwrap_or_default();
        [
            (
                "gen_ai_operation_name",
                attempt.map_or("", |it| it.operation).into(),
            ),
            ("gen_ai_provider_name", "vllm".into()),
            ("gen_ai_request_model", request),
            ("gen_ai_response_model", response),
        ]
    }
}

// === impl Pace ===

impl Pace {
    /// A chunk is there, or several that came together.
    pub(crate) fn chunk(&mut self) {
        if let Some(histogram) = &self.histogram {
            let now = Instant::now();
            histogram.observe((now - self.last).as_secs_f64());
            self.last = now;
        }
    }
}
