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
const DONE: &[u8] = b"[DONE]";

/// The events of one streamed answer. Dropping it closes the connection.
pub(crate) struct Events {
    body: Body,
    decoder: Decoder,
    silence: Silence,
    /// Why no more comes, which is told after the events that came before.
    fault: Option<Error>,
    max_event_bytes: usize,
}

/// The longest silence between two events, by one timer for the whole stream.
struct Silence {
    limit: Option<Duration>,
    /// Whether an event has come: vLLM sends the head before the prefill, which may be long.
    has_begun: bool,
    /// Since when the next event has been waited for.
    since: Option<Instant>,
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
                has_begun: false,
                since: None,
                timer: None,
            },
            fault: None,
            max_event_bytes,
        }
    }

    /// Goes to the next event; false at `[DONE]`, after which nothing is read.
    ///
    /// Safe to cancel: what was read is kept.
    pub(crate) async fn advance(&mut self) -> Result<bool, Error> {
        poll_fn(|context| self.poll_advance(context)).await
    }

    /// Whoever reads comes back after a time in which it may not have read, which is no silence of the upstream.
    pub(crate) fn resume(&mut self) {
        self.silence.since = None;
    }

    /// Whoever reads may now not come back for long; the event is forgotten.
    pub(crate) fn pause(&mut self) {
        self.decoder.compact();
    }

    /// As [`advance`](Self::advance).
    pub(crate) fn poll_advance(&mut self, context: &mut Context<'_>) -> Poll<Result<bool, Error>> {
        let mut has_read = false;
        loop {
            if let Some(is_open) = self.advance_read()? {
                return Poll::Ready(Ok(is_open));
            }
            if let Some(fault) = self.fault.take() {
                return Poll::Ready(Err(fault));
            }
            // Where bytes without an event always come, the body is never pending.
            if has_read && let Some(limit) = self.silence.is_over() {
                return Poll::Ready(Err(Error::Stalled(limit)));
            }
            let decoder = &mut self.decoder;
            match self.body.poll_read(context, |data| decoder.push(data)) {
                Poll::Ready(Ok(true)) => has_read = true,
                Poll::Ready(Err(error)) => self.fault = Some(Error::from_body(error)),
                Poll::Ready(Ok(false)) => {
                    tracing::debug!(
                        mid_event = self.decoder.is_mid_event(),
                        "the stream ended without [DONE]"
                    );
                    return Poll::Ready(Err(Error::Truncated(None)));
                }
                Poll::Pending => {
                    self.decoder.shrink();
                    let limit = ready!(self.silence.poll(context));
                    return Poll::Ready(Err(Error::Stalled(limit)));
                }
            }
        }
    }

    /// Goes to the next event of what was read already; `None` where that holds no whole one.
    pub(crate) fn advance_read(&mut self) -> Result<Option<bool>, Error> {
        while self
            .decoder
            .advance()
            .map_err(|TooLarge| self.too_large())?
        {
            let data = self.decoder.data();
            if data.is_empty() {
                continue;
            }
            let is_done = data == DONE;
            if is_done && !self.decoder.is_mid_event() {
                self.body.release();
            }
            self.silence.broken();
            return Ok(Some(!is_done));
        }
        Ok(None)
    }

    /// The event's text.
    pub(crate) fn data(&self) -> Result<&str, Error> {
        std::str::from_utf8(self.decoder.data())
            .map_err(|_invalid| Error::Protocol(Malformed::Utf8))
    }

    /// The event as a chunk; an event that tells of an error is that error, and one without choices or usage is none.
    pub(crate) fn chunk(&self) -> Result<Chunk<'_>, Error> {
        let data = self.data()?;
        let chunk: Chunk<'_> = serde_json::from_str(data)
            .map_err(|error| Error::Protocol(Malformed::Json(error.into())))?;
        match chunk.error {
            Some(error) => Err(Error::from_error_body(ErrorBody::read_error(error.get()))),
            None if chunk.choices.is_none() => match ErrorBody::read(data.as_bytes()) {
                ErrorBody::Foreign if chunk.usage.is_some() => Ok(chunk),
                ErrorBody::Foreign => Err(Error::Protocol(Malformed::NoChunk)),
                told @ (ErrorBody::Engine(_) | ErrorBody::Gate(_) | ErrorBody::Detail) => {
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
        self.has_begun = true;
        self.since = None;
    }

    /// Since when the next event is waited for, which is from the first time that this is asked.
    fn since(&mut self) -> Option<(Duration, Instant)> {
        let limit = self.limit.filter(|_limit| self.has_begun)?;
        Some((limit, *self.since.get_or_insert_with(Instant::now)))
    }

    /// The limit, once the silence has lasted for it.
    fn is_over(&mut self) -> Option<Duration> {
        let (limit, since) = self.since()?;
        (since.elapsed() >= limit).then_some(limit)
    }

    /// Ready when the silence has lasted for the limit, which it gives.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Duration> {
        let Some((limit, since)) = self.since() else {
            return Poll::Pending;
        };
        let end = since + limit;
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

#[cfg(test)]
mod tests {
    use tokio::{
        io::AsyncWriteExt as _,
        net::{TcpListener, TcpStream},
    };

    use super::*;
    use crate::upstream::{
        content::Pieces,
        http1::{self, Connection},
        pool::Pool,
    };

    const HEAD: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

    fn chunk(data: &str) -> String {
        let event = format!("data: {data}\n\n");
        format!("{:x}\r\n{event}\r\n", event.len())
    }

    /// The events of an answer that begins so, and the upstream.
    async fn events(body: &str, idle: Option<Duration>) -> (TcpStream, Events) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}/", listener.local_addr().unwrap());
        let connector = http1::connector(false).unwrap();
        let opened = Connection::open(connector, uri.parse().unwrap()).await;
        let mut connection = opened.unwrap();
        let mut upstream = listener.accept().await.unwrap().0;
        let answer = format!("{HEAD}{body}");
        upstream.write_all(answer.as_bytes()).await.unwrap();
        connection.send(Pieces::default()).await.unwrap();
        let body = Body::new(connection, Pool::new(Duration::from_secs(1)));
        (upstream, Events::new(body, 1 << 20, idle))
    }

    #[tokio::test]
    async fn events_that_came_with_a_fault_are_told_before_it() {
        let fault = "HTTP/1.1 200 OK\r\n";
        let (_upstream, mut events) = events(&(chunk("a") + &chunk("b") + fault), None).await;
        for data in ["a", "b"] {
            assert!(events.advance().await.unwrap());
            assert_eq!(events.data().unwrap(), data);
        }
        let told = events.advance().await;
        assert!(
            matches!(told, Err(Error::Protocol(Malformed::Http(_)))),
            "{told:?}"
        );
    }

    #[tokio::test]
    async fn what_comes_with_done_is_not_read() {
        let body = chunk("a") + &chunk("[DONE]") + "HTTP/1.1 200 OK\r\n";
        let (_upstream, mut events) = events(&body, None).await;
        assert!(events.advance().await.unwrap());
        assert!(!events.advance().await.unwrap());
    }
}
