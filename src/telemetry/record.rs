//! What a call leaves for its line in the log, the metrics and the traces.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{HeaderMap, HeaderName, HeaderValue};
use prometheus_client::metrics::histogram::Histogram;
use tokio::time::Instant;

use super::{
    Telemetry,
    facts::{Attempt, Facts},
    replicas::Counted,
    traces::Spans,
};
use crate::proto::{FinishReason, Usage};

/// The record of a call, which those who serve it write a few times, and never for a chunk.
#[derive(Debug, Default)]
pub(crate) struct Record(Mutex<Open>);

/// A call that runs.
#[derive(Debug, Default)]
struct Open {
    telemetry: Option<Arc<Telemetry>>,
    in_flight: Option<Counted>,
    spans: Option<Spans>,
    facts: Facts,
}

/// Observes the time between the chunks of a stream.
#[derive(Debug)]
pub(crate) struct Pace(Option<Histogram>, Instant);

impl Record {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call begins. `sent` is the trace context of its request.
    pub(super) fn begin(
        &self,
        telemetry: &Arc<Telemetry>,
        path: &str,
        sent: &[(HeaderName, HeaderValue)],
    ) {
        let mut open = self.open();
        open.telemetry = Some(Arc::clone(telemetry));
        open.in_flight = Counted::begin(&telemetry.metrics.calls_in_flight, usize::MAX);
        open.spans = telemetry.tracing.spans(path, sent);
        open.facts.trace_id = open
            .spans
            .as_ref()
            .map(Spans::trace_id)
            .or_else(|| trace_id(sent));
    }

    /// A replica is asked.
    pub(crate) fn attempt(&self, attempt: Attempt) {
        attempt.series.attempts.inc();
        let mut open = self.open();
        open.facts.begun.get_or_insert(attempt.begun);
        if let Some(spans) = &mut open.spans {
            spans.attempt(&attempt);
        }
        open.facts.attempt = Some(attempt);
    }

    /// Puts the trace context of the attempt into the headers of its request, where the call has spans.
    pub(crate) fn inject(&self, headers: &mut HeaderMap) {
        if let Some(spans) = &self.open().spans {
            spans.inject(headers);
        }
    }

    /// The head of an answer is there.
    pub(crate) fn answered(&self) {
        if let Some(attempt) = &self.open().facts.attempt {
            attempt
                .series
                .first_byte
                .observe(attempt.begun.elapsed().as_secs_f64());
        }
    }

    /// The first chunk of a stream is there.
    pub(crate) fn first_chunk(&self) -> Pace {
        let (mut open, now) = (self.open(), Instant::now());
        open.facts.first_chunk = open.facts.begun.map(|begun| (now - begun).as_secs_f64());
        let metrics = open.telemetry.as_ref().map(|telemetry| &telemetry.metrics);
        let labels = open.facts.attempt.as_ref().map(Attempt::labels);
        let chunks = metrics
            .zip(labels)
            .map(|(metrics, labels)| metrics.chunks.get_or_create_owned(&labels));
        Pace(chunks, now)
    }

    /// The upstream has counted tokens; its last counts are those of the whole answer.
    pub(crate) fn used(&self, usage: Option<&Usage>) {
        if let Some(usage) = usage {
            let facts = &mut self.open().facts;
            facts.prompt_tokens = usage.prompt_tokens;
            facts.completion_tokens = usage.completion_tokens;
        }
    }

    /// A choice has ended.
    pub(crate) fn finished(&self, reason: FinishReason) {
        let name = reason.as_str_name().trim_start_matches("FINISH_REASON_");
        let name = name.to_ascii_lowercase();
        self.open().facts.finish_reasons.push(name);
    }

    /// The call has ended; nothing is left here.
    pub(super) fn take(&self) -> (Facts, Option<Spans>) {
        let open = std::mem::take(&mut *self.open());
        (open.facts, open.spans)
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
