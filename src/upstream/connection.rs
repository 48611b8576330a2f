//! One HTTP/1.1 connection to the upstream, driven by whoever waits for it.
//!
//! hyper speaks the protocol. Its connection is polled by the task that reads the answer, and not by a task of its
//! own: an event then reaches its reader without a change of tasks, what one read of the socket brought is there at
//! once, and dropping the answer closes the socket at once.

use std::{
    pin::{Pin, pin},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body::Body as _;
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
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
const MAX_BUFFER_BYTES: usize = 64 * 1024;

/// As many headers as an answer may have; vLLM sends six.
const MAX_HEADERS: usize = 100;

type Driver = http1::Connection<MaybeHttpsStream<TokioIo<TcpStream>>, Pieces>;

/// An open connection, which serves one request at a time.
#[derive(Debug)]
pub(super) struct Connection {
    sender: SendRequest<Pieces>,
    /// `None` once the connection is over. Boxed, since it is moved about and large.
    driver: Option<Box<Driver>>,
}

impl Connection {
    /// Connects to the URL's host.
    pub(super) async fn open(connector: Connector, uri: Uri) -> Result<Self, BoxError> {
        let io = connector.oneshot(uri).await?;
        let mut http = http1::Builder::new();
        http.max_buf_size(MAX_BUFFER_BYTES).max_headers(MAX_HEADERS);
        let (sender, driver) = http.handshake(io).await?;
        Ok(Self {
            sender,
            driver: Some(Box::new(driver)),
        })
    }

    /// Sends a request, and waits for the head of its answer.
    pub(super) async fn send(
        &mut self,
        request: Request<Pieces>,
    ) -> Result<Response<Incoming>, hyper::Error> {
        let mut response = pin!(self.sender.send_request(request));
        let driver = &mut self.driver;
        std::future::poll_fn(|context| {
            drive(driver, context);
            response.as_mut().poll(context)
        })
        .await
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
                    std::task::ready!(Pin::new(&mut *body).poll_frame(context))
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
