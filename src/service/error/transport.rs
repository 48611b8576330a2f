//! The statuses of calls that end outside the service: ended by the server, or refused by tonic.

use tonic::{
    Code::{
        self, Aborted, Cancelled, DeadlineExceeded, Internal, NotFound, PermissionDenied,
        ResourceExhausted, Unavailable, Unimplemented,
    },
    Status,
};

use super::{
    refusal::about_a_second,
    report::{Report, Retry},
};
use crate::service::{call::Call, deadline::Ending};

/// Why a call ends outside the service. The text is the status's message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TransportError {
    #[error("{0}")]
    Ended(Ending),
    #[error("internal error")]
    Panicked,
    #[error("grpc-timeout must be 1 to 8 digits and a unit")]
    MalformedTimeout,
    #[error("adapter-upstream names no configured upstream")]
    UnknownUpstream,
    #[error("adapter-upstream-url and adapter-upstream-key are not allowed here")]
    ForeignUpstream,
    /// More calls at once than the operator allows, or more memory for their requests.
    #[error("the adapter has as many calls as its operator allows")]
    Overloaded,
    #[error("the request message did not arrive in time")]
    RequestTimeout,
    #[error("the method takes exactly one request message")]
    Cardinality,
    /// tonic refused the request, whose message may have so many bytes, with a status that has no details.
    #[error("{1}")]
    Request(Code, String, usize),
    /// The same for the response.
    #[error("{1}")]
    Response(Code, String, usize),
}

const PANIC: (Code, &str) = (Internal, "ADAPTER_PANIC");

// === impl TransportError ===

impl TransportError {
    /// The status with its details. The call keeps the reason for the log.
    pub(crate) fn to_status(&self, call: &Call) -> Status {
        let (code, reason) = match self {
            Self::Ended(ending) => ended(*ending),
            Self::Panicked => PANIC,
            // As grpc-go answers; INVALID_ARGUMENT would blame a field.
            Self::MalformedTimeout => (Internal, "MALFORMED_TIMEOUT"),
            Self::UnknownUpstream => (NotFound, "UPSTREAM_NOT_FOUND"),
            Self::ForeignUpstream => (PermissionDenied, "BASE_URL_NOT_ALLOWED"),
            Self::Overloaded => (ResourceExhausted, "OVERLOADED"),
            Self::RequestTimeout => (DeadlineExceeded, "REQUEST_TIMEOUT"),
            // gRPC's list of codes asks for UNIMPLEMENTED where a call has too few or too many messages.
            Self::Cardinality => (Unimplemented, "REQUEST_CARDINALITY"),
            Self::Request(code, text, limit) => {
                return request(*code, text, *limit).into_status(call, None);
            }
            Self::Response(code, text, limit) => {
                return response(*code, text, *limit).into_status(call, None);
            }
        };
        let mut report = Report::new(code, reason, self);
        if *self == Self::Overloaded {
            report.retry = Retry::After(about_a_second(call.id()));
        }
        report.into_status(call, None)
    }
}

fn ended(ending: Ending) -> (Code, &'static str) {
    match ending {
        Ending::Draining => (Unavailable, "DRAINING"),
        Ending::ConnectionAged => (Unavailable, "CONNECTION_AGED"),
        Ending::CallerTooSlow => (Aborted, "CLIENT_TOO_SLOW"),
        Ending::Deadline => (DeadlineExceeded, "DEADLINE"),
        Ending::MaxDuration => (DeadlineExceeded, "TOTAL_TIMEOUT"),
    }
}

/// The outcome of a call that was dropped before its end: the server ended it, it panicked, or its caller left.
pub(crate) fn dropped(call: &Call) -> (Code, &'static str) {
    match call.ending.get() {
        Some(&ending) => ended(ending),
        None if std::thread::panicking() => PANIC,
        None => (Cancelled, "CALLER_CANCELLED"),
    }
}

/// What tonic 0.14 and this project's codec mean by a status before the response's headers.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "most codes of gRPC have no other meaning here"
)]
fn request(code: Code, text: &str, limit: usize) -> Report {
    let reason = match code {
        // gRPC asks for RESOURCE_EXHAUSTED where a message is too large.
        Code::OutOfRange => return too_large("request", "REQUEST_TOO_LARGE", limit),
        // A message that is no protobuf is the caller's fault, and INTERNAL would look like this endpoint's to a mesh;
        // gRPC asks for INTERNAL where the frame around the message is broken.
        Code::InvalidArgument | Internal => "REQUEST_MALFORMED",
        Unimplemented if text.is_empty() => {
            return Report::new(code, "METHOD_UNKNOWN", "unknown service or method");
        }
        Unimplemented => "COMPRESSION_UNSUPPORTED",
        _ => name(code),
    };
    Report::new(code, reason, text)
}

/// What tonic 0.14 means by a status in the trailers.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "most codes of gRPC have no other meaning here"
)]
fn response(code: Code, text: &str, limit: usize) -> Report {
    match code {
        Code::OutOfRange | ResourceExhausted => too_large("response", "RESPONSE_TOO_LARGE", limit),
        _ => Report::new(code, name(code), text),
    }
}

fn too_large(what: &str, reason: &'static str, limit: usize) -> Report {
    let text = format!("the {what} message is larger than {limit} bytes");
    Report::new(ResourceExhausted, reason, text).with("limit", limit)
}

/// The reason of a status of the standard services (health, reflection): the code's name.
fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Cancelled => "CALLER_CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_REQUEST",
        DeadlineExceeded => "DEADLINE",
        NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        PermissionDenied => "PERMISSION_DENIED",
        ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Unimplemented => "UNIMPLEMENTED",
        Internal => "ADAPTER_INTERNAL",
        Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
