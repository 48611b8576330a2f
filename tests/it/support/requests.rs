//! The shortest requests that mean something.

use vllm_grpc_adapter::proto::{ChatMessage, CompletionInput, GenerateRequest, Role};

/// One user turn.
pub(crate) fn prompt(text: &str) -> GenerateRequest {
    GenerateRequest {
        prompt: text.to_owned(),
        ..GenerateRequest::default()
    }
}

/// A conversation.
pub(crate) fn chat(turns: impl IntoIterator<Item = (Role, &'static str)>) -> GenerateRequest {
    let messages = turns.into_iter().map(|(role, content)| ChatMessage {
        role: role.into(),
        content: content.to_owned(),
        ..ChatMessage::default()
    });
    GenerateRequest {
        messages: messages.collect(),
        ..GenerateRequest::default()
    }
}

/// Raw text.
pub(crate) fn completion(text: &str) -> GenerateRequest {
    GenerateRequest {
        completion: Some(CompletionInput {
            text: text.to_owned(),
            ..CompletionInput::default()
        }),
        ..GenerateRequest::default()
    }
}
