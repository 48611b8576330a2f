//! A whole request: the contract's fields, each once, become the body that vLLM takes.

use crate::{
    config::Policy,
    openai::request::{RepetitionDetection, Request, Shared, StreamOptions},
    proto::{self, TruncationSide},
};

use super::{
    Asked, Input, InvalidRequest, Needs, Origin,
    body::Body,
    chat,
    chat_options::ChatOptions,
    extra_body,
    input::Source,
    sampling::{self, Logprobs},
    structured::{self, Form},
    text,
};

/// Whether the answer is streamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// One answer, when it is whole.
    Unary,
    /// Events while it is made.
    Stream,
}

/// A request that vLLM takes.
#[derive(Debug)]
pub(crate) struct Translated {
    /// The body of the upstream's request.
    pub(crate) request: Request,
    /// What the caller asked to be told.
    pub(crate) asked: Asked,
    /// What the fields of the upstream's errors stand for.
    pub(crate) origin: Origin,
    /// The oldest vLLM that honours the request; `None` where any does.
    pub(crate) needs: Option<Needs>,
}

/// The body that vLLM takes, or what the caller has to mend.
#[expect(
    clippy::too_many_lines,
    reason = "each field of the contract, once, so that a new one does not compile until it is decided on"
)]
pub(crate) fn request(
    request: proto::GenerateRequest,
    mode: Mode,
    policy: &Policy,
) -> Result<Translated, InvalidRequest> {
    let proto::GenerateRequest {
        model,
        prompt,
        messages,
        completion,
        max_tokens,
        temperature,
        top_p,
        stop,
        seed,
        n,
        tools,
        tool_choice,
        structured_output,
        chat_template_kwargs_json,
        extra_body_json,
        top_k,
        min_p,
        frequency_penalty,
        presence_penalty,
        repetition_penalty,
        logit_bias,
        allowed_token_ids,
        bad_words,
        use_beam_search,
        length_penalty,
        watermarking,
        min_tokens,
        stop_token_ids,
        ignore_eos,
        include_stop_str_in_output,
        repetition_detection,
        truncate_prompt_tokens,
        truncation_side,
        add_special_tokens,
        skip_special_tokens,
        spaces_between_special_tokens,
        echo,
        reasoning_effort,
        include_reasoning,
        thinking_token_budget,
        parallel_tool_calls,
        add_generation_prompt,
        continue_final_message,
        documents,
        logprobs,
        top_logprobs,
        logprob_token_ids,
        prompt_logprobs,
        return_token_ids,
        return_tokens_as_token_ids,
        return_prompt_text,
        extension_keys,
        priority,
        cache_salt,
        session_id,
        user,
        continuous_usage,
        stream_interval,
    } = request;
    let is_stream = mode == Mode::Stream;
    let continuous_usage = continuous_usage.filter(|_| is_stream);
    let source = Source::only_one(prompt, messages, completion)?;
    let input = source.input();
    let logprobs = Logprobs {
        logprobs,
        top_logprobs,
    };
    let options = ChatOptions {
        tools,
        tool_choice,
        chat_template_kwargs_json,
        reasoning_effort,
        include_reasoning,
        parallel_tool_calls,
        add_generation_prompt,
        continue_final_message,
        documents,
        return_prompt_text,
    };
    let asked = Asked {
        choices: n.and_then(|n| u32::try_from(n).ok()).unwrap_or(1),
        logprobs: logprobs.logprobs == Some(true),
        top_logprobs: top_logprobs.is_some_and(|top| top != 0) || !logprob_token_ids.is_empty(),
        token_ids: return_token_ids == Some(true),
        tokens_as_ids: return_tokens_as_token_ids == Some(true),
        prompt_text: return_prompt_text == Some(true),
        prompt_logprobs: prompt_logprobs.is_some(),
        continuous_usage: continuous_usage == Some(true),
        extension_keys: self::extension_keys(extension_keys, policy)?,
    };
    let origin = match structured_output {
        Some(_) => Origin::Constrained(input),
        None => Origin::Generation(input),
    };
    let Form {
        response_format,
        structured_outputs,
        needs,
    } = structured_output
        .map(|output| structured::form(output, input))
        .transpose()?
        .unwrap_or_default();
    let shared = Shared {
        model: text(model).or_else(|| policy.default_model.clone()),
        stream: is_stream.then_some(true),
        stream_options: is_stream.then_some(StreamOptions {
            include_usage: true,
            continuous_usage_stats: continuous_usage,
        }),
        max_tokens,
        temperature,
        top_p,
        stop,
        // vLLM reads -1 as unset.
        seed: seed.filter(|seed| *seed != -1),
        n,
        top_k,
        min_p,
        frequency_penalty,
        presence_penalty,
        repetition_penalty,
        logit_bias: logit_bias.into_iter().collect(),
        allowed_token_ids,
        bad_words,
        use_beam_search,
        length_penalty,
        watermarking,
        min_tokens,
        stop_token_ids,
        ignore_eos,
        include_stop_str_in_output,
        repetition_detection: repetition_detection.map(self::repetition_detection),
        truncate_prompt_tokens,
        truncation_side: self::truncation_side(truncation_side)?,
        add_special_tokens,
        skip_special_tokens,
        spaces_between_special_tokens,
        echo,
        thinking_token_budget,
        response_format,
        structured_outputs,
        logprob_token_ids,
        prompt_logprobs,
        return_token_ids,
        return_tokens_as_token_ids,
        priority,
        cache_salt: text(cache_salt),
        session_id: text(session_id),
        user: text(user),
        stream_interval: stream_interval.filter(|_| is_stream),
    };
    logprobs.check(&shared)?;
    check_stream(&shared, mode, input)?;
    sampling::check(&shared, input)?;
    let extra_body = extra_body::members(
        extra_body_json,
        extra_body::is_taken,
        &policy.extra_body_keys,
    )?;
    let body = Body {
        shared,
        logprobs,
        extra_body,
    };
    let request = match source {
        Source::Prompt(prompt) => body.chat(chat::prompt(prompt), options)?,
        Source::Messages(messages) => body.chat(chat::messages(messages, policy)?, options)?,
        Source::Completion(completion) => {
            options.refuse()?;
            body.completion(completion)?
        }
    };
    Ok(Translated {
        request,
        asked,
        origin,
        needs,
    })
}

