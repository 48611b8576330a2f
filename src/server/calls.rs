//! What surrounds every call: its id, its panics, its end, and the details of tonic's own errors.

use std::{
    any::Any,
    convert::Infallible,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::Poll,
};

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use tonic::{Code, Status, body::Body, service::Routes, transport::server::TcpConnectInfo};
use tower::Service;

use super::{request_body::RequestBody, response_body::ResponseBody};
use crate::{
    config,
    service::{
        request_id::{REQUEST_ID, RequestId},
        transport_error::{MessageLimits, TransportError},
    },
    telemetry::call,
};

/// What answers the calls.
#[derive(Clone, Debug)]
pub(super) struct Calls {
    routes: Routes,
    limits: MessageLimits,
}

/// One call, for the statuses that are made here.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    id: RequestId,
    limits: MessageLimits,
}

// === impl Calls ===

impl Calls {
    pub(super) fn new(routes: Routes, config: &config::Server) -> Self {
        let limits = MessageLimits {
            request: config.max_request_bytes,
            response: config.max_response_bytes,
        };
        Self { routes, limits }
    }
}

/// Answers one call.
pub(super) async fn answer(
    mut calls: Calls,
    peer: TcpConnectInfo,
    mut request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Infallible> {
    let id = RequestId::accept_or_make(request.headers().get(REQUEST_ID));
    let caller = Caller::new(id, calls.limits);
    if let Some(status) = not_grpc(&request) {
        return Ok(caller.finish(plain(status)));
    }
    request.extensions_mut().insert(caller.id.clone());
    request.extensions_mut().insert(peer);
    let is_streaming = takes_many_messages(request.uri().path());
    let request = request.map(|body| RequestBody::new(body, caller.clone(), is_streaming));
    let answered = async move { calls.routes.call(request).await };
    let mut answered = pin!(answered);
    let answered = poll_fn(|cx| {
        if let Some(ending) = call::ending() {
            return Poll::Ready(Err(TransportError::Ended(ending)));
        }
        caught(|| answered.as_mut().poll(cx)).map(|answered| match answered {
            Ok(Ok(response)) => Ok(response),
            Err(_panic) => Err(caller.panicked()),
        })
    });
    let response = match answered.await {
        Ok(response) => response,
        Err(error) => caller.status(&error).into_http(),
    };
    Ok(caller.finish(response))
}

/// Polls, and gives a panic as an error.
pub(super) fn caught<T>(
    poll: impl FnOnce() -> Poll<T>,
) -> Poll<Result<T, Box<dyn Any + Send + 'static>>> {
    // What has panicked is dropped and not polled again, so nobody sees what it left half done.
    match catch_unwind(AssertUnwindSafe(poll)) {
        Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
        Ok(Poll::Pending) => Poll::Pending,
        Err(panic) => Poll::Ready(Err(panic)),
    }
}

/// The HTTP status that gRPC asks for where a request is not gRPC at all.
fn not_grpc<B>(request: &Request<B>) -> Option<StatusCode> {
    if request.method() != Method::POST {
        return Some(StatusCode::METHOD_NOT_ALLOWED);
    }
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let suffix = content_type.and_then(|value| {
        value
            .as_bytes()
            .strip_prefix(b"application/grpc".as_slice())
    });
    match suffix {
        // `application/grpc-web` is another protocol.
        Some([] | [b'+' | b';' | b' ', ..]) => None,
        Some(_) | None => Some(StatusCode::UNSUPPORTED_MEDIA_TYPE),
    }
}

fn plain(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    if status == StatusCode::METHOD_NOT_ALLOWED {
        let allowed = HeaderValue::from_static("POST");
        response.headers_mut().insert(header::ALLOW, allowed);
    }
    response
}

/// Whether a method may be sent several messages, with any time between them: reflection alone.
fn takes_many_messages(path: &str) -> bool {
    path.starts_with("/grpc.reflection.")
}

// === impl Caller ===

impl Caller {
    pub(super) fn new(id: RequestId, limits: MessageLimits) -> Self {
        Self { id, limits }
    }

    pub(super) fn status(&self, error: &TransportError) -> Status {
        error.status(&self.id, self.limits)
    }

    /// Says so in the log, where the panic itself has no id, and gives the error.
    pub(super) fn panicked(&self) -> TransportError {
        tracing::error!(request_id = self.id.as_str(), "a call panicked");
        TransportError::Panicked
    }

    /// Gives a bare status in headers or trailers its details.
    pub(super) fn complete(&self, headers: &mut HeaderMap) {
        if headers.contains_key("grpc-status-details-bin") {
            return;
        }
        let Some(bare) = Status::from_header_map(headers).filter(|bare| bare.code() != Code::Ok)
        else {
            return;
        };
        let error = TransportError::Bare {
            code: bare.code(),
            message: bare.message().to_owned(),
        };
        // What is there stays where the status cannot be written, which its fixed texts rule out.
        let _ = self.status(&error).add_header(headers);
    }

    fn finish(self, mut response: Response<Body>) -> Response<ResponseBody> {
        self.complete(response.headers_mut());
        let id = self.id.as_header().clone();
        response.headers_mut().insert(REQUEST_ID, id);
        response.map(|body| ResponseBody::new(body, self))
    }
}
