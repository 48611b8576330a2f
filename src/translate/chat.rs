//! The turns of a chat.

pub(super) mod media;
pub(super) mod media_type;
mod part;
pub(super) mod template;
pub(super) mod tools;

use std::borrow::Cow;

use crate::{
    config::Policy,
    openai::request::{Content, FunctionCall, Message, Part, ToolCall},
    proto::{self, Role},
};

use super::{
    invalid::InvalidRequest,
    sampling::{at_most, text},
};
/// The roles of the enum, whose turns have fields and rules of their own.
const OF_ENUM: [&str; 5] = ["system", "developer", "user", "assistant", "tool"];

/// Most turns of a chat, and most parts and tool calls of a turn.
const MAX_ENTRIES: usize = 4096;

/// The turns as vLLM takes them.
pub(super) fn messages(
    messages: Vec<proto::ChatMessage>,
    policy: &Policy,
) -> Result<Vec<Message>, InvalidRequest> {
    each("messages", messages, |message| {
        self::message(message, policy)
    })
}

/// Several chats, none of them without a turn.
pub(super) fn conversations(
    conversations: Vec<proto::Conversation>,
    policy: &Policy,
) -> Result<Vec<Vec<Message>>, InvalidRequest> {
    let chats = conversations.into_iter().enumerate().map(|(n, chat)| {
        let field = format!("conversations[{n}]");
        if chat.messages.is_empty() {
            let field = format!("{field}.messages");
            return Err(InvalidRequest::new(field, "must not be empty"));
        }
        messages(chat.messages, policy).map_err(|invalid| invalid.within(&field))
    });
    chats.collect()
}

/// One user turn.
pub(super) fn prompt(text: String) -> Vec<Message> {
    vec![Message {
        role: "user".into(),
        content: Some(Content::Text(text)),
        ..Message::default()
    }]
}

/// Translates each entry of a list; an error names the entry.
fn each<T, U>(
    field: &str,
    list: Vec<T>,
    translate: impl Fn(T) -> Result<U, InvalidRequest>,
) -> Result<Vec<U>, InvalidRequest> {
    let list = at_most(field, list, MAX_ENTRIES)?.into_iter().enumerate();
    list.map(|(n, entry)| {
        translate(entry).map_err(|invalid| invalid.within(&format!("{field}[{n}]")))
    })
    .collect()
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
        role_name,
        tools,
        task,
    } = message;
    let role = Role::try_from(role).map_err(|_unknown| unknown_role())?;
    let message = Message {
        role: self::role(role, role_name)?,
        content: self::content(content, parts, policy)?,
        name: text(name),
        tool_calls: each("tool_calls", tool_calls, tool_call)?,
        tool_call_id: text(tool_call_id),
        reasoning: text(reasoning),
        tools: tools::definitions(tools)?,
        task: text(task),
    };
    belongs_to(role, &message)?;
    Ok(with_content(message))
}

/// The word for a role: that of the enum, or the caller's own.
fn role(role: Role, name: String) -> Result<Cow<'static, str>, InvalidRequest> {
    let word = match role {
        Role::System => "system",
        Role::Developer => "developer",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
        Role::Unspecified if name.is_empty() => {
            return Err(unknown_role());
        }
        Role::Unspecified if OF_ENUM.contains(&name.as_str()) => {
            let description = "is a role that `role` has a value for";
            return Err(InvalidRequest::new("role_name", description));
        }
        Role::Unspecified => return Ok(name.into()),
    };
    if name.is_empty() {
        return Ok(word.into());
    }
    let description = "`role` and `role_name` are mutually exclusive";
    Err(InvalidRequest::together(
        &["role", "role_name"],
        description,
    ))
}

fn unknown_role() -> InvalidRequest {
    InvalidRequest::new("role", "must be set to a known role")
}

/// Fields that only a turn of one role may have.
fn belongs_to(role: Role, message: &Message) -> Result<(), InvalidRequest> {
    let set = [
        ("tool_calls", !message.tool_calls.is_empty()),
        ("reasoning", message.reasoning.is_some()),
    ];
    if role != Role::Assistant {
        InvalidRequest::refuse(&set, "is allowed only with ROLE_ASSISTANT")?;
    }
    let set = [("tool_call_id", message.tool_call_id.is_some())];
    if role != Role::Tool {
        InvalidRequest::refuse(&set, "is allowed only with ROLE_TOOL")?;
    }
    let set = [("tools", !message.tools.is_empty())];
    if role != Role::Developer {
        InvalidRequest::refuse(&set, "is allowed only with ROLE_DEVELOPER")?;
    }
    Ok(())
}

/// A turn without text has an empty one, since templates read it; a turn with only calls has none, as in OpenAI's answers.
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
        let description = "`content` and `parts` are mutually exclusive";
        return Err(InvalidRequest::together(&["content", "parts"], description));
    }
    Ok(Some(Content::Parts(self::parts(parts, policy)?)))
}

/// Text and media as vLLM takes them.
pub(super) fn parts(
    parts: Vec<proto::ContentPart>,
    policy: &Policy,
) -> Result<Vec<Part>, InvalidRequest> {
    each("parts", parts, |part| part::part(part, policy))
}

/// The arguments go back as the model wrote them, complete or cut: vLLM reads an empty object where they are no JSON.
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
        function: FunctionCall { name, arguments },
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::proto::content_part;

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
        let part = |part| proto::ContentPart {
            part,
            ..proto::ContentPart::default()
        };
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
        // Some templates need no id.
        check(
            says(Role::Tool, "4"),
            json!({"role": "tool", "content": "4"}),
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
    fn another_role_has_a_name() {
        let named = |role, name: &str| proto::ChatMessage {
            role_name: name.to_owned(),
            ..says(role, "a")
        };
        let expected = json!({"role": "critic", "content": "a"});
        check(named(Role::Unspecified, "critic"), expected);
        let ours = named(Role::Unspecified, "assistant");
        refused(ours, &["role_name"], "`role` has a value for");
        let both = named(Role::User, "critic");
        refused(both, &["role", "role_name"], "mutually exclusive");
        let brings = |role| proto::ChatMessage {
            tools: vec![proto::Tool {
                name: "f".to_owned(),
                ..proto::Tool::default()
            }],
            ..turn(role)
        };
        refused(brings(Role::User), &["tools"], "ROLE_DEVELOPER");
        let tool = json!({"type": "function", "function": {"name": "f"}});
        let expected = json!({"role": "developer", "content": "", "tools": [tool]});
        check(brings(Role::Developer), expected);
    }

    #[test]
    fn content_is_text_or_parts() {
        let both = proto::ChatMessage {
            content: "a".to_owned(),
            ..of_parts(vec![text_part("b")])
        };
        refused(both, &["content", "parts"], "mutually exclusive");
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
