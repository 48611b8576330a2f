//! The status for each error that the upstream reports.
//!
//! Not the mapping of the gRPC project, which is for clients that got no `grpc-status`: what is about this caller's
//! request keeps its meaning, and what is about the operator's set-up is INTERNAL, whatever its HTTP status (gRFC A54).

use std::time::Duration;

use tonic::Code::{
    self, Aborted, DeadlineExceeded, FailedPrecondition, Internal, InvalidArgument, NotFound,
    PermissionDenied, ResourceExhausted, Unauthenticated, Unavailable,
};

use super::{
    Call, message,
    report::{Report, Retry},
};
use crate::{
    openai::error::{Code as ErrorCode, EngineError, ErrorBody},
    upstream::Refusal,
};

/// The operator's matter: no text of the upstream, since the caller can do nothing about it.
const OPERATOR: &str =
    "the adapter is misconfigured for its upstream; ask its operator, giving the request id";
const BUSY: &str = "the upstream cannot take the request now";
const KEY: &str = "the upstream does not take the caller's key";
const CONFLICT: &str = "the upstream reports a conflict";
const STATE: &str = "the upstream reports that a precondition of the request is not met";
const LARGE: &str = "the request is larger than the upstream takes";
const RATE: &str = "the upstream limits the rate of requests";
const LEGAL: &str = "the upstream may not answer this for legal reasons";
const DROPPED: &str = "a proxy dropped the request before the upstream answered";
const FAILED: &str = "the upstream failed";
const CANNOT: &str = "the upstream's model does not support this method";
const MISROUTED: &str = "the upstream has no such route: the adapter is set up for a wrong URL; ask its operator, giving the request id";
const TIMEOUT: &str = "a proxy timed out while it waited for the upstream";
const STORAGE: &str = "the upstream reports that it has too little storage";

/// The status, with the facts that a program can act on.
pub(super) fn report(refusal: &Refusal, call: &Call) -> Report {
    let report = match refusal.status {
        400 => bad_request(&refusal.body, call),
        404 if is_about_model(&refusal.body) => no_model(call),
        410 => no_model(call),
        422 => invalid(&refusal.body, "INVALID_REQUEST", call),
        _ => by_status(refusal, call),
    };
    report.with("http_status", refusal.status)
}

fn by_status(refusal: &Refusal, call: &Call) -> Report {
    let after = refusal.retry_after;
    let (code, reason, text) = match refusal.status {
        // The key is the caller's own.
        401 if call.identity().forwarded().is_some() => (Unauthenticated, "KEY_INVALID", KEY),
        403 if call.identity().forwarded().is_some() => {
            (PermissionDenied, "UPSTREAM_FORBIDDEN", KEY)
        }
        401 => (Internal, "UPSTREAM_AUTH", OPERATOR),
        402 => (Internal, "UPSTREAM_BILLING", OPERATOR),
        403 => (Internal, "UPSTREAM_FORBIDDEN", OPERATOR),
        404 | 405 if is_route_missing(&refusal.body, call) => UNIMPLEMENTED,
        404 | 405 | 406 | 415 | 421 | 426 => (Internal, "UPSTREAM_MISROUTED", MISROUTED),
        // Nothing ran, so that a repeat costs nothing.
        408 | 425 => (Unavailable, "UPSTREAM_UNAVAILABLE", BUSY),
        409 => (Aborted, "UPSTREAM_CONFLICT", CONFLICT),
        412 | 428 => (FailedPrecondition, "UPSTREAM_PRECONDITION", STATE),
        413 => (ResourceExhausted, "REQUEST_TOO_LARGE", LARGE),
        429 => (ResourceExhausted, "UPSTREAM_RATE_LIMITED", RATE),
        451 => (PermissionDenied, "UPSTREAM_LEGAL", LEGAL),
        499 => (Unavailable, "UPSTREAM_RESET", DROPPED),
        // It may have run, and it may be what killed the engine.
        500 => (Internal, "UPSTREAM_INTERNAL", FAILED),
        501 => UNIMPLEMENTED,
        503 => (Unavailable, "UPSTREAM_OVERLOADED", BUSY),
        502 | 520..=523 | 525 | 526 | 529 | 530 => (Unavailable, "UPSTREAM_UNAVAILABLE", BUSY),
        // The generation ran and was paid for, so that a repeat must not come unasked.
        504 | 524 | 598 => (DeadlineExceeded, "UPSTREAM_TIMEOUT", TIMEOUT),
        507 => (ResourceExhausted, "UPSTREAM_STORAGE", STORAGE),
        500..=599 if after.is_some() => (Unavailable, "UPSTREAM_HTTP", BUSY),
        414 | 431 => (Internal, "UPSTREAM_PROTOCOL", OPERATOR),
        400..=599 => (Internal, "UPSTREAM_HTTP", OPERATOR),
        _ => (Internal, "UPSTREAM_PROTOCOL", OPERATOR),
    };
    let mut report = Report::new(code, reason, text);
    let after = match text {
        BUSY if refusal.status == 503 => after.or_else(|| Some(about_a_second(call.id()))),
        BUSY => after.or(Some(Duration::from_secs(1))),
        RATE => after,
        _ => None,
    };
    report.retry = after.map_or(Retry::Unsaid, Retry::After);
    report
}

