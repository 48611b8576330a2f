//! A whole request: the contract's fields, each once, become the body that vLLM takes.

use std::collections::BTreeMap;

use crate::{
    config::Policy,
    openai::request::{
        ChatRequest, CompletionRequest, Json, Message, Prompt, RepetitionDetection, Request,
        Shared, StreamOptions,
    },
    proto::{self, TruncationSide},
};

use super::{
    Asked, InvalidRequest, Needs,
    asked::Input,
    chat, extra_body, json, sampling,
    structured::{self, Form},
    tools,
};

/// Most documents for a chat template.
const MAX_DOCUMENTS: usize = 4096;

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
    /// The oldest vLLM that honours the request; `None` where any does.
    pub(crate) needs: Option<Needs>,
}

/// The one input of a request.
enum Source {
    Prompt(String),
    Messages(Vec<proto::ChatMessage>),
    Completion(proto::CompletionInput),
}

/// What only a chat takes, as the caller sent it.
struct ChatOptions {
    tools: Vec<proto::Tool>,
    tool_choice: Option<proto::ToolChoice>,
    chat_template_kwargs_json: String,
    reasoning_effort: String,
    include_reasoning: Option<bool>,
    parallel_tool_calls: Option<bool>,
    add_generation_prompt: Option<bool>,
    continue_final_message: Option<bool>,
    documents: Vec<proto::TemplateDocument>,
    return_prompt_text: Option<bool>,
}

/// Log probabilities, which the two routes spell differently.
#[derive(Clone, Copy)]
struct Logprobs {
    logprobs: Option<bool>,
    top_logprobs: Option<i32>,
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
        input,
        choices: n.and_then(|n| u32::try_from(n).ok()).unwrap_or(1),
        logprobs: logprobs.logprobs == Some(true),
        token_ids: return_token_ids == Some(true),
        tokens_as_ids: return_tokens_as_token_ids == Some(true),
        prompt_text: return_prompt_text == Some(true),
        prompt_logprobs: prompt_logprobs.is_some(),
        continuous_usage: continuous_usage == Some(true),
        extension_keys: self::extension_keys(extension_keys, policy)?,
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
    let extra_body = extra_body::members(extra_body_json, &policy.extra_body_keys)?;
    let body = Body {
        shared,
        logprobs,
        extra_body,
    };
    let request = match source {
        Source::Prompt(prompt) => body.chat(chat::prompt(prompt), options)?,
        Source::Messages(messages) => body.chat(chat::messages(messages, policy)?, options)?,
        Source::Completion(completion) => body.completion(completion, &options)?,
    };
    Ok(Translated {
        request,
        asked,
        needs,
    })
}

/// A body that lacks its input.
struct Body {
    shared: Shared,
    logprobs: Logprobs,
    extra_body: BTreeMap<String, Json>,
}

// === impl Source ===

impl Source {
    /// The one input that is set; an empty one counts as not set.
    fn only_one(
        prompt: String,
        messages: Vec<proto::ChatMessage>,
        completion: Option<proto::CompletionInput>,
    ) -> Result<Self, InvalidRequest> {
        let prompt = text(prompt).map(Self::Prompt);
        let messages = (!messages.is_empty()).then_some(Self::Messages(messages));
        let completion = completion
            .filter(|completion| *completion != proto::CompletionInput::default())
            .map(Self::Completion);
        let mut set: Vec<Self> = [prompt, messages, completion]
            .into_iter()
            .flatten()
            .collect();
        match (set.pop(), set.is_empty()) {
            (Some(source), true) => Ok(source),
            (Some(source), false) => {
                set.push(source);
                let fields: Vec<_> = set.iter().map(|source| source.input().field()).collect();
                let description = "set only one of `prompt`, `messages` and `completion`";
                Err(InvalidRequest::together(&fields, description))
            }
            (None, _) => {
                let description = "set one of `prompt`, `messages` and `completion`";
                let fields = ["prompt", "messages", "completion"];
                Err(InvalidRequest::together(&fields, description))
            }
        }
    }

    fn input(&self) -> Input {
        match self {
            Self::Prompt(_) => Input::Prompt,
            Self::Messages(_) => Input::Messages,
            Self::Completion(_) => Input::Completion,
        }
    }
}

// === impl ChatOptions ===

impl ChatOptions {
    /// Refuses all of them, naming those that are set.
    fn refuse(&self) -> Result<(), InvalidRequest> {
        let Self {
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
        } = self;
        let set: Vec<&str> = [
            ("tools", !tools.is_empty()),
            ("tool_choice", tool_choice.is_some()),
            (
                "chat_template_kwargs_json",
                !chat_template_kwargs_json.is_empty(),
            ),
            ("reasoning_effort", !reasoning_effort.is_empty()),
            ("include_reasoning", include_reasoning.is_some()),
            ("parallel_tool_calls", parallel_tool_calls.is_some()),
            ("add_generation_prompt", add_generation_prompt.is_some()),
            ("continue_final_message", continue_final_message.is_some()),
            ("documents", !documents.is_empty()),
            ("return_prompt_text", return_prompt_text.is_some()),
        ]
        .into_iter()
        .filter_map(|(field, is_set)| is_set.then_some(field))
        .collect();
        if set.is_empty() {
            return Ok(());
        }
        let description = "belongs to a chat, and does not go with `completion`";
        Err(InvalidRequest::together(&set, description))
    }
}

// === impl Logprobs ===

