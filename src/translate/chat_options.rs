//! What only a chat takes: tools, and how its template is applied.

use std::collections::BTreeMap;

use crate::{
    openai::request::{ChatRequest, Json},
    proto,
};

use super::{InvalidRequest, json, text, tools};

/// Most documents for a chat template.
const MAX_DOCUMENTS: usize = 4096;

/// As the caller sent it.
pub(super) struct ChatOptions {
    pub(super) tools: Vec<proto::Tool>,
    pub(super) tool_choice: Option<proto::ToolChoice>,
    pub(super) chat_template_kwargs_json: String,
    pub(super) reasoning_effort: String,
    pub(super) include_reasoning: Option<bool>,
    pub(super) parallel_tool_calls: Option<bool>,
    pub(super) add_generation_prompt: Option<bool>,
    pub(super) continue_final_message: Option<bool>,
    pub(super) documents: Vec<proto::TemplateDocument>,
    pub(super) return_prompt_text: Option<bool>,
}

// === impl ChatOptions ===

impl ChatOptions {
    /// Refuses all of them, naming those that are set.
    pub(super) fn refuse(&self) -> Result<(), InvalidRequest> {
        let Self {
            tools,
            tool_choice,
            chat_template_kwargs_json,
            reasoning_effort,
            include_reasoning,
            parallel_tool_calls,
            add_generation_prompt,
            continue_final_message,
            documents,
            return_prompt_text,
        } = self;
        let set = [
            ("tools", !tools.is_empty()),
            ("tool_choice", tool_choice.is_some()),
            (
                "chat_template_kwargs_json",
                !chat_template_kwargs_json.is_empty(),
            ),
            ("reasoning_effort", !reasoning_effort.is_empty()),
            ("include_reasoning", include_reasoning.is_some()),
            ("parallel_tool_calls", parallel_tool_calls.is_some()),
            ("add_generation_prompt", add_generation_prompt.is_some()),
            ("continue_final_message", continue_final_message.is_some()),
            ("documents", !documents.is_empty()),
            ("return_prompt_text", return_prompt_text.is_some()),
        ];
        let description = "belongs to a chat, and does not go with `completion`";
        InvalidRequest::refuse(&set, description)
    }

    /// A chat that has nothing but these.
    pub(super) fn into_request(self) -> Result<ChatRequest, InvalidRequest> {
        let Self {
            tools,
            tool_choice,
            chat_template_kwargs_json,
            reasoning_effort,
            include_reasoning,
            parallel_tool_calls,
            add_generation_prompt,
            continue_final_message,
            documents,
            return_prompt_text,
        } = self;
        let tools = tools::definitions(tools)?;
        let tool_choice = tool_choice
            .map(|choice| tools::choice(choice, &tools))
            .transpose()?;
        let add_generation_prompt =
            self::add_generation_prompt(add_generation_prompt, continue_final_message)?;
        Ok(ChatRequest {
            tools,
            tool_choice,
            parallel_tool_calls,
            reasoning_effort: text(reasoning_effort),
            include_reasoning,
            add_generation_prompt,
            continue_final_message,
            documents: self::documents(documents)?,
            chat_template_kwargs: template_kwargs(chat_template_kwargs_json)?,
            return_prompt_text,
            ..ChatRequest::default()
        })
    }
}

/// vLLM adds the start of a turn unless told otherwise, and refuses to go on with a turn at the same time.
pub(super) fn add_generation_prompt(
    add: Option<bool>,
    continue_final_message: Option<bool>,
) -> Result<Option<bool>, InvalidRequest> {
    check_turn(add, continue_final_message)?;
    match (add, continue_final_message) {
        (None, Some(true)) => Ok(Some(false)),
        (add, _) => Ok(add),
    }
}

/// A turn is begun, gone on with, or neither.
pub(super) fn check_turn(
    add_generation_prompt: Option<bool>,
    continue_final_message: Option<bool>,
) -> Result<(), InvalidRequest> {
    if add_generation_prompt == Some(true) && continue_final_message == Some(true) {
        let fields = ["add_generation_prompt", "continue_final_message"];
        let description = "a turn cannot be begun and gone on with";
        return Err(InvalidRequest::together(&fields, description));
    }
    Ok(())
}

fn documents(
    documents: Vec<proto::TemplateDocument>,
) -> Result<Vec<BTreeMap<String, String>>, InvalidRequest> {
    if documents.len() > MAX_DOCUMENTS {
        let description = format!("must have at most {MAX_DOCUMENTS} entries");
        return Err(InvalidRequest::new("documents", description));
    }
    let fields = |document: proto::TemplateDocument| document.fields.into_iter().collect();
    Ok(documents.into_iter().map(fields).collect())
}

/// Variables of the chat template. The template itself and how it is applied are not theirs to set, which vLLM 0.33
/// refuses and older ones let happen.
pub(super) fn template_kwargs(kwargs: String) -> Result<Option<Json>, InvalidRequest> {
    let field = "chat_template_kwargs_json";
    let Some(kwargs) = text(kwargs) else {
        return Ok(None);
    };
    let kwargs = json::object(field, kwargs, json::MAX_DEPTH)?;
    let members = json::members(field, &kwargs)?;
    for name in ["chat_template", "tokenize"] {
        if members.contains_key(name) {
            let description = format!("must not have a member `{name}`");
            return Err(InvalidRequest::new(field, description));
        }
    }
    Ok(Some(kwargs))
}
