//! What a call can fail with, and the one place where each failure gets its status.

mod message;
mod refusal;
pub(super) mod report;

use std::time::Duration;

use tonic::{Code, Status};

use crate::{
    service::deadline::{Expired, MalformedTimeout},
    translate::{Fields, InvalidAnswer, InvalidRequest, Needs},
    upstream,
};
use report::{Report, Retry};

/// From when on a request that was lost counts as one that the upstream has worked for: vLLM sends no byte of a unary
/// answer before the generation is over, and one that never began is lost in a round trip.
const WORK: Duration = Duration::from_millis(500);

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The request has a wrong field.
    #[error(transparent)]
    InvalidRequest(#[from] InvalidRequest),
    /// `grpc-timeout` cannot be read.
    #[error("grpc-timeout is malformed")]
    MalformedTimeout,
    /// A deadline passed.
    #[error("the deadline passed")]
    Expired(Expired),
    /// `adapter-upstream` names an upstream that is not configured.
    #[error("no such upstream")]
    UnknownUpstream,
    /// `adapter-upstream-url` or its key is not allowed.
    #[error("upstreams of the caller's own are not allowed")]
    ForeignUpstream,
    /// The upstream would ignore what the request asks for.
    #[error("the upstream is too old for {}", .0.field)]
    TooOld(Needs),
    /// The upstream lists no such model.
    #[error("no such model")]
    UnknownModel,
    /// The upstream could not be asked, or did not answer as it should.
    #[error(transparent)]
    Upstream(#[from] upstream::Error),
    /// The upstream's answer is no whole one.
    #[error(transparent)]
    InvalidAnswer(#[from] InvalidAnswer),
}

/// What a status tells of the call beside its failure.
#[derive(Clone, Debug, Default)]
pub(crate) struct Subject {
    pub(crate) request_id: String,
    /// The model that was asked for; empty for the default one.
    pub(crate) model: String,
    /// The request that the upstream's was made from, whose fields an error names.
    pub(crate) fields: Fields,
    /// Deltas that the caller was sent before.
    pub(crate) deltas: u64,
    /// Whether the answer is streamed, so that its library cannot repeat it once it has begun.
    pub(crate) is_stream: bool,
}

impl From<Expired> for Error {
    fn from(expired: Expired) -> Self {
        Self::Expired(expired)
    }
}

impl From<MalformedTimeout> for Error {
    fn from(MalformedTimeout: MalformedTimeout) -> Self {
        Self::MalformedTimeout
    }
}

impl Error {
    /// The status that the caller gets, with its code and reason for the record.
    pub(crate) fn to_status(&self, subject: &Subject) -> (Status, &'static str) {
        let report = self.report(subject);
        let reason = report.reason;
        (report.into_status(subject), reason)
    }

    fn report(&self, subject: &Subject) -> Report {
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
            // As grpc-go answers; INVALID_ARGUMENT would blame a field.
            Self::MalformedTimeout => Report::new(
                Code::Internal,
                "MALFORMED_TIMEOUT",
                "grpc-timeout is not digits and a unit",
            ),
            Self::Expired(Expired::Caller) => Report::new(
                Code::DeadlineExceeded,
                "DEADLINE",
                "the call's deadline passed; generation has stopped",
            ),
            Self::Expired(Expired::Operator) => Report::new(
                Code::DeadlineExceeded,
                "TOTAL_TIMEOUT",
                "the call took longer than the adapter allows; generation has stopped",
            ),
            Self::UnknownUpstream => Report::new(
                Code::NotFound,
                "UPSTREAM_NOT_FOUND",
                "adapter-upstream names no configured upstream",
            ),
            Self::ForeignUpstream => Report::new(
                Code::PermissionDenied,
                "BASE_URL_NOT_ALLOWED",
                "adapter-upstream-url and adapter-upstream-key are not allowed here",
            ),
            Self::TooOld(needs) => Report::new(
                Code::FailedPrecondition,
                "UPSTREAM_TOO_OLD",
                format!(
                    "{}: the upstream ignores it; it needs vLLM {} or later",
                    needs.field, needs.version
                ),
            ),
            Self::UnknownModel => refusal::no_model(subject),
            Self::Upstream(error) => upstream_report(error, subject),
            Self::InvalidAnswer(invalid) => answer_report(*invalid, subject),
        }
    }
}

fn answer_report(invalid: InvalidAnswer, subject: &Subject) -> Report {
    match invalid {
        InvalidAnswer::Aborted => worked_for(
            "UPSTREAM_ABORTED",
            "the upstream aborted the generation",
            subject,
        ),
        InvalidAnswer::Failed => Report::new(
            Code::Internal,
            "UPSTREAM_INTERNAL",
            "the upstream failed during the generation",
        ),
        InvalidAnswer::Unfinished => truncated(subject),
        InvalidAnswer::Malformed(_) => protocol(),
    }
}

fn upstream_report(error: &upstream::Error, subject: &Subject) -> Report {
    use upstream::Error;
    match error {
        Error::Connect(_) => unavailable("UPSTREAM_CONNECT", "the upstream cannot be reached"),
        Error::Dns(_) => unavailable("UPSTREAM_DNS", "the upstream's host is not known"),
        Error::Tls(_) => unavailable("UPSTREAM_TLS", "the upstream cannot be reached by TLS"),
        Error::Reset { after, .. } => reset(*after, subject),
        Error::Truncated(_) => truncated(subject),
        Error::Refused(refusal) => refusal::report(refusal, subject),
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
        } if subject.fields.is_optional() => Report::new(
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

fn reset(after: Duration, subject: &Subject) -> Report {
    let (reason, text) = (
        "UPSTREAM_RESET",
        "the upstream closed the connection before it answered",
    );
    if after < WORK {
        unavailable(reason, text)
    } else {
        worked_for(reason, text, subject)
    }
}

fn truncated(subject: &Subject) -> Report {
    let text = "the upstream's answer was cut off";
    worked_for("UPSTREAM_STREAM_TRUNCATED", text, subject)
}

/// The upstream has worked for it, so that a library must not repeat it unasked. One whose stream has begun never does.
fn worked_for(reason: &'static str, text: &str, subject: &Subject) -> Report {
    let report = unavailable(reason, text);
    if subject.is_stream {
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
