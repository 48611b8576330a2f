//! The tables of names, and the page that tells of them.

mod coverage;

use super::*;

const EMBED: Fields = Fields::new(&super::EMBED, "token_inputs");
const CLASSIFY: Fields = Fields::new(&super::CLASSIFY, "conversations");
const POOL: Fields = Fields::new(&super::POOL, "texts");
const TRANSCRIBE: Fields = Fields::new(&super::TRANSCRIBE, "audio");
const SUBTITLES: Fields = Fields::new(&TRANSCRIBE_SUBTITLES, "audio");
const PROMPT: Fields = Fields::new(&GENERATE, "prompt");
const MESSAGES: Fields = Fields::new(&GENERATE, "messages");
const COMPLETION: Fields = Fields::new(&GENERATE, "completion");
const STRUCTURED: Fields = Fields::new(&GENERATE_STRUCTURED, "prompt");

#[track_caller]
fn check(param: &str, fields: Fields, expected: Option<&str>) {
    assert_eq!(fields.path(param).as_deref(), expected, "{param}");
}

#[test]
fn a_parameter_is_named_by_the_contracts_field() {
    for (param, fields, expected) in [
        ("body.input.3", EMBED, Some("token_inputs")),
        ("input_tokens", EMBED, Some("token_inputs")),
        ("body.dimensions", EMBED, Some("dimensions")),
        (
            "chat_template_kwargs",
            EMBED,
            Some("chat_template_kwargs_json"),
        ),
        ("normalize", EMBED, Some("use_activation")),
        ("body.encoding_format", EMBED, None),
        ("image_url", EMBED, None),
        ("image_url", CLASSIFY, Some("conversations")),
        ("body.messages.0.content", CLASSIFY, Some("conversations")),
        ("body.input", POOL, Some("texts")),
        ("body.task", POOL, Some("task")),
        ("body", EMBED, None),
        ("body.tokens.0", Fields::DETOKENIZE, Some("token_ids")),
        ("text_1", Fields::SCORE, Some("queries")),
        ("documents", Fields::SCORE, Some("documents")),
        ("body.documents", Fields::RERANK, Some("documents")),
        ("input_tokens", Fields::RERANK, Some("documents")),
        ("audio_filesize_mb", TRANSCRIBE, Some("audio")),
        ("max_completion_tokens", TRANSCRIBE, Some("max_tokens")),
        ("stop.2", PROMPT, Some("stop[2]")),
        ("stop.2", STRUCTURED, Some("stop[2]")),
        ("model", Fields::MODELS, None),
    ] {
        check(param, fields, expected);
    }
}

#[test]
fn an_error_without_a_parameter_is_placed_by_its_words() {
    for (text, fields, expected) in [
        (
            "Model 'm' only supports dimensions in range [1, 128], got 99999.",
            EMBED,
            Some("dimensions"),
        ),
        (
            "max_tokens_per_doc (9) must be less than max_model_len (8).",
            Fields::RERANK,
            Some("max_tokens_per_document"),
        ),
        (
            "MultiModalParam is not supported for Qwen3ForSequenceClassification",
            Fields::RERANK,
            Some("multimodal_documents"),
        ),
        (
            "Invalid or unsupported audio file.",
            TRANSCRIBE,
            Some("audio"),
        ),
        (
            "Currently do not support verbose_json for m",
            TRANSCRIBE,
            Some("timestamps"),
        ),
        (
            "Currently do not support verbose_json for m",
            SUBTITLES,
            Some("subtitles"),
        ),
        ("something else", EMBED, None),
        (
            "Grammar error: Invalid type: nonsense",
            STRUCTURED,
            Some("structured_output"),
        ),
        ("Invalid grammar specification: 'triggers'", PROMPT, None),
        ("only supports dimensions", PROMPT, None),
    ] {
        assert_eq!(fields.of_text(text).as_deref(), expected, "{text}");
    }
}

