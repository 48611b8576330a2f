//! The status for each error that the upstream tells of.
//!
//! Not the mapping of the gRPC project, which is for clients that got no `grpc-status`: what is about this caller's
//! request keeps its meaning, and what is about the operator's set-up is INTERNAL, whatever its HTTP status (gRFC A54).

use std::time::Duration;

use tonic::Code;

use super::{Call, Report, Retry, message};
use crate::{
    openai::error::{Code as ErrorCode, EngineError, ErrorBody},
    upstream::Refusal,
};

/// The status, with the facts that a program can act on.
pub(super) fn report(refusal: &Refusal, call: &Call) -> Report {
    let report = match refusal.status {
        400..=499 => client_error(refusal, call),
        500..=599 => server_error(refusal, call),
        _ => operator("UPSTREAM_PROTOCOL"),
    };
    report.with("http_status", refusal.status)
}

fn client_error(refusal: &Refusal, call: &Call) -> Report {
    match refusal.status {
        400 => bad_request(&refusal.body, call),
        401 => operator("UPSTREAM_AUTH"),
        402 => operator("UPSTREAM_BILLING"),
        403 => operator("UPSTREAM_FORBIDDEN"),
        404 if is_about_model(&refusal.body) => no_model(call),
        410 => no_model(call),
        404 | 405 if is_route_missing(&refusal.body, call) => unimplemented(),
        404 | 405 | 406 | 415 | 421 | 426 => operator("UPSTREAM_MISROUTED"),
        // Nothing ran, so that a repeat costs nothing.
        408 | 425 => unavailable(
            "UPSTREAM_UNAVAILABLE",
            refusal.retry_after.unwrap_or(ONE_SECOND),
        ),
        409 => Report::new(
            Code::Aborted,
            "UPSTREAM_CONFLICT",
            "the upstream is busy with something that excludes the request",
        ),
        412 | 428 => Report::new(
            Code::FailedPrecondition,
            "UPSTREAM_PRECONDITION",
            "the upstream is not in the state that the request needs",
        ),
        413 => Report::new(
            Code::ResourceExhausted,
            "REQUEST_TOO_LARGE",
            "the request is larger than the upstream takes",
        ),
        414 | 431 => operator("UPSTREAM_PROTOCOL"),
        422 => invalid(&refusal.body, "INVALID_REQUEST", call),
        429 => rate_limited(refusal.retry_after),
        451 => Report::new(
            Code::PermissionDenied,
            "UPSTREAM_LEGAL",
            "the upstream may not answer this for legal reasons",
        ),
        499 => Report::new(
            Code::Unavailable,
            "UPSTREAM_RESET",
            "a proxy dropped the request before the upstream answered",
        ),
        _ => operator("UPSTREAM_HTTP"),
    }
}

fn server_error(refusal: &Refusal, call: &Call) -> Report {
    let after = |default| refusal.retry_after.unwrap_or(default);
    match refusal.status {
        // It may have run, and it may be what killed the engine.
        500 => Report::new(Code::Internal, "UPSTREAM_INTERNAL", "the upstream failed"),
        501 => unimplemented(),
        503 => unavailable(
            "UPSTREAM_OVERLOADED",
            after(about_a_second(call.id().as_str())),
        ),
        502 | 520..=523 | 525 | 526 | 529 | 530 => {
            unavailable("UPSTREAM_UNAVAILABLE", after(ONE_SECOND))
        }
        // The generation ran and was paid for, so that a repeat must not come unasked.
        504 | 524 | 598 => Report::new(
            Code::DeadlineExceeded,
            "UPSTREAM_TIMEOUT",
            "a proxy gave up waiting for the upstream",
        ),
        507 => Report::new(
            Code::ResourceExhausted,
            "UPSTREAM_STORAGE",
            "the upstream has no room for the request",
        ),
        _ => match refusal.retry_after {
            Some(after) => unavailable("UPSTREAM_HTTP", after),
            None => operator("UPSTREAM_HTTP"),
        },
    }
}

const ONE_SECOND: Duration = Duration::from_secs(1);

