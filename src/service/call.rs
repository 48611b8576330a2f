//! What a call brings beside its message: its id, its deadline, its trace, and the upstream it wants.

use http::{HeaderName, HeaderValue};
use tonic::metadata::MetadataMap;

use super::{
    deadline::Deadline,
    error::{Error, Subject},
    observer::Observer,
    request_id::RequestId,
};
use crate::{config::Limits, upstream::Headers};

/// W3C trace context, which goes on to the upstream as it came.
const TRACE: [HeaderName; 2] = [
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
];

/// Longest trace header that is passed on, in bytes: `tracestate` may have 512.
const MAX_TRACE_BYTES: usize = 512;

/// Metadata that names an upstream, which is refused until upstreams can be named.
const UPSTREAM: &str = "adapter-upstream";
const FOREIGN_UPSTREAM: [&str; 2] = ["adapter-upstream-url", "adapter-upstream-key"];

/// A call that has begun.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) observer: Observer,
    pub(super) deadline: Deadline,
    pub(super) headers: Headers,
}

impl Call {
    /// Begins a call; a failure has been recorded.
    pub(super) fn begin<T>(
        method: &'static str,
        request: &tonic::Request<T>,
        limits: &Limits,
    ) -> Result<Self, tonic::Status> {
        let request_id = request
            .extensions()
            .get::<RequestId>()
            .cloned()
            .unwrap_or_else(|| RequestId::accept_or_make(None));
        let subject = Subject {
            request_id: request_id.as_str().to_owned(),
            ..Default::default()
        };
        let mut observer = Observer::begin(method, subject);
        let metadata = request.metadata();
        let deadline = check_upstream(metadata)
            .and_then(|()| Deadline::new(metadata, limits.max_duration).map_err(Error::from));
        match deadline {
            Ok(deadline) => {
                let headers = Headers {
                    request_id: request_id.as_header().clone(),
                    trace: trace(metadata),
                };
                Ok(Self {
                    observer,
                    deadline,
                    headers,
                })
            }
            Err(error) => Err(observer.fail(&error)),
        }
    }

    /// Ends a unary call, with its record.
    pub(super) fn finish<T>(
        mut self,
        answer: Result<T, Error>,
    ) -> Result<tonic::Response<T>, tonic::Status> {
        match answer {
            Ok(answer) => {
                self.observer.responded();
                self.observer.end();
                Ok(tonic::Response::new(answer))
            }
            Err(error) => Err(self.observer.fail(&error)),
        }
    }
}

fn check_upstream(metadata: &MetadataMap) -> Result<(), Error> {
    if FOREIGN_UPSTREAM
        .iter()
        .any(|name| metadata.contains_key(*name))
    {
        return Err(Error::ForeignUpstream);
    }
    if metadata.contains_key(UPSTREAM) {
        Err(Error::UnknownUpstream)
    } else {
        Ok(())
    }
}

fn trace(metadata: &MetadataMap) -> Vec<(HeaderName, HeaderValue)> {
    let value = |name: HeaderName| {
        let value = metadata.get(name.as_str())?.as_encoded_bytes();
        let is_fit =
            value.len() <= MAX_TRACE_BYTES && value.iter().all(|byte| matches!(byte, b' '..=b'~'));
        is_fit
            .then(|| HeaderValue::from_bytes(value).ok())
            .flatten()
            .map(|value| (name, value))
    };
    TRACE.into_iter().filter_map(value).collect()
}
