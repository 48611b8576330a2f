//! What a caller is told at the end of a call.

use tonic::{Code, Status};
use tonic_types::StatusExt;
use vllm_grpc_adapter::proto::stream_generate_response::Event;

use super::adapter::Streamed;

/// The code, and the reason that the details give; every error has details.
pub(crate) fn outcome(status: &Status) -> (Code, String) {
    if status.code() == Code::Ok {
        return (Code::Ok, String::new());
    }
    let details = status.get_error_details();
    assert!(details.request_info().is_some(), "{status:?}");
    let error_info = details.error_info().unwrap_or_else(|| panic!("{status:?}"));
    assert_eq!(error_info.domain, "vllm-grpc-adapter");
    (status.code(), error_info.reason.clone())
}

/// The error's metadata of that name.
pub(crate) fn fact(status: &Status, name: &str) -> Option<String> {
    let details = status.get_error_details();
    let facts = &details.error_info()?.metadata;
    facts.get(name).cloned()
}

#[track_caller]
pub(crate) fn check(status: &Status, code: Code, reason: &str, row: &str) {
    assert_eq!(
        outcome(status),
        (code, reason.to_owned()),
        "{row}: {status:?}"
    );
}

// === impl Streamed ===

impl Streamed {
    /// The content of the first choice.
    pub(crate) fn content(&self) -> String {
        let texts = self
            .events
            .iter()
            .filter_map(|response| match response.event.as_ref()? {
                Event::Content(delta) => Some(delta.text.as_str()),
                _ => None,
            });
        texts.collect()
    }

    /// How many choices have finished.
    pub(crate) fn n_finished(&self) -> usize {
        let events = self.events.iter();
        events
            .filter(|response| matches!(response.event, Some(Event::Finished(_))))
            .count()
    }
}