impl Logprobs {
    /// What `logprobs` switches on needs it.
    fn check(self, shared: &Shared) -> Result<(), InvalidRequest> {
        sampling::integer("top_logprobs", self.top_logprobs, -1..)?;
        if self.logprobs == Some(true) {
            return Ok(());
        }
        // vLLM takes a 0 alone too: it asks for nothing.
        if self.top_logprobs.is_some_and(|top| top != 0) {
            return Err(InvalidRequest::new("top_logprobs", "needs `logprobs`"));
        }
        if !shared.logprob_token_ids.is_empty() {
            return Err(InvalidRequest::new("logprob_token_ids", "needs `logprobs`"));
        }
        Ok(())
    }

    /// For `/v1/completions`, one number: there 0 gives the log probability of each token, and no others, as chat's
    /// switch alone does.
    fn in_completion(self) -> Option<i32> {
        (self.logprobs == Some(true)).then(|| self.top_logprobs.unwrap_or(0))
    }
}

// === impl Body ===

impl Body {
    fn chat(self, messages: Vec<Message>, options: ChatOptions) -> Result<Request, InvalidRequest> {
        let ChatOptions {
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
        } = options;
        let tools = tools::definitions(tools)?;
        let tool_choice = tool_choice
            .map(|choice| tools::choice(choice, &tools))
            .transpose()?;
        let is_constrained =
            self.shared.response_format.is_some() || self.shared.structured_outputs.is_some();
        if is_constrained && tool_choice.as_ref().is_some_and(tools::forces_a_call) {
            // vLLM would drop the one or refuse both, by the form.
            let fields = ["structured_output", "tool_choice"];
            let description = "a call that has to be made leaves no room for another form";
            return Err(InvalidRequest::together(&fields, description));
        }
        let add_generation_prompt =
            self::add_generation_prompt(add_generation_prompt, continue_final_message)?;
        Ok(Request::Chat(Box::new(ChatRequest {
            messages,
            shared: self.shared,
            tools,
            tool_choice,
            parallel_tool_calls,
            logprobs: self.logprobs.logprobs,
            top_logprobs: self.logprobs.top_logprobs,
            reasoning_effort: text(reasoning_effort),
            include_reasoning,
            add_generation_prompt,
            continue_final_message,
            documents: self::documents(documents)?,
            chat_template_kwargs: template_kwargs(chat_template_kwargs_json)?,
            return_prompt_text,
            extra_body: self.extra_body,
        })))
    }

    fn completion(
        self,
        input: proto::CompletionInput,
        options: &ChatOptions,
    ) -> Result<Request, InvalidRequest> {
        options.refuse()?;
        let proto::CompletionInput {
            text,
            token_ids,
            suffix,
        } = input;
        Ok(Request::Completion(Box::new(CompletionRequest {
            prompt: self::prompt(text, token_ids)?,
            shared: self.shared,
            suffix: self::text(suffix),
            logprobs: self.logprobs.in_completion(),
            extra_body: self.extra_body,
        })))
    }
}

// === The fields ===

/// A text that is set.
pub(super) fn text(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

fn prompt(text: String, token_ids: Vec<i32>) -> Result<Prompt, InvalidRequest> {
    let fields = ["completion.text", "completion.token_ids"];
    match (text.is_empty(), token_ids.is_empty()) {
        (true, true) => Err(InvalidRequest::together(&fields, "set one of both")),
        (false, false) => Err(InvalidRequest::together(&fields, "set only one of both")),
        (false, true) => Ok(Prompt::Text(text)),
        (true, false) => {
            sampling::token_ids("completion.token_ids", &token_ids)?;
            Ok(Prompt::TokenIds(token_ids))
        }
    }
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

fn truncation_side(side: i32) -> Result<Option<&'static str>, InvalidRequest> {
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

/// vLLM adds the start of a turn unless told otherwise, and refuses to go on with a turn at the same time.
fn add_generation_prompt(
    add: Option<bool>,
    continue_final_message: Option<bool>,
) -> Result<Option<bool>, InvalidRequest> {
    match (add, continue_final_message) {
        (Some(true), Some(true)) => {
            let fields = ["add_generation_prompt", "continue_final_message"];
            let description = "a turn cannot be begun and gone on with";
            Err(InvalidRequest::together(&fields, description))
        }
        (None, Some(true)) => Ok(Some(false)),
        (add, _) => Ok(add),
    }
}

fn documents(
    documents: Vec<proto::TemplateDocument>,
) -> Result<Vec<BTreeMap<String, String>>, InvalidRequest> {
    if documents.len() > MAX_DOCUMENTS {
        let description = format!("must have at most {MAX_DOCUMENTS} entries");
        return Err(InvalidRequest::new("documents", description));
    }
    let fields = |document: proto::TemplateDocument| document.fields.into_iter().collect();
    Ok(documents.into_iter().map(fields).collect())
}

/// Variables of the chat template. The template itself and how it is applied are not theirs to set: vLLM before 0.11.1
/// let them (CVE-2025-61620, CVE-2025-62426).
fn template_kwargs(kwargs: String) -> Result<Option<Json>, InvalidRequest> {
    let field = "chat_template_kwargs_json";
    let Some(kwargs) = text(kwargs) else {
        return Ok(None);
    };
    let members = json::members(field, kwargs.clone(), json::MAX_DEPTH)?;
    for name in ["chat_template", "tokenize"] {
        if members.contains_key(name) {
            let description = format!("must not have a member `{name}`");
            return Err(InvalidRequest::new(field, description));
        }
    }
    json::object(field, kwargs, json::MAX_DEPTH).map(Some)
}

#[cfg(test)]
mod tests;
