//! The ranges of what steers sampling: those of vLLM 0.33, whose own errors mostly name no field, and come after the
//! headers of a stream where the engine finds them.

use std::ops::{Bound, RangeBounds};

use crate::openai::request::{RepetitionDetection, Shared};

use super::{Input, InvalidRequest};

/// Most choices of a request: `VLLM_MAX_N_SEQUENCES`.
const MAX_CHOICES: i32 = 16384;

/// Most stop texts: `VLLM_MAX_STOP_STRINGS`.
const MAX_STOPS: usize = 4;

/// Most texts that must not come: `VLLM_MAX_NUM_BAD_WORDS`.
const MAX_BAD_WORDS: usize = 128;

/// Most tokens whose log probability is always given: `MAX_LOGPROB_TOKEN_IDS`.
const MAX_LOGPROB_TOKENS: usize = 128;

/// Longest salt, in characters: `_MAX_CACHE_SALT_LENGTH`.
const MAX_SALT: usize = 128;

/// Log probabilities, which the two routes spell differently.
#[derive(Clone, Copy)]
pub(super) struct Logprobs {
    pub(super) logprobs: Option<bool>,
    pub(super) top_logprobs: Option<i32>,
}

/// What changes how likely a token is, for every service that generates.
#[derive(Clone, Copy)]
pub(super) struct Probabilities {
    pub(super) temperature: Option<f64>,
    pub(super) top_p: Option<f64>,
    pub(super) min_p: Option<f64>,
    pub(super) frequency_penalty: Option<f64>,
    pub(super) presence_penalty: Option<f64>,
    pub(super) repetition_penalty: Option<f64>,
}

// === impl Probabilities ===

impl Probabilities {
    pub(super) fn check(self) -> Result<(), InvalidRequest> {
        let above_zero = (Bound::Excluded(0.0), Bound::Unbounded);
        let above_zero_to_one = (Bound::Excluded(0.0), Bound::Included(1.0));
        number("temperature", self.temperature, 0.0..=2.0)?;
        number("top_p", self.top_p, above_zero_to_one)?;
        number("min_p", self.min_p, 0.0..=1.0)?;
        number("frequency_penalty", self.frequency_penalty, -2.0..=2.0)?;
        number("presence_penalty", self.presence_penalty, -2.0..=2.0)?;
        number("repetition_penalty", self.repetition_penalty, above_zero)
    }
}

// === impl Logprobs ===

