//! The request of a generation: each field of the contract becomes one of vLLM's body.

use crate::{
    config::Policy,
    openai::request::{
        ChatRequest, Chats, CompletionRequest, Prompt, Request, Shared, StreamOptions,
    },
    proto,
    translate::{
        answer::Mode,
        chat::{self, template, tools},
        extra_body,
        invalid::{InvalidRequest, Needs, is_set, set},
        names::{self, Fields},
        sampling::{
            self, ABOVE_ZERO, ABOVE_ZERO_TO_ONE, at_most, in_range, number, text, texts, token_ids,
        },
    },
};

use super::{
    asked::Asked,
    checks::{Logprobs, check_batch, check_form, check_together},
    structured,
};

/// Most choices of a request: `VLLM_MAX_N_SEQUENCES`, which vLLM counts for each prompt.
const MAX_CHOICES: u32 = 16384;

/// Most prompts of a request: `VLLM_MAX_COMPLETION_PROMPTS`.
const MAX_PROMPTS: usize = 1024;

/// Most stop texts: `VLLM_MAX_STOP_STRINGS`.
const MAX_STOPS: usize = 4;

/// Most forbidden texts: `VLLM_MAX_NUM_BAD_WORDS`.
const MAX_BAD_WORDS: usize = 128;

/// Most tokens whose log probability is always given: `MAX_LOGPROB_TOKEN_IDS`.
const MAX_LOGPROB_TOKENS: usize = 128;

/// A request that vLLM takes.
#[derive(Debug)]
pub(crate) struct Translated {
    /// The body of the upstream's request.
    pub(crate) request: Request,
    /// The parts of the answer that the caller asked for.
    pub(crate) asked: Asked,
    /// The fields that the upstream's errors may be about.
    pub(crate) fields: Fields,
    /// The oldest vLLM that honours the request; `None` where any does.
    pub(crate) needs: Option<Needs>,
}

