use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;
use crate::{
    openai::request::Json,
    proto::{TruncationSide, content_part, media, structured_output::Constraint, tool_choice},
};

mod arbitrary;
mod every_field;
mod ranges;

fn policy() -> Policy {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Policy {
        max_audio_bytes: 0,
        default_model: None,
        // The operator's leave does not reach a typed field.
        extra_body_keys: names(&["temperature", "vllm_xargs"]),
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
    let all = ["prompt", "messages", "completion", "conversations"];
    let none = proto::GenerateRequest::default();
    refused(none, Mode::Unary, &all, "set one of");
    let both = proto::GenerateRequest {
        prompt: "Hi.".to_owned(),
        ..completion()
    };
    let fields = ["prompt", "completion"];
    refused(both, Mode::Unary, &fields, "only one of");
}

#[test]
fn an_empty_input_counts_as_none() {
    let all = ["prompt", "messages", "completion", "conversations"];
    let empty = proto::GenerateRequest {
        completion: Some(proto::CompletionInput::default()),
        ..proto::GenerateRequest::default()
    };
    refused(empty.clone(), Mode::Unary, &all, "set one of");
    let beside = proto::GenerateRequest {
        prompt: "Hi.".to_owned(),
        ..empty
    };
    let expected = json!({"messages": [{"role": "user", "content": "Hi."}]});
    check(beside, expected);
}

#[test]
fn a_completion_has_text_or_token_ids() {
    let with = |text: &str, token_ids: &[i32], suffix: &str| {
        let completion = proto::CompletionInput {
            text: text.to_owned(),
            token_ids: token_ids.to_vec(),
            suffix: suffix.to_owned(),
            ..proto::CompletionInput::default()
        };
        proto::GenerateRequest {
            completion: Some(completion),
            ..proto::GenerateRequest::default()
        }
    };
    let both = ["completion.text", "completion.token_ids"];
    refused(with("a", &[1], ""), Mode::Unary, &both, "only one");
    let all = ["text", "token_ids", "texts", "token_inputs"].map(|it| format!("completion.{it}"));
    let all = all.each_ref().map(String::as_str);
    refused(with("", &[], "end"), Mode::Unary, &all, "one of");
    let negative = ["completion.token_ids[1]"];
    refused(with("", &[1, -1], ""), Mode::Unary, &negative, "token id");
}

#[test]
fn several_inputs_are_refused_with_what_they_cannot_have() {
    let raw = |texts: &[&str], n| proto::GenerateRequest {
        completion: Some(proto::CompletionInput {
            texts: texts.iter().map(|text| (*text).to_owned()).collect(),
            ..proto::CompletionInput::default()
        }),
        n: Some(n),
        ..proto::GenerateRequest::default()
    };
    let empty = ["completion.texts[1]"];
    refused(raw(&["a", ""], 1), Mode::Unary, &empty, "empty");
    refused(raw(&["a", "b"], 8193), Mode::Unary, &["n"], "16384 choices");
    let many = ["completion.texts"];
    refused(raw(&["a"; 1025], 1), Mode::Unary, &many, "at most 1024");

    let turn = proto::ChatMessage {
        role: proto::Role::User.into(),
        ..proto::ChatMessage::default()
    };
    let messages = vec![turn];
    let chats = |set: fn(&mut proto::GenerateRequest)| {
        let mut request = proto::GenerateRequest {
            conversations: vec![proto::Conversation::default(); 2],
            ..proto::GenerateRequest::default()
        };
        for chat in &mut request.conversations {
            chat.messages.clone_from(&messages);
        }
        set(&mut request);
        request
    };
    let streamed = chats(|_| {});
    refused(streamed, Mode::Stream, &["conversations"], "be streamed");
    let none = ["conversations[1].messages"];
    let emptied = chats(|it| it.conversations[1].messages.clear());
    refused(emptied, Mode::Unary, &none, "must not be empty");
    for (request, field) in [
        (chats(|it| it.n = Some(2)), "n"),
        (
            chats(|it| it.use_beam_search = Some(true)),
            "use_beam_search",
        ),
        (chats(|it| it.prompt_logprobs = Some(0)), "prompt_logprobs"),
        (
            chats(|it| it.return_prompt_text = Some(true)),
            "return_prompt_text",
        ),
        (chats(|it| it.tools = vec![proto::Tool::default()]), "tools"),
    ] {
        refused(request, Mode::Unary, &[field], "with `conversations`");
    }
}

#[test]
fn a_tool_choice_without_a_choice_counts_as_none() {
    let request = proto::GenerateRequest {
        tool_choice: Some(proto::ToolChoice::default()),
        ..prompt()
    };
    check(
        request,
        json!({"messages": [{"role": "user", "content": "Hi."}]}),
    );
}

#[test]
fn a_model_that_is_not_named_is_the_default_or_the_upstreams() {
    let default = Policy {
        default_model: Some("default".to_owned()),
        ..policy()
    };
    let named = proto::GenerateRequest {
        model: "named".to_owned(),
        ..prompt()
    };
    for (request, policy, expected) in [
        (prompt(), &policy(), Value::Null),
        (prompt(), &default, json!("default")),
        (named.clone(), &policy(), json!("named")),
        (named, &default, json!("named")),
    ] {
        let body = super::request(request, Mode::Unary, policy).unwrap();
        let body = serde_json::to_value(body.request).unwrap();
        assert_eq!(body["model"], expected);
    }
}

#[test]
fn zeros_are_values_and_unset_is_nothing() {
    let zeros = proto::GenerateRequest {
        temperature: Some(0.0),
        seed: Some(0),
        top_k: Some(0),
        min_tokens: Some(0),
        ignore_eos: Some(false),
        priority: Some(0),
        logprobs: Some(false),
        ..prompt()
    };
    check(
        zeros,
        json!({
            "messages": [{"role": "user", "content": "Hi."}],
            "temperature": 0.0,
            "seed": 0,
            "top_k": 0,
            "min_tokens": 0,
            "ignore_eos": false,
            "priority": 0,
            "logprobs": false,
        }),
    );
}

#[test]
fn numbers_reach_vllm_as_they_were_typed() {
    let request = proto::GenerateRequest {
        temperature: Some(0.7),
        seed: Some(i64::MIN),
        ..prompt()
    };
    let body = serde_json::to_string(&translated(request, Mode::Unary).request).unwrap();
    assert!(body.contains(r#""temperature":0.7,"#), "{body}");
    assert!(body.contains(r#""seed":-9223372036854775808"#), "{body}");
}

#[test]
fn minus_one_is_no_seed() {
    let request = proto::GenerateRequest {
        seed: Some(-1),
        ..prompt()
    };
    check(
        request,
        json!({"messages": [{"role": "user", "content": "Hi."}]}),
    );
}

#[test]
fn fields_of_a_chat_are_refused_beside_a_completion_all_at_once() {
    let request = proto::GenerateRequest {
        completion: completion().completion,
        prompt: String::new(),
        messages: Vec::new(),
        ..every_field::chat()
    };
    let fields = [
        "tools",
        "tool_choice",
        "chat_template_kwargs_json",
        "reasoning_effort",
        "include_reasoning",
        "parallel_tool_calls",
        "add_generation_prompt",
        "continue_final_message",
        "documents",
        "return_prompt_text",
    ];
    refused(request, Mode::Unary, &fields, "only for a chat");
}

#[test]
fn a_stream_cannot_have_everything() {
    for value in [-1, 0, 5] {
        let request = proto::GenerateRequest {
            prompt_logprobs: Some(value),
            ..prompt()
        };
        assert!(
            translated(request.clone(), Mode::Unary)
                .asked
                .prompt_logprobs
        );
        refused(request, Mode::Stream, &["prompt_logprobs"], "Generate");
    }
    let beams = |request| proto::GenerateRequest {
        use_beam_search: Some(true),
        ..request
    };
    translated(beams(prompt()), Mode::Stream);
    translated(beams(completion()), Mode::Unary);
    let streamed = beams(completion());
    refused(streamed, Mode::Stream, &["use_beam_search"], "Generate");
}

#[test]
fn a_turn_is_begun_or_gone_on_with() {
    let with = |add, go_on| proto::GenerateRequest {
        add_generation_prompt: add,
        continue_final_message: go_on,
        ..prompt()
    };
    for (add, go_on, expected) in [
        (None, None, json!([null, null])),
        (Some(true), None, json!([true, null])),
        (Some(true), Some(false), json!([true, false])),
        (Some(false), Some(true), json!([false, true])),
        // vLLM adds one unless told not to.
        (None, Some(true), json!([false, true])),
    ] {
        let body = translated(with(add, go_on), Mode::Unary).request;
        let body = serde_json::to_value(body).unwrap();
        let sent = json!([
            body["add_generation_prompt"],
            body["continue_final_message"]
        ]);
        assert_eq!(sent, expected);
    }
    let fields = ["add_generation_prompt", "continue_final_message"];
    refused(
        with(Some(true), Some(true)),
        Mode::Unary,
        &fields,
        "mutually exclusive",
    );
}

#[test]
fn a_form_does_not_go_with_a_call_that_has_to_be_made() {
    let with = |choice| proto::GenerateRequest {
        tools: vec![proto::Tool {
            name: "f".to_owned(),
            ..proto::Tool::default()
        }],
        tool_choice: Some(proto::ToolChoice {
            choice: Some(choice),
        }),
        structured_output: Some(proto::StructuredOutput {
            constraint: Some(Constraint::JsonSchema("{}".to_owned())),
        }),
        ..prompt()
    };
    let mode = |mode: proto::ToolMode| tool_choice::Choice::Mode(mode.into());
    translated(with(mode(proto::ToolMode::Auto)), Mode::Unary);
    let fields = ["structured_output", "tool_choice"];
    let named = tool_choice::Choice::FunctionName("f".to_owned());
    for choice in [mode(proto::ToolMode::Required), named] {
        refused(with(choice), Mode::Unary, &fields, "forces a call");
    }
}

#[test]
fn a_template_is_not_the_callers() {
    let with = |kwargs: &str| proto::GenerateRequest {
        chat_template_kwargs_json: kwargs.to_owned(),
        ..prompt()
    };
    let field = ["chat_template_kwargs_json"];
    for (kwargs, says) in [
        (r#"{"chat_template":"{{ x }}"}"#, "`chat_template`"),
        (r#"{"t\u006fkenize":true}"#, "`tokenize`"),
        ("[]", "must be a JSON object"),
        ("{", "is not JSON"),
    ] {
        refused(with(kwargs), Mode::Unary, &field, says);
    }
    let body = translated(with(r#"{"b":{"tokenize":1},"a":2}"#), Mode::Unary).request;
    let body = serde_json::to_string(&body).unwrap();
    assert!(body.contains(r#"{"b":{"tokenize":1},"a":2}"#), "{body}");
}

#[test]
fn what_the_operator_has_not_allowed_is_refused() {
    let extensions = proto::GenerateRequest {
        extension_keys: vec!["metrics".to_owned(), "choices".to_owned()],
        ..prompt()
    };
    let field = ["extension_keys[1]"];
    refused(extensions, Mode::Unary, &field, "--allow-extensions");
    for (extra_body, says) in [
        (r#"{"chat_template":"x"}"#, "--allow-extra-body"),
        (r#"{"temperature":1}"#, "typed field"),
    ] {
        let request = proto::GenerateRequest {
            extra_body_json: extra_body.to_owned(),
            ..prompt()
        };
        refused(request, Mode::Unary, &["extra_body_json"], says);
    }
    let remote = proto::Media {
        source: Some(media::Source::Url("http://other.example/a.png".to_owned())),
        ..proto::Media::default()
    };
    let request = proto::GenerateRequest {
        messages: vec![proto::ChatMessage {
            role: proto::Role::User.into(),
            parts: vec![proto::ContentPart {
                part: Some(content_part::Part::Image(remote)),
                ..proto::ContentPart::default()
            }],
            ..proto::ChatMessage::default()
        }],
        ..proto::GenerateRequest::default()
    };
    let field = ["messages[0].parts[0].image.url"];
    refused(request, Mode::Unary, &field, "--allow-media-hosts");
}

#[test]
fn an_unknown_side_is_refused() {
    let request = proto::GenerateRequest {
        truncation_side: 9,
        ..prompt()
    };
    refused(request, Mode::Unary, &["truncation_side"], "must be");
}

#[test]
fn what_was_asked_for_is_kept() {
    let nothing = translated(prompt(), Mode::Stream).asked;
    assert_eq!(nothing.choices, 1);
    assert!(!nothing.logprobs && !nothing.token_ids && !nothing.continuous_usage);

    let request = proto::GenerateRequest {
        n: Some(3),
        logprobs: Some(true),
        continuous_usage: Some(true),
        extension_keys: vec!["metrics".to_owned()],
        ..completion()
    };
    let Translated { asked, fields, .. } = translated(request.clone(), Mode::Stream);
    assert_eq!(asked.choices, 3);
    assert_eq!(
        fields,
        Fields::new(&names::GENERATE, "completion").asking_for_much(true)
    );
    assert!(asked.logprobs && !asked.top_logprobs && asked.continuous_usage);
    assert_eq!(asked.extension_keys, ["metrics"]);
    // A unary answer has its usage once.
    assert!(!translated(request, Mode::Unary).asked.continuous_usage);
    for request in [
        proto::GenerateRequest {
            top_logprobs: Some(-1),
            ..prompt()
        },
        proto::GenerateRequest {
            logprob_token_ids: vec![7],
            ..prompt()
        },
    ] {
        let request = proto::GenerateRequest {
            logprobs: Some(true),
            ..request
        };
        assert!(translated(request, Mode::Unary).asked.top_logprobs);
    }
}

#[test]
fn a_unary_request_says_nothing_of_streams() {
    let request = proto::GenerateRequest {
        continuous_usage: Some(true),
        // Out of range, and without effect.
        stream_interval: Some(0),
        ..prompt()
    };
    refused(
        request.clone(),
        Mode::Stream,
        &["stream_interval"],
        "at least 1",
    );
    check(
        request,
        json!({"messages": [{"role": "user", "content": "Hi."}]}),
    );
}