impl Logprobs {
    /// What `logprobs` switches on needs it.
    pub(super) fn check(self, shared: &Shared) -> Result<(), InvalidRequest> {
        integer("top_logprobs", self.top_logprobs, -1..)?;
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
    pub(super) fn in_completion(self) -> Option<i32> {
        (self.logprobs == Some(true)).then(|| self.top_logprobs.unwrap_or(0))
    }
}

/// Checks what both routes take.
pub(super) fn check(shared: &Shared, input: Input) -> Result<(), InvalidRequest> {
    check_probabilities(shared)?;
    check_counts(shared, input)?;
    check_tokens(shared)?;
    check_texts(shared)?;
    shared
        .repetition_detection
        .as_ref()
        .map_or(Ok(()), check_repetition)
}

fn check_probabilities(shared: &Shared) -> Result<(), InvalidRequest> {
    let probabilities = Probabilities {
        temperature: shared.temperature,
        top_p: shared.top_p,
        min_p: shared.min_p,
        frequency_penalty: shared.frequency_penalty,
        presence_penalty: shared.presence_penalty,
        repetition_penalty: shared.repetition_penalty,
    };
    probabilities.check()?;
    number("length_penalty", shared.length_penalty, ..)?;
    if shared.length_penalty.is_some() && shared.use_beam_search != Some(true) {
        let description = "goes with `use_beam_search` only";
        return Err(InvalidRequest::new("length_penalty", description));
    }
    Ok(())
}

fn check_counts(shared: &Shared, input: Input) -> Result<(), InvalidRequest> {
    // Only an echo may go without new tokens.
    let echoes = !input.is_chat() && shared.echo == Some(true);
    integer("max_tokens", shared.max_tokens, i32::from(!echoes)..)?;
    integer("min_tokens", shared.min_tokens, 0..)?;
    if let (Some(min), Some(max)) = (shared.min_tokens, shared.max_tokens)
        && min > max
    {
        let description = "must not be greater than `max_tokens`";
        return Err(InvalidRequest::new("min_tokens", description));
    }
    integer("n", shared.n, 1..=MAX_CHOICES)?;
    integer("top_k", shared.top_k, -1..)?;
    let budget = shared.thinking_token_budget;
    integer("thinking_token_budget", budget, -1..)?;
    let truncated = shared.truncate_prompt_tokens;
    integer("truncate_prompt_tokens", truncated, -1..)?;
    integer("prompt_logprobs", shared.prompt_logprobs, -1..)?;
    integer("stream_interval", shared.stream_interval, 1..)
}

fn check_tokens(shared: &Shared) -> Result<(), InvalidRequest> {
    token_ids("allowed_token_ids", &shared.allowed_token_ids)?;
    token_ids("stop_token_ids", &shared.stop_token_ids)?;
    token_ids("logprob_token_ids", &shared.logprob_token_ids)?;
    let count = shared.logprob_token_ids.len();
    at_most("logprob_token_ids", count, MAX_LOGPROB_TOKENS)?;
    for (token_id, bias) in &shared.logit_bias {
        if *token_id < 0 {
            let description = "must have token ids as keys, 0 or greater";
            return Err(InvalidRequest::new("logit_bias", description));
        }
        number(&format!("logit_bias[{token_id}]"), Some(*bias), ..)?;
    }
    Ok(())
}

fn check_texts(shared: &Shared) -> Result<(), InvalidRequest> {
    at_most("stop", shared.stop.len(), MAX_STOPS)?;
    none_empty("stop", &shared.stop)?;
    at_most("bad_words", shared.bad_words.len(), MAX_BAD_WORDS)?;
    none_empty("bad_words", &shared.bad_words)?;
    check_salt(shared.cache_salt.as_deref())
}

/// What vLLM takes as a salt of its cache.
pub(super) fn check_salt(salt: Option<&str>) -> Result<(), InvalidRequest> {
    let Some(salt) = salt else {
        return Ok(());
    };
    let is_forbidden = |c| matches!(c, '@' | '/' | '\\' | '\0');
    if salt.chars().count() > MAX_SALT || salt.contains(is_forbidden) {
        let description = "must have at most 128 characters, none of `@`, `/`, `\\`, NUL";
        return Err(InvalidRequest::new("cache_salt", description));
    }
    Ok(())
}

fn check_repetition(detection: &RepetitionDetection) -> Result<(), InvalidRequest> {
    let RepetitionDetection {
        max_pattern_size,
        min_pattern_size,
        min_count,
    } = *detection;
    integer(
        "repetition_detection.max_pattern_size",
        max_pattern_size,
        0..,
    )?;
    integer(
        "repetition_detection.min_pattern_size",
        min_pattern_size,
        0..,
    )?;
    integer("repetition_detection.min_count", min_count, 0..)?;
    let longest = max_pattern_size.unwrap_or(0);
    if min_pattern_size.unwrap_or(0) > longest {
        let field = "repetition_detection.min_pattern_size";
        let description = "must not be greater than `max_pattern_size`";
        return Err(InvalidRequest::new(field, description));
    }
    if longest > 0 && min_count.unwrap_or(0) < 2 {
        let field = "repetition_detection.min_count";
        return Err(InvalidRequest::new(field, "must be at least 2"));
    }
    Ok(())
}

/// Token ids are 0 or greater.
pub(super) fn token_ids(field: &str, token_ids: &[i32]) -> Result<(), InvalidRequest> {
    match token_ids.iter().position(|token_id| *token_id < 0) {
        None => Ok(()),
        Some(n) => {
            let field = format!("{field}[{n}]");
            Err(InvalidRequest::new(
                field,
                "must be a token id, 0 or greater",
            ))
        }
    }
}

/// A whole number within a range.
pub(super) fn integer(
    field: &str,
    value: Option<i32>,
    range: impl RangeBounds<i32>,
) -> Result<(), InvalidRequest> {
    match value {
        Some(value) if !range.contains(&value) => Err(out_of(field, &range)),
        Some(_) | None => Ok(()),
    }
}

/// A finite number within a range.
pub(super) fn number(
    field: &str,
    value: Option<f64>,
    range: impl RangeBounds<f64>,
) -> Result<(), InvalidRequest> {
    match value {
        Some(value) if !value.is_finite() => {
            Err(InvalidRequest::new(field, "must be a finite number"))
        }
        Some(value) if !range.contains(&value) => Err(out_of(field, &range)),
        Some(_) | None => Ok(()),
    }
}

fn out_of<T: std::fmt::Display>(field: &str, range: &impl RangeBounds<T>) -> InvalidRequest {
    let start = match range.start_bound() {
        Bound::Included(start) => Some(format!("at least {start}")),
        Bound::Excluded(start) => Some(format!("above {start}")),
        Bound::Unbounded => None,
    };
    let end = match range.end_bound() {
        Bound::Included(end) => Some(format!("at most {end}")),
        Bound::Excluded(end) => Some(format!("below {end}")),
        Bound::Unbounded => None,
    };
    let bounds: Vec<String> = start.into_iter().chain(end).collect();
    InvalidRequest::new(field, format!("must be {}", bounds.join(" and ")))
}

fn at_most(field: &str, count: usize, limit: usize) -> Result<(), InvalidRequest> {
    if count <= limit {
        return Ok(());
    }
    let description = format!("must have at most {limit} entries");
    Err(InvalidRequest::new(field, description))
}

/// No text of a list is empty.
pub(super) fn none_empty(field: &str, texts: &[String]) -> Result<(), InvalidRequest> {
    match texts.iter().position(String::is_empty) {
        None => Ok(()),
        Some(n) => Err(InvalidRequest::new(
            format!("{field}[{n}]"),
            "must not be empty",
        )),
    }
}

#[cfg(test)]
mod tests;
