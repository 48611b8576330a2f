//! What is known of a call, and how it ended.

use std::sync::Arc;

use tokio::time::Instant;

use super::{
    labels::{Label, Labels},
    replicas::Series,
};

/// The codes by number, as grpc-go writes them and as OpenTelemetry does.
const CODES: &str = "OK Canceled Unknown InvalidArgument DeadlineExceeded NotFound AlreadyExists PermissionDenied \
    ResourceExhausted FailedPrecondition Aborted OutOfRange Unimplemented Internal Unavailable DataLoss Unauthenticated";
const STATUS_CODES: &str = "OK CANCELLED UNKNOWN INVALID_ARGUMENT DEADLINE_EXCEEDED NOT_FOUND ALREADY_EXISTS \
    PERMISSION_DENIED RESOURCE_EXHAUSTED FAILED_PRECONDITION ABORTED OUT_OF_RANGE UNIMPLEMENTED INTERNAL UNAVAILABLE \
    DATA_LOSS UNAUTHENTICATED";

/// What is known of a call.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// In hexadecimal, of its own spans or of its caller's.
    pub(crate) trace_id: Option<String>,
    /// When the upstream was first asked.
    pub(super) begun: Option<Instant>,
    /// The last one.
    pub(crate) attempt: Option<Attempt>,
    /// Seconds from `begun` to the first chunk of a stream.
    pub(super) first_chunk: Option<f64>,
    pub(crate) prompt_tokens: Option<i32>,
    pub(crate) completion_tokens: Option<i32>,
    pub(super) finish_reasons: Vec<String>,
}

/// A request to a replica.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) begun: Instant,
    /// By the conventions for GenAI, as `chat`.
    pub(crate) operation: &'static str,
    /// The model that the replica is asked for; empty where it chooses.
    pub(crate) model: String,
    /// What the caller asked for, and what the replica is asked for, as labels.
    pub(crate) labels: [Label; 2],
    pub(crate) series: Arc<Series>,
}

/// How a call ended.
#[derive(Debug)]
pub(crate) struct Ended<'a> {
    /// The full path of its method.
    pub(crate) path: &'a str,
    /// The number of its status.
    pub(crate) code: i32,
    /// The reason of its `ErrorInfo`; empty where it is OK.
    pub(crate) reason: &'static str,
    pub(crate) seconds: f64,
    /// The configured caller that it is of.
    pub(crate) caller: Option<&'a str>,
}

impl Attempt {
    /// The labels that all metrics of an operation have.
    pub(super) fn labels(&self) -> Labels {
        let [request, response] = self.labels.clone();
        vec![
            ("gen_ai_operation_name", self.operation.into()),
            ("gen_ai_provider_name", "vllm".into()),
            ("gen_ai_request_model", request),
            ("gen_ai_response_model", response),
        ]
    }
}

impl Ended<'_> {
    /// The name of the code for the metrics, and that for the traces.
    pub(super) fn code_names(&self) -> (&'static str, &'static str) {
        let n = usize::try_from(self.code).unwrap_or(2);
        let name = |names: &'static str| names.split(' ').nth(n).unwrap_or_default();
        (name(CODES), name(STATUS_CODES))
    }
}
