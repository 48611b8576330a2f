//! What a call brings beside its message: its id, its deadline, its trace, and the upstream it wants.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use tonic::metadata::MetadataMap;

use super::{
    deadline::Deadline,
    error::{Error, Subject},
    observer::Observer,
    pace::Budget,
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
    /// What the call shares with the others of its connection, where its client counts them together.
    pub(super) budget: Option<Arc<Budget>>,
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
                    budget: budget(request),
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

fn budget<T>(request: &tonic::Request<T>) -> Option<Arc<Budget>> {
    let budget = request.extensions().get::<Arc<Budget>>()?;
    let agent = request.metadata().get("user-agent");
    let agent = agent.and_then(|agent| agent.to_str().ok());
    let is_shared = !agent.is_some_and(counts_nothing);
    is_shared.then(|| Arc::clone(budget))
}

/// Whether that is one of gRPC's own libraries, as `grpc-go` or `grpc-python`, none of which is built on h2. A program's
/// own name may stand before it.
///
/// <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#user-agents>
fn counts_nothing(agent: &str) -> bool {
    let mut products = agent.split_whitespace();
    products.any(|product| product.starts_with("grpc-") && !product.starts_with("grpc-rust"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(agent: Option<&'static str>, is_shared: bool) {
        let mut request = tonic::Request::new(());
        request.extensions_mut().insert(Arc::new(Budget::default()));
        if let Some(agent) = agent {
            let agent = agent.parse().unwrap();
            request.metadata_mut().insert("user-agent", agent);
        }
        assert_eq!(budget(&request).is_some(), is_shared, "{agent:?}");
    }

    #[test]
    fn a_client_that_may_count_frames_shares_the_budget_of_its_connection() {
        check(None, true);
        check(Some("tonic/0.14.9"), true);
        check(Some("app/1.0 tonic/0.14.9"), true);
        check(Some("grpc-rust/0.9.0"), true);
        check(Some("grpc-go/1.76.0"), false);
        check(Some("app/1.0 grpc-java-netty/1.76.0"), false);
        check(
            Some("grpc-python/1.85.1 grpc-c/52.0.0 (linux; chttp2)"),
            false,
        );
    }
}
