//! The body of a streamed answer, as events.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use http::Response;
use tokio::time::{Instant, Sleep, sleep_until};

use super::{
    answer::{self, has_type},
    body::Body,
    error::Error,
};
use crate::{
    openai::{chunk::Chunk, error::ErrorBody},
    sse::Decoder,
    telemetry::Counted,
};

/// vLLM's last event (vLLM 0.6 to 0.33), also after an error: it is proof of a whole stream, not of success.
const DONE: &[u8] = b"[DONE]";

/// The events of one streamed answer. Dropping it closes the connection.
#[derive(Debug)]
pub(crate) struct Events {
    /// `None` after `[DONE]`.
    body: Option<Body>,
    decoder: Decoder,
    silence: Silence,
    /// The replica counts the request as long as the stream lives.
    in_flight: Option<Counted>,
}

/// Limits the time that the next event is waited for, by one timer for the whole stream.
#[derive(Debug, Default)]
struct Silence {
    limit: Option<Duration>,
    /// When the wait for the next event must end.
    deadline: Option<Instant>,
    /// Moved only when it fires, not with each event.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Events {
    /// The events of an answer, before its first. An answer that is an error in JSON is that error.
    pub(super) async fn receive(response: Response<Body>, limit: usize) -> Result<Self, Error> {
        if has_type(response.headers(), "text/event-stream") {
            return Ok(Self::new(response.into_body(), limit));
        }
        let wrong_type = answer::wrong_type(response.headers());
        // vLLM up to 0.17 answers some errors so.
        if has_type(response.headers(), "application/json")
            && let error @ (ErrorBody::Engine(_) | ErrorBody::Gate(_)) =
                answer::error_body(response).await
        {
            return Err(Error::from_error_body(error));
        }
        Err(wrong_type)
    }

    fn new(body: Body, max_event_bytes: usize) -> Self {
        Self {
            body: Some(body),
            decoder: Decoder::new(max_event_bytes),
            silence: Silence::default(),
            in_flight: None,
        }
    }

    /// Keeps the count of the request for the stream's whole life.
    pub(super) fn count(&mut self, in_flight: Counted) {
        self.in_flight = Some(in_flight);
    }

    /// Limits the time between two events from here on: vLLM sends the head before the prefill, which may be long.
    pub(super) fn limit_silence(&mut self, limit: Option<Duration>) {
        self.silence.limit = limit;
    }

    /// Goes to the next event; false at `[DONE]`, after which nothing is read.
    ///
    /// Safe to cancel: what was read is kept.
    pub(crate) async fn advance(&mut self) -> Result<bool, Error> {
        // The time in which nobody asked for the next event is no silence.
        self.silence.deadline = None;
        poll_fn(|cx| self.poll_advance(cx)).await
    }

    fn poll_advance(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Error>> {
        let mut has_read = false;
        loop {
            if let Some(is_open) = self.advance_read()? {
                return Poll::Ready(Ok(is_open));
            }
            // Bytes without an event may come for ever, so that the body is never pending.
            if has_read && let Poll::Ready(stalled) = self.silence.poll(cx) {
                return Poll::Ready(Err(stalled));
            }
            let Some(body) = &mut self.body else {
                return Poll::Ready(Ok(false));
            };
            match body.poll_data(cx)? {
                Poll::Ready(Some(data)) => {
                    self.decoder.push(&data);
                    has_read = true;
                }
                Poll::Ready(None) => {
                    let mid_event = self.decoder.is_mid_event();
                    tracing::debug!(mid_event, "the stream ended without [DONE]");
                    return Poll::Ready(Err(Error::Truncated(None)));
                }
                Poll::Pending => {
                    self.decoder.shrink();
                    return self.silence.poll(cx).map(Err);
                }
            }
        }
    }

    /// Goes to the next event of what was read already; `None` where that holds no whole one.
    pub(crate) fn advance_read(&mut self) -> Result<Option<bool>, Error> {
        while self.decoder.advance()? {
            let data = self.decoder.data();
            if data.is_empty() {
                continue;
            }
            let is_done = data == DONE;
            if is_done
                && let Some(body) = self.body.take()
                && !self.decoder.is_mid_event()
            {
                body.release();
            }
            return Ok(Some(!is_done));
        }
        Ok(None)
    }

    /// The event's text.
    pub(crate) fn data(&self) -> Result<&str, Error> {
        std::str::from_utf8(self.decoder.data()).map_err(Error::protocol)
    }

    /// The event as a chunk; an event that holds an error is that error, and one without choices or usage is none.
    pub(crate) fn chunk(&self) -> Result<Chunk<'_>, Error> {
        let data = self.data()?;
        let chunk: Chunk<'_> =
            serde_json::from_str(data).map_err(|error| Error::malformed_json(&error))?;
        if let Some(error) = chunk.error {
            return Err(Error::from_error_body(ErrorBody::read_error(error.get())));
        }
        if !chunk.choices.as_ref().is_none_or(Vec::is_empty) {
            return Ok(chunk);
        }
        match ErrorBody::read(data.as_bytes()) {
            ErrorBody::Foreign if chunk.choices.is_some() || chunk.usage.is_some() => Ok(chunk),
            ErrorBody::Foreign => Err(Error::protocol("an event that is no chunk and no error")),
            error @ (ErrorBody::Engine(_) | ErrorBody::Gate(_) | ErrorBody::Router) => {
                Err(Error::from_error_body(error))
            }
        }
    }
}

