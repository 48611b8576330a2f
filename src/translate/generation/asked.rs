//! The parts of an answer that a caller asked for.

/// The parts of an answer that a caller asked for; the others are left out, even where the upstream sends them.
#[derive(Clone, Debug)]
#[cfg_attr(test, derive(Default))]
pub(crate) struct Asked {
    /// The number of choices, at least 1.
    pub(crate) choices: u32,
    /// How many of them answer each input, where these are a list.
    pub(crate) choices_each: Option<u32>,
    /// The log probability of each token.
    pub(crate) logprobs: bool,
    /// Other tokens beside each. Without them `/v1/completions` still gives one, the token itself.
    pub(crate) top_logprobs: bool,
    /// The ids of the prompt's and the answer's tokens.
    pub(crate) token_ids: bool,
    /// Token ids in place of texts in the logprobs.
    pub(crate) tokens_as_ids: bool,
    /// The prompt as the chat template made it.
    pub(crate) prompt_text: bool,
    /// The likeliest tokens at each place of the prompt.
    pub(crate) prompt_logprobs: bool,
    /// Token counts while the answer is streamed.
    pub(crate) continuous_usage: bool,
    /// Members of the upstream's answer that are passed on unchanged.
    pub(crate) extension_keys: Vec<String>,
}

impl Asked {
    /// Which input a choice answers, where these are a list.
    pub(super) fn prompt_index(&self, choice_index: i32) -> Option<i32> {
        let n_each = self.choices_each.and_then(|n| i32::try_from(n).ok())?;
        choice_index.checked_div(n_each)
    }
}
