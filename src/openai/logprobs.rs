//! Log probabilities: chat and completions give them in shapes that differ, read here into one type each.

use indexmap::IndexMap;
use serde::Deserialize;

/// `logprobs` of a choice. Chat fills `content`; completions fill the parallel lists.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Logprobs {
    pub(crate) content: Option<Vec<TokenLogprob>>,
    pub(crate) tokens: Option<Vec<String>>,
    /// The first is null for an echoed prompt.
    pub(crate) token_logprobs: Option<Vec<Option<f32>>>,
    pub(crate) top_logprobs: Option<Vec<Option<IndexMap<String, f32>>>>,
    pub(crate) text_offset: Option<Vec<i32>>,
}

/// A token of a chat answer.
#[derive(Debug, Deserialize)]
pub(crate) struct TokenLogprob {
    pub(crate) token: String,
    pub(crate) logprob: Option<f32>,
    pub(crate) bytes: Option<Vec<u8>>,
    pub(crate) top_logprobs: Option<Vec<Self>>,
}

/// `prompt_logprobs`: one entry a token of the prompt, the first null; keys are token ids.
pub(crate) type PromptLogprobs = Vec<Option<IndexMap<i32, PromptLogprob>>>;

/// A token at a place of the prompt.
#[derive(Debug, Deserialize)]
pub(crate) struct PromptLogprob {
    pub(crate) logprob: f32,
    pub(crate) rank: Option<i32>,
    pub(crate) decoded_token: Option<String>,
}
