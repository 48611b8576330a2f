//! What a request is made from: one of three fields, which decides the route.

use crate::{openai::request::Prompt, proto};

use super::{InvalidRequest, sampling, text};

/// Which of its three inputs a request has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Input {
    /// `prompt`, for `/v1/chat/completions`.
    #[default]
    Prompt,
    /// `messages`, for `/v1/chat/completions`.
    Messages,
    /// `completion`, for `/v1/completions`.
    Completion,
}

/// The one input of a request.
pub(super) enum Source {
    Prompt(String),
    Messages(Vec<proto::ChatMessage>),
    Completion(proto::CompletionInput),
}

// === impl Input ===

impl Input {
    /// Whether the answer is a chat's.
    pub(crate) fn is_chat(self) -> bool {
        match self {
            Self::Prompt | Self::Messages => true,
            Self::Completion => false,
        }
    }

    /// The field of the request that holds the input.
    pub(crate) fn field(self) -> &'static str {
        match self {
            Self::Prompt => "prompt",
            Self::Messages => "messages",
            Self::Completion => "completion",
        }
    }
}

// === impl Source ===

impl Source {
    /// The one input that is set; an empty one counts as not set.
    pub(super) fn only_one(
        prompt: String,
        messages: Vec<proto::ChatMessage>,
        completion: Option<proto::CompletionInput>,
    ) -> Result<Self, InvalidRequest> {
        let prompt = text(prompt).map(Self::Prompt);
        let messages = (!messages.is_empty()).then_some(Self::Messages(messages));
        let completion = completion
            .filter(|completion| *completion != proto::CompletionInput::default())
            .map(Self::Completion);
        let mut set: Vec<Self> = [prompt, messages, completion]
            .into_iter()
            .flatten()
            .collect();
        match (set.pop(), set.is_empty()) {
            (Some(source), true) => Ok(source),
            (Some(source), false) => {
                set.push(source);
                let fields: Vec<_> = set.iter().map(|source| source.input().field()).collect();
                let description = "set only one of `prompt`, `messages` and `completion`";
                Err(InvalidRequest::together(&fields, description))
            }
            (None, _) => {
                let description = "set one of `prompt`, `messages` and `completion`";
                let fields = ["prompt", "messages", "completion"];
                Err(InvalidRequest::together(&fields, description))
            }
        }
    }

    pub(super) fn input(&self) -> Input {
        match self {
            Self::Prompt(_) => Input::Prompt,
            Self::Messages(_) => Input::Messages,
            Self::Completion(_) => Input::Completion,
        }
    }
}

/// What `completion` holds.
pub(super) fn prompt(text: String, token_ids: Vec<i32>) -> Result<Prompt, InvalidRequest> {
    let fields = ["completion.text", "completion.token_ids"];
    match (text.is_empty(), token_ids.is_empty()) {
        (true, true) => Err(InvalidRequest::together(&fields, "set one of both")),
        (false, false) => Err(InvalidRequest::together(&fields, "set only one of both")),
        (false, true) => Ok(Prompt::Text(text)),
        (true, false) => {
            sampling::token_ids("completion.token_ids", &token_ids)?;
            Ok(Prompt::TokenIds(token_ids))
        }
    }
}
