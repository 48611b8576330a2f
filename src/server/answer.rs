//! What surrounds every call: its record, its panics, its end, and the details of statuses that tonic makes.

use std::{convert::Infallible, future::poll_fn, pin::pin, sync::Arc, task::Poll};

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use tonic::{body::Body, service::Routes};
use tower::Service;

use super::{
    admission::Admission,
    body::{RequestBody, ResponseBody, caught, completed},
};
use crate::service::{
    call::Call,
    error::transport::{MessageLimits, TransportError},
    observer::Observer,
    request_id::REQUEST_ID,
};

/// Metadata that names an upstream, which is refused while there is one upstream.
const UPSTREAM: &str = "adapter-upstream";
const FOREIGN_UPSTREAM: [&str; 2] = ["adapter-upstream-url", "adapter-upstream-key"];

/// What answers the calls of all connections.
#[derive(Clone, Debug)]
pub(super) struct Answers {
    pub(super) routes: Routes,
    pub(super) limits: MessageLimits,
    pub(super) admission: Admission,
    /// Size that the responses of the contract are filled up to, in bytes.
    pub(super) pad_responses: Option<usize>,
}

/// Answers one call.
pub(super) async fn answer(
    answers: Arc<Answers>,
    call: Call,
    request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Infallible> {
    if let Some(status) = not_grpc(&request) {
        return Ok(plain(status));
    }
    let mut observer = Observer::new(call.clone());
    // gRPC's own services are not limited, and stay as they are: a probe may compare their few bytes.
    let is_own = !call.is_standard();
    let admitted = check(&request, &call).and_then(|()| match is_own {
        true => answers.admission.begin(),
        false => Ok(None),
    });
    let (answered, permit) = match admitted {
        Ok(permit) => (routed(&answers, &call, request).await, permit),
        Err(error) => (Err(error), None),
    };
    let mut response = match answered {
        Ok(response) => response,
        Err(error) => error.to_status(&call, answers.limits).into_http(),
    };
    let headers = response.headers_mut();
    let request_error = |code, message| TransportError::Request(code, message);
    let status = completed(headers, &call, answers.limits, request_error);
    headers.insert(REQUEST_ID, call.id().as_header().clone());
    if let Some(code) = status {
        observer.end(code);
    }
    let padding = answers.pad_responses.filter(|_| is_own);
    Ok(response.map(|body| ResponseBody::new(body, observer, answers.limits, padding, permit)))
}

/// Passes the request to its method, until the server ends the call.
async fn routed(
    answers: &Answers,
    call: &Call,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, TransportError> {
    request.extensions_mut().insert(call.clone());
    // The message counts until the response's head, when the upstream has it.
    let held = answers.admission.held();
    let request = request.map(|body| {
        let held = Arc::clone(&held);
        RequestBody::new(body, call.clone(), answers.limits, held)
    });
    let mut routes = answers.routes.clone();
    let mut answered = pin!(async move { routes.call(request).await });
    poll_fn(|cx| {
        if let Some(ending) = call.ending() {
            return Poll::Ready(Err(TransportError::Ended(ending)));
        }
        caught(|| answered.as_mut().poll(cx)).map(|answered| match answered {
            Ok(Ok(response)) => Ok(response),
            Err(_panic) => {
                tracing::error!(request_id = call.id().as_str(), "a call panicked");
                Err(TransportError::Panicked)
            }
        })
    })
    .await
}

/// What can be refused by the request's head alone.
fn check<B>(request: &Request<B>, call: &Call) -> Result<(), TransportError> {
    call.deadline()?;
    let has = |name: &&str| request.headers().contains_key(*name);
    if FOREIGN_UPSTREAM.iter().any(has) {
        return Err(TransportError::ForeignUpstream);
    }
    if has(&UPSTREAM) {
        return Err(TransportError::UnknownUpstream);
    }
    Ok(())
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

fn plain(status: StatusCode) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::empty());
    *response.status_mut() = status;
    if status == StatusCode::METHOD_NOT_ALLOWED {
        let allowed = HeaderValue::from_static("POST");
        response.headers_mut().insert(header::ALLOW, allowed);
    }
    response
}
