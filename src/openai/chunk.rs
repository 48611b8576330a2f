//! A chunk of a streamed answer, of chat and of completions alike; read only.

use serde::{Deserialize, Deserializer, de::IgnoredAny};
use serde_json::value::RawValue;

use super::{
    logprobs::Logprobs,
    response::Usage,
    text::{StopReason, Text},
};

/// `ChatCompletionStreamResponse` or `CompletionStreamResponse`. Absent and null read alike.
#[derive(Debug, Default, Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
pub(crate) struct Chunk<'a> {
    pub(crate) id: Option<Text<'a>>,
    pub(crate) created: Option<serde_json::Number>,
    pub(crate) model: Option<Text<'a>>,
    /// Empty in the chunk that holds the usage.
    pub(crate) choices: Option<Vec<Choice<'a>>>,
    pub(crate) usage: Option<Usage>,
    pub(crate) system_fingerprint: Option<Text<'a>>,
    pub(crate) prompt_token_ids: Option<Vec<i32>>,
    pub(crate) prompt_text: Option<Text<'a>>,
    /// An error in place of a chunk; see [`super::error`].
    pub(crate) error: Option<&'a RawValue>,
}

/// A piece of one choice: `delta` of chat, `text` of completions.
#[derive(Debug, Default, Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
pub(crate) struct Choice<'a> {
    /// Missing counts as 0.
    pub(crate) index: Option<i64>,
    /// Null is an empty delta.
    #[serde(default, deserialize_with = "present")]
    pub(crate) delta: Option<Delta<'a>>,
    pub(crate) text: Option<Text<'a>>,
    pub(crate) logprobs: Option<Logprobs>,
    pub(crate) finish_reason: Option<Text<'a>>,
    pub(crate) stop_reason: Option<StopReason>,
    pub(crate) token_ids: Option<Vec<i32>>,
    /// Of completions; chat has them beside the choices.
    pub(crate) prompt_token_ids: Option<Vec<i32>>,
}

/// A member that is there, be it null.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Delta<'a>>, D::Error> {
    let delta = Option::<Delta<'a>>::deserialize(deserializer)?;
    Ok(Some(delta.unwrap_or_default()))
}

/// `DeltaMessage`.
#[derive(Debug, Default, Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
pub(crate) struct Delta<'a> {
    pub(crate) content: Option<Text<'a>>,
    /// Since 0.11.1.
    pub(crate) reasoning: Option<Text<'a>>,
    /// 0.7.3 to 0.14, and beside `reasoning` with the same text in some of these.
    pub(crate) reasoning_content: Option<Text<'a>>,
    pub(crate) tool_calls: Option<Vec<ToolCallDelta<'a>>>,
    /// Of OpenAI.
    pub(crate) refusal: Option<Text<'a>>,
    /// What OpenAI called a tool call before there were several.
    pub(crate) function_call: Option<IgnoredAny>,
}

/// `DeltaToolCall`: `id` and `name` come with the first piece only, or never.
#[derive(Debug, Default, Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
pub(crate) struct ToolCallDelta<'a> {
    pub(crate) index: Option<i64>,
    pub(crate) id: Option<Text<'a>>,
    pub(crate) function: Option<FunctionDelta<'a>>,
}

/// `DeltaFunctionCall`.
#[derive(Debug, Default, Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
pub(crate) struct FunctionDelta<'a> {
    pub(crate) name: Option<Text<'a>>,
    pub(crate) arguments: Option<Text<'a>>,
}
