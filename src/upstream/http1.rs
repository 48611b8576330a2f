//! HTTP/1.1 to the upstream ([RFC 9112]), as much of it as vLLM speaks.
//!
//! A connection is read by the task that waits for its answer, and straight into whoever takes the answer apart. There
//! is no task, no channel and no buffer between the socket and an event: all that one read brought is there at once, an
//! idle stream holds a socket alone, and dropping the answer closes the socket at once.
//!
//! [RFC 9112]: https://www.rfc-editor.org/rfc/rfc9112

mod connection;
mod framing;
mod head;
mod socket;

pub(super) use connection::{Connection, SendError};
pub(super) use head::encode;
pub(super) use socket::{Connector, connector};

/// What goes wrong below HTTP.
pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What is not HTTP/1.1, or more of it than is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("a head that cannot be read: {0}")]
    Head(httparse::Error),
    #[error("a head that does not end")]
    HeadTooLarge,
    #[error("an upgrade that nobody asked for")]
    Upgrade,
    #[error("a transfer encoding other than chunked")]
    TransferEncoding,
    #[error("a content length that is no number, or several")]
    ContentLength,
    #[error("a chunk without a size")]
    ChunkSize,
    #[error("a chunk that does not end where its size says")]
    ChunkEnd,
    #[error("a chunk extension or trailers without an end")]
    TooMuchOverhead,
}

/// Why no more of an answer comes.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// The connection failed, or ended before the answer did.
    #[error("the connection was lost")]
    Lost(#[source] std::io::Error),
    /// What came cannot be read.
    #[error("malformed HTTP")]
    Malformed(#[source] Malformed),
}
