//! Any request at all: never a panic, and what is sent is JSON of known names.

use proptest::{collection::vec, option::weighted, prelude::*, sample::select};
use prost::Message as _;

use super::*;

/// How often a field is set: seldom, so that many requests are right.
const SET: f64 = 0.06;

fn number() -> BoxedStrategy<Option<f64>> {
    let value = prop_oneof![8 => 0.1_f64..1.0, 1 => any::<f64>(), 1 => Just(f64::NAN)];
    weighted(SET, value).boxed()
}

fn integer() -> BoxedStrategy<Option<i32>> {
    weighted(
        SET,
        prop_oneof![8 => 1..5_i32, 1 => -3..2_i32, 1 => any::<i32>()],
    )
    .boxed()
}

fn switch() -> BoxedStrategy<Option<bool>> {
    weighted(SET, any::<bool>()).boxed()
}

fn text() -> BoxedStrategy<String> {
    weighted(SET, prop_oneof![Just("a".to_owned()), any::<String>()])
        .prop_map(Option::unwrap_or_default)
        .boxed()
}

fn texts() -> BoxedStrategy<Vec<String>> {
    seldom(vec(any::<String>(), 0..4)).boxed()
}

fn token_ids() -> BoxedStrategy<Vec<i32>> {
    seldom(vec(prop_oneof![9 => 0..9_i32, 1 => any::<i32>()], 0..4)).boxed()
}

/// JSON text, right or wrong.
fn json_text() -> BoxedStrategy<String> {
    let texts = [
        "",
        "{}",
        "{",
        "null",
        "[[[[]]]]",
        r#"{"a":{"b":[1,"\u00e9",1e999]}}"#,
        r#"{"a":1,"a":2}"#,
        r#"{"vllm_xargs":{"a":1}}"#,
        r#"{"temperature":1}"#,
        r#"{"format":{}}"#,
        r#"{"type":"image_embeds","image_embeds":null,"uuid":"u"}"#,
        r#"{"structures":[],"triggers":[]}"#,
    ];
    prop_oneof![4 => select(texts.to_vec()).prop_map(str::to_owned), 1 => any::<String>()].boxed()
}

fn seldom<T: Default + std::fmt::Debug + Clone + 'static>(
    value: impl Strategy<Value = T> + 'static,
) -> BoxedStrategy<T> {
    weighted(SET, value)
        .prop_map(Option::unwrap_or_default)
        .boxed()
}

fn media() -> BoxedStrategy<proto::Media> {
    let urls = [
        "",
        "https://media.example/a",
        "http://other.example",
        "data:image/png;base64,AA==",
        "data:,",
        "file:///etc/passwd",
    ];
    let bytes = [
        &b""[..],
        b"GIF89a",
        b"fLaC",
        b"OggS",
        b"\xff",
        b"\0\0\0 ftyp",
    ];
    let source = prop_oneof![
        select(urls.to_vec()).prop_map(|url| media::Source::Url(url.to_owned())),
        any::<String>().prop_map(media::Source::Url),
        select(bytes.to_vec()).prop_map(|data| media::Source::Data(data.into())),
        vec(any::<u8>(), 0..20).prop_map(|data| media::Source::Data(data.into())),
    ];
    (weighted(0.9, source), text(), text(), text())
        .prop_map(|(source, media_type, detail, cache_key)| proto::Media {
            source,
            media_type,
            detail,
            cache_key,
        })
        .boxed()
}

fn part() -> BoxedStrategy<proto::ContentPart> {
    use content_part::Part;

    let part = prop_oneof![
        any::<String>().prop_map(Part::Text),
        media().prop_map(Part::Image),
        media().prop_map(Part::Audio),
        media().prop_map(Part::Video),
        media().prop_map(Part::File),
        any::<String>().prop_map(Part::Thinking),
        any::<String>().prop_map(Part::ToolReference),
        json_text().prop_map(Part::EmbedsJson),
    ];
    (weighted(0.95, part), seldom(json_text()))
        .prop_map(|(part, extra_json)| proto::ContentPart { part, extra_json })
        .boxed()
}

fn message() -> BoxedStrategy<proto::ChatMessage> {
    let call =
        (any::<String>(), any::<String>(), any::<String>()).prop_map(|(id, name, arguments)| {
            proto::ToolCall {
                id,
                name,
                arguments,
            }
        });
    let texts = (text(), text(), text(), text(), text());
    (
        0..7_i32,
        texts,
        seldom(vec(part(), 0..4)),
        seldom(vec(call, 0..3)),
    )
        .prop_map(
            |(role, (content, name, tool_call_id, reasoning, role_name), parts, tool_calls)| {
                proto::ChatMessage {
                    role,
                    content,
                    parts,
                    name,
                    tool_calls,
                    tool_call_id,
                    reasoning,
                    role_name,
                    ..proto::ChatMessage::default()
                }
            },
        )
        .boxed()
}

