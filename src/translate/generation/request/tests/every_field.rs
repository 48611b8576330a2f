//! Requests with many fields set, their bodies, and that vLLM knows each name in these.

use std::{collections::HashMap, sync::LazyLock};

use prost::{Message as _, encoding::WireType};
use prost_types::field_descriptor_proto::{Label, Type};

use super::*;

/// The properties of each schema, by vLLM's own document.
static OPENAPI: LazyLock<Value> = LazyLock::new(|| {
    let document = include_str!("../../../../../tests/vllm/openapi-0.32.0.json");
    serde_json::from_str(document).unwrap()
});

/// A chat from `messages`, with every field of its own shape; [`a_scalar_goes_out_by_its_name`] has the others.
#[expect(clippy::too_many_lines, reason = "each field, once")]
pub(super) fn chat() -> proto::GenerateRequest {
    let text = |text: &str| text.to_owned();
    proto::GenerateRequest {
        model: text("tiny"),
        prompt: String::new(),
        messages: messages(),
        completion: None,
        max_tokens: Some(64),
        temperature: Some(0.7),
        top_p: Some(0.9),
        stop: vec![text("\n\n"), text("END")],
        n: Some(2),
        tools: vec![tool()],
        tool_choice: Some(proto::ToolChoice {
            choice: Some(tool_choice::Choice::Mode(proto::ToolMode::Auto.into())),
        }),
        structured_output: Some(proto::StructuredOutput {
            constraint: Some(Constraint::JsonSchema(text(r#"{"type":"object"}"#))),
        }),
        chat_template_kwargs_json: text(r#"{"enable_thinking":false}"#),
        extra_body_json: text(r#"{"vllm_xargs":{"a":1}}"#),
        logit_bias: HashMap::from([(7, -1.5), (11, 100.0)]),
        allowed_token_ids: vec![0, 7, 11],
        bad_words: vec![text("bad")],
        use_beam_search: Some(true),
        length_penalty: Some(1.0),
        stop_token_ids: vec![2],
        repetition_detection: Some(proto::RepetitionDetection {
            max_pattern_size: Some(8),
            min_pattern_size: Some(2),
            min_count: Some(3),
        }),
        truncate_prompt_tokens: Some(-1),
        truncation_side: TruncationSide::Left.into(),
        add_special_tokens: Some(true),
        echo: Some(true),
        reasoning_effort: text("low"),
        include_reasoning: Some(true),
        parallel_tool_calls: Some(false),
        add_generation_prompt: Some(false),
        continue_final_message: Some(true),
        documents: vec![proto::TemplateDocument {
            fields: [("title", "T"), ("text", "D")]
                .map(|(name, value)| proto::TemplateField {
                    name: name.to_owned(),
                    value: value.to_owned(),
                })
                .into(),
        }],
        logprobs: Some(true),
        top_logprobs: Some(3),
        logprob_token_ids: vec![7],
        prompt_logprobs: Some(1),
        return_token_ids: Some(true),
        return_tokens_as_token_ids: Some(true),
        return_prompt_text: Some(true),
        extension_keys: vec![text("metrics")],
        cache_salt: text("salt"),
        continuous_usage: Some(true),
        stream_interval: Some(2),
        ..proto::GenerateRequest::default()
    }
}

fn messages() -> Vec<proto::ChatMessage> {
    let says = |role: proto::Role, content: &str| proto::ChatMessage {
        role: role.into(),
        content: content.to_owned(),
        name: "name".to_owned(),
        ..proto::ChatMessage::default()
    };
    vec![
        says(proto::Role::System, "Be brief."),
        proto::ChatMessage {
            tools: vec![tool()],
            ..says(proto::Role::Developer, "Use tools.")
        },
        proto::ChatMessage {
            role_name: "critic".to_owned(),
            task: "judge".to_owned(),
            ..says(proto::Role::Unspecified, "Too long.")
        },
        proto::ChatMessage {
            role: proto::Role::User.into(),
            parts: parts(),
            ..proto::ChatMessage::default()
        },
        proto::ChatMessage {
            tool_calls: vec![proto::ToolCall {
                id: "call-1".to_owned(),
                name: "weather".to_owned(),
                arguments: r#"{"city":"Paris"}"#.to_owned(),
            }],
            reasoning: "Ask.".to_owned(),
            ..says(proto::Role::Assistant, "Wait.")
        },
        proto::ChatMessage {
            tool_call_id: "call-1".to_owned(),
            ..says(proto::Role::Tool, "21 °C")
        },
        says(proto::Role::Assistant, "It is"),
    ]
}

fn parts() -> Vec<proto::ContentPart> {
    use content_part::Part;

    let media = |source, media_type: &str, detail: &str| proto::Media {
        source: Some(source),
        media_type: media_type.to_owned(),
        detail: detail.to_owned(),
        cache_key: "key".to_owned(),
    };
    let data = || media::Source::Data((&b"abc"[..]).into());
    let url = media::Source::Url("https://media.example/a.mp4".to_owned());
    [
        Part::Text("Look.".to_owned()),
        Part::Image(media(data(), "image/png", "high")),
        Part::Audio(media(data(), "audio/wav", "")),
        Part::Video(media(url, "", "")),
        Part::File(media(data(), "image/webp", "")),
        Part::Thinking("Hm.".to_owned()),
        Part::Refusal("No.".to_owned()),
        Part::ToolReference("weather".to_owned()),
    ]
    .map(|part| proto::ContentPart {
        part: Some(part),
        ..proto::ContentPart::default()
    })
    .into()
}

fn tool() -> proto::Tool {
    proto::Tool {
        name: "weather".to_owned(),
        description: Some("The weather of a city.".to_owned()),
        parameters_json: r#"{"type":"object","properties":{"city":{"type":"string"}}}"#.to_owned(),
        strict: Some(true),
        defer_loading: Some(false),
    }
}

/// The same from `prompt`, with a choice of one function and no form beside it.
fn prompt() -> proto::GenerateRequest {
    proto::GenerateRequest {
        prompt: "Hi.".to_owned(),
        messages: Vec::new(),
        tool_choice: Some(proto::ToolChoice {
            choice: Some(tool_choice::Choice::FunctionName("weather".to_owned())),
        }),
        structured_output: None,
        ..chat()
    }
}

/// The same from `completion`, without what only a chat takes.
fn completion() -> proto::GenerateRequest {
    proto::GenerateRequest {
        prompt: String::new(),
        completion: Some(proto::CompletionInput {
            text: "Once".to_owned(),
            suffix: "end.".to_owned(),
            ..proto::CompletionInput::default()
        }),
        tools: Vec::new(),
        tool_choice: None,
        chat_template_kwargs_json: String::new(),
        reasoning_effort: String::new(),
        include_reasoning: None,
        parallel_tool_calls: None,
        add_generation_prompt: None,
        continue_final_message: None,
        documents: Vec::new(),
        return_prompt_text: None,
        structured_output: Some(proto::StructuredOutput {
            constraint: Some(Constraint::StructuralTagJson(
                r#"{"type":"structural_tag","format":{"type":"any_text"}}"#.to_owned(),
            )),
        }),
        ..prompt()
    }
}

/// Without what cannot be streamed.
fn streamable(request: proto::GenerateRequest) -> proto::GenerateRequest {
    proto::GenerateRequest {
        prompt_logprobs: None,
        use_beam_search: Some(false),
        length_penalty: None,
        ..request
    }
}

/// Checks a body against a reviewed one, and its names against vLLM's.
#[track_caller]
fn reviewed(request: proto::GenerateRequest, mode: Mode, snapshot: &str) {
    let body = serde_json::to_value(translated(request, mode).request).unwrap();
    let expected: Value = serde_json::from_str(snapshot).unwrap();
    assert_eq!(body, expected, "as it is now:\n{body:#}");
    known_to_vllm(&body);
}

#[test]
fn a_chat_of_messages_is_as_reviewed() {
    let snapshot = include_str!("../snapshots/messages.json");
    reviewed(chat(), Mode::Unary, snapshot);
}

#[test]
fn a_streamed_prompt_is_as_reviewed() {
    let snapshot = include_str!("../snapshots/prompt_streamed.json");
    reviewed(streamable(prompt()), Mode::Stream, snapshot);
}

#[test]
fn a_completion_is_as_reviewed() {
    let snapshot = include_str!("../snapshots/completion.json");
    reviewed(completion(), Mode::Unary, snapshot);
}

#[test]
fn a_streamed_completion_is_as_reviewed() {
    let snapshot = include_str!("../snapshots/completion_streamed.json");
    let request = proto::GenerateRequest {
        structured_output: Some(proto::StructuredOutput {
            constraint: Some(Constraint::Regex("a+".to_owned())),
        }),
        ..streamable(completion())
    };
    reviewed(request, Mode::Stream, snapshot);
}

/// Each field that is a number, a switch or a text, by the contract's own list of fields.
#[test]
fn a_scalar_goes_out_by_its_name() {
    // Other names or values, which the reviewed bodies have, and fields that are not sent.
    let others = [
        "chat_template_kwargs_json",
        "continuous_usage",
        "extension_keys",
        "extra_body_json",
        "model",
        "prompt",
    ];
    let base = proto::GenerateRequest {
        prompt: "Hi.".to_owned(),
        logprobs: Some(true),
        use_beam_search: Some(true),
        ..proto::GenerateRequest::default()
    };
    let messages = proto::DESCRIPTORS
        .file
        .iter()
        .flat_map(|file| &file.message_type);
    let mut messages = messages.filter(|it| it.name() == "GenerateRequest");
    let mut n_checked = 0;
    for field in &messages.next().unwrap().field {
        let Some((wire_type, bytes, value)) = scalar(field.r#type()) else {
            continue;
        };
        let name = field.name();
        if others.contains(&name) {
            continue;
        }
        let mut wire = Vec::new();
        prost::encoding::encode_key(u32::try_from(field.number()).unwrap(), wire_type, &mut wire);
        wire.extend_from_slice(bytes);
        let mut request = base.clone();
        request.merge(wire.as_slice()).unwrap();
        let mode = if name == "stream_interval" {
            Mode::Stream
        } else {
            Mode::Unary
        };
        let value = match field.label() {
            Label::Repeated => json!([value]),
            Label::Optional | Label::Required => value,
        };
        let body = serde_json::to_value(translated(request, mode).request).unwrap();
        assert_eq!(body[name], value, "{name}");
        known_to_vllm(&body);
        n_checked += 1;
    }
    assert!(n_checked > 30, "{n_checked}");
}

/// A value of that type, on the wire and in JSON; `None` for messages and enums.
fn scalar(kind: Type) -> Option<(WireType, &'static [u8], Value)> {
    let half: &[u8] = &[0, 0, 0, 0, 0, 0, 0xe0, 0x3f];
    let values = [
        (Type::Double, (WireType::SixtyFourBit, half, json!(0.5))),
        (Type::Int32, (WireType::Varint, &[2], json!(2))),
        (Type::Int64, (WireType::Varint, &[2], json!(2))),
        (Type::Bool, (WireType::Varint, &[1], json!(true))),
        (
            Type::String,
            (WireType::LengthDelimited, b"\x01a", json!("a")),
        ),
    ];
    let value = values.into_iter().find(|(it, _)| *it == kind);
    value.map(|(_, value)| value)
}

/// The forms that no snapshot has.
#[test]
fn other_forms_are_known_to_vllm() {
    let text = |text: &str| text.to_owned();
    let values = vec![text("a")];
    for constraint in [
        Constraint::JsonSchema(text("{}")),
        Constraint::JsonObject(proto::AnyJsonObject {}),
        Constraint::Grammar(text("root ::= \"a\"")),
        Constraint::Choice(proto::TextChoices { values }),
        Constraint::StructuralTagJson(text(r#"{"structures":[],"triggers":[]}"#)),
    ] {
        let request = proto::GenerateRequest {
            tool_choice: None,
            structured_output: Some(proto::StructuredOutput {
                constraint: Some(constraint),
            }),
            ..prompt()
        };
        let body = translated(request, Mode::Unary).request;
        known_to_vllm(&serde_json::to_value(body).unwrap());
    }
}

/// Several inputs, which no snapshot has.
#[test]
fn several_inputs_go_out_in_their_order() {
    let chat = |text: &str| proto::Conversation {
        messages: vec![proto::ChatMessage {
            role: proto::Role::User.into(),
            content: text.to_owned(),
            ..proto::ChatMessage::default()
        }],
    };
    let ids = |ids: &[i32]| proto::TokenIds { ids: ids.to_vec() };
    let of_raw = |input| proto::GenerateRequest {
        completion: Some(input),
        n: Some(2),
        ..proto::GenerateRequest::default()
    };
    let texts = of_raw(proto::CompletionInput {
        texts: vec!["a".to_owned(), "b".to_owned()],
        ..proto::CompletionInput::default()
    });
    let token_ids = of_raw(proto::CompletionInput {
        token_inputs: vec![ids(&[1]), ids(&[2, 3])],
        ..proto::CompletionInput::default()
    });
    let chats = proto::GenerateRequest {
        conversations: vec![chat("a"), chat("b")],
        return_token_ids: Some(true),
        ..proto::GenerateRequest::default()
    };
    let user = |text: &str| json!([{"role": "user", "content": text}]);
    for (request, member, expected, choices, choices_each) in [
        (texts, "prompt", json!(["a", "b"]), 4, Some(2)),
        (token_ids, "prompt", json!([[1], [2, 3]]), 4, Some(2)),
        (chats, "messages", json!([user("a"), user("b")]), 2, Some(1)),
        (completion(), "prompt", json!("Once"), 2, None),
    ] {
        let Translated { request, asked, .. } = translated(request, Mode::Unary);
        assert_eq!(serde_json::to_value(request).unwrap()[member], expected);
        assert_eq!((asked.choices, asked.choices_each), (choices, choices_each));
    }
}

/// Every name that is sent is one that `extra_body_json` may not override.
#[test]
fn every_name_is_kept_from_the_extra_body() {
    for (request, mode) in [
        (chat(), Mode::Unary),
        (streamable(prompt()), Mode::Stream),
        (completion(), Mode::Unary),
    ] {
        let body = serde_json::to_value(translated(request, mode).request).unwrap();
        for name in body.as_object().unwrap().keys() {
            let is_taken = names::GENERATE.has(name);
            assert!(is_taken || name == "vllm_xargs", "{name}");
        }
    }
}

#[track_caller]
fn known_to_vllm(body: &Value) {
    let route = match body.get("messages") {
        Some(_) => "ChatCompletionRequest",
        None => "CompletionRequest",
    };
    known(body, &[route]);
    for (member, schemas) in [
        ("stream_options", &["StreamOptions"][..]),
        ("repetition_detection", &["RepetitionDetectionParams"]),
        ("structured_outputs", &["StructuredOutputsParams"]),
        (
            "response_format",
            &[
                "ResponseFormat",
                "StructuralTagResponseFormat",
                "LegacyStructuralTagResponseFormat",
            ],
        ),
    ] {
        if let Some(member) = body.get(member) {
            known(member, schemas);
        }
    }
    if let Some(schema) = body.pointer("/response_format/json_schema") {
        known(schema, &["JsonSchemaResponseFormat"]);
    }
    let choice = body.get("tool_choice").filter(|choice| choice.is_object());
    if let Some(choice) = choice {
        known(choice, &["ChatCompletionNamedToolChoiceParam"]);
        known(&choice["function"], &["ChatCompletionNamedFunction"]);
    }
    for tool in entries(body, "tools") {
        known(tool, &["ChatCompletionToolsParam"]);
        let schema = "vllm__entrypoints__generate__base__protocol__FunctionDefinition";
        known(&tool["function"], &[schema]);
    }
    for message in entries(body, "messages") {
        known_message(message);
    }
}

#[track_caller]
fn known_message(message: &Value) {
    known(message, &["CustomChatCompletionMessageParam"]);
    for call in entries(message, "tool_calls") {
        known(call, &["ChatCompletionMessageFunctionToolCallParam"]);
        known(&call["function"], &["Function"]);
    }
    for part in entries(message, "content") {
        // Sound has a cache key too, but vLLM's schema forgets it.
        let cached = "CustomChatCompletionContentSimpleImageParam";
        let kind = part["type"].as_str().unwrap();
        let (schema, media) = match kind {
            "text" => ("ChatCompletionContentPartTextParam", ""),
            "thinking" => ("CustomThinkCompletionContentParam", ""),
            "refusal" => ("ChatCompletionContentPartRefusalParam", ""),
            "tool_reference" => ("CustomChatCompletionContentToolReferenceParam", ""),
            "image_url" => ("ChatCompletionContentPartImageParam", "ImageURL"),
            "audio_url" => ("ChatCompletionContentPartAudioParam", "AudioURL"),
            "video_url" => ("ChatCompletionContentPartVideoParam", "VideoURL"),
            other => panic!("{other}"),
        };
        known(part, &[schema, cached]);
        if let Some(payload) = part.get(kind).filter(|payload| payload.is_object()) {
            known(payload, &[media]);
        }
    }
}

/// Checks that each name of an object is a property of one of the schemas.
#[track_caller]
fn known(object: &Value, schemas: &[&str]) {
    let properties = schemas.iter().flat_map(|schema| {
        let properties = OPENAPI["schemas"][*schema].as_array().unwrap();
        properties.iter().filter_map(Value::as_str)
    });
    let properties: BTreeSet<&str> = properties.collect();
    for name in object.as_object().unwrap().keys() {
        assert!(properties.contains(name.as_str()), "{name} of {schemas:?}");
    }
}

fn entries<'a>(object: &'a Value, member: &str) -> impl Iterator<Item = &'a Value> {
    let entries = object.get(member).and_then(Value::as_array);
    entries.into_iter().flatten()
}
