//! The turns of a chat.

use crate::{
    config::Policy,
    openai::request::{Content, Function, FunctionCall, Message, Part, ToolCall},
    proto::{self, Role, content_part},
};

use super::{
    InvalidRequest,
    media::{self, Kind},
    text,
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
    let part = |(n, part)| self::part(&format!("parts[{n}]"), part, policy);
    let parts: Result<Vec<Part>, InvalidRequest> =
        parts.into_iter().enumerate().map(part).collect();
    parts.map(Content::Parts).map(Some)
}

fn part(field: &str, part: proto::ContentPart, policy: &Policy) -> Result<Part, InvalidRequest> {
    use content_part::Part as Piece;

    let proto::ContentPart { part } = part;
    let part = match part {
        Some(Piece::Text(text)) => Ok(Part::Text { text }),
        Some(Piece::Image(image)) => media::part("image", Some(Kind::Image), image, policy),
        Some(Piece::Audio(audio)) => media::part("audio", Some(Kind::Audio), audio, policy),
        Some(Piece::Video(video)) => media::part("video", Some(Kind::Video), video, policy),
        Some(Piece::File(file)) => media::part("file", None, file, policy),
        None => {
            let description = "nothing is set; set the piece of the message";
            return Err(InvalidRequest::new(field, description));
        }
    };
    part.map_err(|invalid| invalid.within(field))
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn turn(role: Role) -> proto::ChatMessage {
        proto::ChatMessage {
            role: role.into(),
            ..proto::ChatMessage::default()
        }
    }

    fn says(role: Role, content: &str) -> proto::ChatMessage {
        proto::ChatMessage {
            content: content.to_owned(),
            ..turn(role)
        }
    }

    fn of_parts(parts: Vec<Option<content_part::Part>>) -> proto::ChatMessage {
        let part = |part| proto::ContentPart { part };
        proto::ChatMessage {
            parts: parts.into_iter().map(part).collect(),
            ..turn(Role::User)
        }
    }

    fn calls(role: Role, id: &str, name: &str, arguments: &str) -> proto::ChatMessage {
        let call = proto::ToolCall {
            id: id.to_owned(),
            name: name.to_owned(),
            arguments: arguments.to_owned(),
        };
        proto::ChatMessage {
            tool_calls: vec![call],
            ..turn(role)
        }
    }

    fn text_part(text: &str) -> Option<content_part::Part> {
        Some(content_part::Part::Text(text.to_owned()))
    }

    #[track_caller]
    fn check(message: proto::ChatMessage, expected: Value) {
        let messages = messages(vec![message], &Policy::default()).unwrap();
        assert_eq!(serde_json::to_value(messages).unwrap(), json!([expected]));
    }

    /// `fields` are those of the second message.
    #[track_caller]
    fn refused(message: proto::ChatMessage, fields: &[&str], says: &str) {
        let messages = vec![self::says(Role::User, "Hi."), message];
        let invalid = super::messages(messages, &Policy::default()).unwrap_err();
        let named: Vec<_> = invalid
            .violations()
            .iter()
            .map(|violation| violation.field.as_str())
            .collect();
        let fields: Vec<_> = fields
            .iter()
            .map(|field| format!("messages[1].{field}"))
            .collect();
        assert_eq!(named, fields);
        assert!(invalid.to_string().contains(says), "{invalid}");
    }

    #[test]
    fn every_role_has_its_word() {
        for (role, word) in [
            (Role::System, "system"),
            (Role::Developer, "developer"),
            (Role::User, "user"),
            (Role::Assistant, "assistant"),
        ] {
            check(says(role, "x"), json!({"role": word, "content": "x"}));
        }
        let result = proto::ChatMessage {
            tool_call_id: "1".to_owned(),
            name: "add".to_owned(),
            ..says(Role::Tool, "4")
        };
        check(
            result,
            json!({"role": "tool", "content": "4", "name": "add", "tool_call_id": "1"}),
        );
    }

    #[test]
    fn an_empty_turn_says_so() {
        for (role, word) in [(Role::User, "user"), (Role::Assistant, "assistant")] {
            check(turn(role), json!({"role": word, "content": ""}));
        }
        let thought = proto::ChatMessage {
            reasoning: "Hm.".to_owned(),
            ..turn(Role::Assistant)
        };
        check(
            thought,
            json!({"role": "assistant", "content": "", "reasoning": "Hm."}),
        );
    }

    #[test]
    fn calls_go_back_as_the_model_wrote_them() {
        let call = |arguments: &str| {
            let function = json!({"name": "f", "arguments": arguments});
            json!({
                "role": "assistant",
                "tool_calls": [{"id": "1", "type": "function", "function": function}],
            })
        };
        for arguments in ["", r#"{"a":"#, r#"{"b":1, "a":2}"#] {
            let message = calls(Role::Assistant, "1", "f", arguments);
            check(message, call(arguments));
        }
        let mut both = calls(Role::Assistant, "1", "f", "");
        both.content = "Wait.".to_owned();
        let mut expected = call("");
        expected["content"] = json!("Wait.");
        check(both, expected);
    }

    #[test]
    fn parts_keep_their_order() {
        let image = proto::Media {
            cache_key: "k".to_owned(),
            ..proto::Media::default()
        };
        let parts = vec![
            text_part("a"),
            Some(content_part::Part::Image(image)),
            text_part(""),
        ];
        check(
            of_parts(parts),
            json!({
                "role": "user",
                "content": [
                    {"type": "text", "text": "a"},
                    {"type": "image_url", "image_url": null, "uuid": "k"},
                    {"type": "text", "text": ""},
                ],
            }),
        );
    }

    #[test]
    fn what_a_turn_lacks_is_named() {
        let nothing = proto::Media::default();
        let image = Some(content_part::Part::Image(nothing.clone()));
        let file = Some(content_part::Part::File(nothing));
        for (message, field) in [
            (turn(Role::Unspecified), "role"),
            (turn(Role::Tool), "tool_call_id"),
            (of_parts(vec![None]), "parts[0]"),
            (of_parts(vec![text_part("a"), image]), "parts[1].image"),
            (of_parts(vec![file]), "parts[0].file"),
            (calls(Role::Assistant, "", "f", ""), "tool_calls[0].id"),
            (calls(Role::Assistant, "1", "", ""), "tool_calls[0].name"),
        ] {
            refused(message, &[field], "");
        }
        let unknown = proto::ChatMessage {
            role: 99,
            ..turn(Role::User)
        };
        refused(unknown, &["role"], "known role");
    }

    #[test]
    fn what_belongs_to_another_role_is_refused() {
        let thinks = |role| proto::ChatMessage {
            reasoning: "Hm.".to_owned(),
            ..turn(role)
        };
        let answers = |role| proto::ChatMessage {
            tool_call_id: "1".to_owned(),
            ..turn(role)
        };
        for role in [Role::System, Role::Developer, Role::User] {
            refused(calls(role, "1", "f", ""), &["tool_calls"], "ROLE_ASSISTANT");
            refused(thinks(role), &["reasoning"], "ROLE_ASSISTANT");
            refused(answers(role), &["tool_call_id"], "ROLE_TOOL");
        }
        refused(answers(Role::Assistant), &["tool_call_id"], "ROLE_TOOL");
    }

    #[test]
    fn content_is_text_or_parts() {
        let both = proto::ChatMessage {
            content: "a".to_owned(),
            ..of_parts(vec![text_part("b")])
        };
        refused(both, &["content", "parts"], "one of");
    }

    #[test]
    fn entries_are_bounded_at_the_edge() {
        let turns = |count| messages(vec![turn(Role::User); count], &Policy::default());
        assert!(turns(MAX_ENTRIES).is_ok());
        let invalid = turns(MAX_ENTRIES + 1).unwrap_err();
        assert_eq!(invalid.violations()[0].field, "messages");
        let parts = of_parts(vec![text_part("a"); MAX_ENTRIES + 1]);
        refused(parts, &["parts"], "at most 4096");
    }
}