fn input() -> BoxedStrategy<proto::GenerateRequest> {
    let completion = (
        text(),
        token_ids(),
        text(),
        texts(),
        seldom(vec(token_ids(), 0..3)),
    )
        .prop_map(
            |(text, token_ids, suffix, texts, inputs)| proto::CompletionInput {
                text,
                token_ids,
                suffix,
                texts,
                token_inputs: inputs
                    .into_iter()
                    .map(|ids| proto::TokenIds { ids })
                    .collect(),
            },
        );
    prop_oneof![
        any::<String>().prop_map(|prompt| proto::GenerateRequest {
            prompt,
            ..proto::GenerateRequest::default()
        }),
        vec(message(), 0..4).prop_map(|messages| proto::GenerateRequest {
            messages,
            ..proto::GenerateRequest::default()
        }),
        vec(vec(message(), 0..3), 0..3).prop_map(|chats| proto::GenerateRequest {
            conversations: chats
                .into_iter()
                .map(|messages| proto::Conversation { messages })
                .collect(),
            ..proto::GenerateRequest::default()
        }),
        completion.prop_map(|completion| proto::GenerateRequest {
            completion: Some(completion),
            ..proto::GenerateRequest::default()
        }),
        Just(proto::GenerateRequest::default()),
    ]
    .boxed()
}

fn structured_output() -> BoxedStrategy<proto::StructuredOutput> {
    let constraint = prop_oneof![
        json_text().prop_map(Constraint::JsonSchema),
        Just(Constraint::JsonObject(proto::AnyJsonObject {})),
        any::<String>().prop_map(Constraint::Regex),
        vec(any::<String>(), 0..3)
            .prop_map(|values| Constraint::Choice(proto::TextChoices { values })),
        any::<String>().prop_map(Constraint::Grammar),
        json_text().prop_map(Constraint::StructuralTagJson),
    ];
    weighted(0.95, constraint)
        .prop_map(|constraint| proto::StructuredOutput { constraint })
        .boxed()
}

fn tools() -> BoxedStrategy<proto::GenerateRequest> {
    let tool = (
        "[a-c]{0,2}",
        proptest::option::of(text()),
        json_text(),
        switch(),
    )
        .prop_map(|(name, description, parameters_json, strict)| proto::Tool {
            name,
            description,
            parameters_json,
            strict,
            defer_loading: strict,
        });
    let choice = prop_oneof![
        (0..5_i32).prop_map(tool_choice::Choice::Mode),
        "[a-c]{0,2}".prop_map(tool_choice::Choice::FunctionName),
    ];
    let choice = weighted(0.9, choice).prop_map(|choice| proto::ToolChoice { choice });
    (
        seldom(vec(tool, 0..4)),
        weighted(SET, choice),
        weighted(SET, structured_output()),
        seldom(json_text()),
        seldom(json_text()),
        switch(),
        switch(),
        switch(),
    )
        .prop_map(|(tools, choice, form, kwargs, extra, calls, add, go_on)| {
            proto::GenerateRequest {
                tools,
                tool_choice: choice,
                structured_output: form,
                chat_template_kwargs_json: kwargs,
                extra_body_json: extra,
                parallel_tool_calls: calls,
                add_generation_prompt: add,
                continue_final_message: go_on,
                ..proto::GenerateRequest::default()
            }
        })
        .boxed()
}

#[expect(clippy::too_many_lines, reason = "a line for each field")]
fn numbers() -> BoxedStrategy<proto::GenerateRequest> {
    let bias = vec(
        (-1..9_i32, prop_oneof![9 => -9.0..9.0, 1 => any::<f64>()]),
        0..3,
    );
    (
        [number(), number(), number(), number()],
        [number(), number(), number()],
        [integer(), integer(), integer(), integer()],
        [integer(), integer(), integer(), integer(), integer()],
        [token_ids(), token_ids(), token_ids()],
        weighted(SET, any::<i64>()),
        seldom(bias),
        [integer(), integer(), integer()],
    )
        .prop_map(
            |(shares, penalties, counts, more, token_ids, seed, bias, repetition)| {
                let [temperature, top_p, min_p, length_penalty] = shares;
                let [frequency_penalty, presence_penalty, repetition_penalty] = penalties;
                let [max_tokens, n, top_k, min_tokens] = counts;
                let [truncated, budget, top_logprobs, prompt_logprobs, interval] = more;
                let [allowed_token_ids, stop_token_ids, logprob_token_ids] = token_ids;
                let [max_pattern_size, min_pattern_size, min_count] = repetition;
                let detection = proto::RepetitionDetection {
                    max_pattern_size,
                    min_pattern_size,
                    min_count,
                };
                proto::GenerateRequest {
                    temperature,
                    top_p,
                    min_p,
                    length_penalty,
                    frequency_penalty,
                    presence_penalty,
                    repetition_penalty,
                    max_tokens,
                    n,
                    top_k,
                    min_tokens,
                    truncate_prompt_tokens: truncated,
                    thinking_token_budget: budget,
                    top_logprobs,
                    prompt_logprobs,
                    stream_interval: interval,
                    allowed_token_ids,
                    stop_token_ids,
                    logprob_token_ids,
                    seed,
                    logit_bias: bias.into_iter().collect(),
                    repetition_detection: (detection != proto::RepetitionDetection::default())
                        .then_some(detection),
                    ..proto::GenerateRequest::default()
                }
            },
        )
        .boxed()
}

