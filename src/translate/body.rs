//! The body of either route, from what both have and the input.

use std::collections::BTreeMap;

use crate::{
    openai::request::{ChatRequest, CompletionRequest, Json, Message, Request, Shared},
    proto,
};

use super::{InvalidRequest, chat_options::ChatOptions, input, sampling::Logprobs, text, tools};

/// A body that lacks its input.
pub(super) struct Body {
    pub(super) shared: Shared,
    pub(super) logprobs: Logprobs,
    pub(super) extra_body: BTreeMap<String, Json>,
}

// === impl Body ===

impl Body {
    /// With turns, for `/v1/chat/completions`.
    pub(super) fn chat(
        self,
        messages: Vec<Message>,
        options: ChatOptions,
    ) -> Result<Request, InvalidRequest> {
        let is_constrained =
            self.shared.response_format.is_some() || self.shared.structured_outputs.is_some();
        let chat = ChatRequest {
            messages,
            shared: self.shared,
            logprobs: self.logprobs.logprobs,
            top_logprobs: self.logprobs.top_logprobs,
            extra_body: self.extra_body,
            ..options.into_request()?
        };
        if is_constrained && chat.tool_choice.as_ref().is_some_and(tools::forces_a_call) {
            // By the form, vLLM would refuse both or drop the form in silence.
            let fields = ["structured_output", "tool_choice"];
            let description = "a call that has to be made leaves no room for another form";
            return Err(InvalidRequest::together(&fields, description));
        }
        Ok(Request::Chat(Box::new(chat)))
    }

    /// With raw input, for `/v1/completions`.
    pub(super) fn completion(
        self,
        input: proto::CompletionInput,
    ) -> Result<Request, InvalidRequest> {
        let proto::CompletionInput {
            text,
            token_ids,
            suffix,
        } = input;
        Ok(Request::Completion(Box::new(CompletionRequest {
            prompt: input::prompt(text, token_ids)?,
            shared: self.shared,
            suffix: self::text(suffix),
            logprobs: self.logprobs.in_completion(),
            extra_body: self.extra_body,
        })))
    }
}
