//! The bodies of `/v1/chat/completions` and `/v1/completions`, checked as vLLM checks them.

use serde_json::{Map, Value};

use super::{
    MODEL,
    chat::{self, Chat},
    error::Rejection,
    fields::Fields,
    limits, text,
};

/// A request that passed every check.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) input: Input,
    /// How to stream the answer; `None` sends it whole.
    pub(super) stream: Option<Stream>,
    pub(super) n: usize,
    /// Most tokens of a choice; at most what the context leaves.
    pub(super) max_tokens: usize,
    pub(super) n_prompt_tokens: usize,
    pub(super) stop: Vec<String>,
    pub(super) include_stop: bool,
    pub(super) ignore_eos: bool,
    /// Likeliest tokens beside each; `None` asks for no log probabilities.
    pub(super) logprobs: Option<usize>,
}

#[derive(Debug)]
pub(super) enum Input {
    Chat(Chat),
    Completion(Completion),
}

#[derive(Debug)]
pub(super) struct Completion {
    pub(super) prompt: String,
    pub(super) echo: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Stream {
    pub(super) usage_at_the_end: bool,
    pub(super) usage_in_each_chunk: bool,
}

// === impl Request ===

impl Request {
    pub(super) fn chat(body: &Map<String, Value>) -> Result<Self, Rejection> {
        let fields = Fields::new("body", body);
        fields.required("messages")?;
        let turns = chat::turns(fields.list("messages")?.map_or(&[], Vec::as_slice))?;
        let n_prompt_tokens = turns
            .iter()
            .map(|(_role, text)| text::tokens(text).len() + 4)
            .sum();
        let max_tokens = match fields.integer("max_completion_tokens")? {
            Some(max_tokens) => Some(max_tokens),
            None => fields.integer("max_tokens")?,
        };
        let logprobs = match fields.boolean("logprobs")? {
            Some(true) => Some(fields.integer("top_logprobs")?.unwrap_or(0)),
            Some(false) | None => None,
        };
        let input = Input::Chat(Chat::read(fields, turns)?);
        Self::read(fields, input, (n_prompt_tokens, max_tokens, logprobs))
    }

    pub(super) fn completion(body: &Map<String, Value>) -> Result<Self, Rejection> {
        let fields = Fields::new("body", body);
        let (prompt, n_prompt_tokens) = prompt(fields)?;
        let max_tokens = fields.integer("max_tokens")?.unwrap_or(16);
        let logprobs = fields.integer("logprobs")?;
        let echo = fields.boolean("echo")?.unwrap_or_default();
        let input = Input::Completion(Completion { prompt, echo });
        Self::read(fields, input, (n_prompt_tokens, Some(max_tokens), logprobs))
    }

    fn read(
        fields: Fields<'_>,
        input: Input,
        (n_prompt_tokens, max_tokens, logprobs): (usize, Option<i64>, Option<i64>),
    ) -> Result<Self, Rejection> {
        match fields.text("model")? {
            Some(MODEL) | None => {}
            Some(other) => return Err(Rejection::model(other)),
        }
        limits::sampling(fields)?;
        let n = fields.integer("n")?.unwrap_or(1);
        limits::n(n, fields.number("temperature")?)?;
        Ok(Self {
            input,
            stream: stream(fields)?,
            n: usize::try_from(n).unwrap_or(1),
            max_tokens: limits::room(n_prompt_tokens, max_tokens)?,
            n_prompt_tokens,
            stop: stop(fields)?,
            include_stop: fields
                .boolean("include_stop_str_in_output")?
                .unwrap_or_default(),
            ignore_eos: fields.boolean("ignore_eos")?.unwrap_or_default(),
            logprobs: logprobs.map(limits::logprobs).transpose()?,
        })
    }
}

/// The prompt as text, and its tokens; a prompt of token ids reads as their numbers.
fn prompt(fields: Fields<'_>) -> Result<(String, usize), Rejection> {
    let (text, n_tokens) = match fields.get("prompt") {
        Some(Value::String(text)) => (text.clone(), text::tokens(text).len()),
        Some(Value::Array(ids)) => {
            let ids: Vec<String> = ids.iter().map(Value::to_string).collect();
            (ids.join(" "), ids.len())
        }
        _ => (String::new(), 0),
    };
    if text.is_empty() {
        let message = "Either prompt or prompt_embeds must be provided and non-empty.";
        return Err(Rejection::parameter(message, "prompt"));
    }
    Ok((text, n_tokens))
}

fn stop(fields: Fields<'_>) -> Result<Vec<String>, Rejection> {
    let stop = fields.texts("stop")?;
    if stop.iter().any(String::is_empty) {
        return Err(Rejection::value("stop cannot contain an empty string."));
    }
    Ok(stop)
}

fn stream(fields: Fields<'_>) -> Result<Option<Stream>, Rejection> {
    let options = fields.object("stream_options")?;
    if fields.boolean("stream")? != Some(true) {
        let message = "Stream options can only be defined when `stream=True`.";
        return match options {
            Some(_) => Err(Rejection::parameter(message, "stream_options")),
            None => Ok(None),
        };
    }
    let is_set = |name| {
        let option = options.and_then(|options| options.get(name));
        option.and_then(Value::as_bool).unwrap_or_default()
    };
    let usage_at_the_end = is_set("include_usage");
    Ok(Some(Stream {
        usage_at_the_end,
        usage_in_each_chunk: usage_at_the_end && is_set("continuous_usage_stats"),
    }))
}
