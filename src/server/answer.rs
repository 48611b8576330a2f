//! What surrounds every call: its record, its panics, its end, and the details of statuses that tonic makes.

use std::{convert::Infallible, future::poll_fn, pin::pin, sync::Arc, task::Poll, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    task,
};
use tonic::{body::Body, service::Routes};
use tower::Service;

use super::{
    admission::Admission,
    body::{Open, RequestBody, ResponseBody, caught, completed},
    tls::Tls,
};
use crate::{
    access::Access,
    config,
    proto::ROOM,
    service::{
        call::Call, error::transport::TransportError, observer::Observer, request_id::REQUEST_ID,
    },
    telemetry::Telemetry,
};

/// What answers the calls of all connections.
#[derive(Debug)]
pub(super) struct Answers {
    pub(super) routes: Routes,
    pub(super) access: Arc<Access>,
    pub(super) admission: Admission,
    pub(super) config: config::Server,
    /// Longest time of a call, for its deadline.
    pub(super) max_duration: Option<Duration>,
    /// TLS of connections; `None` where they are plain.
    pub(super) tls: Option<Tls>,
    pub(super) telemetry: Arc<Telemetry>,
}

/// Answers one call.
pub(super) async fn answer(
    answers: Arc<Answers>,
    call: Call,
    request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Infallible> {
    if let Some(response) = not_grpc(&request) {
        return Ok(response);
    }
    let mut observer = Observer::new(call.clone(), &answers.telemetry);
    // gRPC's own services are not limited, and stay as they are: a probe may compare their few bytes.
    let is_own = !call.is_standard();
    let admitted = check(&call).and_then(|()| match is_own {
        true => Ok((call.identity().begin()?, Some(answers.admission.begin()?))),
        false => Ok((None, None)),
    });
    let (answered, permits) = match admitted {
        Ok(permits) => (routed(&answers, &call, request).await, permits),
        Err(error) => (Err(error), (None, None)),
    };
    let mut response =
        answered.unwrap_or_else(|error: TransportError| error.to_status(&call).into_http());
    let config = &answers.config;
    let headers = response.headers_mut();
    let status = completed(headers, &call, |code, text| {
        TransportError::Request(code, text, config.max_request_bytes)
    });
    headers.insert(REQUEST_ID, call.headers.request_id.clone());
    if let Some(code) = status {
        observer.end(code, headers);
    }
    Ok(response.map(|body| {
        ResponseBody(Some(Open {
            body,
            rest: Bytes::new(),
            call,
            observer,
            max_bytes: config.max_response_bytes,
            padding: config.pad_responses.filter(|_| is_own),
            _permits: permits,
        }))
    }))
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
    let request = request.map(|body| RequestBody::new(body, call.clone(), Arc::clone(&held)));
    let make_room = {
        let (held, call) = (Arc::clone(&held), call.clone());
        move |n_bytes| held.add(n_bytes).map_err(|error| error.to_status(&call))
    };
    let mut routes = answers.routes.clone();
    let answered = async move { routes.call(request).await };
    let mut answered = pin!(ROOM.scope(Box::new(make_room), answered));
    poll_fn(|cx| {
        if let Some(&ending) = call.ending.get() {
            return Poll::Ready(Err(TransportError::Ended(ending)));
        }
        let mut poll = || caught(call, || answered.as_mut().poll(cx));
        let polled = if held.is_large() && is_multi_thread() {
            // The other calls of this thread go on elsewhere.
            task::block_in_place(poll)
        } else {
            poll()
        };
        polled.map(|answered| answered.map(|Ok(response)| response))
    })
    .await
}

fn is_multi_thread() -> bool {
    Handle::try_current().is_ok_and(|it| it.runtime_flavor() == RuntimeFlavor::MultiThread)
}

/// Refuses what can be refused by the request's head alone.
fn check(call: &Call) -> Result<(), TransportError> {
    if !call.is_health() {
        call.identity().check()?;
    }
    match call.deadline {
        Ok(_) => Ok(()),
        Err(_) => Err(TransportError::MalformedTimeout),
    }
}

/// The answer that gRPC asks for where a request is not gRPC at all.
fn not_grpc<B>(request: &Request<B>) -> Option<Response<ResponseBody>> {
    let mut response = Response::new(ResponseBody(None));
    if request.method() != Method::POST {
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        let allowed = HeaderValue::from_static("POST");
        response.headers_mut().insert(header::ALLOW, allowed);
        return Some(response);
    }
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let suffix = content_type.and_then(|it| it.as_bytes().strip_prefix(b"application/grpc"));
    match suffix {
        // `application/grpc-web` is another protocol.
        Some([] | [b'+' | b';' | b' ', ..]) => None,
        Some(_) | None => {
            *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            Some(response)
        }
    }
}
