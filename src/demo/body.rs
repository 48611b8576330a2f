//! The JSON of a whole answer.

use serde::Serialize;

use super::{
    answer::{Answer, Delta},
    logprobs::{self, Logprobs},
    request::Input,
    wire::{FINGERPRINT, Head, Usage, Wire, json, n_tokens, tool_call_id},
};

/// The body of either route.
#[derive(Serialize)]
struct Body<'a> {
    #[serde(flatten)]
    head: Head<'a>,
    choices: Vec<Choice<'a>>,
    service_tier: (),
    system_fingerprint: &'static str,
    usage: WholeUsage,
    #[serde(flatten)]
    prompt: Option<Prompt>,
    kv_transfer_params: (),
    ec_transfer_params: (),
    metrics: (),
}

#[derive(Serialize)]
struct WholeUsage {
    #[serde(flatten)]
    usage: Usage,
    prompt_tokens_details: (),
    completion_tokens_details: (),
}

/// What a chat tells of its prompt; a completion tells it in each choice.
#[derive(Default, Serialize)]
struct Prompt {
    prompt_logprobs: (),
    prompt_token_ids: (),
    prompt_text: (),
}

#[derive(Serialize)]
#[serde(untagged)]
enum Choice<'a> {
    Chat {
        index: usize,
        message: Message,
        logprobs: Option<Logprobs<'a>>,
        finish_reason: &'static str,
        stop_reason: Option<&'a str>,
        token_ids: (),
        routed_experts: (),
    },
    Completion {
        index: usize,
        text: String,
        logprobs: Option<Logprobs<'a>>,
        finish_reason: &'static str,
        stop_reason: Option<&'a str>,
        token_ids: (),
        prompt_logprobs: (),
        prompt_token_ids: (),
        routed_experts: (),
    },
}

#[derive(Serialize)]
struct Message {
    role: &'static str,
    content: Option<String>,
    refusal: (),
    annotations: (),
    audio: (),
    function_call: (),
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<ToolCall>,
    reasoning: Option<String>,
}

#[derive(Serialize)]
struct ToolCall {
    id: String,
    r#type: &'static str,
    function: Function,
}

#[derive(Serialize)]
struct Function {
    name: String,
    arguments: String,
}

// === impl Wire ===

impl Wire<'_> {
    /// The whole answer in one body.
    pub(super) fn body(&self, answers: &[Answer]) -> String {
        let choices = answers.iter().enumerate();
        let prompt = match self.request.input {
            Input::Chat(_) => Some(Prompt::default()),
            Input::Completion(_) => None,
        };
        json(&Body {
            head: self.head("chat.completion"),
            choices: choices
                .map(|(index, answer)| self.choice(index, answer))
                .collect(),
            service_tier: (),
            system_fingerprint: FINGERPRINT,
            usage: WholeUsage {
                usage: self.usage(n_tokens(answers)),
                prompt_tokens_details: (),
                completion_tokens_details: (),
            },
            prompt,
            kv_transfer_params: (),
            ec_transfer_params: (),
            metrics: (),
        })
    }

    fn choice<'b>(&self, index: usize, answer: &'b Answer) -> Choice<'b> {
        let n_top = self.request.logprobs;
        let finish_reason = answer.finish_reason;
        let stop_reason = answer.stop_reason.as_deref();
        match self.request.input {
            Input::Chat(_) => Choice::Chat {
                index,
                message: message(answer),
                logprobs: logprobs::of_chat(n_top, &answer.tokens),
                finish_reason,
                stop_reason,
                token_ids: (),
                routed_experts: (),
            },
            Input::Completion(_) => Choice::Completion {
                index,
                text: message(answer).content.unwrap_or_default(),
                logprobs: logprobs::of_completion(n_top, &answer.tokens, 0..answer.tokens.len()),
                finish_reason,
                stop_reason,
                token_ids: (),
                prompt_logprobs: (),
                prompt_token_ids: (),
                routed_experts: (),
            },
        }
    }
}

fn message(answer: &Answer) -> Message {
    let mut content = String::new();
    let mut reasoning = String::new();
    let mut tool_calls: Vec<ToolCall> = Vec::new();
    for token in &answer.tokens {
        match &token.delta {
            Delta::Nothing => {}
            Delta::Content(text) => content.push_str(text),
            Delta::Reasoning(text) => reasoning.push_str(text),
            Delta::ToolCall { name, .. } => tool_calls.push(ToolCall {
                id: tool_call_id(),
                r#type: "function",
                function: Function {
                    name: name.clone(),
                    arguments: String::new(),
                },
            }),
            Delta::Arguments { text, .. } => {
                if let Some(call) = tool_calls.last_mut() {
                    call.function.arguments.push_str(text);
                }
            }
        }
    }
    let is_call = !tool_calls.is_empty();
    Message {
        role: "assistant",
        content: Some(content).filter(|content| !content.is_empty() || !is_call),
        refusal: (),
        annotations: (),
        audio: (),
        function_call: (),
        tool_calls,
        reasoning: Some(reasoning).filter(|reasoning| !reasoning.is_empty()),
    }
}
