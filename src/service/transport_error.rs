//! The statuses of calls that end outside the service: cut by the server, or refused by tonic.

use std::borrow::Cow;

use tonic::{Code, Status};

use super::{
    error::{Subject, report::Report},
    request_id::RequestId,
};
use crate::telemetry::call::{self, Ending};

/// Why a call ends outside the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TransportError {
    /// The server ends it.
    Ended(Ending),
    /// What answers it panicked.
    Panicked,
    /// The request's message, or the rest of it, does not come.
    RequestTimeout,
    /// A call that takes one message was sent another.
    SecondMessage,
    /// tonic, or a service that came with it, gave a status without details.
    Bare {
        /// Its code.
        code: Code,
        /// Its message.
        message: String,
    },
}

/// The largest gRPC messages, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MessageLimits {
    pub(crate) request: usize,
    pub(crate) response: usize,
}

/// What a caller is told.
#[derive(Debug, PartialEq, Eq)]
struct Explanation {
    code: Code,
    reason: &'static str,
    message: Cow<'static, str>,
    /// The size that was passed, in bytes.
    limit: Option<usize>,
}

// === impl TransportError ===

impl TransportError {
    /// The status with its details, which tell how much of a streamed response was made before.
    pub(crate) fn status(&self, id: &RequestId, limits: MessageLimits) -> Status {
        let Explanation {
            code,
            reason,
            message,
            limit,
        } = self.explain(limits);
        let report = Report::new(code, reason, message);
        let report = match limit {
            Some(limit) => report.with("limit", limit),
            None => report,
        };
        report.into_status(&Subject {
            request_id: id.as_str().to_owned(),
            deltas: call::n_deltas(),
            ..Subject::default()
        })
    }

    fn explain(&self, limits: MessageLimits) -> Explanation {
        let (code, reason, message) = match self {
            Self::Ended(ending) => ended(*ending),
            Self::Panicked => (Code::Internal, "ADAPTER_PANIC", "internal error"),
            Self::RequestTimeout => (
                Code::DeadlineExceeded,
                "REQUEST_TIMEOUT",
                "the request message did not come in time",
            ),
            Self::SecondMessage => (
                Code::Unimplemented,
                "REQUEST_CARDINALITY",
                "the method takes one request message",
            ),
            Self::Bare { code, message } => return explain_bare(*code, message, limits),
        };
        Explanation {
            code,
            reason,
            message: message.into(),
            limit: None,
        }
    }
}

fn ended(ending: Ending) -> (Code, &'static str, &'static str) {
    match ending {
        Ending::Draining => (Code::Unavailable, "DRAINING", "the server is stopping"),
        Ending::ConnectionAged => (
            Code::Unavailable,
            "CONNECTION_AGED",
            "the connection reached its age",
        ),
        Ending::CallerTooSlow => (Code::Aborted, "CLIENT_TOO_SLOW", "the caller does not read"),
        Ending::DeadlinePassed => (
            Code::DeadlineExceeded,
            "DEADLINE",
            "the call's deadline passed; generation has stopped",
        ),
    }
}

/// What the record says of a call that is dropped before its end: the server ended it, it panicked, or its caller left.
pub(super) fn dropped() -> (Code, &'static str) {
    match call::ending() {
        Some(ending) => {
            let (code, reason, _message) = ended(ending);
            (code, reason)
        }
        None if std::thread::panicking() => (Code::Internal, "ADAPTER_PANIC"),
        None => (Code::Cancelled, "CALLER_CANCELLED"),
    }
}

/// A text of tonic 0.14, which tells its faults apart by nothing else, and what it means.
struct Text {
    code: Code,
    /// How it begins.
    start: &'static str,
    told: Code,
    reason: &'static str,
    message: Message,
}

