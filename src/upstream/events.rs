//! The body of a streamed answer, as events.

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep};

use super::{
    error::{Error, Malformed},
    pool::Body,
};
use crate::{
    openai::{chunk::Chunk, error::ErrorBody},
    sse::{Decoder, TooLarge},
};

/// vLLM's last event (vLLM 0.6 to 0.33), also after an error: it is proof of a whole stream, not of success.
const DONE: &str = "[DONE]";

/// The events of one streamed answer. Dropping it closes the connection.
pub(crate) struct Events {
    body: Body,
    decoder: Decoder,
    silence: Silence,
    max_event_bytes: usize,
}

/// The longest silence between two events, by one timer for the whole stream.
struct Silence {
    limit: Option<Duration>,
    since: Instant,
    timer: Option<Pin<Box<Sleep>>>,
}

// === impl Events ===

impl Events {
    /// The events of a body, before its first.
    pub(super) fn new(body: Body, max_event_bytes: usize, idle: Option<Duration>) -> Self {
        Self {
            body,
            decoder: Decoder::new(max_event_bytes),
            silence: Silence {
                limit: idle,
                since: Instant::now(),
                timer: None,
            },
            max_event_bytes,
        }
    }

    /// Goes to the next event; false at `[DONE]`, after which nothing is read.
    ///
    /// Safe to cancel: what was read is kept.
    pub(crate) async fn advance(&mut self) -> Result<bool, Error> {
        poll_fn(|context| self.poll_advance(context)).await
    }

    /// As [`advance`](Self::advance).
    pub(crate) fn poll_advance(&mut self, context: &mut Context<'_>) -> Poll<Result<bool, Error>> {
        loop {
            while self
                .decoder
                .advance()
                .map_err(|TooLarge| self.too_large())?
            {
                if self.data()?.is_empty() {
                    continue;
                }
                self.silence.broken();
                return Poll::Ready(Ok(self.data()? != DONE));
            }
            match self.body.poll_data(context) {
                Poll::Ready(Some(bytes)) => self.decoder.push(&bytes.map_err(Error::from_body)?),
                Poll::Ready(None) => {
                    tracing::debug!(
                        mid_event = self.decoder.is_mid_event(),
                        "the stream ended without [DONE]"
                    );
                    return Poll::Ready(Err(Error::Truncated(None)));
                }
                Poll::Pending => {
                    let limit = ready!(self.silence.poll(context));
                    return Poll::Ready(Err(Error::Stalled(limit)));
                }
            }
        }
    }

    /// The event's text.
    pub(crate) fn data(&self) -> Result<&str, Error> {
        std::str::from_utf8(self.decoder.data())
            .map_err(|_invalid| Error::Protocol(Malformed::Utf8))
    }

    /// The event as a chunk; an event that tells of an error is that error.
    pub(crate) fn chunk(&self) -> Result<Chunk<'_>, Error> {
        let data = self.data()?;
        let chunk: Chunk<'_> =
            serde_json::from_str(data).map_err(|error| Error::Protocol(Malformed::Json(error)))?;
        match chunk.error {
            Some(error) => Err(Error::from_error_body(ErrorBody::read_error(error.get()))),
            None if chunk.choices.is_none() => match ErrorBody::read(data.as_bytes()) {
                ErrorBody::Foreign | ErrorBody::Detail => Ok(chunk),
                told @ (ErrorBody::Engine(_) | ErrorBody::Gate(_)) => {
                    Err(Error::from_error_body(told))
                }
            },
            None => Ok(chunk),
        }
    }

    fn too_large(&self) -> Error {
        Error::TooLarge {
            what: "event",
            limit: self.max_event_bytes,
        }
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events")
            .field("decoder", &self.decoder)
            .finish_non_exhaustive()
    }
}

// === impl Silence ===

impl Silence {
    /// An event came.
    fn broken(&mut self) {
        self.since = Instant::now();
    }

    /// Ready when the silence has lasted for the limit, which it gives.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Duration> {
        let Some(limit) = self.limit else {
            return Poll::Pending;
        };
        let end = self.since + limit;
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(end)));
        // The timer is moved only when it fires, not with each event.
        while timer.as_mut().poll(context).is_ready() {
            if Instant::now() >= end {
                return Poll::Ready(limit);
            }
            timer.as_mut().reset(end);
        }
        Poll::Pending
    }
}
