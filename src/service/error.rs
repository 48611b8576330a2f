//! Why a call fails, and the one place that maps each failure to a status.

mod message;
mod refusal;
mod report;
pub(crate) mod transport;

use std::time::Duration;

use tonic::{
    Code::{
        DeadlineExceeded, FailedPrecondition, Internal, InvalidArgument, NotFound,
        PermissionDenied, ResourceExhausted, Unavailable,
    },
    Status,
};

use super::call::Call;
use crate::{
    telemetry::Chain,
    translate::{InvalidAnswer, InvalidRequest, Needs},
    upstream::{self, Unroutable},
};
use report::Report;

/// A request lost after this long may have used the engine, so it must not be repeated automatically.
const WORK: Duration = Duration::from_millis(500);

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The request has a wrong field.
    #[error(transparent)]
    InvalidRequest(#[from] InvalidRequest),
    /// The upstream would ignore what the request asks for.
    #[error("{}: the upstream ignores it; it needs vLLM {} or later", .0.field, .0.version)]
    TooOld(Needs),
    /// The upstream has other routes, so that its model cannot do it.
    #[error("the upstream has no such route, and others")]
    Unsupported,
    /// The upstream lists no such model.
    #[error("no such model")]
    UnknownModel,
    /// The call has no upstream.
    #[error(transparent)]
    Unroutable(#[from] Unroutable),
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
        let mut cause = Chain(self).to_string();
        if let Self::InvalidRequest(invalid) = self {
            // What is wrong may repeat the caller's words.
            cause = format!("wrong fields: {}", invalid.fields());
        }
        // The router of a model that cannot do it answers as one at another path does.
        let is_lost =
            matches!(self, Self::Upstream(_)) && report.reason == refusal::UNIMPLEMENTED.1;
        if is_lost || report.reason == "UPSTREAM_MISROUTED" {
            cause.push_str("; is `/v1` missing at the end of --upstream?");
        }
        report.into_status(call, Some(cause))
    }

    fn report(&self, call: &Call) -> Report {
        match self {
            Self::InvalidRequest(invalid) => {
                let mut report = Report::new(InvalidArgument, "INVALID_REQUEST", invalid);
                let violations = invalid.violations().iter().cloned();
                let violations = violations.map(|it| (it.field, it.description));
                report.violations.extend(violations);
                report
            }
            Self::TooOld(_) => Report::new(FailedPrecondition, "UPSTREAM_TOO_OLD", self),
            Self::Unsupported => {
                let (code, reason, text) = refusal::UNIMPLEMENTED;
                Report::new(code, reason, text)
            }
            Self::UnknownModel => refusal::no_model(call),
            Self::Unroutable(error) => unroutable_report(error, call),
            Self::Upstream(error) => upstream_report(error, call),
            Self::InvalidAnswer(InvalidAnswer::Aborted) => {
                let text = "the upstream aborted the generation";
                Report::new(Unavailable, "UPSTREAM_ABORTED", text).after_work(call)
            }
            Self::InvalidAnswer(InvalidAnswer::Failed) => {
                let text = "the upstream failed during the generation";
                Report::new(Internal, "UPSTREAM_INTERNAL", text)
            }
            Self::InvalidAnswer(InvalidAnswer::Unfinished) => {
                upstream_report(&upstream::Error::Truncated(None), call)
            }
            Self::InvalidAnswer(InvalidAnswer::Malformed(_)) => protocol(),
        }
    }
}

fn unroutable_report(error: &Unroutable, call: &Call) -> Report {
    let report = |code, reason| Report::new(code, reason, error);
    let (field, description) = match error {
        Unroutable::ForeignUrl => return report(PermissionDenied, "BASE_URL_NOT_ALLOWED"),
        Unroutable::UnknownUpstream => return report(NotFound, "UPSTREAM_NOT_FOUND"),
        Unroutable::UnknownModel => return refusal::no_model(call),
        Unroutable::NotAllowed => {
            return report(PermissionDenied, "MODEL_NOT_ALLOWED").with("model", call.model());
        }
        Unroutable::Unasked => return report(Unavailable, "UPSTREAM_CONNECT"),
        Unroutable::Overloaded => {
            let after = refusal::about_a_second(call.id());
            return report(ResourceExhausted, "OVERLOADED").after(after);
        }
        Unroutable::NoModel(_) => ("model", error.to_string()),
        Unroutable::Session => ("adapter-session", error.to_string()),
        Unroutable::Key => ("adapter-upstream-key", error.to_string()),
    };
    let mut report = report(InvalidArgument, "INVALID_REQUEST");
    report.violations.push((field.to_owned(), description));
    report
}

fn upstream_report(error: &upstream::Error, call: &Call) -> Report {
    use upstream::Error as E;
    // The error's own text, without its causes, has nothing of the upstream's.
    let report = |code, reason| Report::new(code, reason, error);
    match error {
        E::Connect(_) => report(Unavailable, "UPSTREAM_CONNECT"),
        E::Dns(_) => report(Unavailable, "UPSTREAM_DNS"),
        E::Tls(_) => report(Unavailable, "UPSTREAM_TLS"),
        E::Reset { after, .. } if *after < WORK => report(Unavailable, "UPSTREAM_RESET"),
        E::Reset { .. } => report(Unavailable, "UPSTREAM_RESET").after_work(call),
        E::Truncated(_) => report(Unavailable, "UPSTREAM_STREAM_TRUNCATED").after_work(call),
        E::Refused(refusal) => refusal::report(refusal, call),
        E::Redirected(status) => report(Internal, "UPSTREAM_REDIRECT").with("status", status),
        E::Protocol(_) => protocol(),
        // The caller's own batch is too large, or what it asked for beside the text.
        E::TooLarge { what, limit }
            if call.fields().asks_for_much() || *what == "body" && call.fields().is_optional() =>
        {
            let text = format!(
                "the answer's {what} is over {limit} bytes (--max-{what}-bytes); ask for less"
            );
            Report::new(ResourceExhausted, "RESPONSE_TOO_LARGE", text).with("limit", limit)
        }
        E::TooLarge { limit, .. } => {
            report(Internal, "UPSTREAM_EVENT_TOO_LARGE").with("limit", limit)
        }
        E::FirstToken(limit) => {
            let text = "the upstream sent nothing within the adapter's limit";
            Report::new(DeadlineExceeded, "FIRST_TOKEN_TIMEOUT", text)
                .with("limit_ms", limit.as_millis())
        }
        E::Stalled(limit) => {
            let text = "the upstream sent no further event within the limit";
            Report::new(Unavailable, "UPSTREAM_STALLED", text).with("limit_ms", limit.as_millis())
        }
    }
}

fn protocol() -> Report {
    let text = "the upstream's answer is not in vLLM's format";
    Report::new(Internal, "UPSTREAM_PROTOCOL", text)
}

#[cfg(test)]
mod tests;
