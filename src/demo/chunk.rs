//! The JSON of a streamed answer, a chunk for each token.

use serde::Serialize;

use super::{
    answer::{Answer, Delta},
    logprobs::{self, Logprobs},
    request::Input,
    wire::{FINGERPRINT, Head, Usage, Wire, json, n_tokens, tool_call_id},
};

/// A streamed chunk of either route.
#[derive(Serialize)]
struct Chunk<'a> {
    #[serde(flatten)]
    head: Head<'a>,
    choices: Vec<ChunkChoice<'a>>,
    /// These two come with the role alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_token_ids: Option<()>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_text: Option<()>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    system_fingerprint: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum ChunkChoice<'a> {
    Role {
        index: usize,
        delta: MessageDelta<'a>,
        logprobs: (),
        finish_reason: (),
    },
    Chat {
        index: usize,
        delta: MessageDelta<'a>,
        logprobs: Option<Logprobs<'a>>,
        finish_reason: Option<&'static str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        stop_reason: Option<Option<&'a str>>,
        token_ids: (),
    },
    Completion {
        index: usize,
        text: &'a str,
        logprobs: Option<Logprobs<'a>>,
        finish_reason: Option<&'static str>,
        stop_reason: Option<&'a str>,
        prompt_token_ids: (),
        token_ids: (),
    },
}

#[derive(Default, Serialize)]
struct MessageDelta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<Option<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<[ToolCallDelta<'a>; 1]>,
}

#[derive(Serialize)]
struct ToolCallDelta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<&'static str>,
    index: usize,
    function: FunctionDelta<'a>,
}

#[derive(Serialize)]
struct FunctionDelta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    arguments: Option<&'a str>,
}

// === impl Wire ===

impl Wire<'_> {
    /// The chunk that opens a choice; a completion has none.
    pub(super) fn role_chunk(&self, index: usize) -> Option<String> {
        match self.request.input {
            Input::Chat(_) => {}
            Input::Completion(_) => return None,
        }
        let choice = ChunkChoice::Role {
            index,
            delta: MessageDelta {
                role: Some("assistant"),
                content: Some(Some("")),
                ..MessageDelta::default()
            },
            logprobs: (),
            finish_reason: (),
        };
        Some(json(&Chunk {
            prompt_token_ids: Some(()),
            prompt_text: Some(()),
            usage: self.usage_so_far(0),
            ..self.chunk_of(vec![choice])
        }))
    }

    /// The chunk of the `n`th token of a choice; `None` where there is none for it.
    pub(super) fn chunk(&self, index: usize, answer: &Answer, n: usize) -> Option<String> {
        let token = answer.tokens.get(n)?;
        let is_last = n + 1 == answer.tokens.len();
        let is_silent = token.delta == Delta::Nothing && self.request.logprobs.is_none();
        if is_silent && !is_last {
            return None;
        }
        let finish_reason = is_last.then_some(answer.finish_reason);
        let stop_reason = answer.stop_reason.as_deref().filter(|_| is_last);
        let choice = match self.request.input {
            Input::Chat(_) => ChunkChoice::Chat {
                index,
                delta: message_delta(&token.delta),
                logprobs: logprobs::of_chat(self.request.logprobs, std::slice::from_ref(token)),
                finish_reason,
                stop_reason: is_last.then_some(stop_reason),
                token_ids: (),
            },
            Input::Completion(_) => ChunkChoice::Completion {
                index,
                text: token.content(),
                logprobs: logprobs::of_completion(self.request.logprobs, &answer.tokens, n..n + 1),
                finish_reason,
                stop_reason,
                prompt_token_ids: (),
                token_ids: (),
            },
        };
        let usage_at_the_end = self.request.stream.is_some_and(|it| it.usage_at_the_end);
        Some(json(&Chunk {
            usage: self.usage_so_far(n + 1),
            system_fingerprint: (is_last && !usage_at_the_end).then_some(FINGERPRINT),
            ..self.chunk_of(vec![choice])
        }))
    }

    /// The chunk without choices that ends a stream whose caller asked for the usage.
    pub(super) fn usage_chunk(&self, answers: &[Answer]) -> String {
        json(&Chunk {
            usage: Some(self.usage(n_tokens(answers))),
            system_fingerprint: Some(FINGERPRINT),
            ..self.chunk_of(Vec::new())
        })
    }

    fn chunk_of<'b>(&'b self, choices: Vec<ChunkChoice<'b>>) -> Chunk<'b> {
        Chunk {
            head: self.head("chat.completion.chunk"),
            choices,
            prompt_token_ids: None,
            prompt_text: None,
            usage: None,
            system_fingerprint: None,
        }
    }

    fn usage_so_far(&self, n_completion_tokens: usize) -> Option<Usage> {
        let stream = self.request.stream?;
        stream
            .usage_in_each_chunk
            .then(|| self.usage(n_completion_tokens))
    }
}

fn message_delta(delta: &Delta) -> MessageDelta<'_> {
    let call = |id, index, name, arguments| MessageDelta {
        content: Some(None),
        tool_calls: Some([ToolCallDelta {
            r#type: Option::is_some(&id).then_some("function"),
            id,
            index,
            function: FunctionDelta { name, arguments },
        }]),
        ..MessageDelta::default()
    };
    match delta {
        Delta::Nothing => MessageDelta::default(),
        Delta::Content(text) => MessageDelta {
            content: Some(Some(text)),
            ..MessageDelta::default()
        },
        Delta::Reasoning(text) => MessageDelta {
            reasoning: Some(text),
            ..MessageDelta::default()
        },
        Delta::ToolCall { index, name } => call(Some(tool_call_id()), *index, Some(name), None),
        Delta::Arguments { index, text } => call(None, *index, None, Some(text)),
    }
}
