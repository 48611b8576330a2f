//! Which field of a generation's request vLLM's error is about.

use super::Input;

/// The path of the field that vLLM calls `param`, as `messages[0].content` of `body.messages.0.content`.
///
/// `None` where the adapter itself made that field, and for names that the contract does not know.
pub(super) fn field_path(param: &str, input: Input) -> Option<String> {
    let param = param.strip_prefix("body.").unwrap_or(param);
    let (name, rest) = param.split_once('.').unwrap_or((param, ""));
    let field = match name {
        "prompt" | "messages" | "input_tokens" | "input_text" => {
            return Some(input_path(rest, input));
        }
        // A part of a message; which one is not said.
        "image_url" | "audio_url" | "video_url" | "image" | "audio" | "video" | "type" | "url"
        | "multi_modal_uuids" | "tool_calls" => {
            return (input == Input::Messages).then(|| "messages".to_owned());
        }
        "suffix" => "completion.suffix",
        "max_completion_tokens" => "max_tokens",
        // Chat's switch cannot be wrong by itself, so the number of tokens is meant.
        "logprobs" => "top_logprobs",
        "response_format" | "structured_outputs" => "structured_output",
        "chat_template_kwargs" => "chat_template_kwargs_json",
        "tools" | "documents" | "allowed_token_ids" | "stop" | "stop_token_ids" | "bad_words"
        | "logprob_token_ids" => return Some(format!("{name}{}", index(rest))),
        _ if UNTYPED.contains(&name) => "extra_body_json",
        _ => SAME.iter().copied().find(|same| *same == name)?,
    };
    Some(field.to_owned())
}

/// Whether the adapter itself made the field that vLLM calls `param`, so that no caller can mend it.
pub(super) fn is_own(param: &str) -> bool {
    let param = param.strip_prefix("body.").unwrap_or(param);
    let name = param.split('.').next().unwrap_or(param);
    matches!(name, "stream" | "stream_options" | "request_id")
}

/// Fields that both vocabularies call alike.
const SAME: &[&str] = &[
    "add_generation_prompt",
    "add_special_tokens",
    "cache_salt",
    "continue_final_message",
    "echo",
    "frequency_penalty",
    "ignore_eos",
    "include_reasoning",
    "include_stop_str_in_output",
    "length_penalty",
    "logit_bias",
    "max_tokens",
    "min_p",
    "min_tokens",
    "model",
    "n",
    "parallel_tool_calls",
    "presence_penalty",
    "priority",
    "prompt_logprobs",
    "reasoning_effort",
    "repetition_detection",
    "repetition_penalty",
    "return_prompt_text",
    "return_token_ids",
    "return_tokens_as_token_ids",
    "seed",
    "session_id",
    "skip_special_tokens",
    "spaces_between_special_tokens",
    "stream_interval",
    "temperature",
    "thinking_token_budget",
    "tool_choice",
    "top_k",
    "top_logprobs",
    "top_p",
    "truncate_prompt_tokens",
    "truncation_side",
    "use_beam_search",
    "user",
    "watermarking",
];

/// Fields that a caller can send through `extra_body_json` alone.
const UNTYPED: &[&str] = &[
    "chat_template",
    "ec_transfer_params",
    "extra_args",
    "kv_transfer_params",
    "media_io_kwargs",
    "mm_payload",
    "mm_processor_kwargs",
    "prompt_embeds",
    "return_mm_kwargs",
    "routed_experts_prompt_start",
    "vllm_xargs",
];

/// The input that the caller sent, as deep as its own fields go.
fn input_path(rest: &str, input: Input) -> String {
    match input {
        Input::Prompt | Input::Completion => input.field().to_owned(),
        Input::Messages => {
            let (n, rest) = rest.split_once('.').unwrap_or((rest, ""));
            let index = index(n);
            let member = rest.split('.').find(|name| MEMBERS.contains(name));
            match member.filter(|_| !index.is_empty()) {
                Some(member) => format!("messages{index}.{member}"),
                None => format!("messages{index}"),
            }
        }
    }
}

/// Fields of a message that both vocabularies call alike.
const MEMBERS: &[&str] = &[
    "content",
    "name",
    "reasoning",
    "role",
    "tool_call_id",
    "tool_calls",
];

/// `[3]` where the path goes on with `3`.
fn index(rest: &str) -> String {
    let n = rest.split('.').next().unwrap_or_default();
    match n.parse::<u32>() {
        Ok(n) => format!("[{n}]"),
        Err(_not_an_index) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(param: &str, input: Input, expected: Option<&str>) {
        assert_eq!(field_path(param, input).as_deref(), expected, "{param}");
    }

    #[test]
    fn scalars_keep_their_name() {
        for name in SAME {
            check(name, Input::Prompt, Some(name));
            check(&format!("body.{name}"), Input::Completion, Some(name));
        }
    }

    #[test]
    fn the_input_is_the_one_that_was_sent() {
        for param in ["messages", "body.messages", "input_tokens", "prompt"] {
            check(param, Input::Prompt, Some("prompt"));
            check(param, Input::Messages, Some("messages"));
            check(param, Input::Completion, Some("completion"));
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
            check(param, Input::Messages, Some(expected));
        }
        check("body.messages.0.content", Input::Prompt, Some("prompt"));
        check("image_url", Input::Completion, None);
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
            check(param, Input::Messages, Some(expected));
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
            check(param, Input::Messages, None);
        }
    }
}
