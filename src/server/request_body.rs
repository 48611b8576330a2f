//! A request's body: it comes in time, and holds one message where the method takes one.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{self, Instant, Sleep};
use tonic::Status;

use super::calls::Caller;
use crate::service::transport_error::TransportError;

/// Longest silence while a request's message is still to come.
///
/// A caller sends its message right after the headers; one that does not holds a stream at no cost to itself.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// A request's body, with the limits that tonic does not set.
#[derive(Debug)]
pub(super) struct RequestBody {
    body: Incoming,
    caller: Caller,
    /// `None` where the method takes several messages.
    message: Option<OneMessage>,
    has_begun: bool,
    /// Made when the body first has to be waited for.
    silence: Option<Pin<Box<Sleep>>>,
    is_silent: bool,
}

/// Follows one gRPC message through the pieces that it comes in.
///
/// <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>: a flag, the length in four bytes, the message.
#[derive(Debug, Default)]
struct OneMessage {
    prefix: [u8; Self::PREFIX_LEN],
    n_read: u64,
}

// === impl RequestBody ===

impl RequestBody {
    pub(super) fn new(body: Incoming, caller: Caller, takes_many: bool) -> Self {
        Self {
            body,
            caller,
            message: (!takes_many).then(OneMessage::default),
            has_begun: false,
            silence: None,
            is_silent: false,
        }
    }

    fn fail<T>(&self, error: &TransportError) -> Poll<Option<Result<T, Status>>> {
        Poll::Ready(Some(Err(self.caller.status(error))))
    }

    /// Ready once nothing has come for too long. A method that takes several messages may pause after the first.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.has_begun && self.message.is_none() {
            return Poll::Pending;
        }
        let silence = self
            .silence
            .get_or_insert_with(|| Box::pin(time::sleep(BODY_TIMEOUT)));
        if !self.is_silent {
            silence.as_mut().reset(Instant::now() + BODY_TIMEOUT);
            self.is_silent = true;
        }
        silence.as_mut().poll(cx)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) else {
            ready!(this.poll_silence(cx));
            return this.fail(&TransportError::RequestTimeout);
        };
        this.is_silent = false;
        let frame = match frame {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return Poll::Ready(Some(Err(Status::from_error(error.into())))),
            None => return Poll::Ready(None),
        };
        if let Some(bytes) = frame.data_ref() {
            this.has_begun = true;
            if let Some(message) = &mut this.message
                && !message.takes(bytes)
            {
                return this.fail(&TransportError::SecondMessage);
            }
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

// === impl OneMessage ===

impl OneMessage {
    const PREFIX_LEN: usize = 5;

    /// Whether the bytes so far are no more than one message.
    fn takes(&mut self, bytes: &[u8]) -> bool {
        let n_read = usize::try_from(self.n_read).unwrap_or(usize::MAX);
        let missing = self.prefix.get_mut(n_read..).unwrap_or_default();
        for (place, byte) in missing.iter_mut().zip(bytes) {
            *place = *byte;
        }
        self.n_read += bytes.len() as u64;
        let prefix_len = Self::PREFIX_LEN as u64;
        if self.n_read < prefix_len {
            return true;
        }
        let [_flag, length @ ..] = self.prefix;
        self.n_read <= prefix_len + u64::from(u32::from_be_bytes(length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], is_one: bool) {
        for size in 1..=bytes.len() {
            let mut message = OneMessage::default();
            let fits = bytes.chunks(size).all(|piece| message.takes(piece));
            assert_eq!(fits, is_one, "{bytes:?} by {size}");
        }
    }

    #[test]
    fn one_message_is_told_from_two_however_it_comes() {
        check(&[0, 0, 0, 0, 0], true);
        check(&[0, 0, 0, 0, 2, 8, 1], true);
        check(&[0, 0, 0, 0, 2, 8], true);
        check(&[0, 0, 0, 0, 2, 8, 1, 0], false);
        check(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0], false);
        check(&[1, 255, 255, 255, 255, 1, 2, 3], true);
    }
}
