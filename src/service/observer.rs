//! One record for each call, at its end: whole, failed, or dropped by its caller.

use tokio::time::Instant;
use tonic::Code;

use super::{
    error::{Error, Subject},
    transport_error::dropped,
};
use crate::telemetry::Chain;

/// Of the name of a model, whose length is the caller's choice.
const MAX_LOGGED_CHARS: usize = 256;

/// Watches one call. Dropped before its end, it records that the caller left, or what else ended the call.
#[derive(Debug)]
pub(super) struct Observer {
    method: &'static str,
    begun: Instant,
    first_response: Option<Instant>,
    n_responses: u64,
    pub(super) subject: Subject,
    is_over: bool,
}

impl Observer {
    /// The call begins.
    pub(super) fn begin(method: &'static str, subject: Subject) -> Self {
        Self {
            method,
            begun: Instant::now(),
            first_response: None,
            n_responses: 0,
            subject,
            is_over: false,
        }
    }

    /// A response goes to the caller.
    pub(super) fn responded(&mut self) {
        if self.n_responses == 0 {
            self.first_response = Some(Instant::now());
        }
        self.n_responses += 1;
    }

    /// The call ended with OK.
    pub(super) fn end(&mut self) {
        self.record(Code::Ok, "", None);
    }

    /// The call failed; gives the status that its caller gets.
    pub(super) fn fail(&mut self, error: &Error) -> tonic::Status {
        let (status, reason) = error.to_status(&self.subject);
        self.record(status.code(), reason, Some(error));
        status
    }

    fn record(&mut self, code: Code, reason: &str, error: Option<&Error>) {
        self.is_over = true;
        let duration_ms = millis(self.begun.elapsed());
        let first_response_ms = self.first_response.map(|first| millis(first - self.begun));
        let cause = error.map(|error| Chain(error).to_string());
        let Self {
            method,
            subject,
            n_responses,
            ..
        } = self;
        macro_rules! record {
            ($level:ident) => {
                tracing::$level!(
                    method,
                    ?code,
                    reason,
                    request_id = subject.request_id,
                    model = start(&subject.model),
                    duration_ms,
                    first_response_ms,
                    n_responses,
                    cause,
                    "call"
                )
            };
        }
        // What the operator should look at is a warning; what a caller did is not.
        match code {
            Code::Internal | Code::Unavailable | Code::Unknown | Code::DataLoss => record!(warn),
            Code::Ok
            | Code::Cancelled
            | Code::InvalidArgument
            | Code::DeadlineExceeded
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::ResourceExhausted
            | Code::FailedPrecondition
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::Unauthenticated => record!(info),
        }
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        if !self.is_over {
            let (code, reason) = dropped();
            self.record(code, reason, None);
        }
    }
}

/// As much of a caller's text as a line of the log has room for.
fn start(text: &str) -> &str {
    let rest = text.char_indices().nth(MAX_LOGGED_CHARS);
    rest.and_then(|(end, _first)| text.get(..end))
        .unwrap_or(text)
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
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
