//! What every part of an answer's JSON has in common.
//!
//! The JSON is that of a recorded vLLM 0.32, down to which members are there, which are null, and in what order. In
//! the types, a member that is always null is a `()`, and one that may be missing is missing when `None`.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    time::{SystemTime, UNIX_EPOCH},
};

use serde::Serialize;

use super::{
    MODEL,
    answer::Answer,
    request::{Input, Request},
};

pub(super) const FINGERPRINT: &str = "vllm-0.32.0-00000000";

/// What the parts of one answer have in common.
pub(super) struct Wire<'a> {
    pub(super) request: &'a Request,
    id: String,
    created: u64,
}

#[derive(Serialize)]
pub(super) struct Head<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'static str,
}

#[derive(Serialize)]
pub(super) struct Usage {
    prompt_tokens: usize,
    total_tokens: usize,
    completion_tokens: usize,
}

// === impl Wire ===

impl<'a> Wire<'a> {
    /// `request_id` is the caller's own, if it gave one.
    pub(super) fn new(request: &'a Request, request_id: Option<&str>) -> Self {
        let prefix = match request.input {
            Input::Chat(_) => "chatcmpl",
            Input::Completion(_) => "cmpl",
        };
        let random = random_hex();
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            request,
            id: format!("{prefix}-{}", request_id.unwrap_or(&random)),
            created: since_epoch.map_or(0, |time| time.as_secs()),
        }
    }

    /// `object` is that of a chat; a completion has one name for all.
    pub(super) fn head(&self, object: &'static str) -> Head<'_> {
        Head {
            id: &self.id,
            object: match self.request.input {
                Input::Chat(_) => object,
                Input::Completion(_) => "text_completion",
            },
            created: self.created,
            model: MODEL,
        }
    }

    pub(super) fn usage(&self, n_completion_tokens: usize) -> Usage {
        Usage {
            prompt_tokens: self.request.n_prompt_tokens,
            total_tokens: self.request.n_prompt_tokens + n_completion_tokens,
            completion_tokens: n_completion_tokens,
        }
    }
}

/// Tokens of all choices.
pub(super) fn n_tokens(answers: &[Answer]) -> usize {
    answers.iter().map(|answer| answer.tokens.len()).sum()
}

pub(super) fn tool_call_id() -> String {
    format!("chatcmpl-tool-{}", random_hex())
}

/// Sixteen hexadecimal digits; the standard library's hasher draws its keys at random.
fn random_hex() -> String {
    format!("{:016x}", RandomState::new().build_hasher().finish())
}

/// Nothing that is serialized here can fail: all keys are texts.
pub(super) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
