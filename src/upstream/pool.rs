//! Connections that wait for their next request.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::connection::Connection;

/// Connections that are kept; more may be in use.
const MAX_IDLE: usize = 256;

/// Idle connections, each with the time when it became idle; the longest idle one comes first. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Pool {
    idle: Arc<Mutex<VecDeque<(Instant, Connection)>>>,
    max_idle_time: Duration,
}

impl Pool {
    /// An empty pool, which keeps no connection that was idle for longer.
    pub(super) fn new(max_idle_time: Duration) -> Self {
        Self {
            idle: Arc::default(),
            max_idle_time,
        }
    }

    /// The connection that was used last and is still open.
    pub(super) async fn take(&self) -> Option<Connection> {
        loop {
            let (since, mut connection) = self.with(VecDeque::pop_back)?;
            if since.elapsed() < self.max_idle_time && connection.is_reusable().await {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection whose answer was read, but for the end of its body.
    pub(super) fn put(&self, mut connection: Connection) {
        if connection.may_be_kept() {
            let _oldest = self.with(|idle| {
                idle.push_back((Instant::now(), connection));
                (idle.len() > MAX_IDLE).then(|| idle.pop_front())
            });
        }
    }

    /// Closes connections that have been idle for too long.
    pub(super) fn expire(&self) {
        let expired: Vec<_> = self.with(|idle| {
            let is_old = |(since, _): &(Instant, _)| since.elapsed() >= self.max_idle_time;
            let n_old = idle.partition_point(is_old);
            idle.drain(..n_old).collect()
        });
        drop(expired);
    }

    /// No connection is polled or closed under the lock.
    fn with<T>(&self, change: impl FnOnce(&mut VecDeque<(Instant, Connection)>) -> T) -> T {
        change(&mut self.idle.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, task::Poll};

    use bytes::Bytes;
    use http::Request;
    use tokio::{
        io::AsyncWriteExt as _,
        net::{TcpListener, TcpStream},
        task::coop,
    };

    use super::*;
    use crate::upstream::{connection::MAX_AGE, connector};

    const IDLE: Duration = Duration::from_secs(4);
    const EMPTY: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n";

    /// A connection by which a request of that size got that answer, read to its end.
    async fn used(answer: &str, n_bytes: usize) -> (TcpStream, Connection) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}/", listener.local_addr().unwrap());
        let tls = crate::config::UpstreamTls::default().client(false).unwrap();
        let connector = connector::connector(tls, None);
        let opened = Connection::open(connector, uri.parse().unwrap()).await;
        let mut connection = opened.unwrap();
        let mut upstream = listener.accept().await.unwrap().0;
        let request = Request::post("/").body(Bytes::from(vec![b'x'; n_bytes]).into());
        let answered = async {
            // An answer that comes before its request belongs to none.
            upstream.readable().await.unwrap();
            upstream.write_all(answer.as_bytes()).await.unwrap();
        };
        let (head, ()) = tokio::join!(connection.send(request.unwrap()), answered);
        head.unwrap();
        while let Some(data) = poll_fn(|cx| connection.poll_data(cx)).await {
            data.unwrap();
        }
        (upstream, connection)
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_was_idle_for_too_long_is_not_used() {
        let (_upstream, connection) = used(&format!("{EMPTY}\r\n"), 1).await;
        let pool = Pool::new(IDLE);
        pool.put(connection);
        tokio::time::advance(IDLE - Duration::from_millis(1)).await;
        assert!(pool.take().await.is_some());
        let (_upstream, connection) = used(&format!("{EMPTY}\r\n"), 1).await;
        pool.put(connection);
        tokio::time::advance(IDLE).await;
        assert!(pool.take().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_not_kept_beyond_its_greatest_age() {
        for (age, n_kept) in [(MAX_AGE - Duration::from_secs(1), 1), (MAX_AGE, 0)] {
            let (_upstream, connection) = used(&format!("{EMPTY}\r\n"), 1).await;
            let pool = Pool::new(IDLE);
            tokio::time::advance(age).await;
            pool.put(connection);
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
            let (_upstream, connection) = used(&answer, n_bytes).await;
            let pool = Pool::new(IDLE);
            pool.put(connection);
            assert_eq!(
                pool.take().await.is_some(),
                is_reusable,
                "{answer:?} {n_bytes}"
            );
        }
    }

    /// Uses up the task's budget until it is next polled.
    async fn use_up_budget() {
        poll_fn(|cx| {
            while let Poll::Ready(progress) = coop::poll_proceed(cx) {
                progress.made_progress();
            }
            Poll::Ready(())
        })
        .await;
        assert!(!coop::has_budget_remaining());
    }

    #[tokio::test]
    async fn a_connection_on_which_more_has_come_is_not_used_whatever_the_task_has_done() {
        let (mut upstream, mut connection) = used(&format!("{EMPTY}\r\n"), 10).await;
        upstream.write_all(EMPTY.as_bytes()).await.unwrap();
        let closed = async {
            // The runtime may not have seen the bytes yet.
            while connection.is_reusable().await {
                tokio::task::yield_now().await;
                use_up_budget().await;
            }
        };
        tokio::time::timeout(IDLE, closed).await.unwrap();
    }

    #[tokio::test]
    async fn a_task_that_has_used_up_its_budget_takes_open_connections() {
        let pool = Pool::new(IDLE);
        let mut upstreams = Vec::new();
        for _ in 0..2 {
            let (upstream, connection) = used(&format!("{EMPTY}\r\n"), 10).await;
            pool.put(connection);
            upstreams.push(upstream);
        }
        use_up_budget().await;
        assert!(pool.take().await.is_some());
        assert!(pool.take().await.is_some());
    }
}