fn switches() -> BoxedStrategy<proto::GenerateRequest> {
    let four = || [switch(), switch(), switch(), switch()];
    (four(), four(), four(), four())
        .prop_map(|(first, second, third, fourth)| {
            let [logprobs, use_beam_search, watermarking, ignore_eos] = first;
            let [include_stop_str_in_output, add_special_tokens, skip, spaces] = second;
            let [echo, include_reasoning, return_token_ids, as_token_ids] = third;
            let [return_prompt_text, continuous_usage, _, _] = fourth;
            proto::GenerateRequest {
                logprobs,
                use_beam_search,
                watermarking,
                ignore_eos,
                include_stop_str_in_output,
                add_special_tokens,
                skip_special_tokens: skip,
                spaces_between_special_tokens: spaces,
                echo,
                include_reasoning,
                return_token_ids,
                return_tokens_as_token_ids: as_token_ids,
                return_prompt_text,
                continuous_usage,
                ..proto::GenerateRequest::default()
            }
        })
        .boxed()
}

fn words() -> BoxedStrategy<proto::GenerateRequest> {
    let field = ("[a-c]{0,2}", any::<String>())
        .prop_map(|(name, value)| proto::TemplateField { name, value });
    let document = vec(field, 0..3).prop_map(|fields| proto::TemplateDocument { fields });
    (
        [text(), text(), text(), text(), text()],
        [texts(), texts(), texts()],
        seldom(0..4_i32),
        seldom(vec(document, 0..2)),
        integer(),
    )
        .prop_map(|(words, lists, truncation_side, documents, priority)| {
            let [model, reasoning_effort, cache_salt, session_id, user] = words;
            let [stop, bad_words, extension_keys] = lists;
            proto::GenerateRequest {
                model,
                reasoning_effort,
                cache_salt,
                session_id,
                user,
                stop,
                bad_words,
                extension_keys,
                truncation_side,
                documents,
                priority: priority.map(i64::from),
                ..proto::GenerateRequest::default()
            }
        })
        .boxed()
}

/// Any request: the pieces are merged as protobuf merges messages.
fn request() -> BoxedStrategy<proto::GenerateRequest> {
    let pieces = (input(), tools(), numbers(), switches(), words());
    pieces
        .prop_map(|(mut request, tools, numbers, switches, words)| {
            for piece in [tools, numbers, switches, words] {
                let bytes = piece.encode_to_vec();
                request.merge(&bytes[..]).unwrap();
            }
            request
        })
        .boxed()
}

proptest! {
    #[test]
    fn a_request_is_sent_in_known_names_or_refused_by_field(
        request in request(),
        is_stream in any::<bool>(),
    ) {
        let mode = if is_stream { Mode::Stream } else { Mode::Unary };
        match super::super::request(request, mode, &policy()) {
            Ok(translated) => {
                let body = serde_json::to_string(&translated.request).unwrap();
                // Python reads numbers that `Value` cannot hold.
                let body: std::collections::BTreeMap<String, Json> = serde_json::from_str(&body).unwrap();
                for name in body.keys() {
                    let is_known = names::GENERATE.has(name);
                    prop_assert!(is_known || policy().extra_body_keys.contains(name), "{}", name);
                }
                prop_assert_eq!(body.contains_key("stream"), is_stream);
                prop_assert!(translated.asked.choices >= 1);
            }
            Err(invalid) => {
                prop_assert!(!invalid.violations().is_empty());
                for violation in invalid.violations() {
                    prop_assert!(!violation.field.is_empty());
                    prop_assert!(violation.description.len() < 256);
                }
            }
        }
    }
}
