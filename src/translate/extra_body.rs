//! Members that a caller adds to the upstream's body, as far as the operator allows them.

use std::collections::{BTreeMap, BTreeSet};

use crate::openai::request::Json;

use super::{InvalidRequest, json};

/// Fields of vLLM's bodies that a typed field stands for or that the adapter sets itself, sorted.
/// `max_completion_tokens` would override `max_tokens`, and `request_id` stands for the id that goes as a header.
pub(super) const TAKEN: &[&str] = &[
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

/// Whether a name is one of those fields of a generation.
pub(super) fn is_taken(name: &str) -> bool {
    TAKEN.binary_search(&name).is_ok()
}

/// The members of `extra_body_json`; none for an empty text. `is_taken` tells the fields that the contract or the
/// adapter has.
pub(super) fn members(
    text: String,
    is_taken: impl Fn(&str) -> bool,
    allowed: &BTreeSet<String>,
) -> Result<BTreeMap<String, Json>, InvalidRequest> {
    if text.is_empty() {
        return Ok(BTreeMap::new());
    }
    let object = json::object("extra_body_json", text, json::MAX_DEPTH)?;
    let members = json::members("extra_body_json", &object)?;
    for name in members.keys() {
        check(name, is_taken(name), allowed)?;
    }
    Ok(members)
}

fn check(name: &str, is_taken: bool, allowed: &BTreeSet<String>) -> Result<(), InvalidRequest> {
    let because = if is_taken {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config,
        translate::{embedding, ranking, tokenization, transcription},
    };

    fn allowed() -> BTreeSet<String> {
        ["vllm_xargs", "temperature"].map(str::to_owned).into()
    }

    #[test]
    fn the_names_are_sorted() {
        assert!(TAKEN.is_sorted());
    }

    #[test]
    fn what_the_configuration_refuses_is_taken_in_every_request() {
        let services = [
            &embedding::FIELDS,
            &ranking::RERANK_FIELDS,
            &ranking::SCORE_FIELDS,
            &tokenization::FIELDS,
            &transcription::FIELDS,
        ];
        for name in config::ALWAYS_TAKEN {
            assert!(is_taken(name), "{name}");
            assert!(services.iter().all(|fields| fields.has(name)), "{name}");
        }
    }

    #[test]
    fn allowed_members_go_out_as_they_are() {
        let text = r#"{"vllm_xargs":{"b":1.0,"a":[2]}}"#;
        let members = members(text.to_owned(), is_taken, &allowed()).unwrap();
        assert_eq!(serde_json::to_string(&members).unwrap(), text);
    }

    #[test]
    fn nothing_adds_nothing() {
        for text in ["", "{}"] {
            assert!(
                members(text.to_owned(), is_taken, &allowed())
                    .unwrap()
                    .is_empty()
            );
        }
    }

    #[test]
    fn other_members_are_refused_by_name() {
        for (text, says) in [
            (r#"{"chat_template":"x"}"#, "`chat_template` is not among"),
            (r#"{"vllm_xargs":{},"x":1}"#, "`x` is not among"),
            // A typed field wins over what the operator allows.
            (r#"{"temperature":1}"#, "`temperature` has a typed field"),
            (r#"{"max_completion_tokens":1}"#, "`max_completion_tokens`"),
            (r#"{"request_id":"x"}"#, "`request_id`"),
            (r#"{"str\u0065am":true}"#, "`stream` has a typed field"),
            (r#"{"a\nb":true}"#, "`ab` is not among"),
            (r#"{"vllm_xargs":{},"vllm_xargs":{}}"#, "two members"),
            ("[]", "must be a JSON object"),
            ("{", "is not JSON"),
        ] {
            let invalid = members(text.to_owned(), is_taken, &allowed()).unwrap_err();
            let violation = &invalid.violations()[0];
            assert_eq!(violation.field, "extra_body_json");
            assert!(violation.description.contains(says), "{text}: {invalid}");
        }
    }
}
