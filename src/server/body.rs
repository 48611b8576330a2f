//! The bodies of a call: the request's comes in time and holds one message; the response's ends with a status.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use http_body::{Body as _, Frame};
use hyper::body::Incoming;
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{self, Sleep},
};
use tonic::{Code, Status, body::Body};

use super::{admission::Held, padding::padded};
use crate::service::{call::Call, error::transport::TransportError, observer::Observer};

/// Longest silence while a request's message is still to come, since waiting costs its caller nothing.
const SILENCE: Duration = Duration::from_secs(10);

/// Bytes of memory for each byte of a request's message until the upstream answers: the message as it arrived, as it
/// was decoded, and the JSON made from it. The codec counts what takes more.
const BYTES_HELD: usize = 4;

/// The next frame, or the end.
type Polled = Option<Result<Frame<Bytes>, Status>>;

/// hyper asks for the next piece as soon as h2 has taken the last, however large, and the call has ended for the server
/// when h2 has taken the end: so no piece is larger than what may wait in h2.
const MAX_PIECE_BYTES: usize = 16 << 10;

/// A request's body, with the limits that tonic does not set.
pub(super) struct RequestBody {
    body: Incoming,
    call: Call,
    held: Arc<Held>,
    /// `None` where the method takes several messages, with any time between them: reflection.
    message: Option<OneMessage>,
    /// While the body is waited for.
    silence: Option<Pin<Box<Sleep>>>,
}

/// Follows one gRPC message through the pieces that it arrives in.
///
/// <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>: a flag, the length in four bytes, the message.
#[derive(Debug, Default)]
struct OneMessage {
    /// The flag and the length, as far as they have come.
    prefix: Vec<u8>,
    n_read: u64,
}

/// A response's body, until it has ended. It ends with trailers also where the server ends the call or the service
/// panics.
#[derive(Debug)]
pub(super) struct ResponseBody(pub(super) Option<Open>);

#[derive(Debug)]
pub(super) struct Open {
    pub(super) body: Body,
    /// What is left of a piece that was too large to give to hyper at once.
    pub(super) rest: Bytes,
    pub(super) call: Call,
    pub(super) observer: Observer,
    /// The largest message.
    pub(super) max_bytes: usize,
    /// The size that smaller messages are padded to, in bytes.
    pub(super) padding: Option<usize>,
    /// The call's place among those that are allowed at once: its caller's, and all.
    pub(super) _permits: (Option<OwnedSemaphorePermit>, Option<OwnedSemaphorePermit>),
}

// === impl RequestBody ===

impl RequestBody {
    pub(super) fn new(body: Incoming, call: Call, held: Arc<Held>) -> Self {
        Self {
            body,
            message: (!call.takes_many_messages()).then(OneMessage::default),
            call,
            held,
            silence: None,
        }
    }

    fn fail(&self, error: &TransportError) -> Poll<Polled> {
        Poll::Ready(Some(Err(error.to_status(&self.call))))
    }
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Polled> {
        let this = &mut *self;
        let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) else {
            if this.message.is_none() {
                return Poll::Pending;
            }
            let new = || Box::pin(time::sleep(SILENCE));
            ready!(this.silence.get_or_insert_with(new).as_mut().poll(cx));
            return this.fail(&TransportError::RequestTimeout);
        };
        // The next wait is another silence.
        this.silence = None;
        let data = (frame.as_ref()).and_then(|frame| frame.as_ref().ok()?.data_ref());
        let is_cardinal = match (&mut this.message, data) {
            (Some(message), Some(data)) => message.takes(data),
            (Some(message), None) => message.n_read > 0 || matches!(frame, Some(Err(_))),
            (None, _) => true,
        };
        if !is_cardinal {
            return this.fail(&TransportError::Cardinality);
        }
        if let Some(data) = data
            && let Err(error) = this.held.add(data.len() * BYTES_HELD)
        {
            return this.fail(&error);
        }
        Poll::Ready(frame.map(|frame| frame.map_err(|error| Status::from_error(error.into()))))
    }

    fn is_end_stream(&self) -> bool {
        // The end is polled for, so that a body without a message is seen.
        false
    }
}

// === impl OneMessage ===

impl OneMessage {
    /// Whether the bytes so far are no more than one message.
    fn takes(&mut self, bytes: &[u8]) -> bool {
        let n_missing = 5 - self.prefix.len();
        self.prefix.extend(bytes.iter().take(n_missing));
        self.n_read += bytes.len() as u64;
        match self.prefix[..] {
            [_flag, a, b, c, d] => self.n_read <= 5 + u64::from(u32::from_be_bytes([a, b, c, d])),
            _ => true,
        }
    }
}

