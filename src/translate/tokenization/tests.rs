use serde_json::{Value, json};

use super::*;

fn text_of(text: &str) -> proto::TokenizeRequest {
    proto::TokenizeRequest {
        text: text.to_owned(),
        ..proto::TokenizeRequest::default()
    }
}

fn chat(text: &str) -> proto::TokenizeRequest {
    proto::TokenizeRequest {
        messages: vec![proto::ChatMessage {
            role: proto::Role::User.into(),
            content: text.to_owned(),
            ..proto::ChatMessage::default()
        }],
        ..proto::TokenizeRequest::default()
    }
}

#[track_caller]
fn check(request: proto::TokenizeRequest, expected: Value) {
    let body = super::request(request, &Policy::default()).unwrap().request;
    assert_eq!(serde_json::to_value(body).unwrap(), expected);
}

#[track_caller]
fn refused(request: proto::TokenizeRequest, fields: &[&str]) {
    let invalid = super::request(request, &Policy::default()).unwrap_err();
    let named: Vec<_> = invalid.violations().iter().map(|it| &*it.field).collect();
    assert_eq!(named, fields, "{invalid}");
}

#[test]
fn a_text_or_a_chat_goes_out_with_its_options() {
    check(text_of("a"), json!({"prompt": "a"}));
    check(text_of(""), json!({"prompt": ""}));
    let options = proto::TokenizeRequest {
        model: "m".to_owned(),
        add_special_tokens: Some(false),
        return_token_strings: Some(true),
        ..text_of("a")
    };
    check(
        options,
        json!({"prompt": "a", "model": "m", "add_special_tokens": false, "return_token_strs": true}),
    );
    let options = proto::TokenizeRequest {
        tools: vec![proto::Tool {
            name: "f".to_owned(),
            ..proto::Tool::default()
        }],
        continue_final_message: Some(true),
        chat_template_kwargs_json: r#"{"a":1}"#.to_owned(),
        ..chat("a")
    };
    check(
        options,
        json!({
            "messages": [{"role": "user", "content": "a"}],
            "tools": [{"type": "function", "function": {"name": "f"}}],
            "add_generation_prompt": false, "continue_final_message": true,
            "chat_template_kwargs": {"a": 1},
        }),
    );
}

#[test]
fn what_no_upstream_can_tokenize_is_refused() {
    let both = proto::TokenizeRequest {
        text: "a".to_owned(),
        ..chat("b")
    };
    refused(both, &["text", "messages"]);
    let chat_only = proto::TokenizeRequest {
        tools: vec![proto::Tool::default()],
        add_generation_prompt: Some(false),
        ..text_of("a")
    };
    refused(chat_only, &["tools", "add_generation_prompt"]);
    let mut roleless = chat("a");
    roleless.messages[0].role = 0;
    refused(roleless, &["messages[0].role"]);
    let extra = proto::TokenizeRequest {
        extra_body_json: r#"{"prompt":"b"}"#.to_owned(),
        ..text_of("a")
    };
    refused(extra, &["extra_body_json"]);
}

#[test]
fn tokens_are_as_many_as_the_upstream_says() {
    let answer = |json: &str, wants| response(serde_json::from_str(json).unwrap(), wants);
    let json = r#"{"count":2,"max_model_len":8,"tokens":[1,5],"token_strs":["a","b"]}"#;
    let told = answer(json, true).unwrap();
    assert_eq!((told.count, told.max_model_len), (Some(2), Some(8)));
    assert_eq!(told.token_ids, [1, 5]);
    assert_eq!(told.token_strings, ["a", "b"]);
    // What was not asked for is not sent.
    assert!(answer(json, false).unwrap().token_strings.is_empty());
    let none = answer(r#"{"tokens":[],"token_strs":null}"#, true).unwrap();
    assert_eq!((none.count, none.max_model_len), (Some(0), None));
    for (json, wants) in [
        (r#"{"count":3,"tokens":[1,5]}"#, false),
        (r#"{"tokens":[1,5]}"#, true),
        (r#"{"tokens":[1,5],"token_strs":null}"#, true),
        (r#"{"tokens":[1,5],"token_strs":["a"]}"#, true),
    ] {
        assert!(answer(json, wants).is_err(), "{json}");
    }
}

#[test]
fn a_token_has_an_id_that_a_tokenizer_can_give() {
    let answer = |json: &str| response(serde_json::from_str(json).unwrap(), false);
    assert!(answer(r#"{"count":2,"tokens":[0,2147483647]}"#).is_ok());
    let negative = answer(r#"{"count":2,"tokens":[0,-1]}"#);
    assert_eq!(
        negative,
        Err(InvalidAnswer::Malformed("a negative token id"))
    );
}

#[test]
fn ids_become_text() {
    let request = |ids: &[i32]| {
        let request = proto::DetokenizeRequest {
            model: String::new(),
            token_ids: ids.to_vec(),
        };
        detokenize_request(request, &Policy::default())
    };
    let body = serde_json::to_value(request(&[0, 7]).unwrap()).unwrap();
    assert_eq!(body, json!({"tokens": [0, 7]}));
    let body = serde_json::to_value(request(&[]).unwrap()).unwrap();
    assert_eq!(body, json!({"tokens": []}));
    let invalid = request(&[0, -1]).unwrap_err();
    assert_eq!(invalid.violations()[0].field, "token_ids[1]");
    let answer = serde_json::from_str(r#"{"prompt":"a b"}"#).unwrap();
    assert_eq!(detokenize_response(answer).text, "a b");
}
