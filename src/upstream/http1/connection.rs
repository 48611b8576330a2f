//! One connection, which serves one request at a time.

use std::{
    fmt,
    future::poll_fn,
    io::{self, IoSlice},
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::Buf as _;
use http::{Response, Uri};
use tokio::{
    io::{AsyncRead as _, AsyncWrite as _, ReadBuf},
    task::coop,
    time::Instant,
};

use super::{
    BoxError, Malformed, ReadError,
    framing::Framing,
    head::{self, Head},
    socket::{Connector, Socket},
};
use crate::upstream::content::Pieces;

/// Most bytes that one read takes from a socket; vLLM's events have some 250.
const MAX_READ_BYTES: usize = 16 << 10;

/// A head that is larger is malformed; vLLM's have some 200 bytes.
const MAX_HEAD_BYTES: usize = 16 << 10;

/// Most heads before an answer's own; vLLM sends none.
const MAX_INFORMATIONAL: usize = 16;

/// Most pieces of a request that one write takes.
const MAX_SLICES: usize = 4;

/// An open connection. Dropping it closes it.
pub(in crate::upstream) struct Connection {
    socket: Socket,
    opened: Instant,
    /// What is not sent yet; an upstream may answer before it has heard all.
    unsent: Option<Pieces>,
    /// Why the rest was not sent, which matters if no answer comes.
    send_error: Option<io::Error>,
    /// Whether anything has come since the last request.
    is_answered: bool,
    /// Heads that have come before the answer's own.
    n_informational: usize,
    /// What was read and not taken apart: a part of a head, or what came with a head.
    unread: Vec<u8>,
    /// How far the answer's body is read.
    framing: Framing,
    /// Whether it may be used again after this answer.
    keeps_alive: bool,
}

/// Why no head of an answer came.
#[derive(Debug)]
pub(in crate::upstream) struct SendError {
    pub(in crate::upstream) error: ReadError,
    /// Whether a part of it came.
    pub(in crate::upstream) is_answered: bool,
    /// The time since the request began to be sent.
    pub(in crate::upstream) after: Duration,
}

// === impl Connection ===

impl Connection {
    /// Connects to the URL's host.
    pub(in crate::upstream) async fn open(
        connector: Connector,
        uri: Uri,
    ) -> Result<Self, BoxError> {
        Ok(Self {
            socket: connector.connect(uri).await?,
            opened: Instant::now(),
            unsent: None,
            send_error: None,
            is_answered: false,
            n_informational: 0,
            unread: Vec::new(),
            framing: Framing::Length(0),
            keeps_alive: true,
        })
    }

    /// Sends an encoded request, and waits for the head of its answer.
    pub(in crate::upstream) async fn send(
        &mut self,
        request: Pieces,
    ) -> Result<Response<()>, SendError> {
        self.unsent = Some(request);
        self.is_answered = false;
        self.n_informational = 0;
        let begun = Instant::now();
        let answered = poll_fn(|context| self.poll_head(context)).await;
        let head = answered.map_err(|error| SendError {
            error,
            is_answered: self.is_answered,
            after: begun.elapsed(),
        })?;
        self.framing = head.framing;
        self.keeps_alive &= head.keeps_alive;
        Ok(head.response)
    }

    /// Reads from the body once, and gives what is data to `sink`, which may be nothing; false at the body's end.
    pub(in crate::upstream) fn poll_body(
        &mut self,
        context: &mut Context<'_>,
        sink: &mut impl FnMut(&[u8]),
    ) -> Poll<Result<bool, ReadError>> {
        self.send_more(context);
        if self.framing.is_over() {
            return Poll::Ready(Ok(false));
        }
        let framing = &mut self.framing;
        let mut take = |bytes: &[u8]| (bytes.len(), framing.read(bytes, sink));
        let read = if self.unread.is_empty() {
            ready!(poll_read(&mut self.socket, context, take))
        } else {
            Ok(take(&std::mem::take(&mut self.unread)))
        };
        let (n_read, n_taken) = read.map_err(|error| self.lost(error))?;
        if n_read == 0 {
            return Poll::Ready(self.end_by_closing());
        }
        // What follows the body belongs to no request.
        self.keeps_alive &= n_taken == Ok(n_read);
        let read = n_taken.map(|_n_taken| true);
        Poll::Ready(read.map_err(ReadError::Malformed))
    }

    /// How long it has been open.
    pub(in crate::upstream) fn age(&self) -> Duration {
        self.opened.elapsed()
    }

    /// The length of the body, where the head tells it.
    pub(in crate::upstream) fn length(&self) -> Option<u64> {
        match self.framing {
            Framing::Length(length) => Some(length),
            Framing::Chunked(_) | Framing::ToEnd => None,
        }
    }

    /// Whether it may once be reusable: nothing of its request is left, nothing came after its answer, it is not to be
    /// closed, and it can be told whether something has come.
    pub(in crate::upstream) fn may_be_kept(&self) -> bool {
        let is_clean = self.unsent.is_none() && self.unread.is_empty();
        is_clean && self.keeps_alive && !self.socket.has_paused()
    }

    /// Whether another request may be sent: what was left of the last answer has come and held no data, and the
    /// upstream has not closed.
    pub(in crate::upstream) fn is_reusable(&mut self) -> bool {
        let context = &mut Context::from_waker(Waker::noop());
        let mut has_data = false;
        while !self.framing.is_over() && !has_data {
            let read = self.poll_body(context, &mut |_data| has_data = true);
            if !matches!(read, Poll::Ready(Ok(true))) {
                return false;
            }
        }
        self.may_be_kept()
            && !has_data
            && poll_read(&mut self.socket, context, |_bytes| {}).is_pending()
            // A task that has used its budget up finds every socket pending.
            && coop::has_budget_remaining()
    }

    fn poll_head(&mut self, context: &mut Context<'_>) -> Poll<Result<Head, ReadError>> {
        self.send_more(context);
        loop {
            if let Some((head, length)) = head::parse(&self.unread).map_err(ReadError::Malformed)? {
                self.unread.drain(..length);
                if !head.response.status().is_informational() {
                    return Poll::Ready(Ok(head));
                }
                // Heads of this kind come before the answer (RFC 9110, section 15.2).
                self.n_informational += 1;
                if self.n_informational > MAX_INFORMATIONAL {
                    return Poll::Ready(Err(ReadError::Malformed(Malformed::HeadTooLarge)));
                }
                continue;
            }
            if self.unread.len() >= MAX_HEAD_BYTES {
                return Poll::Ready(Err(ReadError::Malformed(Malformed::HeadTooLarge)));
            }
            let unread = &mut self.unread;
            let read = ready!(poll_read(&mut self.socket, context, |bytes| {
                unread.extend_from_slice(bytes);
                bytes.len()
            }));
            match read {
                Ok(0) => return Poll::Ready(Err(self.lost(io::ErrorKind::UnexpectedEof.into()))),
                Ok(_) => self.is_answered = true,
                Err(error) => return Poll::Ready(Err(self.lost(error))),
            }
        }
    }

    /// The upstream closed in the midst of a body, which is how one without a length ends.
    fn end_by_closing(&mut self) -> Result<bool, ReadError> {
        if self.framing != Framing::ToEnd {
            return Err(self.lost(io::ErrorKind::UnexpectedEof.into()));
        }
        self.framing = Framing::Length(0);
        Ok(false)
    }

    /// Sends what can be sent now.
    fn send_more(&mut self, context: &mut Context<'_>) {
        let Some(unsent) = &mut self.unsent else {
            return;
        };
        if let Poll::Ready(sent) = poll_write(&mut self.socket, context, unsent) {
            self.unsent = None;
            if let Err(error) = sent {
                self.keeps_alive = false;
                self.send_error = Some(error);
            }
        }
    }

    /// The loss of the connection, by its first sign.
    fn lost(&mut self, error: io::Error) -> ReadError {
        ReadError::Lost(self.send_error.take().unwrap_or(error))
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("framing", &self.framing)
            .field("keeps_alive", &self.keeps_alive)
            .finish_non_exhaustive()
    }
}

/// Reads once, into the stack: a stream that waits holds no buffer. No bytes are the end.
fn poll_read<T>(
    socket: &mut Socket,
    context: &mut Context<'_>,
    take: impl FnOnce(&[u8]) -> T,
) -> Poll<io::Result<T>> {
    let mut storage = [const { MaybeUninit::uninit() }; MAX_READ_BYTES];
    let mut buffer = ReadBuf::uninit(&mut storage);
    ready!(Pin::new(socket).poll_read(context, &mut buffer))?;
    Poll::Ready(Ok(take(buffer.filled())))
}

/// Writes all of it.
fn poll_write(
    socket: &mut Socket,
    context: &mut Context<'_>,
    unsent: &mut Pieces,
) -> Poll<io::Result<()>> {
    while unsent.has_remaining() {
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let n_slices = unsent.chunks_vectored(&mut slices);
        let slices = slices.get(..n_slices).unwrap_or_default();
        let n_sent = ready!(Pin::new(&mut *socket).poll_write_vectored(context, slices))?;
        if n_sent == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        unsent.advance(n_sent);
    }
    Pin::new(socket).poll_flush(context)
}
