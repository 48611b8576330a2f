//! The statuses of calls that end outside the service: ended by the server, or refused by tonic.

use tonic::{Code, Status};

use super::{
    refusal::about_a_second,
    report::{Report, Retry},
};
use crate::service::{
    call::{Call, Ending, Failure},
    deadline::{Limit, MalformedTimeout},
};

/// Why a call ends outside the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TransportError {
    /// The server ends it.
    Ended(Ending),
    /// What answers it panicked.
    Panicked,
    /// `grpc-timeout` cannot be read.
    MalformedTimeout,
    /// `adapter-upstream` names an upstream that is not configured.
    UnknownUpstream,
    /// `adapter-upstream-url` and its key are not allowed.
    ForeignUpstream,
    /// More calls at once than the operator allows, or more memory for their requests.
    Overloaded,
    /// The request's message, or the rest of it, does not come.
    RequestTimeout,
    /// The request holds no message, or more than one.
    Cardinality,
    /// tonic refused the request, with a status that has no details.
    Request(Code, String),
    /// tonic could not send the response, with a status that has no details.
    Response(Code, String),
}

/// The largest gRPC messages, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MessageLimits {
    pub(crate) request: usize,
    pub(crate) response: usize,
}

// === impl TransportError ===

impl TransportError {
    /// The status with its details. The call keeps the reason for the log.
    pub(crate) fn to_status(&self, call: &Call, limits: MessageLimits) -> Status {
        let report = self.report(call, limits);
        call.fail(Failure {
            reason: report.reason,
            cause: None,
        });
        report.into_status(call)
    }

    fn report(&self, call: &Call, limits: MessageLimits) -> Report {
        let (code, reason, message) = match self {
            Self::Ended(ending) => ended(*ending),
            Self::Panicked => (Code::Internal, "ADAPTER_PANIC", "internal error"),
            // As grpc-go answers; INVALID_ARGUMENT would blame a field.
            Self::MalformedTimeout => (
                Code::Internal,
                "MALFORMED_TIMEOUT",
                "grpc-timeout must be 1 to 8 digits and a unit",
            ),
            Self::UnknownUpstream => (
                Code::NotFound,
                "UPSTREAM_NOT_FOUND",
                "adapter-upstream names no configured upstream",
            ),
            Self::ForeignUpstream => (
                Code::PermissionDenied,
                "BASE_URL_NOT_ALLOWED",
                "adapter-upstream-url and adapter-upstream-key are not allowed here",
            ),
            Self::Overloaded => {
                let message = "the adapter has as many calls as its operator allows";
                let after = about_a_second(call.id().as_str());
                return Report::new(Code::ResourceExhausted, "OVERLOADED", message)
                    .with_retry(Retry::After(after));
            }
            Self::RequestTimeout => (
                Code::DeadlineExceeded,
                "REQUEST_TIMEOUT",
                "the request message did not arrive in time",
            ),
            // gRPC's list of codes asks for UNIMPLEMENTED where a call has too few or too many messages.
            Self::Cardinality => (
                Code::Unimplemented,
                "REQUEST_CARDINALITY",
                "the method takes exactly one request message",
            ),
            Self::Request(code, message) => return request(*code, message, limits),
            Self::Response(code, message) => return response(*code, message, limits),
        };
        Report::new(code, reason, message)
    }
}

impl From<MalformedTimeout> for TransportError {
    fn from(MalformedTimeout: MalformedTimeout) -> Self {
        Self::MalformedTimeout
    }
}

fn ended(ending: Ending) -> (Code, &'static str, &'static str) {
    match ending {
        Ending::Draining => (Code::Unavailable, "DRAINING", "the server is stopping"),
        Ending::ConnectionAged => (
            Code::Unavailable,
            "CONNECTION_AGED",
            "the connection reached its greatest age",
        ),
        Ending::CallerTooSlow => (Code::Aborted, "CLIENT_TOO_SLOW", "the caller does not read"),
        Ending::Expired(Limit::Caller) => (
            Code::DeadlineExceeded,
            "DEADLINE",
            "the call's deadline passed; generation has stopped",
        ),
        Ending::Expired(Limit::Operator) => (
            Code::DeadlineExceeded,
            "TOTAL_TIMEOUT",
            "the call took longer than the adapter allows (--max-duration); generation has stopped",
        ),
    }
}

/// What the log says of a call that was dropped before its end: the server ended it, it panicked, or its caller left.
pub(crate) fn dropped(call: &Call) -> (Code, &'static str) {
    match call.ending() {
        Some(ending) => {
            let (code, reason, _message) = ended(ending);
            (code, reason)
        }
        None if std::thread::panicking() => (Code::Internal, "ADAPTER_PANIC"),
        None => (Code::Cancelled, "CALLER_CANCELLED"),
    }
}

/// What tonic 0.14 and this project's codec mean by a status before the response's headers.
fn request(code: Code, message: &str, limits: MessageLimits) -> Report {
    let (code, reason) = match code {
        // gRPC asks for RESOURCE_EXHAUSTED where a message is too large.
        Code::OutOfRange => {
            return too_large("request", "REQUEST_TOO_LARGE", limits.request);
        }
        // A message that is no protobuf is the caller's fault, and INTERNAL would look like this endpoint's to a mesh;
        // gRPC asks for INTERNAL where the frame around the message is broken.
        Code::InvalidArgument | Code::Internal => (code, "REQUEST_MALFORMED"),
        Code::Unimplemented if message.is_empty() => {
            return Report::new(code, "METHOD_UNKNOWN", "unknown service or method");
        }
        Code::Unimplemented => (code, "COMPRESSION_UNSUPPORTED"),
        _ => return bare(code, message),
    };
    Report::new(code, reason, message)
}

/// What tonic 0.14 means by a status in the trailers.
fn response(code: Code, message: &str, limits: MessageLimits) -> Report {
    match code {
        Code::OutOfRange | Code::ResourceExhausted => {
            too_large("response", "RESPONSE_TOO_LARGE", limits.response)
        }
        _ => bare(code, message),
    }
}

fn too_large(what: &str, reason: &'static str, limit: usize) -> Report {
    let message = format!("the {what} message is larger than {limit} bytes");
    Report::new(Code::ResourceExhausted, reason, message).with("limit", limit)
}

/// A status of the standard services (health, reflection): the reason is the code's name.
fn bare(code: Code, message: &str) -> Report {
    Report::new(code, name(code), message)
}

fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CALLER_CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_REQUEST",
        Code::DeadlineExceeded => "DEADLINE",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "ADAPTER_INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
