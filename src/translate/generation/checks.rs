//! Checks of a request's fields that depend on each other.

use crate::{
    openai::request::{ChatRequest, Shared},
    translate::{chat::tools, invalid::InvalidRequest, sampling::in_range},
};

/// Log probabilities, which the two routes take in different forms.
#[derive(Clone, Copy)]
pub(super) struct Logprobs {
    pub(super) switch: Option<bool>,
    pub(super) top: Option<i32>,
}

impl Logprobs {
    /// The other two fields require `logprobs`.
    pub(super) fn checked(
        switch: Option<bool>,
        top: Option<i32>,
        token_ids: &[i32],
    ) -> Result<Self, InvalidRequest> {
        let top = in_range("top_logprobs", top, -1..)?;
        if switch != Some(true) {
            let set = [
                // vLLM takes a 0 by itself: it asks for nothing.
                ("top_logprobs", top.is_some_and(|top| top != 0)),
                ("logprob_token_ids", !token_ids.is_empty()),
            ];
            InvalidRequest::refuse(&set, "requires `logprobs`")?;
        }
        Ok(Self { switch, top })
    }

    /// For `/v1/completions`, one number: 0 gives the log probability of each token, and no others, as chat's switch
    /// alone does.
    pub(super) fn of_completion(self) -> Option<i32> {
        (self.switch == Some(true)).then(|| self.top.unwrap_or(0))
    }
}

/// Checks fields that depend on each other.
pub(super) fn check_together(shared: &Shared, is_chat: bool) -> Result<(), InvalidRequest> {
    let is_stream = shared.stream == Some(true);
    let has_beams = shared.use_beam_search == Some(true);
    if is_stream && shared.prompt_logprobs.is_some() {
        let description = "cannot be streamed; use Generate";
        return Err(InvalidRequest::new("prompt_logprobs", description));
    }
    if is_stream && has_beams && !is_chat {
        let description = "cannot be streamed for `completion`; use Generate";
        return Err(InvalidRequest::new("use_beam_search", description));
    }
    // 1 is vLLM's default.
    if !has_beams && shared.length_penalty.is_some_and(|penalty| penalty != 1.0) {
        let description = "requires `use_beam_search`";
        return Err(InvalidRequest::new("length_penalty", description));
    }
    if let (Some(min), Some(max)) = (shared.min_tokens, shared.max_tokens)
        && min > max
    {
        let description = "must not be greater than `max_tokens`";
        return Err(InvalidRequest::new("min_tokens", description));
    }
    Ok(())
}

/// Checks what vLLM refuses for several chats, or leaves out of their answer without a word.
pub(super) fn check_batch(
    shared: &Shared,
    of_chats: &[(&str, bool)],
) -> Result<(), InvalidRequest> {
    if shared.stream == Some(true) {
        let description = "cannot be streamed; use Generate";
        return Err(InvalidRequest::new("conversations", description));
    }
    let of_both = [
        ("n", shared.n.is_some_and(|n| n != 1)),
        ("prompt_logprobs", shared.prompt_logprobs.is_some()),
        ("use_beam_search", shared.use_beam_search == Some(true)),
    ];
    let set = [of_chats, &of_both].concat();
    InvalidRequest::refuse(&set, "is not allowed with `conversations`")
}

/// A form cannot be combined with a call that must be made: by the form, vLLM would refuse both or ignore the form.
pub(super) fn check_form(chat: &ChatRequest) -> Result<(), InvalidRequest> {
    let has_form =
        chat.shared.response_format.is_some() || chat.shared.structured_outputs.is_some();
    if !has_form || !chat.tool_choice.as_ref().is_some_and(tools::forces_a_call) {
        return Ok(());
    }
    let fields = ["structured_output", "tool_choice"];
    let description =
        "`structured_output` cannot be combined with a `tool_choice` that forces a call";
    Err(InvalidRequest::together(&fields, description))
}
