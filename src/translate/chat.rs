//! The turns of a chat.

use crate::{
    config::Policy,
    openai::request::{Content, Function, FunctionCall, Message, Part, ToolCall},
    proto::{self, Role, content_part},
};

use super::{
    InvalidRequest,
    media::{self, Kind},
    request::text,
};

/// Most turns of a chat, and most parts and tool calls of a turn.
const MAX_ENTRIES: usize = 4096;

/// The turns as vLLM takes them.
pub(super) fn messages(
    messages: Vec<proto::ChatMessage>,
    policy: &Policy,
) -> Result<Vec<Message>, InvalidRequest> {
    at_most(messages.len(), "messages")?;
    let message = |(n, message)| {
        self::message(message, policy)
            .map_err(|invalid: InvalidRequest| invalid.within(&format!("messages[{n}]")))
    };
    messages.into_iter().enumerate().map(message).collect()
}

/// One user turn.
pub(super) fn prompt(text: String) -> Vec<Message> {
    vec![Message {
        role: "user",
        content: Some(Content::Text(text)),
        ..Message::default()
    }]
}

fn message(message: proto::ChatMessage, policy: &Policy) -> Result<Message, InvalidRequest> {
    let proto::ChatMessage {
        role,
        content,
        parts,
        name,
        tool_calls,
        tool_call_id,
        reasoning,
    } = message;
    let role = Role::try_from(role).unwrap_or(Role::Unspecified);
    let message = Message {
        role: self::role(role)?,
        content: self::content(content, parts, policy)?,
        name: text(name),
        tool_calls: self::tool_calls(tool_calls)?,
        tool_call_id: text(tool_call_id),
        reasoning: text(reasoning),
    };
    belongs_to(role, &message)?;
    Ok(with_content(message))
}

fn role(role: Role) -> Result<&'static str, InvalidRequest> {
    match role {
        Role::System => Ok("system"),
        Role::Developer => Ok("developer"),
        Role::User => Ok("user"),
        Role::Assistant => Ok("assistant"),
        Role::Tool => Ok("tool"),
        Role::Unspecified => Err(InvalidRequest::new("role", "must be set to a known role")),
    }
}

/// What only a turn of one role may have.
fn belongs_to(role: Role, message: &Message) -> Result<(), InvalidRequest> {
    let is_assistant = role == Role::Assistant;
    if !is_assistant && !message.tool_calls.is_empty() {
        let description = "belongs to a turn of ROLE_ASSISTANT only";
        return Err(InvalidRequest::new("tool_calls", description));
    }
    if !is_assistant && message.reasoning.is_some() {
        let description = "belongs to a turn of ROLE_ASSISTANT only";
        return Err(InvalidRequest::new("reasoning", description));
    }
    match (role == Role::Tool, message.tool_call_id.is_some()) {
        (true, false) => {
            let description = "must be the id of the call that this is the result of";
            Err(InvalidRequest::new("tool_call_id", description))
        }
        (false, true) => {
            let description = "belongs to a turn of ROLE_TOOL only";
            Err(InvalidRequest::new("tool_call_id", description))
        }
        (true, true) | (false, false) => Ok(()),
    }
}

/// A turn without text says so, since templates look at it; one with calls alone has none, as OpenAI's answers do.
fn with_content(mut message: Message) -> Message {
    if message.content.is_none() && message.tool_calls.is_empty() {
        message.content = Some(Content::Text(String::new()));
    }
    message
}

fn content(
    content: String,
    parts: Vec<proto::ContentPart>,
    policy: &Policy,
) -> Result<Option<Content>, InvalidRequest> {
    if parts.is_empty() {
        return Ok(text(content).map(Content::Text));
    }
    if !content.is_empty() {
        let description = "set one of `content` and `parts`";
        return Err(InvalidRequest::together(&["content", "parts"], description));
    }
    at_most(parts.len(), "parts")?;
    let part = |(n, part)| {
        self::part(part, policy)
            .map_err(|invalid: InvalidRequest| invalid.within(&format!("parts[{n}]")))
    };
    let parts: Result<Vec<Part>, InvalidRequest> =
        parts.into_iter().enumerate().map(part).collect();
    parts.map(Content::Parts).map(Some)
}

fn part(part: proto::ContentPart, policy: &Policy) -> Result<Part, InvalidRequest> {
    use content_part::Part as Piece;

    let proto::ContentPart { part } = part;
    match part {
        Some(Piece::Text(text)) => Ok(Part::Text { text }),
        Some(Piece::Image(image)) => media::part("image", Some(Kind::Image), image, policy),
        Some(Piece::Audio(audio)) => media::part("audio", Some(Kind::Audio), audio, policy),
        Some(Piece::Video(video)) => media::part("video", Some(Kind::Video), video, policy),
        Some(Piece::File(file)) => media::part("file", None, file, policy),
        None => {
            let description = "nothing is set; set the piece of the message";
            Err(InvalidRequest::new("part", description))
        }
    }
}

fn tool_calls(calls: Vec<proto::ToolCall>) -> Result<Vec<ToolCall>, InvalidRequest> {
    at_most(calls.len(), "tool_calls")?;
    let call = |(n, call)| {
        tool_call(call)
            .map_err(|invalid: InvalidRequest| invalid.within(&format!("tool_calls[{n}]")))
    };
    calls.into_iter().enumerate().map(call).collect()
}

/// The arguments go back as the model wrote them, whole or cut: vLLM makes an empty object of what is no JSON.
fn tool_call(call: proto::ToolCall) -> Result<ToolCall, InvalidRequest> {
    let proto::ToolCall {
        id,
        name,
        arguments,
    } = call;
    for (field, value) in [("id", &id), ("name", &name)] {
        if value.is_empty() {
            return Err(InvalidRequest::new(field, "must not be empty"));
        }
    }
    Ok(ToolCall {
        id,
        kind: Function::Function,
        function: FunctionCall { name, arguments },
    })
}

fn at_most(count: usize, field: &str) -> Result<(), InvalidRequest> {
    if count <= MAX_ENTRIES {
        return Ok(());
    }
    let description = format!("must have at most {MAX_ENTRIES} entries");
    Err(InvalidRequest::new(field, description))
}