/// The body that vLLM takes, or the fields that the caller has to correct.
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
        conversations,
    } = request;
    let is_stream = mode == Mode::Stream;
    let continuous_usage = continuous_usage.filter(|_| is_stream);
    let completion = completion.filter(is_set);
    let tool_choice = tool_choice.filter(is_set);
    let inputs = set!(prompt, messages, completion, conversations);
    InvalidRequest::only_one(inputs)?;
    let (input, _) = inputs
        .iter()
        .find(|(_, is_set)| *is_set)
        .unwrap_or(&inputs[0]);
    let is_chat = completion.is_none();
    let is_batch = !conversations.is_empty();
    let fields = match structured_output {
        _ if is_batch => Fields::new(&names::GENERATE_BATCH, input),
        Some(_) => Fields::new(&names::GENERATE_STRUCTURED, input),
        None => Fields::new(&names::GENERATE, input),
    };
    let form = structured_output.map(|output| structured::form(output, is_chat));
    let form = form.transpose()?.unwrap_or_default();
    let logprobs = Logprobs::checked(logprobs, top_logprobs, &logprob_token_ids)?;
    let n = in_range("n", n, 1..)?;
    let n_each = n.map_or(1, i32::unsigned_abs);
    let n_inputs = completion.as_ref().map_or(conversations.len(), |input| {
        input.texts.len() + input.token_inputs.len()
    });
    let asked = Asked {
        choices: choices(n_each, n_inputs)?,
        choices_each: (n_inputs > 0).then_some(n_each),
        logprobs: logprobs.switch == Some(true),
        top_logprobs: is_set(&top_logprobs.unwrap_or(0)) || !logprob_token_ids.is_empty(),
        token_ids: return_token_ids == Some(true),
        tokens_as_ids: return_tokens_as_token_ids == Some(true),
        prompt_text: return_prompt_text == Some(true),
        // vLLM gives them with every echo of a chat.
        prompt_logprobs: prompt_logprobs.is_some()
            || is_chat && echo == Some(true) && logprobs.switch == Some(true),
        continuous_usage: continuous_usage == Some(true),
        extension_keys: self::extension_keys(extension_keys, policy)?,
    };
    // Only an echo may go without new tokens.
    let least_tokens = i32::from(is_chat || echo != Some(true));
    let stream_interval = stream_interval.filter(|_| is_stream);
    let shared = Shared {
        model: sampling::model_or_default(model, policy),
        stream: is_stream.then_some(true),
        stream_options: is_stream.then_some(StreamOptions {
            include_usage: true,
            continuous_usage_stats: continuous_usage,
        }),
        max_tokens: in_range("max_tokens", max_tokens, least_tokens..)?,
        temperature: number("temperature", temperature, 0.0..=2.0)?,
        top_p: number("top_p", top_p, ABOVE_ZERO_TO_ONE)?,
        stop: texts("stop", stop, MAX_STOPS)?,
        seed: sampling::seed(seed),
        n,
        top_k: in_range("top_k", top_k, -1..)?,
        min_p: number("min_p", min_p, 0.0..=1.0)?,
        frequency_penalty: number("frequency_penalty", frequency_penalty, -2.0..=2.0)?,
        presence_penalty: number("presence_penalty", presence_penalty, -2.0..=2.0)?,
        repetition_penalty: number("repetition_penalty", repetition_penalty, ABOVE_ZERO)?,
        logit_bias: sampling::logit_bias(logit_bias)?,
        allowed_token_ids: token_ids("allowed_token_ids", allowed_token_ids)?,
        bad_words: texts("bad_words", bad_words, MAX_BAD_WORDS)?,
        use_beam_search,
        length_penalty: number("length_penalty", length_penalty, ..)?,
        watermarking,
        min_tokens: in_range("min_tokens", min_tokens, 0..)?,
        stop_token_ids: token_ids("stop_token_ids", stop_token_ids)?,
        ignore_eos,
        include_stop_str_in_output,
        repetition_detection: repetition_detection
            .map(sampling::repetition_detection)
            .transpose()?,
        truncate_prompt_tokens: in_range("truncate_prompt_tokens", truncate_prompt_tokens, -1..)?,
        truncation_side: sampling::truncation_side(truncation_side)?,
        add_special_tokens,
        skip_special_tokens,
        spaces_between_special_tokens,
        echo,
        thinking_token_budget: in_range("thinking_token_budget", thinking_token_budget, -1..)?,
        response_format: form.response_format,
        structured_outputs: form.structured_outputs,
        logprob_token_ids: at_most(
            "logprob_token_ids",
            token_ids("logprob_token_ids", logprob_token_ids)?,
            MAX_LOGPROB_TOKENS,
        )?,
        prompt_logprobs: in_range("prompt_logprobs", prompt_logprobs, -1..)?,
        return_token_ids,
        return_tokens_as_token_ids,
        priority,
        cache_salt: sampling::cache_salt(cache_salt)?,
        session_id: text(session_id),
        user: text(user),
        stream_interval: in_range("stream_interval", stream_interval, 1..)?,
    };
    check_together(&shared, is_chat)?;
    let extra_body = extra_body::members(extra_body_json, &names::GENERATE, policy)?;
    let request = if let Some(mut input) = completion {
        let set = set!(
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
        );
        InvalidRequest::refuse(set, "is allowed only for a chat, not with `completion`")?;
        Request::Completion(Box::new(CompletionRequest {
            suffix: text(std::mem::take(&mut input.suffix)),
            prompt: raw(input).map_err(|it| it.within("completion"))?,
            shared,
            logprobs: logprobs.of_completion(),
            extra_body,
        }))
    } else {
        if is_batch {
            check_batch(&shared, set!(tools, tool_choice, return_prompt_text))?;
        }
        let tools = tools::definitions(tools)?;
        let choice = tool_choice.map(|choice| tools::choice(choice, &tools));
        let conversations = at_most("conversations", conversations, MAX_PROMPTS)?;
        let chat = ChatRequest {
            messages: match *input {
                "conversations" => Chats::Batch(chat::conversations(conversations, policy)?),
                "messages" => Chats::One(chat::messages(messages, policy)?),
                _ => Chats::One(chat::prompt(prompt)),
            },
            shared,
            tool_choice: choice.transpose()?,
            tools,
            parallel_tool_calls,
            logprobs: logprobs.switch,
            top_logprobs: logprobs.top,
            reasoning_effort: text(reasoning_effort),
            include_reasoning,
            add_generation_prompt: template::add_generation_prompt(
                add_generation_prompt,
                continue_final_message,
            )?,
            continue_final_message,
            documents: template::documents(documents)?,
            chat_template_kwargs: template::kwargs(chat_template_kwargs_json)?,
            return_prompt_text,
            extra_body,
        };
        check_form(&chat)?;
        Request::Chat(Box::new(chat))
    };
    let is_echoed = echo == Some(true);
    let asks_for_much = is_echoed || asked.logprobs || asked.token_ids || asked.prompt_logprobs;
    Ok(Translated {
        request,
        fields: fields.asking_for_much(asks_for_much || asked.prompt_text || asked.choices > 1),
        asked,
        needs: form.needs,
    })
}

/// The raw input of `completion`.
fn raw(input: proto::CompletionInput) -> Result<Prompt, InvalidRequest> {
    let proto::CompletionInput {
        text,
        token_ids,
        suffix: _,
        texts,
        token_inputs,
    } = input;
    InvalidRequest::only_one(set!(text, token_ids, texts, token_inputs))?;
    if !token_ids.is_empty() {
        return sampling::token_ids("token_ids", token_ids).map(Prompt::TokenIds);
    }
    if !texts.is_empty() {
        return sampling::texts("texts", texts, MAX_PROMPTS).map(Prompt::Texts);
    }
    if !token_inputs.is_empty() {
        let inputs = at_most("token_inputs", token_inputs, MAX_PROMPTS)?;
        return sampling::token_inputs(inputs).map(Prompt::TokenInputs);
    }
    Ok(Prompt::Text(text))
}

/// The number of choices of a request; with no list of inputs it has one.
fn choices(n_each: u32, n_inputs: usize) -> Result<u32, InvalidRequest> {
    let n_inputs = u32::try_from(n_inputs).unwrap_or(u32::MAX).max(1);
    let choices = n_each.checked_mul(n_inputs);
    choices.filter(|n| *n <= MAX_CHOICES).ok_or_else(|| {
        let description = format!("must give at most {MAX_CHOICES} choices in all");
        InvalidRequest::new("n", description)
    })
}

fn extension_keys(keys: Vec<String>, policy: &Policy) -> Result<Vec<String>, InvalidRequest> {
    let allowed = &policy.extension_keys;
    let Some(n) = keys.iter().position(|key| !allowed.contains(key)) else {
        return Ok(keys);
    };
    let description = "is not among those that the operator allows (--allow-extensions)";
    Err(InvalidRequest::new(
        format!("extension_keys[{n}]"),
        description,
    ))
}

#[cfg(test)]
mod tests;
