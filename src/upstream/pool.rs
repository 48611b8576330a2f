//! Connections that wait for their next request.

use std::{
    collections::VecDeque,
    convert::Infallible,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{task::coop, time::Instant};

use super::http1::{Connection, ReadError};

/// Idle connections; the longest idle one comes first. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Pool {
    idle: Arc<Mutex<VecDeque<Idle>>>,
    max_idle_time: Duration,
}

#[derive(Debug)]
struct Idle {
    since: Instant,
    connection: Connection,
}

/// Connections that are kept; more may be in use.
const MAX_IDLE: usize = 256;

/// An older connection is not used again, so that an upstream whose name gets another address is soon left.
const MAX_AGE: Duration = Duration::from_secs(300);

impl Pool {
    /// An empty pool, which keeps no connection that was idle for longer.
    pub(super) fn new(max_idle_time: Duration) -> Self {
        Self {
            idle: Arc::default(),
            max_idle_time,
        }
    }

    /// The connection that was used last and is still open.
    pub(super) fn take(&self) -> Option<Connection> {
        loop {
            // A task that has used its budget up finds every socket pending, and would close one after the other.
            if !coop::has_budget_remaining() {
                return None;
            }
            let Idle {
                since,
                mut connection,
            } = self.with(VecDeque::pop_back)?;
            if since.elapsed() < self.max_idle_time && connection.is_reusable() {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection whose answer is read, or all but the end of its body.
    fn put(&self, connection: Connection) {
        if connection.age() >= MAX_AGE || !connection.may_be_kept() {
            return;
        }
        let idle = Idle {
            since: Instant::now(),
            connection,
        };
        self.with(|connections| {
            connections.push_back(idle);
            (connections.len() > MAX_IDLE).then(|| connections.pop_front())
        });
    }

    /// Closes connections when they have been idle for too long, for ever.
    pub(super) async fn expire(self) -> Infallible {
        loop {
            tokio::time::sleep(self.max_idle_time).await;
            let expired: Vec<Idle> = self.with(|connections| {
                let is_old = |idle: &Idle| idle.since.elapsed() >= self.max_idle_time;
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
    connection: Option<Connection>,
    pool: Pool,
}

impl Body {
    /// The body of the answer whose head the connection just gave.
    pub(super) fn new(connection: Connection, pool: Pool) -> Self {
        Self {
            connection: Some(connection),
            pool,
        }
    }

    /// Reads once, and gives what is data to `sink`, which may be nothing; false at the end.
    pub(super) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        mut sink: impl FnMut(&[u8]),
    ) -> Poll<Result<bool, ReadError>> {
        let Some(connection) = &mut self.connection else {
            return Poll::Ready(Ok(false));
        };
        let read = ready!(connection.poll_body(context, &mut sink));
        if matches!(read, Ok(false)) {
            self.release();
        }
        Poll::Ready(read)
    }

    /// Gives the connection back although the end of the body was not read, since it holds nothing.
    ///
    /// The connection is used again only if that proves true.
    pub(super) fn release(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.pool.put(connection);
        }
    }

    /// The length that the head tells, if it does.
    pub(super) fn length(&self) -> Option<u64> {
        self.connection.as_ref().and_then(Connection::length)
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, iter};

    use http::Request;
    use tokio::{
        io::AsyncWriteExt as _,
        net::{TcpListener, TcpStream},
    };

    use super::*;
    use crate::upstream::http1;

    const IDLE: Duration = Duration::from_secs(4);
    const EMPTY: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n";

    async fn connection() -> (TcpStream, Connection) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}/", listener.local_addr().unwrap());
        let connector = http1::connector(false).unwrap();
        let opened = Connection::open(connector, uri.parse().unwrap()).await;
        (listener.accept().await.unwrap().0, opened.unwrap())
    }

    /// A connection by which a request of that size got that answer, read to its end.
    async fn used(answer: &str, n_bytes: usize) -> (TcpStream, Connection) {
        let (mut upstream, mut connection) = connection().await;
        upstream.write_all(answer.as_bytes()).await.unwrap();
        let body = iter::once(vec![b'x'; n_bytes].into()).collect();
        let request = Request::post("/").body(body).unwrap();
        connection.send(http1::encode(request)).await.unwrap();
        while poll_fn(|context| connection.poll_body(context, &mut |_data| {}))
            .await
            .unwrap()
        {}
        (upstream, connection)
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_was_idle_for_too_long_is_not_used() {
        let (_upstream, connection) = connection().await;
        let pool = Pool::new(IDLE);
        pool.put(connection);
        tokio::time::advance(IDLE - Duration::from_millis(1)).await;
        pool.put(pool.take().unwrap());
        tokio::time::advance(IDLE).await;
        assert!(pool.take().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_connection_is_used_up_to_its_greatest_age() {
        let (_upstream, mut connection) = connection().await;
        let pool = Pool::new(IDLE);
        let begun = Instant::now();
        loop {
            pool.put(connection);
            match pool.take() {
                Some(taken) => connection = taken,
                None => break,
            }
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(begun.elapsed(), MAX_AGE);
    }

    #[tokio::test]
    async fn a_connection_that_cannot_be_used_again_is_closed_at_once() {
        for (answer, n_bytes, n_kept) in [
            (format!("{EMPTY}\r\n"), 10, 1),
            (format!("{EMPTY}connection: close\r\n\r\n"), 10, 0),
            (
                "HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned(),
                10,
                0,
            ),
            (format!("{EMPTY}\r\nHTTP/1.1 200 OK\r\n"), 10, 0),
            // More than sockets hold, so that it is not sent when the answer comes.
            (format!("{EMPTY}\r\n"), 32 << 20, 0),
        ] {
            let (_upstream, connection) = used(&answer, n_bytes).await;
            let pool = Pool::new(IDLE);
            pool.put(connection);
            assert_eq!(pool.with(|idle| idle.len()), n_kept, "{answer:?} {n_bytes}");
        }
    }

    /// What a task that has used its budget up does.
    async fn without_budget<T>(mut act: impl FnMut() -> T) -> T {
        poll_fn(|context| {
            while let Poll::Ready(progress) = coop::poll_proceed(context) {
                progress.made_progress();
            }
            Poll::Ready(act())
        })
        .await
    }

    #[tokio::test]
    async fn a_connection_on_which_more_has_come_is_not_used_whatever_the_task_has_done() {
        let (mut upstream, mut connection) = used(&format!("{EMPTY}\r\n"), 10).await;
        upstream.write_all(EMPTY.as_bytes()).await.unwrap();
        assert!(!without_budget(|| connection.is_reusable()).await);
        let pool = Pool::new(IDLE);
        pool.put(connection);
        let closed = async {
            while let Some(connection) = pool.take() {
                // The runtime has not looked at the socket yet.
                pool.put(connection);
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(IDLE, closed).await.unwrap();
    }

    #[tokio::test]
    async fn a_task_that_has_used_its_budget_up_takes_no_connection_and_closes_none() {
        let pool = Pool::new(IDLE);
        let mut upstreams = Vec::new();
        for _ in 0..2 {
            let (upstream, connection) = used(&format!("{EMPTY}\r\n"), 10).await;
            pool.put(connection);
            upstreams.push(upstream);
        }
        assert!(without_budget(|| pool.take()).await.is_none());
        // With the next poll the budget is whole again.
        tokio::task::yield_now().await;
        let n_taken = iter::from_fn(|| pool.take()).count();
        assert_eq!(n_taken, upstreams.len());
    }
}
