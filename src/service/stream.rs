//! An open upstream stream as the responses of a call.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::time::Sleep;
use tokio_stream::Stream;

use super::{call::Call, error::Error};
use crate::{
    telemetry,
    translate::ChunkTranslator,
    upstream::{self, Events},
};

/// Most events that are read ahead of the caller. They are there already: reading them together makes one write of
/// many messages, and lets adjacent deltas be merged.
const MAX_READ_AHEAD: usize = 64;

/// The same in bytes, beyond the last event: what waits for a caller is memory.
const MAX_READ_AHEAD_BYTES: usize = 16 << 10;

/// The responses of one call, pulled by its caller: one who reads slowly slows the upstream, and one who leaves drops
/// all of this, and with it the upstream's connection.
pub(crate) struct Responses<T> {
    events: Events,
    translator: T,
    timer: Option<Pin<Box<Sleep>>>,
    call: Call,
    state: State,
    /// Before how many of the next reads the caller may have kept the stream waiting. The transport reads once more when
    /// it has taken a response, and may then wait for its caller.
    n_resumed: u8,
}

/// How far the stream is.
#[derive(Debug)]
enum State {
    /// Events may come.
    Open,
    /// What waits is sent, and then the call is over, with the error if there is one.
    Ending(Option<Error>),
    /// The call is over.
    Over,
}

impl<T: ChunkTranslator> Responses<T> {
    /// The responses of an answer that has begun; what was translated of it comes first.
    pub(super) fn new(mut events: Events, translator: T, call: Call) -> Self {
        events.pause();
        let timer = call.deadline.timer().map(Box::pin);
        // A caller that does not read keeps this from being polled, and its deadline must hold all the same.
        if let Some(timer) = &timer {
            telemetry::call::set_deadline(timer.deadline());
        }
        Self {
            events,
            translator,
            timer,
            call,
            state: State::Open,
            n_resumed: 0,
        }
    }

    /// Reads what has arrived; pending only if that is nothing.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.n_resumed > 0 {
            self.n_resumed -= 1;
            self.events.resume();
        }
        let mut read = ready!(self.events.poll_advance(context));
        let (mut n_events, mut n_bytes) = (0, 0);
        loop {
            match self.translate(read) {
                Ok(n_translated) => n_bytes += n_translated,
                Err(error) => self.state = State::Ending(Some(error)),
            }
            n_events += 1;
            let is_enough = n_events >= MAX_READ_AHEAD || n_bytes >= MAX_READ_AHEAD_BYTES;
            if is_enough || !matches!(self.state, State::Open) {
                break;
            }
            // The socket is asked again when all of this is taken.
            let Some(next) = self.events.advance_read().transpose() else {
                break;
            };
            read = next;
        }
        self.events.pause();
        Poll::Ready(())
    }

    /// Translates the event that was reached, if one was, and tells its bytes.
    fn translate(&mut self, read: Result<bool, upstream::Error>) -> Result<usize, Error> {
        if read? {
            return take(&self.events, &mut self.translator);
        }
        self.translator.end()?;
        self.state = State::Ending(None);
        Ok(0)
    }

    /// Whether the deadline has passed.
    fn is_expired(&mut self, context: &mut Context<'_>) -> bool {
        self.timer
            .as_mut()
            .is_some_and(|timer| timer.as_mut().poll(context).is_ready())
    }

    fn count(&mut self, response: &T::Response) {
        self.n_resumed = 2;
        self.call.observer.responded();
        if T::is_delta(response) {
            self.call.observer.subject.deltas += 1;
            telemetry::call::delta_made();
        }
    }
}

/// Gives the translator the event that `events` is at, and tells its bytes.
pub(super) fn take(events: &Events, translator: &mut impl ChunkTranslator) -> Result<usize, Error> {
    let json = events.data()?;
    translator.push(events.chunk()?, json)?;
    Ok(json.len())
}

impl<T: ChunkTranslator + Unpin> Stream for Responses<T> {
    type Item = Result<T::Response, tonic::Status>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if let Some(response) = this.translator.pop() {
                this.count(&response);
                return Poll::Ready(Some(Ok(response)));
            }
            match std::mem::replace(&mut this.state, State::Over) {
                State::Over => return Poll::Ready(None),
                State::Ending(None) => {
                    this.call.observer.end();
                    return Poll::Ready(None);
                }
                State::Ending(Some(error)) => {
                    return Poll::Ready(Some(Err(this.call.observer.fail(&error))));
                }
                State::Open => {}
            }
            this.state = State::Open;
            if this.is_expired(context) {
                this.state = State::Ending(Some(this.call.deadline.expired().into()));
                continue;
            }
            ready!(this.poll_read(context));
        }
    }
}
