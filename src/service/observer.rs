//! One line in the log for each call, when it ends.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use http::HeaderMap;
use tokio::time::Instant;
use tonic::Code;

use super::{call::Call, error::transport};
use crate::telemetry::{Ended, Facts, LOAD_REPORT, Telemetry};

/// Of the name of a model, whose length is the caller's choice.
const MAX_LOGGED_CHARS: usize = 256;

/// Watches one call, and writes its line once. A call that is dropped before its end was cancelled by its caller, or
/// ended by the server.
#[derive(Debug)]
pub(crate) struct Observer {
    call: Call,
    telemetry: Arc<Telemetry>,
    is_recorded: bool,
}

// === impl Observer ===

impl Observer {
    pub(crate) fn new(call: Call, telemetry: &Arc<Telemetry>) -> Self {
        telemetry.begin(&call.headers.record, call.path(), &call.headers.trace);
        Self {
            call,
            telemetry: Arc::clone(telemetry),
            is_recorded: false,
        }
    }

    /// The call has ended with this status, in these headers or trailers.
    pub(crate) fn end(&mut self, code: Code, trailers: &mut HeaderMap) {
        if !self.call.is_standard() {
            trailers.insert(LOAD_REPORT, self.telemetry.load_report());
        }
        let reason = self.call.failure.get().map_or("", |failure| failure.reason);
        self.record(code, reason);
    }

    fn record(&mut self, code: Code, reason: &'static str) {
        if std::mem::replace(&mut self.is_recorded, true) {
            return;
        }
        let call = &self.call;
        let facts = self.tell(code, reason);
        let attempt = facts.attempt.as_ref();
        let millis =
            |from: Instant, to: Instant| u64::try_from((to - from).as_millis()).unwrap_or(u64::MAX);
        macro_rules! record {
            ($level:ident) => {
                tracing::$level!(
                    method = call.method_name(),
                    ?code,
                    reason,
                    request_id = call.id(),
                    caller = call.identity().name(),
                    model = start(call.model()),
                    duration_ms = millis(call.begun, Instant::now()),
                    first_response_ms = call.first_response.get().map(|&at| millis(call.begun, at)),
                    n_responses = call.n_responses.load(Relaxed),
                    upstream = attempt.map(|it| it.series.names()[0]),
                    replica = attempt.map(|it| it.series.names()[1]),
                    attempts = attempt.map(|_| call.headers.n_attempts.load(Relaxed)),
                    resolved_model = attempt.map(|it| start(&it.model)),
                    prompt_tokens = facts.prompt_tokens,
                    completion_tokens = facts.completion_tokens,
                    trace_id = facts.trace_id.as_deref(),
                    cause = call
                        .failure
                        .get()
                        .and_then(|failure| failure.cause.as_deref()),
                    "call"
                )
            };
        }
        // The operator should look at these; the others are the caller's.
        let is_warning = matches!(
            code,
            Code::Internal | Code::Unavailable | Code::Unknown | Code::DataLoss
        );
        match is_warning {
            // Probes would fill the log.
            _ if call.is_standard() => record!(debug),
            true => record!(warn),
            false => record!(info),
        }
    }

    /// Tells the metrics and the traces.
    fn tell(&self, code: Code, reason: &'static str) -> Facts {
        let call = &self.call;
        let ended = Ended {
            path: call.path(),
            code: code.into(),
            reason,
            seconds: call.begun.elapsed().as_secs_f64(),
            caller: call.identity().name(),
        };
        self.telemetry.end(&call.headers.record, &ended)
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        if !self.is_recorded {
            let (code, reason) = transport::dropped(&self.call);
            self.record(code, reason);
        }
    }
}

/// As much of a caller's text as a line of the log has room for.
fn start(text: &str) -> &str {
    let rest = text.char_indices().nth(MAX_LOGGED_CHARS);
    rest.and_then(|(end, _first)| text.get(..end))
        .unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_cut_in_the_log() {
        for (text, logged) in [
            ("", 0),
            ("tiny", 4),
            (&"é".repeat(256), 256),
            (&"é".repeat(9999), 256),
        ] {
            assert_eq!(start(text).chars().count(), logged);
        }
    }
}
