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
use http::{Request, Response, Uri};
use http_body_util::Full;
use hyper::{
    body::{Body, Incoming},
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
const MAX_BUFFER_BYTES: usize = 64 << 10;

/// An open connection, which serves one request at a time. Dropping it closes it.
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// `None` once the connection has ended.
    driver: Option<Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>>,
    /// Whether a byte has come since the last request.
    has_read: Arc<AtomicBool>,
    opened: Instant,
}

// === impl Connection ===

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
            has_read,
            opened: Instant::now(),
        })
    }

    /// Sends a request, and waits for the head of its answer.
    pub(super) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, Error> {
        self.has_read.store(false, Ordering::Relaxed);
        let begun = Instant::now();
        let mut response = pin!(self.sender.send_request(request));
        poll_fn(|cx| {
            if let Poll::Ready(response) = response.as_mut().poll(cx) {
                return Poll::Ready(response);
            }
            self.drive(cx);
            response.as_mut().poll(cx)
        })
        .await
        .map_err(|error| {
            // A request that was cancelled was never sent: what came belongs to none.
            let is_answered = self.has_read.load(Ordering::Relaxed) && !error.is_canceled();
            Error::from_head(error.into(), is_answered, begun.elapsed())
        })
    }

    /// The next data of the answer's body; `None` at its end.
    pub(super) fn poll_data(
        &mut self,
        body: &mut Incoming,
        cx: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Bytes>>> {
        if let Poll::Ready(data) = poll_data(body, cx) {
            return Poll::Ready(data);
        }
        // Only the connection can fill the body, so that no loop is needed.
        self.drive(cx);
        poll_data(body, cx)
    }

    /// Whether the connection may be kept for another request once the last body has ended.
    pub(super) fn may_be_kept(&mut self) -> bool {
        self.drive(&mut Context::from_waker(Waker::noop()));
        self.driver.is_some()
    }

    /// Whether another request may be sent: the rest of the last body was its end alone, nothing has come since, and
    /// the upstream has not closed.
    pub(super) fn is_reusable(&mut self, last: &mut Incoming) -> bool {
        let cx = &mut Context::from_waker(Waker::noop());
        let has_ended = matches!(self.poll_data(last, cx), Poll::Ready(None));
        has_ended
            && self.may_be_kept()
            && self.sender.is_ready()
            // A task that has used up its budget sees every socket pending.
            && coop::has_budget_remaining()
    }

    /// How long it has been open.
    pub(super) fn age(&self) -> Duration {
        self.opened.elapsed()
    }

    fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(driver) = &mut self.driver
            && driver.as_mut().poll(cx).is_ready()
        {
            // Why it ended is reported by the answer or its body.
            self.driver = None;
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

/// The next data of a body; trailers are skipped.
pub(super) fn poll_data<B>(
    body: &mut B,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Bytes, B::Error>>>
where
    B: Body<Data = Bytes> + Unpin,
{
    loop {
        let Some(frame) = ready!(Pin::new(&mut *body).poll_frame(cx)) else {
            return Poll::Ready(None);
        };
        let data = frame.map(|frame| frame.into_data().ok());
        if let Some(data) = data.transpose() {
            return Poll::Ready(Some(data));
        }
    }
}
