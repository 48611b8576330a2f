use serde_json::{Value, json};

use super::*;

fn texts(texts: &[&str]) -> proto::EmbedRequest {
    proto::EmbedRequest {
        texts: texts.iter().map(|text| (*text).to_owned()).collect(),
        ..proto::EmbedRequest::default()
    }
}

fn ids(ids: &[i32]) -> proto::TokenIds {
    proto::TokenIds { ids: ids.to_vec() }
}

fn chat(text: &str) -> proto::Conversation {
    proto::Conversation {
        messages: vec![proto::ChatMessage {
            role: proto::Role::User.into(),
            content: text.to_owned(),
            ..proto::ChatMessage::default()
        }],
    }
}

fn policy() -> Policy {
    Policy {
        extra_body_keys: ["padding".to_owned(), "dimensions".to_owned()].into(),
        ..Policy::default()
    }
}

#[track_caller]
fn check(request: proto::EmbedRequest, expected: Value) {
    let body = super::request(request, &policy()).unwrap().request;
    assert_eq!(serde_json::to_value(body).unwrap(), expected);
}

#[track_caller]
fn refused(request: proto::EmbedRequest, fields: &[&str]) {
    let invalid = super::request(request, &policy()).unwrap_err();
    let named: Vec<_> = invalid.violations().iter().map(|it| &*it.field).collect();
    assert_eq!(named, fields, "{invalid}");
}

#[test]
fn every_input_has_its_form() {
    check(
        texts(&["a", "b"]),
        json!({"input": ["a", "b"], "encoding_format": "base64"}),
    );
    check(
        texts(&["a", ""]),
        json!({"input": ["a", ""], "encoding_format": "base64"}),
    );
    let token_inputs = proto::EmbedRequest {
        token_inputs: vec![ids(&[0, 7]), ids(&[1])],
        ..proto::EmbedRequest::default()
    };
    check(
        token_inputs,
        json!({"input": [[0, 7], [1]], "encoding_format": "base64"}),
    );
    let turn = |text: &str| json!([{"role": "user", "content": text}]);
    for (chats, expected) in [
        (vec![chat("a")], turn("a")),
        (vec![chat("a"), chat("b")], json!([turn("a"), turn("b")])),
    ] {
        let request = proto::EmbedRequest {
            conversations: chats,
            ..proto::EmbedRequest::default()
        };
        check(
            request,
            json!({"messages": expected, "encoding_format": "base64"}),
        );
    }
}

#[test]
fn every_field_goes_out() {
    let request = proto::EmbedRequest {
        model: "m".to_owned(),
        conversations: vec![chat("a")],
        dimensions: Some(16),
        use_activation: Some(false),
        truncate_prompt_tokens: Some(-1),
        truncation_side: proto::TruncationSide::Left.into(),
        add_special_tokens: Some(true),
        add_generation_prompt: Some(true),
        continue_final_message: Some(false),
        chat_template_kwargs_json: r#"{"a":1}"#.to_owned(),
        priority: Some(0),
        cache_salt: "s".to_owned(),
        extra_body_json: r#"{"padding":"max_length"}"#.to_owned(),
        user: "u".to_owned(),
        ..proto::EmbedRequest::default()
    };
    check(
        request,
        json!({
            "model": "m", "messages": [{"role": "user", "content": "a"}], "encoding_format": "base64",
            "dimensions": 16, "use_activation": false, "truncate_prompt_tokens": -1,
            "truncation_side": "left", "add_special_tokens": true, "add_generation_prompt": true,
            "continue_final_message": false, "chat_template_kwargs": {"a": 1}, "priority": 0,
            "cache_salt": "s", "padding": "max_length", "user": "u",
        }),
    );
}

