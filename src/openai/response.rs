//! A whole answer, of chat and of completions alike; read only.

use std::collections::HashMap;

use serde::{Deserialize, de::IgnoredAny};

use super::{
    logprobs::{Logprobs, PromptLogprobs},
    text::StopReason,
};

/// `ChatCompletionResponse` or `CompletionResponse`. Absent and null read alike.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Response {
    pub(crate) id: Option<String>,
    pub(crate) created: Option<serde_json::Number>,
    pub(crate) model: Option<String>,
    pub(crate) choices: Option<Vec<Choice>>,
    pub(crate) usage: Option<Usage>,
    pub(crate) system_fingerprint: Option<String>,
    /// Of chat; completions have them in each choice.
    pub(crate) prompt_logprobs: Option<PromptLogprobs>,
    /// Of chat; completions have them in each choice.
    pub(crate) prompt_token_ids: Option<Vec<i32>>,
    pub(crate) prompt_text: Option<String>,
}

/// A choice: `message` of chat, `text` of completions.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Choice {
    /// Missing counts as its place in the list.
    pub(crate) index: Option<i64>,
    pub(crate) message: Option<Message>,
    pub(crate) text: Option<String>,
    pub(crate) logprobs: Option<Logprobs>,
    pub(crate) finish_reason: Option<String>,
    pub(crate) stop_reason: Option<StopReason>,
    pub(crate) token_ids: Option<Vec<i32>>,
    pub(crate) prompt_logprobs: Option<PromptLogprobs>,
    pub(crate) prompt_token_ids: Option<Vec<i32>>,
}

/// `ChatMessage`.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Message {
    pub(crate) content: Option<String>,
    /// Since 0.11.1.
    pub(crate) reasoning: Option<String>,
    /// 0.7.3 to 0.14, and beside `reasoning` with the same text in some of these.
    pub(crate) reasoning_content: Option<String>,
    pub(crate) tool_calls: Option<Vec<ToolCall>>,
    /// Of OpenAI; null on vLLM 0.33.
    pub(crate) refusal: Option<String>,
    /// What OpenAI called a tool call before there were several; null on vLLM 0.33.
    pub(crate) function_call: Option<IgnoredAny>,
}

/// `ToolCall`.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct ToolCall {
    pub(crate) id: Option<String>,
    pub(crate) function: Option<FunctionCall>,
}

/// `FunctionCall`.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct FunctionCall {
    pub(crate) name: Option<String>,
    pub(crate) arguments: Option<String>,
}

/// `UsageInfo`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Usage {
    pub(crate) prompt_tokens: Option<i32>,
    pub(crate) completion_tokens: Option<i32>,
    pub(crate) total_tokens: Option<i32>,
    pub(crate) prompt_tokens_details: Option<PromptTokensDetails>,
    pub(crate) completion_tokens_details: Option<CompletionTokensDetails>,
}

/// `PromptTokenUsageInfo`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct PromptTokensDetails {
    pub(crate) cached_tokens: Option<i32>,
    pub(crate) created_cache_tokens: Option<i32>,
    pub(crate) multimodal_tokens: Option<HashMap<String, i32>>,
}

/// `CompletionTokenUsageInfo`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct CompletionTokensDetails {
    pub(crate) reasoning_tokens: Option<i32>,
}
