use std::{collections::HashMap, time::Duration};

use tonic::{Code, Status};
use tonic_types::StatusExt;

/// A call that did not end with OK.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{code:?} {reason}: {message}")]
#[non_exhaustive]
pub struct AdapterError {
    /// The status.
    pub code: Code,
    /// What is wrong.
    pub message: String,
    /// The same for programs, as `UPSTREAM_OVERLOADED`. Empty where this side's library made the status.
    pub reason: String,
    /// The path of the wrong field. Empty where none is to blame.
    pub field: String,
    /// The time to wait before the next try. None where nothing was said.
    pub retry_delay: Option<Duration>,
    /// The call's `x-request-id`. Empty where this side's library made the status.
    pub request_id: String,
    /// Further facts; after the first event of a stream, `partial` and `deltas`.
    pub metadata: HashMap<String, String>,
}

impl From<Status> for AdapterError {
    fn from(status: Status) -> Self {
        let details = status.get_error_details();
        let info = details.error_info().map(|info| (info.reason.clone(), info.metadata.clone()));
        let (reason, metadata) = info.unwrap_or_default();
        let violation = details.bad_request().and_then(|bad| bad.field_violations.first());
        Self {
            code: status.code(),
            message: status.message().to_owned(),
            reason,
            field: violation.map(|violation| violation.field.clone()).unwrap_or_default(),
            retry_delay: details.retry_info().and_then(|info| info.retry_delay),
            request_id: details.request_info().map(|info| info.request_id.clone()).unwrap_or_default(),
            metadata,
        }
    }
}
