//! Members that a caller adds to the upstream's body, as far as the operator allows them.

use std::collections::BTreeMap;

use crate::{config::Policy, openai::request::Json};

use super::{invalid::InvalidRequest, json, names::Names};

/// The members of `extra_body_json`; none for an empty text.
pub(super) fn members(
    text: String,
    names: &Names,
    policy: &Policy,
) -> Result<BTreeMap<String, Json>, InvalidRequest> {
    if text.is_empty() {
        return Ok(BTreeMap::new());
    }
    let object = json::object("extra_body_json", text, json::MAX_DEPTH)?;
    let members = json::members("extra_body_json", &object)?;
    for name in members.keys() {
        let because = if names.has(name) {
            "has a typed field, or is set by the adapter"
        } else if policy.extra_body_keys.contains(name) {
            continue;
        } else if names.ignores(name) {
            "is a field that vLLM ignores"
        } else {
            "is not among the keys that the operator allows (--allow-extra-body)"
        };
        // Cut and without control characters, fit for an error.
        let shown: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
        let description = format!("member `{shown}` {because}");
        return Err(InvalidRequest::new("extra_body_json", description));
    }
    Ok(members)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config, translate::names};

    fn members(text: &str) -> Result<BTreeMap<String, Json>, InvalidRequest> {
        let policy = Policy {
            extra_body_keys: ["vllm_xargs", "temperature"].map(str::to_owned).into(),
            ..Policy::default()
        };
        super::members(text.to_owned(), &names::GENERATE, &policy)
    }

    #[test]
    fn what_the_configuration_refuses_is_taken_in_every_request() {
        for name in config::ALWAYS_TAKEN {
            for names in [
                &names::GENERATE,
                &names::CLASSIFY,
                &names::EMBED,
                &names::POOL,
                &names::RERANK,
                &names::SCORE,
                &names::TOKENIZE,
                &names::TRANSCRIBE,
            ] {
                assert!(names.has(name), "{name} {names:?}");
            }
        }
    }

    #[test]
    fn allowed_members_go_out_as_they_are() {
        let text = r#"{"vllm_xargs":{"b":1.0,"a":[2]}}"#;
        let members = members(text).unwrap();
        assert_eq!(serde_json::to_string(&members).unwrap(), text);
    }

    #[test]
    fn nothing_adds_nothing() {
        for text in ["", "{}"] {
            assert!(members(text).unwrap().is_empty());
        }
    }

    #[test]
    fn other_members_are_refused_by_name() {
        for (text, says) in [
            (r#"{"chat_template":"x"}"#, "`chat_template` is not among"),
            (r#"{"vllm_xargs":{},"x":1}"#, "`x` is not among"),
            (r#"{"store":true}"#, "`store` is a field that vLLM ignores"),
            // A typed field wins over what the operator allows.
            (r#"{"temperature":1}"#, "`temperature` has a typed field"),
            (r#"{"max_completion_tokens":1}"#, "`max_completion_tokens`"),
            (r#"{"request_id":"x"}"#, "`request_id`"),
            (r#"{"str\u0065am":true}"#, "`stream` has a typed field"),
            (r#"{"a\nb":true}"#, "`ab` is not among"),
            (r#"{"vllm_xargs":{},"vllm_xargs":{}}"#, "duplicate member"),
            ("[]", "must be a JSON object"),
            ("{", "is not JSON"),
        ] {
            let invalid = members(text).unwrap_err();
            let violation = &invalid.violations()[0];
            assert_eq!(violation.field, "extra_body_json");
            assert!(violation.description.contains(says), "{text}: {invalid}");
        }
    }
}
