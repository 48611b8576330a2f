//! The body of an answer, by either of the two HTTP clients.

use std::{
    fmt,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use hyper::body::{Body as _, Incoming};

use super::{
    connection::{Connection, poll_data},
    error::{BoxError, Error},
    pool::Pool,
};

/// The body of an answer. Dropping it closes its connection, unless it was released.
pub(super) struct Body(Source);

enum Source {
    /// Of a connection that is polled in place.
    Connection {
        connection: Connection,
        incoming: Incoming,
        pool: Pool,
    },
    /// Of reqwest, which keeps its own connections.
    Reqwest(reqwest::Body),
    /// It was released.
    Released,
}

impl Body {
    /// The body of the answer whose head the connection just gave.
    pub(super) fn new(connection: Connection, incoming: Incoming, pool: Pool) -> Self {
        Self(Source::Connection {
            connection,
            incoming,
            pool,
        })
    }

    /// The next data; `None` at the end.
    pub(super) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        let data = match &mut self.0 {
            Source::Connection {
                connection,
                incoming,
                ..
            } => {
                ready!(connection.poll_data(incoming, cx)).map(|data| data.map_err(BoxError::from))
            }
            Source::Reqwest(body) => ready!(poll_data(body, cx))
                .map(|data| data.map_err(|error| error.without_url().into())),
            Source::Released => None,
        };
        Poll::Ready(data.map(|data| data.map_err(Error::from_body)))
    }

    /// Gives the connection back to its pool, though the end of the body may still be to come.
    ///
    /// The connection is used again only if nothing but that end comes.
    pub(super) fn release(&mut self) {
        if let Source::Connection {
            connection,
            incoming,
            pool,
        } = std::mem::replace(&mut self.0, Source::Released)
        {
            pool.put(connection, incoming);
        }
    }

    /// The length that the head gives, if it gives one.
    pub(super) fn length(&self) -> Option<u64> {
        match &self.0 {
            Source::Connection { incoming, .. } => incoming.size_hint().exact(),
            Source::Reqwest(body) => body.size_hint().exact(),
            Source::Released => None,
        }
    }
}

impl From<reqwest::Body> for Body {
    fn from(body: reqwest::Body) -> Self {
        Self(Source::Reqwest(body))
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").finish_non_exhaustive()
    }
}
