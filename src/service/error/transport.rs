//! The statuses of calls that end outside the service: ended by the server, or refused by tonic.

use tonic::{
    Code::{
        self, Aborted, Cancelled, DeadlineExceeded, Internal, ResourceExhausted, Unauthenticated,
        Unavailable, Unimplemented,
    },
    Status,
};

use super::{refusal::about_a_second, report::Report};
use crate::{
    access::Denied,
    service::{call::Call, deadline::Ending},
};

/// Why a call ends outside the service. The text is the status's message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TransportError {
    #[error("{0}")]
    Ended(Ending),
    #[error("{0}")]
    Denied(#[from] Denied),
    #[error("internal error")]
    Panicked,
    #[error("grpc-timeout must be 1 to 8 digits and a unit")]
    MalformedTimeout,
    /// More calls at once than the operator allows, or more memory for their requests.
    #[error("the adapter has as many calls, or as much memory in requests, as its operator allows")]
    Overloaded,
    /// One request takes more than all together may, in bytes, so that a repeat is in vain.
    #[error("the request takes more than {0} bytes of memory (--max-request-memory)")]
    TooMuchMemory(usize),
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

// === impl TransportError ===

impl TransportError {
    /// The status with its details. The call keeps the reason for the log.
    pub(crate) fn to_status(&self, call: &Call) -> Status {
        let report = |code, reason| Report::new(code, reason, self);
        let report = match self {
            Self::Ended(ending) => {
                let (code, reason) = ended(*ending);
                report(code, reason)
            }
            Self::Denied(Denied::NoKey) => report(Unauthenticated, "KEY_MISSING"),
            Self::Denied(Denied::WrongKey) => report(Unauthenticated, "KEY_INVALID"),
            Self::Denied(Denied::Concurrency) => {
                let after = about_a_second(call.id());
                report(ResourceExhausted, "KEY_CONCURRENCY").after(after)
            }
            Self::Denied(Denied::Rate(after)) => {
                report(ResourceExhausted, "KEY_RATE_LIMITED").after(*after)
            }
            Self::Panicked => report(Internal, "ADAPTER_PANIC"),
            // As grpc-go answers; INVALID_ARGUMENT would blame a field.
            Self::MalformedTimeout => report(Internal, "MALFORMED_TIMEOUT"),
            Self::Overloaded => {
                report(ResourceExhausted, "OVERLOADED").after(about_a_second(call.id()))
            }
            Self::TooMuchMemory(limit) => {
                report(ResourceExhausted, "REQUEST_TOO_LARGE").with("limit", limit)
            }
            Self::RequestTimeout => report(DeadlineExceeded, "REQUEST_TIMEOUT"),
            // gRPC's list of codes asks for UNIMPLEMENTED where a call has too few or too many messages.
            Self::Cardinality => report(Unimplemented, "REQUEST_CARDINALITY"),
            Self::Request(code, text, limit) => request(*code, text, *limit),
            Self::Response(code, text, limit) => response(*code, text, *limit),
        };
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
        None if std::thread::panicking() => (Internal, "ADAPTER_PANIC"),
        None => (Cancelled, "CALLER_CANCELLED"),
    }
}

/// What tonic 0.14 and this project's codec mean by a status before the response's headers.
fn request(code: Code, text: &str, limit: usize) -> Report {
    let reason = match text {
        // gRPC asks for RESOURCE_EXHAUSTED where a message is too large.
        _ if code == Code::OutOfRange => return too_large("request", "REQUEST_TOO_LARGE", limit),
        // A message that is no protobuf is the caller's fault, and INTERNAL would look like this endpoint's to a mesh;
        // gRPC asks for INTERNAL where the frame around the message is broken.
        _ if matches!(code, Code::InvalidArgument | Internal) => "REQUEST_MALFORMED",
        "" if code == Unimplemented => {
            return Report::new(code, "METHOD_UNKNOWN", "unknown service or method");
        }
        _ if code == Unimplemented => "COMPRESSION_UNSUPPORTED",
        _ => name(code),
    };
    Report::new(code, reason, text)
}

/// What tonic 0.14 means by a status in the trailers.
fn response(code: Code, text: &str, limit: usize) -> Report {
    if matches!(code, Code::OutOfRange | ResourceExhausted) {
        return too_large("response", "RESPONSE_TOO_LARGE", limit);
    }
    Report::new(code, name(code), text)
}

fn too_large(what: &str, reason: &'static str, limit: usize) -> Report {
    let text = format!("the {what} message is larger than {limit} bytes");
    Report::new(ResourceExhausted, reason, text).with("limit", limit)
}

/// The reason of a status of the standard services (health, reflection): the code's name.
fn name(code: Code) -> &'static str {
    NAMES.get(code as usize).copied().unwrap_or("UNKNOWN")
}

/// By the codes' numbers.
const NAMES: [&str; 17] = [
    "OK",
    "CALLER_CANCELLED",
    "UNKNOWN",
    "INVALID_REQUEST",
    "DEADLINE",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "ADAPTER_INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];