/// What stands in the place of tonic's message.
enum Message {
    /// It stays.
    Kept,
    Fixed(&'static str),
    RequestTooLarge,
    ResponseTooLarge,
}

const TEXTS: [Text; 11] = [
    // gRPC asks for RESOURCE_EXHAUSTED where a message is too large, either way.
    text(
        (Code::OutOfRange, "Error, decoded message length too large"),
        (Code::ResourceExhausted, "REQUEST_TOO_LARGE"),
        Message::RequestTooLarge,
    ),
    text(
        (Code::ResourceExhausted, "Error decompressing: size limit"),
        (Code::ResourceExhausted, "REQUEST_TOO_LARGE"),
        Message::RequestTooLarge,
    ),
    text(
        (Code::OutOfRange, "Error, encoded message length too large"),
        (Code::ResourceExhausted, "RESPONSE_TOO_LARGE"),
        Message::ResponseTooLarge,
    ),
    text(
        (Code::ResourceExhausted, "Cannot return body with more than"),
        (Code::ResourceExhausted, "RESPONSE_TOO_LARGE"),
        Message::ResponseTooLarge,
    ),
    // The caller's fault, which must not look like one of this endpoint to a mesh that counts codes.
    text(
        (Code::Internal, "failed to decode Protobuf message"),
        (Code::InvalidArgument, "REQUEST_MALFORMED"),
        Message::Kept,
    ),
    // Of the contract's own codec.
    text(
        (Code::Unknown, "too many elements for the size"),
        (Code::InvalidArgument, "REQUEST_MALFORMED"),
        Message::Kept,
    ),
    // gRPC's list of codes asks for UNIMPLEMENTED where a call has too few or too many messages.
    text(
        (Code::Internal, "Missing request message"),
        (Code::Unimplemented, "REQUEST_CARDINALITY"),
        Message::Fixed("the request message is missing"),
    ),
    // gRPC asks for INTERNAL where a message's frame is broken.
    text(
        (Code::Internal, "protocol error: received message with"),
        (Code::Internal, "REQUEST_MALFORMED"),
        Message::Kept,
    ),
    text(
        (Code::Internal, "Error decompressing"),
        (Code::Internal, "REQUEST_MALFORMED"),
        Message::Kept,
    ),
    text(
        (Code::Internal, "Unexpected EOF decoding stream"),
        (Code::Internal, "REQUEST_MALFORMED"),
        Message::Kept,
    ),
    text(
        (Code::Unimplemented, "Content is compressed with"),
        (Code::Unimplemented, "COMPRESSION_UNSUPPORTED"),
        Message::Kept,
    ),
];

const fn text(
    (code, start): (Code, &'static str),
    (told, reason): (Code, &'static str),
    message: Message,
) -> Text {
    Text {
        code,
        start,
        told,
        reason,
        message,
    }
}

/// What a bare status means.
fn explain_bare(code: Code, message: &str, limits: MessageLimits) -> Explanation {
    let known = TEXTS
        .iter()
        .find(|text| text.code == code && message.starts_with(text.start));
    if let Some(text) = known {
        return text.explain(message, limits);
    }
    // tonic says no more of a method that it does not know.
    let (reason, message) = if code == Code::Unimplemented && message.is_empty() {
        ("METHOD_UNKNOWN", "unknown service or method")
    } else {
        (reason_of(code), message)
    };
    Explanation {
        code,
        reason,
        message: message.to_owned().into(),
        limit: None,
    }
}

// === impl Text ===

impl Text {
    fn explain(&self, message: &str, limits: MessageLimits) -> Explanation {
        let larger = |what, limit| format!("the {what} message is larger than {limit} bytes");
        let (message, limit) = match self.message {
            Message::Kept => (message.to_owned().into(), None),
            Message::Fixed(message) => (message.into(), None),
            Message::RequestTooLarge => (
                larger("request", limits.request).into(),
                Some(limits.request),
            ),
            Message::ResponseTooLarge => (
                larger("response", limits.response).into(),
                Some(limits.response),
            ),
        };
        Explanation {
            code: self.told,
            reason: self.reason,
            message,
            limit,
        }
    }
}

/// The reason of a status of which no more is known than its code.
fn reason_of(code: Code) -> &'static str {
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

#[cfg(test)]
mod tests {
    use tonic_types::StatusExt;

    use super::*;

    const LIMITS: MessageLimits = MessageLimits {
        request: 4096,
        response: 8192,
    };

    #[track_caller]
    fn check(error: &TransportError, code: Code, reason: &str, limit: Option<usize>) {
        let explanation = error.explain(LIMITS);
        assert_eq!(
            (explanation.code, explanation.reason, explanation.limit),
            (code, reason, limit),
            "{error:?}"
        );
        assert!(!explanation.message.is_empty(), "{error:?}");
    }

    #[test]
    fn what_the_server_ends_has_its_own_reason() {
        use TransportError::{Ended, Panicked, RequestTimeout, SecondMessage};
        let rows = [
            (Ended(Ending::Draining), Code::Unavailable, "DRAINING"),
            (
                Ended(Ending::ConnectionAged),
                Code::Unavailable,
                "CONNECTION_AGED",
            ),
            (
                Ended(Ending::CallerTooSlow),
                Code::Aborted,
                "CLIENT_TOO_SLOW",
            ),
            (Panicked, Code::Internal, "ADAPTER_PANIC"),
            (RequestTimeout, Code::DeadlineExceeded, "REQUEST_TIMEOUT"),
            (SecondMessage, Code::Unimplemented, "REQUEST_CARDINALITY"),
        ];
        for (error, code, reason) in rows {
            check(&error, code, reason, None);
        }
    }

    #[track_caller]
    fn check_bare(bare: (Code, &str), told: (Code, &str), limit: Option<usize>) {
        let error = TransportError::Bare {
            code: bare.0,
            message: bare.1.to_owned(),
        };
        check(&error, told.0, told.1, limit);
    }

    // That tonic still speaks these texts is shown over a real socket in `tests/it`.
    #[test]
    fn a_message_that_is_too_large_is_resource_exhausted() {
        let request = (Code::ResourceExhausted, "REQUEST_TOO_LARGE");
        let response = (Code::ResourceExhausted, "RESPONSE_TOO_LARGE");
        let decoded =
            "Error, decoded message length too large: found 5000 bytes, the limit is: 4096";
        check_bare((Code::OutOfRange, decoded), request, Some(4096));
        let inflated =
            "Error decompressing: size limit, of 4096 bytes, exceeded while decompressing";
        check_bare((Code::ResourceExhausted, inflated), request, Some(4096));
        let encoded =
            "Error, encoded message length too large: found 9000 bytes, the limit is: 8192";
        check_bare((Code::OutOfRange, encoded), response, Some(8192));
        let huge = "Cannot return body with more than 4GB of data but got 5000000000 bytes";
        check_bare((Code::ResourceExhausted, huge), response, Some(8192));
    }

    #[test]
    fn a_request_that_cannot_be_read_gets_the_code_that_grpc_asks_for() {
        use Code::{Internal, InvalidArgument, NotFound, Unimplemented};
        let malformed = "REQUEST_MALFORMED";
        let rows = [
            (
                Internal,
                "failed to decode Protobuf message: a",
                InvalidArgument,
                malformed,
            ),
            (
                Internal,
                "protocol error: received message with invalid",
                Internal,
                malformed,
            ),
            (Internal, "Error decompressing: a", Internal, malformed),
            (
                Internal,
                "Unexpected EOF decoding stream.",
                Internal,
                malformed,
            ),
            (
                Internal,
                "Missing request message.",
                Unimplemented,
                "REQUEST_CARDINALITY",
            ),
            (Internal, "anything else", Internal, "ADAPTER_INTERNAL"),
            (
                Unimplemented,
                "Content is compressed with `br`",
                Unimplemented,
                "COMPRESSION_UNSUPPORTED",
            ),
            (Unimplemented, "", Unimplemented, "METHOD_UNKNOWN"),
            (NotFound, "service not registered", NotFound, "NOT_FOUND"),
        ];
        for (code, message, told, reason) in rows {
            check_bare((code, message), (told, reason), None);
        }
    }

    #[tokio::test]
    async fn the_details_say_which_call_it_was_and_how_far_it_came() {
        let id = RequestId::accept_or_make(None);
        let call = async {
            call::delta_made();
            TransportError::Ended(Ending::Draining).status(&id, LIMITS)
        };
        let details = call::scope(call).await.get_error_details();
        let error = details.error_info().unwrap();
        assert_eq!(error.reason, "DRAINING");
        assert_eq!(error.domain, "vllm-grpc-adapter");
        assert_eq!(error.metadata["partial"], "true");
        assert_eq!(error.metadata["deltas"], "1");
        assert_eq!(details.request_info().unwrap().request_id, id.as_str());
    }
}