#[test]
fn what_the_adapter_sets_is_not_the_callers_fault() {
    for (param, fields, expected) in [
        ("body.encoding_format", EMBED, true),
        ("dimensions", EMBED, false),
        ("stream_include_usage", TRANSCRIBE, true),
        ("stream", PROMPT, true),
        ("stream", Fields::MODELS, true),
    ] {
        assert_eq!(fields.is_own(param), expected, "{param}");
    }
}

#[test]
fn scalars_keep_their_name() {
    let messages = proto::DESCRIPTORS
        .file
        .iter()
        .flat_map(|file| &file.message_type);
    let mut messages = messages.filter(|it| it.name() == proto::GenerateRequest::NAME);
    for field in &messages.next().unwrap().field {
        let name = field.name();
        if has_word(GENERATE.inputs, name) || GENERATE.renamed(name).is_some() {
            continue;
        }
        check(name, PROMPT, Some(name));
        check(&format!("body.{name}"), COMPLETION, Some(name));
    }
}

#[test]
fn the_input_is_the_one_that_was_sent() {
    for param in ["messages", "body.messages", "input_tokens", "prompt"] {
        check(param, PROMPT, Some("prompt"));
        check(param, MESSAGES, Some("messages"));
        check(param, COMPLETION, Some("completion"));
    }
}

#[test]
fn a_message_is_named_as_deep_as_both_vocabularies_agree() {
    for (param, expected) in [
        ("body.messages.0.content", "messages[0].content"),
        ("body.messages.12", "messages[12]"),
        (
            "body.messages.3.ChatCompletionDeveloperMessageParam.content.str",
            "messages[3].content",
        ),
        ("messages.0.Foo.bar", "messages[0]"),
        ("messages.x.content", "messages"),
        ("image_url", "messages"),
    ] {
        check(param, MESSAGES, Some(expected));
    }
    check("body.messages.0.content", PROMPT, Some("prompt"));
    check("image_url", COMPLETION, None);
}

#[test]
fn renamed_fields_are_found() {
    for (param, expected) in [
        ("response_format", "structured_output"),
        ("body.structured_outputs.json", "structured_output"),
        ("body.tools.1.function.name", "tools[1]"),
        ("tools", "tools"),
        ("tool_choice.function.name", "tool_choice"),
        ("stop.2", "stop[2]"),
        ("max_completion_tokens", "max_tokens"),
        ("logprobs", "top_logprobs"),
        ("suffix", "completion.suffix"),
        ("chat_template_kwargs", "chat_template_kwargs_json"),
        ("kv_transfer_params.prompt_token_ids", "extra_body_json"),
        ("repetition_detection.min_count", "repetition_detection"),
    ] {
        check(param, MESSAGES, Some(expected));
    }
}

#[test]
fn what_the_caller_did_not_send_has_no_path() {
    for param in [
        "stream_options",
        "body.stream",
        "body",
        "body.5",
        "",
        ".",
        "x",
    ] {
        check(param, MESSAGES, None);
    }
}

/// Every exception stands once, and stands for a field that the contract has.
#[test]
fn the_tables_agree_with_the_contract() {
    for names in [
        &GENERATE,
        &super::EMBED,
        &TOKENIZE,
        &DETOKENIZE,
        &SCORE,
        &RERANK,
        &super::TRANSCRIBE,
    ] {
        let renamed = names.renamed.iter().map(|(theirs, _)| *theirs);
        let words =
            [names.inputs, names.own, names.untyped, names.ignored].map(str::split_whitespace);
        let mut all: Vec<_> = words.into_iter().flatten().chain(renamed).collect();
        let n_names = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), n_names, "{all:?}");
        let fields = [names.renamed, names.told].concat();
        let fields = fields.iter().map(|(_, ours)| *ours).chain(names.chats);
        for ours in fields {
            let (first, _) = steps(ours);
            assert!(field(names.message, first).is_some(), "{ours}");
        }
    }
}
