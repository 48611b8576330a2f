//! Connections that wait for their next request.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hyper::body::Incoming;
use tokio::{task::coop, time::Instant};

use super::connection::Connection;

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
    /// The last answer's body, whose end may still be to come.
    last: Incoming,
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
            // A task that has used up its budget sees every socket pending, and would close one after the other.
            if !coop::has_budget_remaining() {
                return None;
            }
            let Idle {
                since,
                mut connection,
                mut last,
            } = self.with(VecDeque::pop_back)?;
            if since.elapsed() < self.max_idle_time && connection.is_reusable(&mut last) {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection whose answer was read, but for the end of its body.
    pub(super) fn put(&self, mut connection: Connection, last: Incoming) {
        if connection.age() >= MAX_AGE || !connection.may_be_kept() {
            return;
        }
        let idle = Idle {
            since: Instant::now(),
            connection,
            last,
        };
        let _oldest = self.with(|connections| {
            connections.push_back(idle);
            (connections.len() > MAX_IDLE).then(|| connections.pop_front())
        });
    }

    /// Closes connections that have been idle for too long; never returns.
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

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, iter};

    use bytes::Bytes;
    use http::Request;
    use tokio::{
        io::AsyncWriteExt as _,
        net::{TcpListener, TcpStream},
    };

    use super::*;
    use crate::upstream::connector;

    const IDLE: Duration = Duration::from_secs(4);
    const EMPTY: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n";

    /// A connection by which a request of that size got that answer, read to its end.
    async fn used(answer: &str, n_bytes: usize) -> (TcpStream, Connection, Incoming) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}/", listener.local_addr().unwrap());
        let connector = connector::connector(connector::tls(false).unwrap());
        let opened = Connection::open(connector, uri.parse().unwrap()).await;
        let mut connection = opened.unwrap();
        let mut upstream = listener.accept().await.unwrap().0;
        let request = Request::post("/").body(Bytes::from(vec![b'x'; n_bytes]).into());
        let answered = async {
            // An answer that comes before its request belongs to none.
            upstream.readable().await.unwrap();
            upstream.write_all(answer.as_bytes()).await.unwrap();
        };
        let (response, ()) = tokio::join!(connection.send(request.unwrap()), answered);
        let mut body = response.unwrap().into_body();
        while let Some(data) = poll_fn(|cx| connection.poll_data(&mut body, cx)).await {
            data.unwrap();
        }
        (upstream, connection, body)
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_was_idle_for_too_long_is_not_used() {
        let (_upstream, connection, body) = used(&format!("{EMPTY}\r\n"), 1).await;
        let pool = Pool::new(IDLE);
        pool.put(connection, body);
        tokio::time::advance(IDLE - Duration::from_millis(1)).await;
        assert!(pool.take().is_some());
        let (_upstream, connection, body) = used(&format!("{EMPTY}\r\n"), 1).await;
        pool.put(connection, body);
        tokio::time::advance(IDLE).await;
        assert!(pool.take().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_not_kept_beyond_its_greatest_age() {
        for (age, n_kept) in [(MAX_AGE - Duration::from_secs(1), 1), (MAX_AGE, 0)] {
            let (_upstream, connection, body) = used(&format!("{EMPTY}\r\n"), 1).await;
            let pool = Pool::new(IDLE);
            tokio::time::advance(age).await;
            pool.put(connection, body);
            assert_eq!(pool.with(|idle| idle.len()), n_kept, "{age:?}");
        }
    }

    #[tokio::test]
    async fn a_connection_that_cannot_be_used_again_is_not_taken() {
        for (answer, n_bytes, is_reusable) in [
            (format!("{EMPTY}\r\n"), 10, true),
            (format!("{EMPTY}connection: close\r\n\r\n"), 10, false),
            (
                "HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned(),
                10,
                false,
            ),
            (format!("{EMPTY}\r\nHTTP/1.1 200 OK\r\n"), 10, false),
            // More than sockets hold, so that it is not sent when the answer comes.
            (format!("{EMPTY}\r\n"), 32 << 20, false),
        ] {
            let (_upstream, connection, body) = used(&answer, n_bytes).await;
            let pool = Pool::new(IDLE);
            pool.put(connection, body);
            assert_eq!(pool.take().is_some(), is_reusable, "{answer:?} {n_bytes}");
        }
    }

    /// What a task that has used up its budget does.
    async fn without_budget<T>(mut act: impl FnMut() -> T) -> T {
        poll_fn(|cx| {
            while let std::task::Poll::Ready(progress) = coop::poll_proceed(cx) {
                progress.made_progress();
            }
            std::task::Poll::Ready(act())
        })
        .await
    }

    #[tokio::test]
    async fn a_connection_on_which_more_has_come_is_not_used_whatever_the_task_has_done() {
        let (mut upstream, mut connection, mut body) = used(&format!("{EMPTY}\r\n"), 10).await;
        upstream.write_all(EMPTY.as_bytes()).await.unwrap();
        assert!(!without_budget(|| connection.is_reusable(&mut body)).await);
        let closed = async {
            // The runtime may not have seen the bytes yet.
            while connection.is_reusable(&mut body) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(IDLE, closed).await.unwrap();
    }

    #[tokio::test]
    async fn a_task_that_has_used_up_its_budget_takes_no_connection_and_closes_none() {
        let pool = Pool::new(IDLE);
        let mut upstreams = Vec::new();
        for _ in 0..2 {
            let (upstream, connection, body) = used(&format!("{EMPTY}\r\n"), 10).await;
            pool.put(connection, body);
            upstreams.push(upstream);
        }
        assert!(without_budget(|| pool.take()).await.is_none());
        // With the next poll the budget is whole again.
        tokio::task::yield_now().await;
        let n_taken = iter::from_fn(|| pool.take()).count();
        assert_eq!(n_taken, upstreams.len());
    }
}
