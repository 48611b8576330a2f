//! Texts and chats to tokens, and tokens to text.

use super::{
    chat::{self, template, tools},
    extra_body,
    invalid::{InvalidAnswer, InvalidRequest, set},
    names::{self, Fields},
    sampling::{model_or_default, token_ids},
};
use crate::{
    config::Policy,
    openai::tokenization::{
        DetokenizeRequest, DetokenizeResponse, Input, TokenizeRequest, TokenizeResponse,
    },
    proto,
};

/// A request that vLLM takes.
#[derive(Debug)]
pub(crate) struct Translated {
    /// The body of the upstream's request.
    pub(crate) request: TokenizeRequest,
    /// The fields that the upstream's errors may be about.
    pub(crate) fields: Fields,
    /// Whether the caller asked for the tokens' texts.
    pub(crate) wants_strings: bool,
}

/// The body that vLLM takes, or the fields that the caller has to correct.
pub(crate) fn request(
    request: proto::TokenizeRequest,
    policy: &Policy,
) -> Result<Translated, InvalidRequest> {
    let proto::TokenizeRequest {
        model,
        text,
        messages,
        tools,
        add_special_tokens,
        add_generation_prompt,
        continue_final_message,
        chat_template_kwargs_json,
        return_token_strings,
        extra_body_json,
    } = request;
    // An empty text is a text, unless there are messages.
    let (input_field, input) = if messages.is_empty() {
        let set = set!(
            tools,
            add_generation_prompt,
            continue_final_message,
            chat_template_kwargs_json,
        );
        InvalidRequest::refuse(set, "requires `messages`")?;
        ("text", Input::Prompt(text))
    } else {
        InvalidRequest::only_one(set!(text, messages))?;
        (
            "messages",
            Input::Messages(chat::messages(messages, policy)?),
        )
    };
    let request = TokenizeRequest {
        input,
        model: model_or_default(model, policy),
        tools: tools::definitions(tools)?,
        add_special_tokens,
        add_generation_prompt: template::add_generation_prompt(
            add_generation_prompt,
            continue_final_message,
        )?,
        continue_final_message,
        chat_template_kwargs: template::kwargs(chat_template_kwargs_json)?,
        return_token_strs: return_token_strings,
        extra_body: extra_body::members(extra_body_json, &names::TOKENIZE, policy)?,
    };
    Ok(Translated {
        request,
        fields: Fields::new(&names::TOKENIZE, input_field),
        wants_strings: return_token_strings == Some(true),
    })
}

/// The tokens, if they are as many as the upstream counts, and each has an id that `Detokenize` takes.
pub(crate) fn response(
    response: TokenizeResponse,
    wants_strings: bool,
) -> Result<proto::TokenizeResponse, InvalidAnswer> {
    let tokens = response.tokens;
    let n_tokens = i32::try_from(tokens.len()).ok();
    if response.count.is_some() && response.count != n_tokens {
        return Err(InvalidAnswer::Malformed("a count that is not the tokens'"));
    }
    if tokens.iter().any(|id| *id < 0) {
        return Err(InvalidAnswer::Malformed("a negative token id"));
    }
    let strings = response.token_strs.filter(|_| wants_strings);
    let token_strings = strings.unwrap_or_default();
    if wants_strings && token_strings.len() != tokens.len() {
        return Err(InvalidAnswer::Malformed("not one string a token"));
    }
    let max_model_len = response.max_model_len;
    Ok(proto::TokenizeResponse {
        count: n_tokens,
        max_model_len: max_model_len.and_then(|len| i32::try_from(len).ok()),
        token_ids: tokens,
        token_strings,
    })
}

/// The body that vLLM takes, or the fields that the caller has to correct.
pub(crate) fn detokenize_request(
    request: proto::DetokenizeRequest,
    policy: &Policy,
) -> Result<DetokenizeRequest, InvalidRequest> {
    let proto::DetokenizeRequest {
        model,
        token_ids: ids,
    } = request;
    Ok(DetokenizeRequest {
        model: model_or_default(model, policy),
        tokens: token_ids("token_ids", ids)?,
    })
}

/// The text.
pub(crate) fn detokenize_response(response: DetokenizeResponse) -> proto::DetokenizeResponse {
    let text = response.prompt;
    proto::DetokenizeResponse { text }
}

#[cfg(test)]
mod tests;