/// What vLLM cannot give while it streams.
fn check_stream(shared: &Shared, mode: Mode, input: Input) -> Result<(), InvalidRequest> {
    if mode == Mode::Unary {
        return Ok(());
    }
    if shared.prompt_logprobs.is_some() {
        let description = "cannot be streamed; use Generate";
        return Err(InvalidRequest::new("prompt_logprobs", description));
    }
    if shared.use_beam_search == Some(true) && !input.is_chat() {
        let description = "cannot be streamed for `completion`; use Generate";
        return Err(InvalidRequest::new("use_beam_search", description));
    }
    Ok(())
}

fn extension_keys(keys: Vec<String>, policy: &Policy) -> Result<Vec<String>, InvalidRequest> {
    let allowed = &policy.extension_keys;
    match keys.iter().position(|key| !allowed.contains(key)) {
        None => Ok(keys),
        Some(n) => {
            let description = "is not among those that the operator allows (--allow-extensions)";
            Err(InvalidRequest::new(
                format!("extension_keys[{n}]"),
                description,
            ))
        }
    }
}

fn repetition_detection(detection: proto::RepetitionDetection) -> RepetitionDetection {
    let proto::RepetitionDetection {
        max_pattern_size,
        min_pattern_size,
        min_count,
    } = detection;
    RepetitionDetection {
        max_pattern_size,
        min_pattern_size,
        min_count,
    }
}

/// The end that is cut off; `None` for the upstream's default.
pub(super) fn truncation_side(side: i32) -> Result<Option<&'static str>, InvalidRequest> {
    match TruncationSide::try_from(side) {
        Ok(TruncationSide::Unspecified) => Ok(None),
        Ok(TruncationSide::Left) => Ok(Some("left")),
        Ok(TruncationSide::Right) => Ok(Some("right")),
        Err(_unknown) => {
            let description = "must be TRUNCATION_SIDE_LEFT or TRUNCATION_SIDE_RIGHT";
            Err(InvalidRequest::new("truncation_side", description))
        }
    }
}

#[cfg(test)]
mod tests;
