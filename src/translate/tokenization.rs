//! Texts and chats to tokens, and tokens to text.

use super::{
    InvalidAnswer, InvalidRequest, chat, chat_options, extra_body, fields::Fields, sampling, text,
    tools,
};
use crate::{
    config::Policy,
    openai::tokenization::{
        self, DetokenizeRequest, DetokenizeResponse, TokenizeRequest, TokenizeResponse,
    },
    proto,
};

pub(super) const FIELDS: Fields = Fields {
    inputs: &["input_text", "input_tokens", "messages", "prompt"],
    same: &[
        "add_generation_prompt",
        "add_special_tokens",
        "continue_final_message",
        "model",
        "tools",
    ],
    renamed: &[
        ("chat_template_kwargs", "chat_template_kwargs_json"),
        ("return_token_strs", "return_token_strings"),
        // Media of a chat, which of them is not said.
        ("audio_url", "messages"),
        ("image_url", "messages"),
        ("video_url", "messages"),
    ],
    own: &["request_id"],
    told: &[("multimodal", "messages"), ("At most 0 image", "messages")],
};

pub(super) const DETOKENIZE_FIELDS: Fields = Fields {
    inputs: &["tokens"],
    same: &["model"],
    renamed: &[],
    own: &["request_id"],
    told: &[],
};

/// Which of its two inputs a request has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    Text,
    Messages,
}

/// A request that vLLM takes.
#[derive(Debug)]
pub(crate) struct Translated {
    /// The body of the upstream's request.
    pub(crate) request: TokenizeRequest,
    /// What the request is made from.
    pub(crate) input: Input,
    /// Whether the caller asked for the tokens' texts.
    pub(crate) wants_strings: bool,
}

// === impl Input ===

impl Input {
    /// The field of the request that holds the input.
    pub(super) fn field(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Messages => "messages",
        }
    }
}

/// The body that vLLM takes, or what the caller has to mend.
pub(crate) fn request(
    request: proto::TokenizeRequest,
    policy: &Policy,
) -> Result<Translated, InvalidRequest> {
    let proto::TokenizeRequest {
        model,
        text: prompt,
        messages,
        tools,
        add_special_tokens,
        add_generation_prompt,
        continue_final_message,
        chat_template_kwargs_json,
        return_token_strings,
        extra_body_json,
    } = request;
    let chat_options = [
        ("tools", !tools.is_empty()),
        ("add_generation_prompt", add_generation_prompt.is_some()),
        ("continue_final_message", continue_final_message.is_some()),
        (
            "chat_template_kwargs_json",
            !chat_template_kwargs_json.is_empty(),
        ),
    ];
    let (kind, input) = input(prompt, messages, policy)?;
    if kind != Input::Messages {
        InvalidRequest::refuse(&chat_options, "goes with `messages` only")?;
    }
    let is_taken = |name: &str| FIELDS.has(name);
    let request = TokenizeRequest {
        input,
        model: text(model).or_else(|| policy.default_model.clone()),
        tools: tools::definitions(tools)?,
        add_special_tokens,
        add_generation_prompt: chat_options::add_generation_prompt(
            add_generation_prompt,
            continue_final_message,
        )?,
        continue_final_message,
        chat_template_kwargs: chat_options::template_kwargs(chat_template_kwargs_json)?,
        return_token_strs: return_token_strings,
        extra_body: extra_body::members(extra_body_json, is_taken, &policy.extra_body_keys)?,
    };
    Ok(Translated {
        request,
        input: kind,
        wants_strings: return_token_strings == Some(true),
    })
}

/// The one input that is set.
fn input(
    prompt: String,
    messages: Vec<proto::ChatMessage>,
    policy: &Policy,
) -> Result<(Input, tokenization::Input), InvalidRequest> {
    match (text(prompt), messages.is_empty()) {
        (Some(prompt), true) => Ok((Input::Text, tokenization::Input::Prompt(prompt))),
        (None, false) => {
            let messages = chat::messages(messages, policy)?;
            Ok((Input::Messages, tokenization::Input::Messages(messages)))
        }
        (Some(_), false) => Err(one_of("set only one of `text` and `messages`")),
        (None, true) => Err(one_of("set one of `text` and `messages`")),
    }
}

fn one_of(description: &str) -> InvalidRequest {
    InvalidRequest::together(&["text", "messages"], description)
}

/// The tokens, if they are as many as the upstream says and each has an id that `Detokenize` takes.
pub(crate) fn response(
    response: TokenizeResponse,
    wants_strings: bool,
) -> Result<proto::TokenizeResponse, InvalidAnswer> {
    let TokenizeResponse {
        count,
        max_model_len,
        tokens,
        token_strs,
    } = response;
    let n_tokens = i32::try_from(tokens.len()).ok();
    if count.is_some() && count != n_tokens {
        return Err(InvalidAnswer::Malformed("a count that is not the tokens'"));
    }
    if tokens.iter().any(|id| *id < 0) {
        return Err(InvalidAnswer::Malformed("a negative token id"));
    }
    Ok(proto::TokenizeResponse {
        count: n_tokens,
        max_model_len: max_model_len.and_then(|len| i32::try_from(len).ok()),
        token_ids: tokens,
        token_strings: token_strs.filter(|_| wants_strings).unwrap_or_default(),
    })
}

/// The body that vLLM takes, or what the caller has to mend.
pub(crate) fn detokenize_request(
    request: proto::DetokenizeRequest,
    policy: &Policy,
) -> Result<DetokenizeRequest, InvalidRequest> {
    let proto::DetokenizeRequest { model, token_ids } = request;
    if token_ids.is_empty() {
        return Err(InvalidRequest::new("token_ids", "must not be empty"));
    }
    sampling::token_ids("token_ids", &token_ids)?;
    Ok(DetokenizeRequest {
        model: text(model).or_else(|| policy.default_model.clone()),
        tokens: token_ids,
    })
}

/// The text.
pub(crate) fn detokenize_response(response: DetokenizeResponse) -> proto::DetokenizeResponse {
    proto::DetokenizeResponse {
        text: response.prompt,
    }
}

#[cfg(test)]
mod tests;
