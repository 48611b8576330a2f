//! Builds a status: its code, and the details that a program can act on.

use std::{collections::HashMap, time::Duration};

use tonic::{
    Code, Status,
    metadata::{MetadataMap, MetadataValue},
};
use tonic_types::{ErrorDetails, StatusExt};

use super::{Call, message};

/// Of every `google.rpc.ErrorInfo`.
pub(crate) const DOMAIN: &str = "vllm-grpc-adapter";

/// How long a retrying library waits; -1 if it must not repeat (gRFC A6).
const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// Most bytes of all trailers; C-core cuts at 8 KiB, and meshes add their own.
const MAX_TRAILER_BYTES: usize = 4096;

/// Longest message after percent-encoding, in bytes.
const MAX_MESSAGE_BYTES: usize = 1024;

/// What the message, and each text of a detail, is cut to where all is too much.
const SHORT_BYTES: usize = 128;

/// A failure as the caller sees it.
#[derive(Debug)]
pub(super) struct Report {
    code: Code,
    pub(super) reason: &'static str,
    message: String,
    metadata: HashMap<String, String>,
    /// Fields that the caller can correct, each with how.
    pub(super) violations: Vec<(String, String)>,
    pub(super) retry: Retry,
    /// The model that is not there.
    pub(super) model: Option<String>,
}

/// Whether a repeat may help.
#[derive(Clone, Copy, Debug)]
pub(super) enum Retry {
    /// As the caller's library decides by the code.
    Unsaid,
    /// After that time.
    After(Duration),
    /// The work would be done twice.
    Never,
}

impl Report {
    pub(super) fn new(code: Code, reason: &'static str, message: impl ToString) -> Self {
        Self {
            code,
            reason,
            message: message.to_string(),
            metadata: HashMap::new(),
            violations: Vec::new(),
            retry: Retry::Unsaid,
            model: None,
        }
    }

    /// A fact beside the reason.
    pub(super) fn with(mut self, key: &str, value: impl ToString) -> Self {
        let value = message::cut(&value.to_string(), SHORT_BYTES);
        self.metadata.insert(key.to_owned(), value);
        self
    }

    /// A repeat may help after that time.
    pub(super) fn after(mut self, time: Duration) -> Self {
        self.retry = Retry::After(time);
        self
    }

    /// The upstream has worked for it, so no library may repeat it unasked. It never repeats a stream that has begun.
    pub(super) fn after_work(mut self, call: &Call) -> Self {
        if !call.is_stream() {
            self.retry = Retry::Never;
        }
        self
    }

    /// The status; all its trailers together stay under 4 KiB. The call keeps the reason and the cause for the log.
    pub(super) fn into_status(mut self, call: &Call, cause: Option<String>) -> Status {
        call.fail(self.reason, cause);
        self.message = message::cut(&self.message, MAX_MESSAGE_BYTES);
        if call.n_deltas() > 0 {
            self = self.with("partial", true).with("deltas", call.n_deltas());
        }
        let status = self.status(call);
        if trailer_bytes(&status) <= MAX_TRAILER_BYTES {
            return status;
        }
        let shorten = |text: &mut String| *text = message::cut(text, SHORT_BYTES);
        self.violations.truncate(4);
        for (field, description) in &mut self.violations {
            shorten(field);
            shorten(description);
        }
        shorten(&mut self.message);
        self.model.iter_mut().for_each(shorten);
        self.status(call)
    }

    fn status(&self, call: &Call) -> Status {
        let mut details = ErrorDetails::new();
        details.set_error_info(self.reason, DOMAIN, self.metadata.clone());
        details.set_request_info(call.id(), "");
        for (field, description) in &self.violations {
            details.add_bad_request_violation(field, description);
        }
        if let Some(model) = &self.model {
            details.set_resource_info("model", model, "", &self.message);
        }
        let mut metadata = MetadataMap::new();
        match self.retry {
            Retry::Unsaid => {}
            Retry::After(after) => {
                details.set_retry_info(Some(after));
                let millis = after.as_nanos().div_ceil(1_000_000);
                let millis = u64::try_from(millis).unwrap_or(u64::MAX);
                metadata.insert(PUSHBACK, MetadataValue::from(millis));
            }
            Retry::Never => {
                metadata.insert(PUSHBACK, MetadataValue::from_static("-1"));
            }
        }
        Status::with_error_details_and_metadata(self.code, &self.message, details, metadata)
    }
}

/// At most what the trailers take: the message, of which tonic percent-encodes much, and the details in base64.
fn trailer_bytes(status: &Status) -> usize {
    let n_message = status.message().len();
    // The names and the other trailers take less than 320 bytes.
    3 * n_message.min(342) + (n_message + status.details().len()) * 4 / 3 + 320
}