/// vLLM tells no time: one second ±50 %, spread by the call's id, so that callers do not come back all at once.
pub(super) fn about_a_second(request_id: &str) -> Duration {
    let spread = request_id
        .bytes()
        .fold(0_u64, |spread, byte| (spread * 31 + u64::from(byte)) % 1001);
    Duration::from_millis(500 + spread)
}

/// The operator's matter: no text of the upstream, since the caller can do nothing about it.
fn operator(reason: &'static str) -> Report {
    Report::new(
        Code::Internal,
        reason,
        "the adapter and its upstream do not work together",
    )
}

fn unavailable(reason: &'static str, after: Duration) -> Report {
    Report::new(
        Code::Unavailable,
        reason,
        "the upstream cannot take the request now",
    )
    .with_retry(Retry::After(after))
}

fn rate_limited(retry_after: Option<Duration>) -> Report {
    let report = Report::new(
        Code::ResourceExhausted,
        "UPSTREAM_RATE_LIMITED",
        "the upstream limits the rate of requests",
    );
    match retry_after {
        Some(after) => report.with_retry(Retry::After(after)),
        None => report,
    }
}

fn unimplemented() -> Report {
    Report::new(
        Code::Unimplemented,
        "UPSTREAM_UNIMPLEMENTED",
        "the model or the upstream cannot do this",
    )
}

/// Whether vLLM's own router lacks the route: since 0.32 it offers those that the model can serve, and earlier ones
/// answer 501 for the others. A proxy's 404 is the operator's matter.
fn is_route_missing(body: &ErrorBody, call: &Call) -> bool {
    matches!(body, ErrorBody::Detail) && call.fields().is_optional()
}

/// Without the list of aliases that vLLM adds, which names the models of others.
pub(super) fn no_model(call: &Call) -> Report {
    let text = match call.model() {
        "" => "the upstream has no model by its default name".to_owned(),
        model => format!("the upstream has no model {model:?}"),
    };
    Report::new(Code::NotFound, "MODEL_NOT_FOUND", text)
        .with("model", call.model())
        .with_model(call.model())
}

fn is_about_model(body: &ErrorBody) -> bool {
    match body {
        ErrorBody::Engine(error) => {
            error.kind == "NotFoundError" || error.param.as_deref() == Some("model")
        }
        ErrorBody::Gate(_) | ErrorBody::Detail | ErrorBody::Foreign => false,
    }
}

fn bad_request(body: &ErrorBody, call: &Call) -> Report {
    let ErrorBody::Engine(error) = body else {
        return operator("UPSTREAM_PROTOCOL");
    };
    if let Some(ErrorCode::Word(word)) = &error.code
        && (word.contains("content_filter") || word.contains("policy"))
    {
        return Report::new(
            Code::FailedPrecondition,
            "CONTENT_BLOCKED",
            message::redacted(&error.message),
        );
    }
    if is_own(error, call) {
        return operator("UPSTREAM_PROTOCOL");
    }
    let reason = if is_too_long(error) {
        "CONTEXT_LENGTH_EXCEEDED"
    } else {
        "INVALID_REQUEST"
    };
    invalid(body, reason, call)
}

/// Whether the adapter itself made the field that the error is about.
fn is_own(error: &EngineError, call: &Call) -> bool {
    let param = error.param.as_deref();
    param.is_some_and(|param| call.fields().is_own(param))
}

/// By the parameter (vLLM 0.32), or the words that all versions have in common.
fn is_too_long(error: &EngineError) -> bool {
    let by_param = matches!(error.param.as_deref(), Some("input_tokens" | "input_text"));
    by_param || error.message.contains("maximum context length")
}

fn invalid(body: &ErrorBody, reason: &'static str, call: &Call) -> Report {
    let ErrorBody::Engine(error) = body else {
        return Report::new(
            Code::InvalidArgument,
            reason,
            "the upstream does not accept the request",
        );
    };
    let text = message::redacted(&error.message);
    let field = match &error.param {
        Some(param) => call.fields().path(param),
        None if reason == "CONTEXT_LENGTH_EXCEEDED" => call.fields().path("input_tokens"),
        None => call.fields().of_text(&error.message),
    };
    let violations = field.into_iter().map(|field| (field, text.clone()));
    Report::new(Code::InvalidArgument, reason, text.clone()).with_violations(violations)
}
