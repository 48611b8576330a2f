//! One HTTP/1.1 connection to the upstream, driven by whoever waits for it.
//!
//! hyper speaks the protocol. Its connection is polled by the task that reads the answer, and not by a task of its
//! own: an event then reaches its reader without a change of tasks, what one read of the socket brought is there at
//! once, and dropping the answer closes the socket at once.

use std::{
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body::Body as _;
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
    rt::{Read, ReadBuf, ReadBufCursor, Write},
};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::{client::legacy::connect::HttpConnector, rt::TokioIo};
use tokio::net::TcpStream;
use tower::ServiceExt as _;

use super::content::Pieces;

/// What goes wrong below HTTP.
pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Opens sockets, plain or with TLS.
pub(super) type Connector = HttpsConnector<HttpConnector>;

/// Most bytes that are read ahead of a body; a head that is larger is malformed.
const MAX_BUFFER_BYTES: usize = 16 * 1024;

/// As many headers as an answer may have; vLLM sends six.
const MAX_HEADERS: usize = 100;

type Driver = http1::Connection<Socket, Pieces>;

/// An open connection, which serves one request at a time.
#[derive(Debug)]
pub(super) struct Connection {
    sender: SendRequest<Pieces>,
    /// `None` once the connection is over. Boxed, since it is moved about and large.
    driver: Option<Box<Driver>>,
    /// Whether anything has come since the last request was sent.
    is_answered: Arc<AtomicBool>,
}

/// Why no head of an answer came.
#[derive(Debug)]
pub(super) struct SendError {
    pub(super) error: hyper::Error,
    /// Whether a part of it came.
    pub(super) is_answered: bool,
}

/// The socket, which tells whether anything was read from it. hyper's own errors do not.
#[derive(Debug)]
struct Socket {
    io: MaybeHttpsStream<TokioIo<TcpStream>>,
    is_answered: Arc<AtomicBool>,
}

// === impl Connection ===

impl Connection {
    /// Connects to the URL's host.
    pub(super) async fn open(connector: Connector, uri: Uri) -> Result<Self, BoxError> {
        let is_answered = Arc::default();
        let io = Socket {
            io: connector.oneshot(uri).await?,
            is_answered: Arc::clone(&is_answered),
        };
        let mut http = http1::Builder::new();
        http.max_buf_size(MAX_BUFFER_BYTES).max_headers(MAX_HEADERS);
        let (sender, driver) = http.handshake(io).await?;
        Ok(Self {
            sender,
            driver: Some(Box::new(driver)),
            is_answered,
        })
    }

    /// Sends a request, and waits for the head of its answer.
    pub(super) async fn send(
        &mut self,
        request: Request<Pieces>,
    ) -> Result<Response<Incoming>, SendError> {
        self.is_answered.store(false, Ordering::Relaxed);
        let mut response = pin!(self.sender.send_request(request));
        let driver = &mut self.driver;
        std::future::poll_fn(|context| {
            drive(driver, context);
            response.as_mut().poll(context)
        })
        .await
        .map_err(|error| SendError {
            error,
            is_answered: self.is_answered.load(Ordering::Relaxed),
        })
    }

    /// The next bytes of the body of an answer of this connection.
    pub(super) fn poll_data(
        &mut self,
        body: &mut Incoming,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, hyper::Error>>> {
        loop {
            let frame = match Pin::new(&mut *body).poll_frame(context) {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    // The body wants more, which the connection now reads.
                    drive(&mut self.driver, context);
                    ready!(Pin::new(&mut *body).poll_frame(context))
                }
            };
            match frame {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(frame)) => {
                    // What is no data is a trailer, which nothing here needs.
                    if let Ok(data) = frame.into_data() {
                        return Poll::Ready(Some(Ok(data)));
                    }
                }
            }
        }
    }

    /// Whether another request may be sent: the last answer is read, and the upstream has not closed.
    pub(super) fn is_reusable(&mut self) -> bool {
        drive(
            &mut self.driver,
            &mut Context::from_waker(std::task::Waker::noop()),
        );
        self.driver.is_some() && self.sender.is_ready()
    }
}

/// Lets a connection do what it can without waiting. Its failure reaches whoever waits for an answer.
fn drive(driver: &mut Option<Box<Driver>>, context: &mut Context<'_>) {
    if let Some(connection) = driver
        && Pin::new(connection).poll(context).is_ready()
    {
        *driver = None;
    }
}

// === impl Socket ===

impl Read for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_answered.load(Ordering::Relaxed) {
            return Pin::new(&mut self.io).poll_read(context, buffer);
        }
        // hyper does not let a cursor be read by anybody else, so that the first bytes of an answer are copied.
        let mut bytes = [0; 512];
        let most = bytes.len().min(buffer.remaining());
        let mut first = ReadBuf::new(bytes.get_mut(..most).unwrap_or_default());
        ready!(Pin::new(&mut self.io).poll_read(context, first.unfilled()))?;
        if !first.filled().is_empty() {
            self.is_answered.store(true, Ordering::Relaxed);
            buffer.put_slice(first.filled());
        }
        Poll::Ready(Ok(()))
    }
}

impl Write for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, slices)
    }
}
