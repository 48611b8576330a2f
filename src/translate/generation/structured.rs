//! The form that an answer must have, in the fields that vLLM honours.
//!
//! vLLM ignores fields that it does not know, so a form that is too new for it would give an unconstrained answer and OK:
//! each form comes with the oldest vLLM that honours it.

use crate::{
    openai::{
        request::{JsonSchema, ResponseFormat, StructuredOutputs},
        version::Version,
    },
    proto::{StructuredOutput, structured_output::Constraint},
    translate::{
        invalid::{InvalidRequest, Needs},
        json,
    },
};

/// How deep a schema may nest: `MAX_STRUCTURED_OUTPUT_JSON_NESTING` of vLLM 0.33.
const MAX_SCHEMA_DEPTH: usize = 64;

/// How deep a structural tag may nest: its schemas, and `STRUCTURAL_TAG_WRAPPER_NESTING` of vLLM 0.33.
const MAX_TAG_DEPTH: usize = MAX_SCHEMA_DEPTH + 16;

/// `structured_outputs`, in both routes.
const STRUCTURED_OUTPUTS: Version = Version::new(0, 11, 0);

/// `response_format` in `/v1/completions`: earlier ones ignore a schema, and 0.11.0 an object too.
const COMPLETION_FORMAT: Version = Version::new(0, 11, 1);

/// A structural tag in `/v1/completions`, which 0.11.2 still reads and ignores.
const COMPLETION_TAG: Version = Version::new(0, 12, 0);

/// A structural tag with `format`, in a chat.
const CHAT_TAG: Version = Version::new(0, 11, 1);

/// A structural tag with `structures` and `triggers`, in a chat.
const CHAT_LEGACY_TAG: Version = Version::new(0, 8, 5);

/// A form as it is sent: exactly one of the first two is set.
#[derive(Debug, Default)]
pub(super) struct Form {
    pub(super) response_format: Option<ResponseFormat>,
    pub(super) structured_outputs: Option<StructuredOutputs>,
    pub(super) needs: Option<Needs>,
}

/// The form that an answer must have.
pub(super) fn form(output: StructuredOutput, is_chat: bool) -> Result<Form, InvalidRequest> {
    // A chat's `response_format` is as old as the oldest release that is supported.
    let version = (!is_chat).then_some(COMPLETION_FORMAT);
    match output.constraint {
        Some(Constraint::JsonSchema(schema)) => {
            let field = "structured_output.json_schema";
            let schema = json::object(field, schema, MAX_SCHEMA_DEPTH)?;
            // vLLM requires a name and does nothing with it.
            let name = "answer";
            let json_schema = JsonSchema { name, schema };
            let format = ResponseFormat::JsonSchema { json_schema };
            Ok(Form::response_format(format, field, version))
        }
        Some(Constraint::JsonObject(_)) => {
            let field = "structured_output.json_object";
            Ok(Form::response_format(
                ResponseFormat::JsonObject,
                field,
                version,
            ))
        }
        Some(Constraint::StructuralTagJson(tag)) => structural_tag(tag, is_chat),
        Some(Constraint::Regex(regex)) => self::regex(regex),
        Some(Constraint::Choice(choice)) => self::choice(choice.values),
        Some(Constraint::Grammar(grammar)) => self::grammar(grammar),
        None => {
            let description = "must have the form of the answer set";
            Err(InvalidRequest::new("structured_output", description))
        }
    }
}

fn regex(regex: String) -> Result<Form, InvalidRequest> {
    let field = "structured_output.regex";
    if regex.is_empty() || regex.contains('\0') {
        let description = "must not be empty, and must not contain NUL";
        return Err(InvalidRequest::new(field, description));
    }
    let regex = Some(regex);
    Ok(Form::structured_outputs(field, |outputs| {
        outputs.regex = regex
    }))
}

fn choice(values: Vec<String>) -> Result<Form, InvalidRequest> {
    if values.is_empty() {
        let field = "structured_output.choice.values";
        return Err(InvalidRequest::new(field, "must not be empty"));
    }
    let field = "structured_output.choice";
    Ok(Form::structured_outputs(field, |outputs| {
        outputs.choice = values
    }))
}

fn grammar(grammar: String) -> Result<Form, InvalidRequest> {
    let field = "structured_output.grammar";
    if grammar.trim().is_empty() {
        return Err(InvalidRequest::new(field, "must not be empty"));
    }
    let grammar = Some(grammar);
    Ok(Form::structured_outputs(field, |outputs| {
        outputs.grammar = grammar
    }))
}

/// A tag has `format`, or in its legacy form `structures` and `triggers`; both may name their own `type`.
fn structural_tag(tag: String, is_chat: bool) -> Result<Form, InvalidRequest> {
    let field = "structured_output.structural_tag_json";
    let tag = json::object(field, tag, MAX_TAG_DEPTH)?;
    let mut tag = json::members(field, &tag)?;
    let kind = tag.remove("type");
    if kind.is_some_and(|kind| kind.get() != r#""structural_tag""#) {
        let description = "`type` must be `structural_tag`";
        return Err(InvalidRequest::new(field, description));
    }
    let is_legacy = !tag.contains_key("format");
    if is_legacy && !(tag.contains_key("structures") && tag.contains_key("triggers")) {
        let description = "must have `format`, or `structures` and `triggers`";
        return Err(InvalidRequest::new(field, description));
    }
    let version = match (is_chat, is_legacy) {
        (false, _) => COMPLETION_TAG,
        (true, false) => CHAT_TAG,
        (true, true) => CHAT_LEGACY_TAG,
    };
    let format = ResponseFormat::StructuralTag { tag };
    Ok(Form::response_format(format, field, Some(version)))
}

impl Form {
    fn response_format(
        format: ResponseFormat,
        field: &'static str,
        version: Option<Version>,
    ) -> Self {
        Self {
            response_format: Some(format),
            structured_outputs: None,
            needs: version.map(|version| Needs { field, version }),
        }
    }

    fn structured_outputs(field: &'static str, set: impl FnOnce(&mut StructuredOutputs)) -> Self {
        let mut outputs = StructuredOutputs::default();
        set(&mut outputs);
        let version = STRUCTURED_OUTPUTS;
        Self {
            response_format: None,
            structured_outputs: Some(outputs),
            needs: Some(Needs { field, version }),
        }
    }
}

#[cfg(test)]
mod tests;
