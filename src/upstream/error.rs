//! What can go wrong between the adapter and its upstream.

use std::{error::Error as StdError, fmt, io, iter, time::Duration};

use crate::{openai::error::ErrorBody, sse::Fault};

/// The error of a library.
pub(super) type BoxError = Box<dyn StdError + Send + Sync>;

/// Why the upstream could not be asked, or did not answer as it should.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Refused, or not within its time. Nothing was sent, as with the next two.
    #[error("no connection to the upstream")]
    Connect(#[source] BoxError),
    #[error("the upstream's host is not known")]
    Dns(#[source] BoxError),
    #[error("no TLS connection to the upstream")]
    Tls(#[source] BoxError),
    #[error("the upstream closed the connection before it answered")]
    Reset {
        #[source]
        error: BoxError,
        /// The time since the request began to be sent.
        after: Duration,
    },
    #[error("the upstream's answer was cut off")]
    Truncated(#[source] Option<BoxError>),
    #[error("the upstream answered with an error: {0}")]
    Refused(Refusal),
    /// A redirect is never followed.
    #[error("the upstream answered with a redirect ({0})")]
    Redirected(u16),
    /// What came is not what vLLM sends.
    #[error("the upstream's answer is malformed")]
    Protocol(#[source] BoxError),
    #[error("the upstream's {what} is larger than {limit} bytes")]
    TooLarge { what: &'static str, limit: usize },
    #[error("no event within {0:?}")]
    FirstToken(Duration),
    /// The stream had begun.
    #[error("no further event within {0:?}")]
    Stalled(Duration),
}

/// An error that the upstream reports.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// The HTTP status; of an event or of a body with status 200, the `code` in it, or 500 where it has none.
    pub(crate) status: u16,
    /// What it says.
    pub(crate) body: ErrorBody,
    /// `Retry-After`, at most a minute.
    pub(crate) retry_after: Option<Duration>,
}

/// Without the upstream's text, which may repeat the caller's prompt or the key.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = match &self.body {
            ErrorBody::Engine(error) if is_identifier(&error.kind) => &error.kind,
            ErrorBody::Engine(_) => "by vLLM's engine",
            ErrorBody::Gate(_) => "by vLLM's key check",
            ErrorBody::Router => "by vLLM's router",
            ErrorBody::Foreign => "not by vLLM",
        };
        write!(f, "{}, {by}", self.status)
    }
}

/// Whether a text can only be the name of something.
fn is_identifier(text: &str) -> bool {
    text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

impl Error {
    /// What came is not what vLLM sends, for that reason.
    pub(super) fn protocol(reason: impl Into<BoxError>) -> Self {
        Self::Protocol(reason.into())
    }

    /// A failure to connect.
    pub(super) fn from_connect(error: BoxError) -> Self {
        // The type of the connector's error is private; that this is its text is shown in `tests/it`.
        if chain(error.as_ref()).any(|cause| cause.to_string() == "dns error") {
            Self::Dns(error)
        } else if chain(error.as_ref()).any(|cause| cause.is::<rustls::Error>()) {
            Self::Tls(error)
        } else {
            Self::Connect(error)
        }
    }

    /// A failure to send a request or to read the head of its answer.
    pub(super) fn from_head(error: BoxError, is_answered: bool, after: Duration) -> Self {
        if is_answered || is_malformed(error.as_ref()) {
            Self::from_body(error)
        } else {
            Self::Reset { error, after }
        }
    }

    /// A failure to read the body of an answer.
    pub(super) fn from_body(error: BoxError) -> Self {
        if is_malformed(error.as_ref()) {
            Self::Protocol(error)
        } else {
            Self::Truncated(Some(error))
        }
    }

    /// A failure to read a JSON body. One that ends too early was cut.
    pub(super) fn from_json(error: &serde_json::Error) -> Self {
        if error.is_eof() {
            Self::Truncated(None)
        } else {
            Self::malformed_json(error)
        }
    }

    /// Malformed JSON, without serde's text, which repeats what it found.
    pub(super) fn malformed_json(error: &serde_json::Error) -> Self {
        let (kind, line, column) = (error.classify(), error.line(), error.column());
        Self::protocol(format!(
            "malformed JSON, {kind:?} at line {line}, column {column}"
        ))
    }

    /// The error that an event, or a body with status 200, reports.
    pub(super) fn from_error_body(body: ErrorBody) -> Self {
        let status = body.status().filter(|it| (400..600).contains(it));
        Self::Refused(Refusal {
            status: status.unwrap_or(500),
            body,
            retry_after: None,
        })
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::TooLarge { limit } => Self::TooLarge {
                what: "event",
                limit,
            },
            Fault::ByteOrderMark => Self::protocol("a byte order mark within an event stream"),
        }
    }
}

/// An error and its causes. An I/O error leaves the one that it holds out of its `source`.
fn chain<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    iter::successors(Some(error), |&error| {
        let io = error.downcast_ref::<io::Error>();
        match io.and_then(io::Error::get_ref) {
            Some(held) => Some(held),
            None => error.source(),
        }
    })
}

/// Whether what came is not HTTP; hyper reports a malformed chunk as invalid input or data.
fn is_malformed(error: &(dyn StdError + 'static)) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput};
    let is_invalid = |cause: &(dyn StdError + 'static)| {
        let (http, io) = (cause.downcast_ref(), cause.downcast_ref::<io::Error>());
        http.is_some_and(hyper::Error::is_parse)
            || io.is_some_and(|io| matches!(io.kind(), InvalidInput | InvalidData))
    };
    // What TLS cannot read was lost below HTTP.
    chain(error).any(is_invalid) && !chain(error).any(|cause| cause.is::<rustls::Error>())
}