impl Silence {
    /// Ready once the limit has passed without an event; comments may come for ever.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        let Some(limit) = self.limit else {
            return Poll::Pending;
        };
        let deadline = self.deadline.get_or_insert_with(|| Instant::now() + limit);
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(sleep_until(*deadline)));
        loop {
            ready!(timer.as_mut().poll(cx));
            if Instant::now() >= *deadline {
                return Poll::Ready(Error::Stalled(limit));
            }
            timer.as_mut().reset(*deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;
    use http_body_util::StreamBody;
    use hyper::body::Frame;
    use tokio::sync::mpsc;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    /// Sends the bytes of a body.
    type Upstream = mpsc::Sender<Bytes>;

    /// The events of a stream that has begun with `a`.
    async fn begun() -> (Upstream, Events) {
        let (upstream, mut bytes) = mpsc::channel(8);
        let frames = async_stream::stream! {
            while let Some(bytes) = bytes.recv().await {
                yield Ok::<_, Infallible>(Frame::data(bytes));
            }
        };
        let body = Body::Reqwest(reqwest::Body::wrap(StreamBody::new(frames)));
        let mut events = Events::new(body, 1 << 10);
        send(&upstream, "data: a\n\n");
        assert!(events.advance().await.unwrap());
        events.limit_silence(Some(LIMIT));
        (upstream, events)
    }

    fn send(upstream: &Upstream, text: &'static str) {
        upstream
            .try_send(Bytes::from_static(text.as_bytes()))
            .unwrap();
    }

    /// Polls once, as a caller does who finds nothing.
    async fn check_pending(events: &mut Events) {
        let mut next = std::pin::pin!(events.advance());
        let polled = poll_fn(|cx| Poll::Ready(next.as_mut().poll(cx).is_pending())).await;
        assert!(polled);
    }

    #[tokio::test(start_paused = true)]
    async fn an_upstream_that_is_silent_for_the_limit_has_stalled() {
        let (upstream, mut events) = begun().await;
        let begun = Instant::now();
        send(&upstream, ": ping\n\n");
        assert!(matches!(events.advance().await, Err(Error::Stalled(LIMIT))));
        assert_eq!(begun.elapsed(), LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn each_event_begins_a_silence_of_its_own() {
        let (upstream, mut events) = begun().await;
        for _ in 0..5 {
            check_pending(&mut events).await;
            tokio::time::advance(LIMIT - Duration::from_secs(1)).await;
            send(&upstream, "data: b\n\n");
            assert!(events.advance().await.unwrap());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_came_while_nobody_read_is_no_stall() {
        for (row, unread, rest) in [
            ("an event", "data: b\n\n", ""),
            ("the start of an event", "data: ", "b\n\n"),
            ("a comment", ": ping\n\n", "data: b\n\n"),
        ] {
            let (upstream, mut events) = begun().await;
            check_pending(&mut events).await;
            send(&upstream, unread);
            tokio::time::advance(5 * LIMIT).await;
            if !rest.is_empty() {
                check_pending(&mut events).await;
                tokio::time::advance(LIMIT / 2).await;
                send(&upstream, rest);
            }
            assert!(events.advance().await.unwrap(), "{row}");
            assert_eq!(events.data().unwrap(), "b", "{row}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn comments_are_no_events() {
        let (upstream, mut events) = begun().await;
        let pings = async {
            loop {
                tokio::time::sleep(LIMIT / 4).await;
                send(&upstream, ": ping\n\n");
            }
        };
        let begun = Instant::now();
        tokio::select! {
            advanced = events.advance() => assert!(matches!(advanced, Err(Error::Stalled(LIMIT)))),
            () = pings => {}
        }
        assert_eq!(begun.elapsed(), LIMIT);
    }

    #[tokio::test]
    async fn an_event_that_holds_an_error_is_no_chunk() {
        let error = r#"{"message":"m","code":400}"#;
        let choice = r#""choices":[{"index":0,"text":"x"}]"#;
        for (event, is_chunk) in [
            (format!("{{{choice}}}"), true),
            (format!("{{{choice},\"error\":null}}"), true),
            (format!("{{{choice},\"error\":{error}}}"), false),
            (format!("{{{choice},\"error\":7}}"), false),
            (r#"{"object":"chunk","choices":[]}"#.to_owned(), true),
            (r#"{"object":"error","choices":[]}"#.to_owned(), false),
            (
                r#"{"object":"error","usage":{"total_tokens":1}}"#.to_owned(),
                false,
            ),
        ] {
            let (upstream, mut events) = begun().await;
            upstream
                .try_send(format!("data: {event}\n\n").into())
                .unwrap();
            assert!(events.advance().await.unwrap());
            assert_eq!(events.chunk().is_ok(), is_chunk, "{event}");
        }
    }
}
