//! The body of an answer, by either of the two HTTP clients.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::Body as _;

use super::{
    connection::{Connection, poll_data},
    error::Error,
    pool::Pool,
};

/// The body of an answer. Dropping it closes its connection, unless that is polled in place and was released.
#[derive(Debug)]
pub(super) enum Body {
    /// Of a connection that is polled in place.
    InPlace(Connection, Pool),
    /// Of reqwest, which keeps its own connections.
    Reqwest(reqwest::Body),
}

impl Body {
    /// The next data; `None` at the end.
    pub(super) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        let data = match self {
            Self::InPlace(connection, _pool) => {
                ready!(connection.poll_data(cx)).map(|data| data.map_err(Into::into))
            }
            Self::Reqwest(body) => ready!(poll_data(body, cx))
                .map(|data| data.map_err(|error| error.without_url().into())),
        };
        Poll::Ready(data.map(|data| data.map_err(Error::from_body)))
    }

    /// Gives the connection back to its pool, though the end of the body may still be to come.
    ///
    /// The connection is used again only if nothing but that end comes.
    pub(super) fn release(self) {
        if let Self::InPlace(connection, pool) = self {
            pool.put(connection);
        }
    }

    /// The length that the head gives, if it gives one.
    pub(super) fn length(&self) -> Option<u64> {
        match self {
            Self::InPlace(connection, _pool) => connection.length(),
            Self::Reqwest(body) => body.size_hint().exact(),
        }
    }
}
