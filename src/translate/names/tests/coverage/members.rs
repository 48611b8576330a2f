//! What lies below the fields: turns, parts, tools, forms.

use std::{collections::BTreeSet, fmt::Write};

use super::Openapi;

/// A title, the schemas that are one to the contract, and the place of each of their properties.
type Group = (
    &'static str,
    &'static [&'static str],
    &'static [(&'static str, &'static str)],
);

/// Of routes that are not served, and of what has no properties that a caller sends.
const OTHERS: [&str; 4] = [
    "Anthropic",
    "Cohere",
    "QuestionSpec",
    "openai_harmony__Content",
];

const GROUPS: &[Group] = &[
    (
        "Turns: `ChatMessage`",
        &[
            "ChatCompletionAssistantMessageParam",
            "ChatCompletionDeveloperMessageParam",
            "ChatCompletionFunctionMessageParam",
            "ChatCompletionSystemMessageParam",
            "ChatCompletionToolMessageParam",
            "ChatCompletionUserMessageParam",
            "CustomChatCompletionMessageParam",
            "Role",
        ],
        &[
            ("audio", "none: vLLM does not read it"),
            ("content", "`content` or `parts`"),
            ("function_call", "none: what OpenAI had before `tool_calls`"),
            ("name", "`name`"),
            ("reasoning", "`reasoning`"),
            ("refusal", "a part: vLLM does not read the member"),
            ("role", "`role` or `role_name`"),
            ("task", "`task`"),
            ("tool_call_id", "`tool_call_id`"),
            ("tool_calls", "`tool_calls`"),
            ("tools", "`tools`"),
        ],
    ),
    (
        "Turns in the form of gpt-oss, which vLLM takes beside OpenAI's",
        &["Author", "openai_harmony__Message"],
        &[
            ("author", HARMONY),
            ("channel", HARMONY),
            ("content", HARMONY),
            ("content_type", HARMONY),
            ("name", HARMONY),
            ("recipient", HARMONY),
            ("role", HARMONY),
        ],
    ),
    (
        "Parts of a turn: `ContentPart`",
        &[
            "ChatCompletionContentPartAudioEmbedsParam",
            "ChatCompletionContentPartAudioParam",
            "ChatCompletionContentPartImageEmbedsParam",
            "ChatCompletionContentPartImageParam",
            "ChatCompletionContentPartInputAudioParam",
            "ChatCompletionContentPartPromptEmbedsParam",
            "ChatCompletionContentPartRefusalParam",
            "ChatCompletionContentPartTextParam",
            "ChatCompletionContentPartVideoEmbedsParam",
            "ChatCompletionContentPartVideoParam",
            "CustomChatCompletionContentSimpleAudioParam",
            "CustomChatCompletionContentSimpleImageParam",
            "CustomChatCompletionContentSimpleVideoParam",
            "CustomChatCompletionContentToolReferenceParam",
            "CustomThinkCompletionContentParam",
            "File",
            "ScoreMultiModalParam",
        ],
        &[
            ("audio_embeds", EMBEDS),
            ("audio_url", "`audio`"),
            ("closed", "none: vLLM 0.32 does not read it"),
            ("content", "`parts` of `MultimodalText`"),
            ("data", EMBEDS),
            (
                "file",
                "`file`, as far as it is media: vLLM has no part for files",
            ),
            ("image_embeds", EMBEDS),
            ("image_url", "`image`"),
            (
                "input_audio",
                "`audio`: sent as `audio_url`, which takes every media type",
            ),
            ("name", "`tool_reference`"),
            (
                "prompt_cache_breakpoint",
                "`extra_json`; vLLM 0.32 does not read it",
            ),
            ("refusal", "`refusal`"),
            ("text", "`text`"),
            ("thinking", "`thinking`"),
            ("type", "the member that is set"),
            ("uuid", "`cache_key`"),
            ("video_embeds", EMBEDS),
            ("video_url", "`video`"),
        ],
    ),
    (
        "Media: `Media`",
        &[
            "Audio",
            "AudioURL",
            "FileFile",
            "FilePromptCacheBreakpoint",
            "ImageURL",
            "InputAudio",
            "VideoURL",
            "openai__types__chat__chat_completion_content_part_image_param__PromptCacheBreakpoint",
            "openai__types__chat__chat_completion_content_part_input_audio_param__PromptCacheBreakpoint",
            "openai__types__chat__chat_completion_content_part_text_param__PromptCacheBreakpoint",
        ],
        &[
            ("data", "`data`"),
            ("detail", "`detail`"),
            ("file_data", "`data`"),
            ("file_id", "none: vLLM keeps no files"),
            ("filename", "none: vLLM does not read it"),
            ("format", "`media_type`"),
            ("id", "none: vLLM keeps no sound"),
            ("mode", "`extra_json`; vLLM 0.32 does not read it"),
            ("ttl", "`extra_json`; vLLM 0.32 does not read it"),
            ("url", "`url`, or `data`"),
        ],
    ),
    (
        "Tool calls of a turn: `ToolCall`",
        &[
            "ChatCompletionMessageCustomToolCallParam",
            "ChatCompletionMessageFunctionToolCallParam",
            "Custom",
            "Function",
            "FunctionCall",
        ],
        &[
            ("arguments", "`arguments`"),
            ("custom", "none: vLLM takes functions alone"),
            ("function", "`name` and `arguments`"),
            ("id", "`id`"),
            ("input", "none: vLLM takes functions alone"),
            ("name", "`name`"),
            ("type", "`function`"),
        ],
    ),
    (
        "Tools: `Tool` and `ToolChoice`",
        &[
            "ChatCompletionFunctionToolParam",
            "ChatCompletionNamedFunction",
            "ChatCompletionNamedToolChoiceParam",
            "ChatCompletionToolsParam",
            "openai__types__shared_params__function_definition__FunctionDefinition",
            "vllm__entrypoints__generate__base__protocol__FunctionDefinition",
        ],
        &[
            ("defer_loading", "`defer_loading`"),
            ("description", "`description`"),
            (
                "function",
                "the members of `Tool`; `function_name` of `ToolChoice`",
            ),
            ("name", "`name`; `function_name` of `ToolChoice`"),
            ("parameters", "`parameters_json`"),
            ("strict", "`strict`"),
            ("type", "`function`"),
        ],
    ),
    (
        "Forms: `StructuredOutput`",
        &[
            "JsonSchemaResponseFormat",
            "LegacyStructuralTag",
            "LegacyStructuralTagResponseFormat",
            "ResponseFormat",
            "StructuralTagResponseFormat",
            "StructuredOutputsParams",
        ],
        &[
            ("_backend", "none: vLLM's own"),
            ("_backend_was_auto", "none: vLLM's own"),
            ("begin", "`structural_tag_json`"),
            ("choice", "`choice`"),
            ("description", "none: without effect"),
            ("disable_additional_properties", UNREAD),
            ("disable_any_whitespace", UNREAD),
            ("end", "`structural_tag_json`"),
            ("format", "`structural_tag_json`"),
            ("grammar", "`grammar`"),
            ("json", "`json_schema`, sent as `response_format`"),
            ("json_object", "`json_object`, sent as `response_format`"),
            ("json_schema", "`json_schema`"),
            ("name", "the adapter's: required, and without effect"),
            ("regex", "`regex`"),
            ("schema", "`json_schema`"),
            ("strict", "none: without effect"),
            (
                "structural_tag",
                "`structural_tag_json`, sent as `response_format`",
            ),
            ("structures", "`structural_tag_json`"),
            ("triggers", "`structural_tag_json`"),
            ("type", "the member that is set"),
            ("whitespace_pattern", UNREAD),
        ],
    ),
    (
        "`RepetitionDetection`, and options of a stream",
        &["RepetitionDetectionParams", "StreamOptions"],
        &[
            ("continuous_usage_stats", "`continuous_usage`"),
            ("include_usage", "the adapter's: always"),
            ("max_pattern_size", "`max_pattern_size`"),
            ("min_count", "`min_count`"),
            ("min_pattern_size", "`min_pattern_size`"),
        ],
    ),
];

