//! What a caller asked to be told.

/// What a caller asked to be told; the rest of an answer is dropped, even where the upstream sends it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    /// Choices to come, at least 1.
    pub(crate) choices: u32,
    pub(crate) logprobs: bool,
    pub(crate) token_ids: bool,
    pub(crate) prompt_text: bool,
    pub(crate) prompt_logprobs: bool,
    /// Usage with each piece of a stream.
    pub(crate) continuous_usage: bool,
    /// Tokens come as `token_id:N` in place of their text.
    pub(crate) tokens_as_ids: bool,
    pub(crate) extension_keys: Vec<String>,
}
