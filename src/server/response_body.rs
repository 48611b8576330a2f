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

/// Ends with trailers where the server ends the call or the service panics; tells how far the caller reads.
#[derive(Debug)]
pub(super) struct ResponseBody {
    /// `None` once the trailers have been given.
    body: Option<Body>,
    caller: Caller,
}

// === impl ResponseBody ===

impl ResponseBody {
    pub(super) fn new(body: Body, caller: Caller) -> Self {
        Self {
            body: Some(body),
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
        let Some(body) = &mut this.body else {
            return Poll::Ready(None);
        };
        if let Some(ending) = call::ending() {
            return this.cut(&TransportError::Ended(ending));
        }
        call::waits();
        let Ok(frame) = ready!(caught(|| Pin::new(body).poll_frame(cx))) else {
            let panicked = this.caller.panicked();
            return this.cut(&panicked);
        };
        let Some(Ok(mut frame)) = frame else {
            return Poll::Ready(frame);
        };
        if let Some(trailers) = frame.trailers_mut() {
            this.caller.complete(trailers);
        } else {
            call::handed_over();
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body
            .as_ref()
            .is_none_or(http_body::Body::is_end_stream)
    }
}
