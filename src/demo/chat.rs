//! What is particular to a chat: its turns, its tools, and the form of its answer.

use serde_json::Value;

use super::{MODEL, error::Rejection, fields::Fields};

#[derive(Debug, Default)]
pub(super) struct Chat {
    /// Role and text of each turn, oldest first; never empty.
    pub(super) turns: Vec<(String, String)>,
    /// The functions that may be called; empty where `tool_choice` is `none`.
    pub(super) tools: Vec<Tool>,
    pub(super) tool_choice: ToolChoice,
    /// Whether several calls may be made at once.
    pub(super) parallel_calls: bool,
    pub(super) form: Form,
    pub(super) thinks: bool,
    pub(super) includes_reasoning: bool,
}

#[derive(Debug)]
pub(super) struct Tool {
    pub(super) name: String,
    pub(super) description: String,
    pub(super) parameters: Value,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum ToolChoice {
    #[default]
    Auto,
    Required,
    Named(String),
}

/// The form that the answer must have.
#[derive(Debug, Default, PartialEq)]
pub(super) enum Form {
    #[default]
    Free,
    /// JSON that fits this schema.
    Json(Value),
    OneOf(Vec<String>),
}

// === impl Chat ===

impl Chat {
    pub(super) fn read(
        fields: Fields<'_>,
        turns: Vec<(String, String)>,
    ) -> Result<Self, Rejection> {
        let (tools, tool_choice) = tools(fields)?;
        let template = fields.object("chat_template_kwargs")?;
        let thinks = template.and_then(|variables| variables.get("enable_thinking"));
        Ok(Self {
            turns,
            tools,
            tool_choice,
            parallel_calls: fields.boolean("parallel_tool_calls")?.unwrap_or(true),
            form: form(fields)?,
            thinks: thinks.and_then(Value::as_bool).unwrap_or(true)
                && fields.text("reasoning_effort")? != Some("none"),
            includes_reasoning: fields.boolean("include_reasoning")?.unwrap_or(true),
        })
    }

    /// The text of the newest turn of this role.
    pub(super) fn newest(&self, role: &str) -> Option<&str> {
        let mut newest_first = self.turns.iter().rev();
        newest_first
            .find(|(of, _text)| of == role)
            .map(|(_role, text)| text.as_str())
    }
}

pub(super) fn turns(messages: &[Value]) -> Result<Vec<(String, String)>, Rejection> {
    if messages.is_empty() {
        return Err(Rejection::value("list index out of range"));
    }
    let mut turns = Vec::with_capacity(messages.len());
    for (n, message) in messages.iter().enumerate() {
        let path = format!("body.messages.{n}");
        let Some(members) = message.as_object() else {
            let reason = "Input should be a valid dictionary";
            return Err(Rejection::malformed("dict_type", &path, reason, "?"));
        };
        let fields = Fields::new(&path, members);
        let role = fields.required("role").and(fields.text("role"))?;
        turns.push((
            role.unwrap_or_default().to_owned(),
            content(fields.get("content"))?,
        ));
    }
    Ok(turns)
}

/// The text of a turn; text parts are joined by line ends, as vLLM does for templates that take text alone.
fn content(content: Option<&Value>) -> Result<String, Rejection> {
    let parts = match content {
        Some(Value::Array(parts)) => parts,
        Some(Value::String(text)) => return Ok(text.clone()),
        _ => return Ok(String::new()),
    };
    let texts: Option<Vec<&str>> = parts
        .iter()
        .map(|part| part.get("text").and_then(Value::as_str))
        .collect();
    match texts {
        Some(texts) => Ok(texts.join("\n")),
        None => Err(Rejection::value(format!(
            "{MODEL} is not a multimodal model"
        ))),
    }
}

fn tools(fields: Fields<'_>) -> Result<(Vec<Tool>, ToolChoice), Rejection> {
    let choice = fields.get("tool_choice");
    let Some(list) = fields.list("tools")? else {
        return match choice.and_then(Value::as_str) {
            None if choice.is_some() => Err(choice_without_tools()),
            Some("auto" | "required") => Err(choice_without_tools()),
            Some(_) | None => Ok((Vec::new(), ToolChoice::Auto)),
        };
    };
    if list.is_empty() {
        let message = "`tools` must not be an empty array. Either provide at least one tool or omit the field entirely.";
        return Err(Rejection::parameter(message, "tools"));
    }
    let tools: Vec<Tool> = list.iter().map(tool).collect();
    let named = choice.and_then(|choice| choice.pointer("/function/name"));
    match (
        choice.and_then(Value::as_str),
        named.and_then(Value::as_str),
    ) {
        (Some("none"), _) => Ok((Vec::new(), ToolChoice::Auto)),
        (Some("required"), _) => Ok((tools, ToolChoice::Required)),
        (_, Some(name)) if tools.iter().any(|tool| tool.name == name) => {
            Ok((tools, ToolChoice::Named(name.to_owned())))
        }
        (_, Some(_)) => Err(Rejection::parameter(
            "The tool specified in `tool_choice` does not match any of the specified `tools`",
            "tool_choice",
        )),
        (_, None) => Ok((tools, ToolChoice::Auto)),
    }
}

fn choice_without_tools() -> Rejection {
    Rejection::parameter(
        "When using `tool_choice`, `tools` must be set.",
        "tool_choice",
    )
}

fn tool(tool: &Value) -> Tool {
    let text = |pointer| {
        let text = tool.pointer(pointer).and_then(Value::as_str);
        text.unwrap_or_default().to_owned()
    };
    Tool {
        name: text("/function/name"),
        description: text("/function/description"),
        parameters: tool
            .pointer("/function/parameters")
            .cloned()
            .unwrap_or_default(),
    }
}

fn form(fields: Fields<'_>) -> Result<Form, Rejection> {
    if let Some(format) = fields.object("response_format")? {
        let schema = format
            .get("json_schema")
            .and_then(|json| json.get("schema"));
        return match (format.get("type").and_then(Value::as_str), schema) {
            (Some("json_schema"), Some(schema)) => Ok(Form::Json(schema.clone())),
            (Some("json_object"), _) => Ok(Form::Json(person())),
            (Some("text"), _) => Ok(Form::Free),
            _ => Err(without_grammar("this response_format")),
        };
    }
    let Some(outputs) = fields.object("structured_outputs")? else {
        return Ok(Form::Free);
    };
    let outputs = Fields::new("body.structured_outputs", outputs);
    if let Some(schema) = outputs.get("json") {
        return Ok(Form::Json(schema.clone()));
    }
    if outputs.boolean("json_object")? == Some(true) {
        return Ok(Form::Json(person()));
    }
    let choices = outputs.texts("choice")?;
    if !choices.is_empty() {
        return Ok(Form::OneOf(choices));
    }
    match ["regex", "grammar", "structural_tag"]
        .into_iter()
        .find(|name| outputs.get(name).is_some())
    {
        Some(name) => Err(without_grammar(name)),
        None => Ok(Form::Free),
    }
}

/// What a request for any JSON object gets.
fn person() -> Value {
    serde_json::json!({
        "type": "object",
        "properties": { "name": { "type": "string" }, "age": { "type": "integer" } },
    })
}

fn without_grammar(what: &str) -> Rejection {
    Rejection::value(format!(
        "The simulated vLLM recites a script and cannot follow {what}."
    ))
}
