//! A response's body: it ends with a status however the call ends.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use tonic::{Status, body::Body};

use super::calls::{Caller, caught};
use crate::{service::transport_error::TransportError, telemetry::call};

/// How much of a large piece is handed over by itself, as a copy: as much as waits for the network before the next
/// piece is asked for. Once that is, nothing of the large one is left, and its memory serves for the next.
const TAIL_BYTES: usize = super::connection::SEND_BUFFER;

/// What is left before the tail at least, so that it is worth a frame.
const MIN_FRONT_BYTES: usize = 1024;

/// Ends with trailers where the server ends the call or the service panics; tells how far the caller reads.
#[derive(Debug)]
pub(super) struct ResponseBody {
    /// `None` once the trailers have been given.
    body: Option<Body>,
    /// The end of a piece whose beginning has been handed over.
    tail: Option<Bytes>,
    caller: Caller,
}

// === impl ResponseBody ===

impl ResponseBody {
    pub(super) fn new(body: Body, caller: Caller) -> Self {
        Self {
            body: Some(body),
            tail: None,
            caller,
        }
    }

    /// Drops what is left, which closes the upstream's request, and gives the status in its place.
    fn cut(&mut self, error: &TransportError) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.body = None;
        let mut trailers = HeaderMap::new();
        let status = self.caller.status(error);
        Poll::Ready(Some(match status.add_header(&mut trailers) {
            Ok(()) => Ok(Frame::trailers(trailers)),
            Err(unwritten) => Err(unwritten),
        }))
    }
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        // A message that was begun is ended, so that a status may follow it.
        if let Some(tail) = this.tail.take() {
            call::handed_over();
            return Poll::Ready(Some(Ok(Frame::data(Bytes::copy_from_slice(&tail)))));
        }
        let Some(body) = &mut this.body else {
            return Poll::Ready(None);
        };
        call::waits();
        let polled = caught(|| Pin::new(body).poll_frame(cx));
        // What the service has ended by itself is told as it ended.
        let is_over = matches!(&polled, Poll::Ready(Ok(Some(Ok(frame)))) if frame.is_trailers());
        if let Some(ending) = call::ending().filter(|_| !is_over) {
            return this.cut(&TransportError::Ended(ending));
        }
        let Ok(frame) = ready!(polled) else {
            let panicked = this.caller.panicked();
            return this.cut(&panicked);
        };
        let Some(Ok(mut frame)) = frame else {
            return Poll::Ready(frame);
        };
        if let Some(trailers) = frame.trailers_mut() {
            this.caller.complete(trailers);
            this.body = None;
        }
        if let Some(piece) = frame.data_mut() {
            call::handed_over();
            if piece.len() > TAIL_BYTES + MIN_FRONT_BYTES {
                this.tail = Some(piece.split_off(piece.len() - TAIL_BYTES));
            }
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        let is_over = self
            .body
            .as_ref()
            .is_none_or(http_body::Body::is_end_stream);
        is_over && self.tail.is_none()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::{BodyExt as _, StreamBody};

    use async_stream::stream;
    use http::{HeaderName, HeaderValue};

    use super::*;
    use crate::{
        service::{request_id::RequestId, transport_error::MessageLimits},
        telemetry::call::Ending,
    };

    const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

    /// A body of one piece that ends with OK, at once or not.
    fn body(piece: &Bytes, is_over: bool) -> ResponseBody {
        let status = HeaderMap::from_iter([(GRPC_STATUS, HeaderValue::from_static("0"))]);
        let piece = Ok::<_, Infallible>(Frame::data(piece.clone()));
        let frames = stream! {
            yield piece;
            if !is_over {
                std::future::pending::<()>().await;
            }
            yield Ok(Frame::trailers(status));
        };
        let limits = MessageLimits {
            request: 0,
            response: 0,
        };
        let caller = Caller::new(RequestId::accept_or_make(None), limits);
        ResponseBody::new(Body::new(StreamBody::new(Box::pin(frames))), caller)
    }

    #[tokio::test]
    async fn a_large_piece_is_handed_over_in_two_the_second_a_copy() {
        for (length, n_pieces) in [
            (1, 1),
            (TAIL_BYTES + MIN_FRONT_BYTES, 1),
            (TAIL_BYTES + MIN_FRONT_BYTES + 1, 2),
            (10 * TAIL_BYTES, 2),
        ] {
            let whole: Bytes = (0..length).map(|n| (n % 251) as u8).collect();
            let mut body = body(&whole, true);
            let mut pieces = Vec::new();
            while let Some(frame) = body.frame().await {
                pieces.extend(frame.unwrap().into_data());
            }
            assert_eq!(pieces.concat(), whole, "{length}");
            assert_eq!(pieces.len(), n_pieces, "{length}");
            let shared = |piece: &Bytes| whole.as_ptr_range().contains(&piece.as_ptr());
            let n_shared = pieces.iter().filter(|piece| shared(piece)).count();
            assert_eq!(n_shared, 1, "{length}");
        }
    }

    #[tokio::test]
    async fn a_call_that_is_ended_within_a_message_ends_the_message_first() {
        let whole = Bytes::from(vec![1; 4 * TAIL_BYTES]);
        for (is_over, status) in [(false, "14"), (true, "0")] {
            let mut body = body(&whole, is_over);
            call::scope(async {
                let front = body.frame().await.unwrap().unwrap().into_data().unwrap();
                call::end(Ending::Draining);
                assert!(!http_body::Body::is_end_stream(&body));
                let tail = body.frame().await.unwrap().unwrap().into_data().unwrap();
                assert_eq!(front.len() + tail.len(), whole.len());
                let trailers = body.frame().await.unwrap().unwrap();
                let trailers = trailers.into_trailers().unwrap();
                assert_eq!(trailers.get(GRPC_STATUS).unwrap(), status);
                assert!(body.frame().await.is_none());
            })
            .await;
        }
    }
}