// === impl ResponseBody ===

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Polled> {
        let Some(open) = &mut self.0 else {
            return Poll::Ready(None);
        };
        let frame = match ready!(open.poll(cx)) {
            Ok(frame) => frame,
            Err(error) => Some(open.cut(&error)),
        };
        match &frame {
            Some(Ok(frame)) if frame.is_data() => open.call.handed_over(),
            // Dropping the rest closes the upstream's request.
            Some(_) | None => self.0 = None,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        let has_ended = |open: &Open| open.rest.is_empty() && open.body.is_end_stream();
        self.0.as_ref().is_none_or(has_ended)
    }
}

// === impl Open ===

impl Open {
    /// The next frame; an error where the call ends here.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Polled, TransportError>> {
        self.call.resumed();
        if !self.rest.is_empty() {
            let piece = self.rest.split_to(self.rest.len().min(MAX_PIECE_BYTES));
            return Poll::Ready(Ok(Some(Ok(Frame::data(piece)))));
        }
        let polled = caught(&self.call, || Pin::new(&mut self.body).poll_frame(cx));
        // A service that has ended the call by itself says how.
        let is_end = matches!(&polled, Poll::Ready(Ok(Some(Ok(frame)))) if frame.is_trailers());
        if let Some(&ending) = self.call.ending.get().filter(|_| !is_end) {
            return Poll::Ready(Err(TransportError::Ended(ending)));
        }
        let mut frame = ready!(polled)?;
        if let Some(Ok(frame)) = &mut frame {
            if let (Some(size), Some(data)) = (self.padding, frame.data_mut()) {
                *data = padded(data, size);
            }
            if let Some(data) = frame.data_mut() {
                self.rest = data.split_off(data.len().min(MAX_PIECE_BYTES));
            }
            if let Some(trailers) = frame.trailers_mut() {
                let code = completed(trailers, &self.call, |code, text| {
                    TransportError::Response(code, text, self.max_bytes)
                });
                self.observer.end(code.unwrap_or(Code::Unknown), trailers);
            }
        }
        Poll::Ready(Ok(frame))
    }

    /// The trailers of a call that ends here.
    fn cut(&mut self, error: &TransportError) -> Result<Frame<Bytes>, Status> {
        let status = error.to_status(&self.call);
        let mut trailers = HeaderMap::new();
        self.observer.end(status.code(), &mut trailers);
        status.add_header(&mut trailers)?;
        Ok(Frame::trailers(trailers))
    }
}

/// How many replicas were asked, where any was.
const ATTEMPTS: HeaderName = HeaderName::from_static("adapter-attempts");

/// The code of the status in headers or trailers, if there is one. One without details is given them.
pub(super) fn completed(
    headers: &mut HeaderMap,
    call: &Call,
    error: impl FnOnce(Code, String) -> TransportError,
) -> Option<Code> {
    let bare = Status::from_header_map(headers)?;
    let n_attempts = call.headers.n_attempts.load(Ordering::Relaxed);
    if n_attempts > 0 {
        headers.insert(ATTEMPTS, n_attempts.into());
    }
    if bare.code() == Code::Ok || headers.contains_key("grpc-status-details-bin") {
        return Some(bare.code());
    }
    let status = error(bare.code(), bare.message().to_owned()).to_status(call);
    // The fixed texts of a status can be written.
    let _ = status.add_header(headers);
    Some(status.code())
}

/// Polls, and returns a panic as an error. What has panicked is dropped and not polled again.
pub(super) fn caught<T>(
    call: &Call,
    poll: impl FnOnce() -> Poll<T>,
) -> Poll<Result<T, TransportError>> {
    catch_unwind(AssertUnwindSafe(poll)).map_or_else(
        |_panic| {
            tracing::error!(request_id = call.id(), "a call panicked");
            Poll::Ready(Err(TransportError::Panicked))
        },
        |polled| polled.map(Ok),
    )
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
    fn one_message_differs_from_two_however_it_arrives() {
        check(&[0, 0, 0, 0, 0], true);
        check(&[0, 0, 0, 0, 2, 8, 1], true);
        check(&[0, 0, 0, 0, 2, 8], true);
        check(&[0, 0, 0, 0, 2, 8, 1, 0], false);
        check(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0], false);
        check(&[1, 255, 255, 255, 255, 1, 2, 3], true);
    }
}
