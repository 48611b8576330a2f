//! One HTTP/1.1 connection, polled in place by the call that uses it.
//!
//! No task of its own drives it: one read of the socket gives all its events in one poll, and dropping it closes the
//! socket at once.

use std::{
    fmt,
    future::poll_fn,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Uri, response::Parts};
use http_body_util::Full;
use hyper::{
    body::{Body, Frame, Incoming},
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use tokio::{task::coop, time::Instant};
use tokio_util::io::InspectReader;
use tower::ServiceExt as _;

use super::{
    connector::Connector,
    error::{BoxError, Error},
};

/// Bound of the buffers for reading and for writing; a head must fit. hyper's default is some 400 KiB.
const MAX_BUFFER_BYTES: usize = 16 << 10;

/// An older connection is not used again, so that an upstream whose name gets another address is soon left.
pub(super) const MAX_AGE: Duration = Duration::from_secs(300);

/// Reads and writes the socket; ready once the connection has ended.
type Driver = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

/// An open connection, which serves one request at a time. Dropping it closes it.
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// `None` once the connection has ended.
    driver: Option<Driver>,
    /// The body of the last answer.
    body: Option<Incoming>,
    /// Whether a byte has come since the last request.
    has_read: Arc<AtomicBool>,
    opened: Instant,
}

impl Connection {
    /// Connects to the URL's host.
    pub(super) async fn open(connector: Connector, uri: Uri) -> Result<Self, BoxError> {
        let socket = TokioIo::new(connector.oneshot(uri).await?);
        let has_read = Arc::new(AtomicBool::new(false));
        let read = Arc::clone(&has_read);
        // hyper does not report whether a part of a head came, which decides whether to try again.
        let socket = InspectReader::new(socket, move |bytes: &[u8]| {
            read.fetch_or(!bytes.is_empty(), Ordering::Relaxed);
        });
        let (sender, driver) = http1::Builder::new()
            .max_buf_size(MAX_BUFFER_BYTES)
            .handshake(TokioIo::new(socket))
            .await?;
        Ok(Self {
            sender,
            driver: Some(Box::pin(driver)),
            body: None,
            has_read,
            opened: Instant::now(),
        })
    }

    /// Sends a request, and waits for the head of its answer.
    pub(super) async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Parts, Error> {
        self.has_read.store(false, Ordering::Relaxed);
        let begun = Instant::now();
        let mut response = pin!(self.sender.send_request(request));
        let answered = poll_fn(|cx| {
            if let Poll::Ready(response) = response.as_mut().poll(cx) {
                return Poll::Ready(response);
            }
            drive(&mut self.driver, cx);
            response.as_mut().poll(cx)
        });
        let answered = answered.await.map_err(|error| {
            // A request that was cancelled was never sent: what came belongs to none.
            let is_answered = self.has_read.load(Ordering::Relaxed) && !error.is_canceled();
            Error::from_head(error.into(), is_answered, begun.elapsed())
        });
        let (head, body) = answered?.into_parts();
        self.body = Some(body);
        Ok(head)
    }

    /// The next data of the answer's body; `None` at its end.
    pub(super) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Bytes>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        if let Poll::Ready(data) = poll_data(body, cx) {
            return Poll::Ready(data);
        }
        // Only the connection can fill the body, so that no loop is needed.
        drive(&mut self.driver, cx);
        poll_data(body, cx)
    }

    /// The length of the body that the head gives, if it gives one.
    pub(super) fn length(&self) -> Option<u64> {
        self.body.as_ref()?.size_hint().exact()
    }

    /// Whether the connection may be kept for another request once the last body has ended.
    pub(super) fn may_be_kept(&mut self) -> bool {
        // An idle connection wakes nobody.
        drive(&mut self.driver, &mut Context::from_waker(Waker::noop()));
        self.driver.is_some() && self.opened.elapsed() < MAX_AGE
    }

    /// Whether another request may be sent: the rest of the last body was its end alone, nothing has come since, and
    /// the upstream has not closed.
    pub(super) async fn is_reusable(&mut self) -> bool {
        let polled = poll_fn(|cx| {
            let has_ended = matches!(self.poll_data(cx), Poll::Ready(None));
            drive(&mut self.driver, cx);
            Poll::Ready(has_ended && self.driver.is_some() && self.sender.is_ready())
        });
        // A task that has used up its budget would see every socket pending.
        coop::unconstrained(polled).await
    }
}

/// Polls the connection; why it ended is reported by the answer or its body.
fn drive(driver: &mut Option<Driver>, cx: &mut Context<'_>) {
    if driver
        .as_mut()
        .is_some_and(|driver| driver.as_mut().poll(cx).is_ready())
    {
        *driver = None;
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

/// The next data of a body; trailers are skipped.
pub(super) fn poll_data<B: Body<Data = Bytes> + Unpin>(
    body: &mut B,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Bytes, B::Error>>> {
    while let Some(frame) = ready!(Pin::new(&mut *body).poll_frame(cx)) {
        match frame.map(Frame::into_data) {
            Ok(Ok(data)) => return Poll::Ready(Some(Ok(data))),
            Ok(Err(_trailers)) => {}
            Err(error) => return Poll::Ready(Some(Err(error))),
        }
    }
    Poll::Ready(None)
}
