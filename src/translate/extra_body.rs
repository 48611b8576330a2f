//! Members that a caller adds to the upstream's body, as far as the operator allows them.

use std::collections::{BTreeMap, BTreeSet};

use crate::openai::request::Json;

use super::{InvalidRequest, json};

/// Fields of vLLM's bodies that a typed field or the adapter itself sets, sorted. `max_completion_tokens` and
/// `best_of` would override typed fields, `request_id` the id that the adapter sends as a header.
const TAKEN: &[&str] = &[
    "add_generation_prompt",
    "add_special_tokens",
    "allowed_token_ids",
    "bad_words",
    "cache_salt",
    "chat_template_kwargs",
    "continue_final_message",
    "documents",
    "echo",
    "frequency_penalty",
    "ignore_eos",
    "include_reasoning",
    "include_stop_str_in_output",
    "length_penalty",
    "logit_bias",
    "logprob_token_ids",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "messages",
    "min_p",
    "min_tokens",
    "model",
    "n",
    "parallel_tool_calls",
    "presence_penalty",
    "priority",
    "prompt",
    "prompt_logprobs",
    "reasoning_effort",
    "repetition_detection",
    "repetition_penalty",
    "request_id",
    "response_format",
    "return_prompt_text",
    "return_token_ids",
    "return_tokens_as_token_ids",
    "seed",
    "session_id",
    "skip_special_tokens",
    "spaces_between_special_tokens",
    "stop",
    "stop_token_ids",
    "stream",
    "stream_interval",
    "stream_options",
    "structured_outputs",
    "suffix",
    "temperature",
    "thinking_token_budget",
    "tool_choice",
    "tools",
    "top_k",
    "top_logprobs",
    "top_p",
    "truncate_prompt_tokens",
    "truncation_side",
    "use_beam_search",
    "user",
    "watermarking",
];

/// The members of `extra_body_json`; none for an empty text.
pub(super) fn members(
    text: String,
    allowed: &BTreeSet<String>,
) -> Result<BTreeMap<String, Json>, InvalidRequest> {
    if text.is_empty() {
        return Ok(BTreeMap::new());
    }
    let members = json::members("extra_body_json", text, json::MAX_DEPTH)?;
    for name in members.keys() {
        check(name, allowed)?;
    }
    Ok(members)
}

fn check(name: &str, allowed: &BTreeSet<String>) -> Result<(), InvalidRequest> {
    let because = if TAKEN.binary_search(&name).is_ok() {
        "has a typed field, or is set by the adapter"
    } else if !allowed.contains(name) {
        "is not among the keys that the operator allows (--allow-extra-body)"
    } else {
        return Ok(());
    };
    Err(InvalidRequest::new(
        "extra_body_json",
        format!("member `{}` {because}", shown(name)),
    ))
}

/// A member's name, cut and without control characters, fit for an error.
fn shown(name: &str) -> String {
    let printable = name.chars().filter(|c| !c.is_control());
    printable.take(64).collect()
}
