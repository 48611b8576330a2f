use serde_json::{Value, json};

use super::*;

fn policy() -> Policy {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Policy {
        default_model: None,
        extra_body_keys: names(&["mm_processor_kwargs", "temperature", "vllm_xargs"]),
        extension_keys: names(&["kv_transfer_params", "metrics"]),
        media_hosts: names(&["media.example"]),
    }
}

fn prompt() -> proto::GenerateRequest {
    proto::GenerateRequest {
        prompt: "Hi.".to_owned(),
        ..proto::GenerateRequest::default()
    }
}

fn completion() -> proto::GenerateRequest {
    proto::GenerateRequest {
        completion: Some(proto::CompletionInput {
            text: "Once".to_owned(),
            ..proto::CompletionInput::default()
        }),
        ..proto::GenerateRequest::default()
    }
}

#[track_caller]
fn translated(request: proto::GenerateRequest, mode: Mode) -> Translated {
    super::request(request, mode, &policy()).unwrap()
}

/// Checks the body that a request becomes, unary.
#[track_caller]
fn check(request: proto::GenerateRequest, expected: Value) {
    let body = translated(request, Mode::Unary).request;
    assert_eq!(serde_json::to_value(body).unwrap(), expected);
}

/// Checks which fields are refused, and a piece of what the first is told.
#[track_caller]
fn refused(request: proto::GenerateRequest, mode: Mode, fields: &[&str], says: &str) {
    let invalid = super::request(request, mode, &policy()).unwrap_err();
    let named: Vec<_> = invalid
        .violations()
        .iter()
        .map(|violation| violation.field.as_str())
        .collect();
    assert_eq!(named, fields);
    let description = &invalid.violations()[0].description;
    assert!(description.contains(says), "{description}");
}

#[test]
fn a_prompt_is_one_user_turn() {
    check(
        prompt(),
        json!({"messages": [{"role": "user", "content": "Hi."}]}),
    );
}

#[test]
fn a_completion_is_raw_text_or_token_ids() {
    check(completion(), json!({"prompt": "Once"}));
    let mut request = completion();
    request.completion = Some(proto::CompletionInput {
        token_ids: vec![0, 7],
        suffix: "end".to_owned(),
        ..proto::CompletionInput::default()
    });
    check(request, json!({"prompt": [0, 7], "suffix": "end"}));
}

#[test]
fn a_stream_asks_for_its_usage() {
    let body = translated(prompt(), Mode::Stream).request;
    assert_eq!(
        serde_json::to_value(body).unwrap(),
        json!({
            "messages": [{"role": "user", "content": "Hi."}],
            "stream": true,
            "stream_options": {"include_usage": true},
        })
    );
}

#[test]
fn exactly_one_input_is_taken() {
    let all = ["prompt", "messages", "completion"];
    let none = proto::GenerateRequest::default();
    refused(none, Mode::Unary, &all, "set one of");
    let both = proto::GenerateRequest {
        prompt: "Hi.".to_owned(),
        ..completion()
    };
    let fields = ["prompt", "completion"];
    refused(both, Mode::Unary, &fields, "only one of");
}