const EMBEDS: &str = "`embeds_json`, if the operator allows its type (`--allow-extra-body`): vLLM has a switch of its own (`--enable-mm-embeds`, `--enable-prompt-embeds`), which says nothing of these callers, and warns that a tensor of another shape can end the engine";
const HARMONY: &str = "none: turns go in OpenAI's form, which vLLM turns into this one";
const UNREAD: &str =
    "none: vLLM 0.11 to 0.33 take it and do not read it; `--structured-outputs-config` decides";

pub(super) fn print(page: &mut String, openapi: &Openapi) {
    let mut bodies: BTreeSet<&str> = openapi
        .routes
        .values()
        .flatten()
        .map(String::as_str)
        .collect();
    for (title, schemas, places) in GROUPS {
        write!(
            page,
            "\n## {title}\n\n| vLLM's member | place |\n|---|---|\n"
        )
        .unwrap();
        bodies.extend(*schemas);
        let properties = schemas.iter().flat_map(|schema| &openapi.schemas[*schema]);
        let properties: BTreeSet<&str> = properties.map(String::as_str).collect();
        for name in &properties {
            let place = places.iter().find(|(property, _)| property == name);
            let (_, place) = place.unwrap_or_else(|| panic!("{title}: {name} has no place"));
            writeln!(page, "| `{name}` | {place} |").unwrap();
        }
        assert_eq!(properties.len(), places.len(), "{title}");
    }
    let is_told =
        |schema: &&str| bodies.contains(schema) || OTHERS.iter().any(|it| schema.starts_with(it));
    let schemas = openapi.schemas.keys().map(String::as_str);
    let untold: Vec<_> = schemas.filter(|schema| !is_told(schema)).collect();
    assert!(untold.is_empty(), "{untold:?} have no place");
}