#[test]
fn what_no_upstream_can_embed_is_refused() {
    let all = ["texts", "token_inputs", "conversations"];
    refused(texts(&[]), &all);
    let mut both = texts(&["a"]);
    both.conversations = vec![chat("b")];
    refused(both, &["texts", "conversations"]);
    for (ids, field) in [
        (ids(&[]), "token_inputs[0].ids"),
        (ids(&[0, -1]), "token_inputs[0].ids[1]"),
    ] {
        let request = proto::EmbedRequest {
            token_inputs: vec![ids],
            ..proto::EmbedRequest::default()
        };
        refused(request, &[field]);
    }
    let mut none = chat("a");
    none.messages.clear();
    let mut roleless = chat("b");
    roleless.messages[0].role = 0;
    for (conversation, field) in [
        (none, "conversations[1].messages"),
        (roleless, "conversations[1].messages[0].role"),
    ] {
        let request = proto::EmbedRequest {
            conversations: vec![chat("a"), conversation],
            ..proto::EmbedRequest::default()
        };
        refused(request, &[field]);
    }
}

#[test]
fn a_field_out_of_its_range_is_refused_by_name() {
    let changed = |change: fn(&mut proto::EmbedRequest)| {
        let mut request = texts(&["a"]);
        change(&mut request);
        request
    };
    refused(changed(|it| it.dimensions = Some(0)), &["dimensions"]);
    refused(
        changed(|it| it.truncate_prompt_tokens = Some(-2)),
        &["truncate_prompt_tokens"],
    );
    refused(changed(|it| it.truncation_side = 9), &["truncation_side"]);
    refused(changed(|it| it.cache_salt = "a/b".into()), &["cache_salt"]);
    let chat_only = changed(|it| {
        it.add_generation_prompt = Some(true);
        it.chat_template_kwargs_json = "{}".to_owned();
    });
    let fields = ["add_generation_prompt", "chat_template_kwargs_json"];
    refused(chat_only, &fields);
    let mut turn = proto::EmbedRequest {
        conversations: vec![chat("a")],
        ..proto::EmbedRequest::default()
    };
    turn.add_generation_prompt = Some(true);
    turn.continue_final_message = Some(true);
    refused(turn, &["add_generation_prompt", "continue_final_message"]);
    for key in ["dimensions", "encoding_format", "input", "normalize", "x"] {
        let mut request = texts(&["a"]);
        request.extra_body_json = json!({ key: 1 }).to_string();
        refused(request, &["extra_body_json"]);
    }
}

#[test]
fn a_request_fits_the_release() {
    let fitted = |version: Option<Version>, n_chats: usize| {
        let request = proto::EmbedRequest {
            conversations: vec![chat("a"); n_chats],
            use_activation: Some(true),
            ..proto::EmbedRequest::default()
        };
        let mut request = super::request(request, &policy()).unwrap().request;
        fit(&mut request, version)
            .map(|()| {
                (
                    request.endianness,
                    request.use_activation,
                    request.normalize,
                )
            })
            .map_err(|needs| needs.field)
    };
    let (set, unset) = (Some(true), None);
    for (version, n_chats, expected) in [
        (None, 2, Ok((None, set, unset))),
        (
            Some(Version::new(0, 33, 0)),
            2,
            Ok((Some("little"), set, unset)),
        ),
        (Some(Version::new(0, 31, 0)), 2, Err("conversations")),
        (
            Some(Version::new(0, 31, 0)),
            1,
            Ok((Some("little"), set, unset)),
        ),
        (
            Some(Version::new(0, 14, 1)),
            1,
            Ok((Some("little"), unset, set)),
        ),
        (Some(Version::new(0, 10, 2)), 1, Ok((None, unset, set))),
        (Some(Version::new(0, 9, 2)), 1, Err("use_activation")),
    ] {
        assert_eq!(fitted(version, n_chats), expected, "{version:?}");
    }
}

#[test]
fn a_class_needs_a_release_that_knows_the_field() {
    for (version, use_activation, is_taken) in [
        (None, Some(false), true),
        (Some(Version::new(0, 16, 0)), Some(false), true),
        (Some(Version::new(0, 15, 0)), Some(false), false),
        (Some(Version::new(0, 15, 0)), None, true),
    ] {
        let request = proto::EmbedRequest {
            use_activation,
            ..texts(&["a"])
        };
        let mut request = named(request, &names::CLASSIFY, &policy()).unwrap().request;
        let fitted = fit(&mut request, version).is_ok();
        assert_eq!(fitted, is_taken, "{version:?} {use_activation:?}");
        assert_eq!((request.endianness, request.normalize), (None, None));
    }
}
