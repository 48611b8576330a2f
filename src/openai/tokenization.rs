//! `/tokenize` and `/detokenize` (vLLM 0.33).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_with_macros::skip_serializing_none;

use super::request::{Json, Message, Tool};

/// `TokenizeRequest`.
#[skip_serializing_none]
#[derive(Debug, Serialize)]
pub(crate) struct TokenizeRequest {
    #[serde(flatten)]
    pub(crate) input: Input,
    pub(crate) model: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) tools: Vec<Tool>,
    pub(crate) add_special_tokens: Option<bool>,
    pub(crate) add_generation_prompt: Option<bool>,
    pub(crate) continue_final_message: Option<bool>,
    pub(crate) chat_template_kwargs: Option<Json>,
    /// Since 0.9.2.
    pub(crate) return_token_strs: Option<bool>,
    /// Members of `extra_body_json`; none has the name of a field above.
    #[serde(flatten)]
    pub(crate) extra_body: BTreeMap<String, Json>,
}

/// What is tokenized.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Input {
    Prompt(String),
    Messages(Vec<Message>),
}

/// `TokenizeResponse`.
#[derive(Debug, Deserialize)]
pub(crate) struct TokenizeResponse {
    pub(crate) count: Option<i32>,
    pub(crate) max_model_len: Option<i64>,
    pub(crate) tokens: Vec<i32>,
    pub(crate) token_strs: Option<Vec<String>>,
}

/// `DetokenizeRequest`.
#[skip_serializing_none]
#[derive(Debug, Serialize)]
pub(crate) struct DetokenizeRequest {
    pub(crate) model: Option<String>,
    pub(crate) tokens: Vec<i32>,
}

/// `DetokenizeResponse`.
#[derive(Debug, Deserialize)]
pub(crate) struct DetokenizeResponse {
    pub(crate) prompt: String,
}
