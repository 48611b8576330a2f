//! Request bodies of `/v1/chat/completions`, its batch, and `/v1/completions` (vLLM 0.33).
//!
//! A field that is `None` or empty is not sent, so that vLLM's own default holds.

use std::{borrow::Cow, collections::BTreeMap};

use indexmap::IndexMap;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_with_macros::skip_serializing_none;

/// JSON text that is passed on as it is, so that key order and large numbers survive.
pub(crate) type Json = Box<RawValue>;

/// The body of a generation request.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Request {
    /// For `/v1/chat/completions`, or for the batch route.
    Chat(Box<ChatRequest>),
    /// For `/v1/completions`.
    Completion(Box<CompletionRequest>),
}

/// `ChatCompletionRequest`, or `BatchChatCompletionRequest`: vLLM makes one of the former from it for each chat, with all
/// members, and ignores what cannot be in its one answer.
#[skip_serializing_none]
#[derive(Debug, Serialize)]
pub(crate) struct ChatRequest {
    pub(crate) messages: Chats,
    #[serde(flatten)]
    pub(crate) shared: Shared,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) tools: Vec<Tool>,
    pub(crate) tool_choice: Option<ToolChoice>,
    pub(crate) parallel_tool_calls: Option<bool>,
    pub(crate) logprobs: Option<bool>,
    pub(crate) top_logprobs: Option<i32>,
    pub(crate) reasoning_effort: Option<String>,
    pub(crate) include_reasoning: Option<bool>,
    pub(crate) add_generation_prompt: Option<bool>,
    pub(crate) continue_final_message: Option<bool>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) documents: Vec<IndexMap<String, String>>,
    pub(crate) chat_template_kwargs: Option<Json>,
    pub(crate) return_prompt_text: Option<bool>,
    /// Members of `extra_body_json`; none has the name of a field above.
    #[serde(flatten)]
    pub(crate) extra_body: BTreeMap<String, Json>,
}

/// One chat, or those of a batch.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Chats {
    One(Vec<Message>),
    Batch(Vec<Vec<Message>>),
}

/// `CompletionRequest`.
#[skip_serializing_none]
#[derive(Debug, Serialize)]
pub(crate) struct CompletionRequest {
    pub(crate) prompt: Prompt,
    #[serde(flatten)]
    pub(crate) shared: Shared,
    pub(crate) suffix: Option<String>,
    /// The number of likeliest tokens, where chat has a switch and a number.
    pub(crate) logprobs: Option<i32>,
    /// Members of `extra_body_json`; none has the name of a field above.
    #[serde(flatten)]
    pub(crate) extra_body: BTreeMap<String, Json>,
}

/// One prompt, or several.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Prompt {
    Text(String),
    TokenIds(Vec<i32>),
    Texts(Vec<String>),
    TokenInputs(Vec<Vec<i32>>),
}

/// What both bodies have.
#[skip_serializing_none]
#[derive(Debug, Default, Serialize)]
pub(crate) struct Shared {
    pub(crate) model: Option<String>,
    pub(crate) stream: Option<bool>,
    pub(crate) stream_options: Option<StreamOptions>,
    /// Sent to both routes; chat calls it deprecated, but every version from 0.6 on takes it.
    pub(crate) max_tokens: Option<i32>,
    pub(crate) temperature: Option<f64>,
    pub(crate) top_p: Option<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) stop: Vec<String>,
    pub(crate) seed: Option<i64>,
    pub(crate) n: Option<i32>,
    pub(crate) top_k: Option<i32>,
    pub(crate) min_p: Option<f64>,
    pub(crate) frequency_penalty: Option<f64>,
    pub(crate) presence_penalty: Option<f64>,
    pub(crate) repetition_penalty: Option<f64>,
    /// Keys become JSON strings, as vLLM expects them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) logit_bias: BTreeMap<i32, f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) allowed_token_ids: Vec<i32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) bad_words: Vec<String>,
    pub(crate) use_beam_search: Option<bool>,
    pub(crate) length_penalty: Option<f64>,
    pub(crate) watermarking: Option<bool>,
    pub(crate) min_tokens: Option<i32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) stop_token_ids: Vec<i32>,
    pub(crate) ignore_eos: Option<bool>,
    pub(crate) include_stop_str_in_output: Option<bool>,
    pub(crate) repetition_detection: Option<RepetitionDetection>,
    pub(crate) truncate_prompt_tokens: Option<i32>,
    pub(crate) truncation_side: Option<&'static str>,
    pub(crate) add_special_tokens: Option<bool>,
    pub(crate) skip_special_tokens: Option<bool>,
    pub(crate) spaces_between_special_tokens: Option<bool>,
    pub(crate) echo: Option<bool>,
    pub(crate) thinking_token_budget: Option<i32>,
    pub(crate) response_format: Option<ResponseFormat>,
    pub(crate) structured_outputs: Option<StructuredOutputs>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) logprob_token_ids: Vec<i32>,
    pub(crate) prompt_logprobs: Option<i32>,
    pub(crate) return_token_ids: Option<bool>,
    pub(crate) return_tokens_as_token_ids: Option<bool>,
    pub(crate) priority: Option<i64>,
    pub(crate) cache_salt: Option<String>,
    pub(crate) session_id: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) stream_interval: Option<i32>,
}

