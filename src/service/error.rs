//! What a call can fail with, and the one place where each failure gets its status.

mod message;
mod refusal;
mod report;
pub(crate) mod transport;

use std::time::Duration;

use tonic::{Code, Status};

use super::call::{Call, Failure};
use crate::{
    telemetry::Chain,
    translate::{InvalidAnswer, InvalidRequest, Needs},
    upstream,
};
use report::{Report, Retry};

/// From when on the upstream counts as having worked for a request that was lost: vLLM sends no byte of a unary answer
/// before the generation has ended, and a request that never began is lost in a round trip.
const WORK: Duration = Duration::from_millis(500);

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The request has a wrong field.
    #[error(transparent)]
    InvalidRequest(#[from] InvalidRequest),
    /// The upstream would ignore what the request asks for.
    #[error("the upstream is too old for {}", .0.field)]
    TooOld(Needs),
    /// The upstream lists no such model.
    #[error("no such model")]
    UnknownModel,
    /// The upstream could not be asked, or did not answer as it should.
    #[error(transparent)]
    Upstream(#[from] upstream::Error),
    /// The upstream's answer is not whole.
    #[error(transparent)]
    InvalidAnswer(#[from] InvalidAnswer),
}

impl Error {
    /// The status that the caller gets. The call keeps the reason for the log.
    pub(super) fn to_status(&self, call: &Call) -> Status {
        let report = self.report(call);
        call.fail(Failure {
            reason: report.reason,
            cause: Some(Chain(self).to_string()),
        });
        report.into_status(call)
    }

    fn report(&self, call: &Call) -> Report {
        match self {
            Self::InvalidRequest(invalid) => {
                let report = Report::new(
                    Code::InvalidArgument,
                    "INVALID_REQUEST",
                    invalid.to_string(),
                );
                let violations = invalid.violations().iter();
                report.with_violations(
                    violations.map(|it| (it.field.clone(), it.description.clone())),
                )
            }
            Self::TooOld(needs) => Report::new(
                Code::FailedPrecondition,
                "UPSTREAM_TOO_OLD",
                format!(
                    "{}: the upstream ignores it; it needs vLLM {} or later",
                    needs.field, needs.version
                ),
            ),
            Self::UnknownModel => refusal::no_model(call),
            Self::Upstream(error) => upstream_report(error, call),
            Self::InvalidAnswer(invalid) => answer_report(*invalid, call),
        }
    }
}

fn answer_report(invalid: InvalidAnswer, call: &Call) -> Report {
    match invalid {
        InvalidAnswer::Aborted => worked_for(
            "UPSTREAM_ABORTED",
            "the upstream aborted the generation",
            call,
        ),
        InvalidAnswer::Failed => Report::new(
            Code::Internal,
            "UPSTREAM_INTERNAL",
            "the upstream failed during the generation",
        ),
        InvalidAnswer::Unfinished => truncated(call),
        InvalidAnswer::Malformed(_) => protocol(),
    }
}

fn upstream_report(error: &upstream::Error, call: &Call) -> Report {
    use upstream::Error;
    match error {
        Error::Connect(_) => unavailable("UPSTREAM_CONNECT", "the upstream cannot be reached"),
        Error::Dns(_) => unavailable("UPSTREAM_DNS", "the upstream's host is not known"),
        Error::Tls(_) => unavailable("UPSTREAM_TLS", "the upstream cannot be reached by TLS"),
        Error::Reset { after, .. } => reset(*after, call),
        Error::Truncated(_) => truncated(call),
        Error::Refused(refusal) => refusal::report(refusal, call),
        Error::Redirected(status) => Report::new(
            Code::Internal,
            "UPSTREAM_REDIRECT",
            "the upstream answered with a redirect",
        )
        .with("status", status),
        Error::Protocol(_) => protocol(),
        // The caller's own batch is too large.
        Error::TooLarge {
            what: "body",
            limit,
        } if call.fields().is_optional() => Report::new(
            Code::ResourceExhausted,
            "RESPONSE_TOO_LARGE",
            format!("the answer is larger than {limit} bytes (--max-body-bytes); ask for less"),
        )
        .with("limit", limit),
        Error::TooLarge { what, limit } => Report::new(
            Code::Internal,
            "UPSTREAM_EVENT_TOO_LARGE",
            format!("the upstream's {what} is larger than {limit} bytes"),
        )
        .with("limit", limit),
        Error::FirstToken(limit) => Report::new(
            Code::DeadlineExceeded,
            "FIRST_TOKEN_TIMEOUT",
            "the upstream sent nothing within the adapter's limit",
        )
        .with("limit_ms", limit.as_millis()),
        Error::Stalled(limit) => unavailable(
            "UPSTREAM_STALLED",
            "the upstream fell silent in the midst of its answer",
        )
        .with("limit_ms", limit.as_millis()),
    }
}

fn unavailable(reason: &'static str, text: &str) -> Report {
    Report::new(Code::Unavailable, reason, text)
}

fn reset(after: Duration, call: &Call) -> Report {
    let (reason, text) = (
        "UPSTREAM_RESET",
        "the upstream closed the connection before it answered",
    );
    if after < WORK {
        unavailable(reason, text)
    } else {
        worked_for(reason, text, call)
    }
}

fn truncated(call: &Call) -> Report {
    let text = "the upstream's answer was cut off";
    worked_for("UPSTREAM_STREAM_TRUNCATED", text, call)
}

/// The upstream has worked for it, so that a library must not repeat it unasked. One whose stream has begun never does.
fn worked_for(reason: &'static str, text: &str, call: &Call) -> Report {
    let report = unavailable(reason, text);
    if call.is_stream() {
        report
    } else {
        report.with_retry(Retry::Never)
    }
}

fn protocol() -> Report {
    Report::new(
        Code::Internal,
        "UPSTREAM_PROTOCOL",
        "the upstream's answer cannot be understood",
    )
}

#[cfg(test)]
mod tests;
