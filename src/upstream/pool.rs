//! Connections that wait for their next request.

use std::{
    collections::VecDeque,
    convert::Infallible,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hyper::body::Incoming;
use tokio::time::Instant;

use super::connection::Connection;

/// Idle connections; the longest idle one comes first. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Pool {
    idle: Arc<Mutex<VecDeque<Idle>>>,
    max_age: Duration,
}

#[derive(Debug)]
struct Idle {
    since: Instant,
    connection: Connection,
}

/// Connections that are kept; more may be in use.
const MAX_IDLE: usize = 256;

impl Pool {
    /// An empty pool, which keeps no connection that was idle for longer.
    pub(super) fn new(max_age: Duration) -> Self {
        Self {
            idle: Arc::default(),
            max_age,
        }
    }

    /// The connection that was used last and is still open.
    pub(super) fn take(&self) -> Option<Connection> {
        loop {
            let Idle {
                since,
                mut connection,
            } = self.with(VecDeque::pop_back)?;
            if since.elapsed() < self.max_age && connection.is_reusable() {
                return Some(connection);
            }
        }
    }

    fn put(&self, mut connection: Connection) {
        if connection.is_reusable() {
            let idle = Idle {
                since: Instant::now(),
                connection,
            };
            self.with(|connections| {
                connections.push_back(idle);
                (connections.len() > MAX_IDLE).then(|| connections.pop_front())
            });
        }
    }

    /// Closes connections when they have been idle for too long, for ever.
    pub(super) async fn expire(self) -> Infallible {
        loop {
            tokio::time::sleep(self.max_age).await;
            let expired: Vec<Idle> = self.with(|connections| {
                let is_old = |idle: &Idle| idle.since.elapsed() >= self.max_age;
                let n_old = connections.iter().take_while(|idle| is_old(idle)).count();
                connections.drain(..n_old).collect()
            });
            drop(expired);
        }
    }

    /// No connection is polled or closed under the lock.
    fn with<T>(&self, change: impl FnOnce(&mut VecDeque<Idle>) -> T) -> T {
        change(&mut self.idle.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The body of an answer, and the connection that it comes by.
///
/// Read to its end, the connection goes back to its pool. Dropped before, it is closed.
pub(super) struct Body {
    body: Incoming,
    connection: Option<Connection>,
    pool: Pool,
}

impl Body {
    pub(super) fn new(body: Incoming, connection: Connection, pool: Pool) -> Self {
        Self {
            body,
            connection: Some(connection),
            pool,
        }
    }

    /// The next bytes; `None` at the end.
    pub(super) fn poll_data(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, hyper::Error>>> {
        let Some(connection) = &mut self.connection else {
            return Poll::Ready(None);
        };
        let data = std::task::ready!(connection.poll_data(&mut self.body, context));
        if !matches!(data, Some(Ok(_)))
            && let Some(connection) = self.connection.take()
            && data.is_none()
        {
            self.pool.put(connection);
        }
        Poll::Ready(data)
    }

    /// The length that the head tells, if it does.
    pub(super) fn length(&self) -> Option<u64> {
        http_body::Body::size_hint(&self.body).exact()
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").finish_non_exhaustive()
    }
}