/// `StreamOptions`; only with `stream`.
#[skip_serializing_none]
#[derive(Debug, Serialize)]
pub(crate) struct StreamOptions {
    pub(crate) include_usage: bool,
    pub(crate) continuous_usage_stats: Option<bool>,
}

/// `RepetitionDetectionParams`.
#[skip_serializing_none]
#[derive(Debug, Serialize)]
pub(crate) struct RepetitionDetection {
    pub(crate) max_pattern_size: Option<i32>,
    pub(crate) min_pattern_size: Option<i32>,
    pub(crate) min_count: Option<i32>,
}

/// `AnyResponseFormat`.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum ResponseFormat {
    JsonObject,
    JsonSchema {
        json_schema: JsonSchema,
    },
    /// Both forms: `format` of today, `structures` and `triggers` of old.
    StructuralTag {
        #[serde(flatten)]
        tag: BTreeMap<String, Json>,
    },
}

/// `JsonSchemaResponseFormat`.
#[derive(Debug, Serialize)]
pub(crate) struct JsonSchema {
    /// Required by vLLM, and without effect.
    pub(crate) name: &'static str,
    pub(crate) schema: Json,
}

/// `StructuredOutputsParams`: one constraint of those that have no `response_format`.
#[skip_serializing_none]
#[derive(Debug, Default, Serialize)]
pub(crate) struct StructuredOutputs {
    pub(crate) regex: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) choice: Vec<String>,
    pub(crate) grammar: Option<String>,
}

/// A turn of a chat.
#[skip_serializing_none]
#[derive(Debug, Default, Serialize)]
pub(crate) struct Message {
    pub(crate) role: Cow<'static, str>,
    pub(crate) content: Option<Content>,
    pub(crate) name: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) tool_calls: Vec<ToolCall>,
    pub(crate) tool_call_id: Option<String>,
    /// The name that vLLM reads since 0.11.1.
    pub(crate) reasoning: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) tools: Vec<Tool>,
    pub(crate) task: Option<String>,
}

/// What a turn says.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Content {
    Text(String),
    Parts(Vec<Part>),
}

/// A piece of a turn.
#[derive(Debug, Serialize)]
pub(crate) struct Part {
    /// `None` where `members` are the whole part.
    #[serde(flatten)]
    pub(crate) kind: Option<PartKind>,
    #[serde(flatten)]
    pub(crate) members: BTreeMap<String, Json>,
}

/// What a piece is. A `uuid` names media in vLLM's cache; with a null payload the cached one is used.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum PartKind {
    Text {
        text: String,
    },
    Thinking {
        thinking: String,
    },
    Refusal {
        refusal: String,
    },
    ToolReference {
        name: String,
    },
    ImageUrl {
        image_url: Option<MediaUrl>,
        #[serde(skip_serializing_if = "Option::is_none")]
        uuid: Option<String>,
    },
    AudioUrl {
        audio_url: Option<MediaUrl>,
        #[serde(skip_serializing_if = "Option::is_none")]
        uuid: Option<String>,
    },
    VideoUrl {
        video_url: Option<MediaUrl>,
        #[serde(skip_serializing_if = "Option::is_none")]
        uuid: Option<String>,
    },
}

/// Where media is: an `http`, `https` or `data` URL.
#[skip_serializing_none]
#[derive(Debug, Serialize)]
pub(crate) struct MediaUrl {
    pub(crate) url: String,
    pub(crate) detail: Option<String>,
}

/// A tool call that the assistant made.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "function")]
pub(crate) struct ToolCall {
    pub(crate) id: String,
    pub(crate) function: FunctionCall,
}

/// The call of a function; `arguments` is JSON text.
#[derive(Debug, Serialize)]
pub(crate) struct FunctionCall {
    pub(crate) name: String,
    pub(crate) arguments: String,
}

/// A tool that the model may call.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "function")]
pub(crate) struct Tool {
    pub(crate) function: FunctionDefinition,
}

/// What a function is.
#[skip_serializing_none]
#[derive(Debug, Serialize)]
pub(crate) struct FunctionDefinition {
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) parameters: Option<Json>,
    pub(crate) strict: Option<bool>,
    pub(crate) defer_loading: Option<bool>,
}

/// Which tools to call: a word, or one function.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum ToolChoice {
    /// `none`, `auto` or `required`.
    Mode(&'static str),
    Function(NamedFunction),
}

/// `ChatCompletionNamedToolChoiceParam`.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "function")]
pub(crate) struct NamedFunction {
    pub(crate) function: FunctionName,
}

/// The name of a function.
#[derive(Debug, Serialize)]
pub(crate) struct FunctionName {
    pub(crate) name: String,
}