const TOO_LONG: &str = "CONTEXT_LENGTH_EXCEEDED";
pub(super) const UNIMPLEMENTED: (Code, &str, &str) =
    (Code::Unimplemented, "UPSTREAM_UNIMPLEMENTED", CANNOT);

/// vLLM names no time: one second ±50 %, spread by the call's id, so that callers do not come back all at once.
pub(super) fn about_a_second(request_id: &str) -> Duration {
    let add = |spread, byte| (spread * 31 + u64::from(byte)) % 1001;
    let spread: u64 = request_id.bytes().fold(0, add);
    Duration::from_millis(500 + spread)
}

/// Whether the model cannot do it: since 0.32 vLLM's own router has the routes that the model can serve, and earlier ones
/// answer 501 for the others. A proxy's 404 is the operator's matter.
fn is_route_missing(body: &ErrorBody, call: &Call) -> bool {
    matches!(body, ErrorBody::Router) && call.fields().is_optional()
}

/// Without the list of aliases that vLLM adds, which names the models of others.
pub(super) fn no_model(call: &Call) -> Report {
    let text = match call.model() {
        "" => "the upstream has no model by its default name".to_owned(),
        model => format!("the upstream has no model {model:?}"),
    };
    let mut report = Report::new(NotFound, "MODEL_NOT_FOUND", text).with("model", call.model());
    report.model = Some(call.model().to_owned());
    report
}

fn is_about_model(body: &ErrorBody) -> bool {
    matches!(body, ErrorBody::Engine(error)
        if error.kind == "NotFoundError" || error.param.as_deref() == Some("model"))
}

fn bad_request(body: &ErrorBody, call: &Call) -> Report {
    match body {
        ErrorBody::Engine(error) if is_blocked(error) => {
            let text = message::redacted(&error.message);
            Report::new(FailedPrecondition, "CONTENT_BLOCKED", text)
        }
        ErrorBody::Engine(error) if is_own(error, call) => protocol(),
        ErrorBody::Engine(error) if is_too_long(error) => invalid(body, TOO_LONG, call),
        ErrorBody::Engine(_) => invalid(body, "INVALID_REQUEST", call),
        ErrorBody::Gate(_) | ErrorBody::Router | ErrorBody::Foreign => protocol(),
    }
}

fn protocol() -> Report {
    Report::new(Internal, "UPSTREAM_PROTOCOL", OPERATOR)
}

fn is_blocked(error: &EngineError) -> bool {
    matches!(&error.code, Some(ErrorCode::Word(word))
        if word.contains("content_filter") || word.contains("policy"))
}

/// Whether the adapter itself made the field that the error is about.
fn is_own(error: &EngineError, call: &Call) -> bool {
    (error.param.as_ref()).is_some_and(|param| call.fields().is_own(param))
}

/// By the parameter (vLLM 0.32), or the words that all versions have in common.
fn is_too_long(error: &EngineError) -> bool {
    let by_param = matches!(error.param.as_deref(), Some("input_tokens" | "input_text"));
    by_param || error.message.contains("maximum context length")
}

fn invalid(body: &ErrorBody, reason: &'static str, call: &Call) -> Report {
    let ErrorBody::Engine(error) = body else {
        let text = "the upstream does not accept the request";
        return Report::new(InvalidArgument, reason, text);
    };
    let text = message::redacted(&error.message);
    let field = match &error.param {
        Some(param) => call.fields().path(param),
        None if reason == TOO_LONG => call.fields().path("input_tokens"),
        None => call.fields().of_text(&error.message),
    };
    let mut report = Report::new(InvalidArgument, reason, &text);
    report.violations.extend(field.map(|field| (field, text)));
    report
}
