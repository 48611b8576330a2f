//! The ranges that vLLM checks before it answers, and its words for a value outside.

use super::{error::Rejection, fields::Fields};

/// Tokens that the prompt and the answer may have together.
pub(super) const MAX_MODEL_LEN: usize = 2048;

/// Most choices, as vLLM has it with `VLLM_MAX_N_SEQUENCES=16`.
const MAX_N: i64 = 16;

/// Most likely tokens beside each, as vLLM's `--max-logprobs` has it.
const MAX_LOGPROBS: i64 = 20;

/// The ranges of the sampling options.
pub(super) fn sampling(fields: Fields<'_>) -> Result<(), Rejection> {
    let refused = |name: &str, rule: &str, value: f64| {
        let message = format!("{name} must be {rule}, got {value:?}.");
        Err(Rejection::parameter_value(
            &message,
            name,
            &format!("{value:?}"),
        ))
    };
    match fields.number("temperature")? {
        Some(value) if value < 0.0 => return refused("temperature", "non-negative", value),
        Some(value) if value > 2.0 => return refused("temperature", "in [0, 2]", value),
        Some(_) | None => {}
    }
    match fields.number("top_p")? {
        Some(value) if value <= 0.0 || value > 1.0 => refused("top_p", "in (0, 1]", value)?,
        Some(_) | None => {}
    }
    for (name, range, rule) in [
        ("presence_penalty", -2.0..=2.0, "in [-2, 2]"),
        ("frequency_penalty", -2.0..=2.0, "in [-2, 2]"),
        ("min_p", 0.0..=1.0, "in [0, 1]"),
    ] {
        match fields.number(name)? {
            Some(value) if !range.contains(&value) => {
                let message = format!("{name} must be {rule}, got {value:?}.");
                return Err(Rejection::value(message));
            }
            Some(_) | None => {}
        }
    }
    Ok(())
}

/// The number of choices; there is one likeliest answer, so temperature 0 has one choice.
pub(super) fn n(n: i64, temperature: Option<f64>) -> Result<(), Rejection> {
    let reason = if n < 1 {
        format!("n must be at least 1, got {n}.")
    } else if n > MAX_N {
        format!(
            "n must be at most {MAX_N}, got {n}. To increase this limit, set the VLLM_MAX_N_SEQUENCES environment variable."
        )
    } else if n > 1 && temperature == Some(0.0) {
        format!("n must be 1 when using greedy sampling, got {n}.")
    } else {
        return Ok(());
    };
    Err(Rejection::value(reason))
}

/// The number of likeliest tokens beside each.
pub(super) fn logprobs(logprobs: i64) -> Result<usize, Rejection> {
    if logprobs > MAX_LOGPROBS {
        let message = format!(
            "Requested sample logprobs of {logprobs}, which is greater than max allowed: {MAX_LOGPROBS}"
        );
        return Err(Rejection::parameter_value(
            &message,
            "logprobs",
            &logprobs.to_string(),
        ));
    }
    // -1 asks for the whole vocabulary, of which a script has none.
    Ok(usize::try_from(logprobs).unwrap_or(0))
}

/// The tokens that a choice may have.
pub(super) fn room(n_prompt_tokens: usize, max_tokens: Option<i64>) -> Result<usize, Rejection> {
    let Some(room) = MAX_MODEL_LEN
        .checked_sub(n_prompt_tokens)
        .filter(|&room| room > 0)
    else {
        let message = format!(
            "This model's maximum context length is {MAX_MODEL_LEN} tokens. However, your prompt contains {n_prompt_tokens} input tokens, which exceeds this limit even without any output tokens. Please reduce the length of the input prompt."
        );
        let value = n_prompt_tokens.to_string();
        return Err(Rejection::parameter_value(&message, "input_tokens", &value));
    };
    let Some(wanted) = max_tokens else {
        return Ok(room);
    };
    let message = match usize::try_from(wanted) {
        Ok(wanted @ 1..=MAX_MODEL_LEN) => return Ok(wanted.min(room)),
        Ok(1..) => format!(
            "max_tokens={wanted} cannot be greater than max_model_len={MAX_MODEL_LEN}. Please request fewer output tokens."
        ),
        Ok(0) | Err(_) => format!("max_tokens must be at least 1, got {wanted}."),
    };
    Err(Rejection::parameter_value(
        &message,
        "max_tokens",
        &wanted.to_string(),
    ))
}
