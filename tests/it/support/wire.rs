//! What vLLM 0.33 sends, as short as it may be.

use serde_json::{Value, json};

/// A chunk with one choice.
pub(crate) fn chunk(delta: &Value, finish_reason: Option<&str>) -> String {
    let choice = json!({"index": 0, "delta": delta, "finish_reason": finish_reason});
    chunk_of(&[choice])
}

/// A chunk with these choices.
pub(crate) fn chunk_of(choices: &[Value]) -> String {
    json!({
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": choices,
    })
    .to_string()
}

/// The first chunk of a stream.
pub(crate) fn first() -> String {
    chunk(&json!({"role": "assistant", "content": ""}), None)
}

/// A chunk that adds text.
pub(crate) fn text(text: &str) -> String {
    chunk(&json!({"content": text}), None)
}

/// A chunk that ends the choice.
pub(crate) fn finish(reason: &str) -> String {
    chunk(&json!({}), Some(reason))
}

/// The chunk after the choices.
pub(crate) fn usage() -> String {
    let usage = json!({"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5});
    json!({"id": "chatcmpl-1", "created": 1, "model": "m", "choices": [], "usage": usage})
        .to_string()
}

/// The answer to a unary call.
pub(crate) fn answer(text: &str) -> String {
    let message = json!({"role": "assistant", "content": text});
    json!({
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5},
    })
    .to_string()
}

/// vLLM's error object.
pub(crate) fn error(message: &str, kind: &str, code: u16) -> String {
    json!({"error": {"message": message, "type": kind, "param": null, "code": code}}).to_string()
}
