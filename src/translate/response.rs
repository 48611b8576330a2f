//! A whole answer.

use super::{Asked, InvalidAnswer, extensions, finish, logprobs, tool_calls, usage};
use crate::{
    openai::{response, text::StopReason},
    proto,
};

/// The answer, if every choice is there and ended well. `json` is the answer's text.
pub(crate) fn response(
    response: response::Response,
    json: &str,
    asked: &Asked,
) -> Result<proto::GenerateResponse, InvalidAnswer> {
    let extensions = extensions::pick(json, &asked.extension_keys)?;
    let id = response.id.unwrap_or_default();
    let mut answer = proto::GenerateResponse {
        model: response.model.unwrap_or_default(),
        create_time: response.created.map(create_time),
        usage: response.usage.map(usage::usage),
        system_fingerprint: response.system_fingerprint.unwrap_or_default(),
        prompt_token_ids: response.prompt_token_ids.unwrap_or_default(),
        prompt_text: response.prompt_text.unwrap_or_default(),
        prompt_logprobs: logprobs::prompt_logprobs(response.prompt_logprobs.unwrap_or_default()),
        extensions_json: extensions::to_json(&extensions.beside),
        ..Default::default()
    };
    let choices = response
        .choices
        .ok_or(InvalidAnswer::Malformed("an answer without choices"))?;
    for (place, mut choice) in choices.into_iter().enumerate() {
        // Completions have the prompt's in each choice, all alike.
        if let Some(token_ids) = choice.prompt_token_ids.take() {
            answer.prompt_token_ids = token_ids;
        }
        if let Some(prompt) = choice.prompt_logprobs.take() {
            answer.prompt_logprobs = logprobs::prompt_logprobs(prompt);
        }
        let mut choice = self::choice(place, choice, &id, asked)?;
        choice.extensions_json = extensions
            .choices
            .get(place)
            .map(extensions::to_json)
            .unwrap_or_default();
        answer.choices.push(choice);
    }
    answer.id = id;
    drop_unasked(&mut answer, asked);
    in_order(&mut answer.choices, asked)?;
    Ok(answer)
}

/// Seconds since 1970, as the upstream counts them.
pub(super) fn create_time(seconds: i64) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds, nanos: 0 }
}

/// The reasoning, by the name of today or the older one; where both come, they are the same text (vLLM 0.11 to 0.14).
pub(super) fn either<T>(reasoning: Option<T>, reasoning_content: Option<T>) -> Option<T> {
    reasoning.or(reasoning_content)
}

fn choice(
    place: usize,
    choice: response::Choice,
    answer_id: &str,
    asked: &Asked,
) -> Result<proto::Choice, InvalidAnswer> {
    let index = choice_index(choice.index, place, asked)?;
    let raw = choice.finish_reason.unwrap_or_default();
    if raw.is_empty() {
        return Err(InvalidAnswer::Unfinished);
    }
    let message = choice.message.unwrap_or_default();
    let calls = message.tool_calls.unwrap_or_default();
    let message = proto::ChatMessage {
        role: proto::Role::Assistant.into(),
        content: message.content.or(choice.text).unwrap_or_default(),
        reasoning: either(message.reasoning, message.reasoning_content).unwrap_or_default(),
        tool_calls: tool_calls::whole(calls, answer_id, index)?,
        ..Default::default()
    };
    let logprobs = choice.logprobs.filter(|_| asked.logprobs);
    Ok(proto::Choice {
        index: Some(index),
        message: Some(message),
        finish_reason: finish::finish_reason(&raw)?.into(),
        finish_reason_raw: raw,
        stop_reason: choice.stop_reason.map(|reason| match reason {
            StopReason::Text(text) => proto::choice::StopReason::StopString(text),
            StopReason::TokenId(id) => proto::choice::StopReason::StopTokenId(id),
        }),
        logprobs: logprobs
            .map(|logprobs| logprobs::token_logprobs(logprobs, asked))
            .transpose()?
            .unwrap_or_default(),
        token_ids: choice
            .token_ids
            .filter(|_| asked.token_ids)
            .unwrap_or_default(),
        extensions_json: String::new(),
    })
}

/// A choice's index, which must be one of those that were asked for.
pub(super) fn choice_index(
    index: Option<i64>,
    place: usize,
    asked: &Asked,
) -> Result<i32, InvalidAnswer> {
    let index = match index {
        Some(index) => u32::try_from(index).ok(),
        None => u32::try_from(place).ok(),
    };
    index
        .filter(|&index| index < asked.choices)
        .and_then(|index| i32::try_from(index).ok())
        .ok_or(InvalidAnswer::Malformed("a choice that was not asked for"))
}

fn drop_unasked(answer: &mut proto::GenerateResponse, asked: &Asked) {
    if !asked.token_ids {
        answer.prompt_token_ids.clear();
    }
    if !asked.prompt_text {
        answer.prompt_text.clear();
    }
    if !asked.prompt_logprobs {
        answer.prompt_logprobs.clear();
    }
}

/// Sorts the choices; each must be there once.
fn in_order(choices: &mut [proto::Choice], asked: &Asked) -> Result<(), InvalidAnswer> {
    choices.sort_by_key(|choice| choice.index);
    if choices
        .windows(2)
        .any(|pair| matches!(pair, [one, other] if one.index == other.index))
    {
        return Err(InvalidAnswer::Malformed("a choice that comes twice"));
    }
    let n_choices = u32::try_from(choices.len()).unwrap_or(u32::MAX);
    if n_choices < asked.choices {
        Err(InvalidAnswer::Unfinished)
    } else {
        Ok(())
    }
}
