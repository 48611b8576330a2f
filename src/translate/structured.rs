//! The form that an answer must have, in the words that vLLM honours.
//!
//! vLLM ignores what it does not know, so a form that is too new for it would give an unconstrained answer and OK:
//! each form comes with the oldest vLLM that honours it.

use crate::{
    openai::{
        request::{Json, JsonSchema, ResponseFormat, StructuredOutputs},
        version::Version,
    },
    proto::{StructuredOutput, structured_output::Constraint},
};

use super::{Input, InvalidRequest, json};

/// How deep a schema may nest: `MAX_STRUCTURED_OUTPUT_JSON_NESTING` of vLLM 0.33.
const MAX_SCHEMA_DEPTH: usize = 64;

/// How deep a structural tag may nest: its schemas, and `STRUCTURAL_TAG_WRAPPER_NESTING` of vLLM 0.33.
const MAX_TAG_DEPTH: usize = MAX_SCHEMA_DEPTH + 16;

/// `structured_outputs`, in both routes.
const STRUCTURED_OUTPUTS: Version = Version::new(0, 11, 0);

/// `response_format` in `/v1/completions`: earlier ones ignore a schema, and 0.11.0 an object too.
const COMPLETION_FORMAT: Version = Version::new(0, 11, 1);

/// A structural tag in `/v1/completions`, which 0.11.2 still reads and forgets.
const COMPLETION_TAG: Version = Version::new(0, 12, 0);

/// A structural tag with `format`, in a chat.
const CHAT_TAG: Version = Version::new(0, 11, 1);

/// A structural tag with `structures` and `triggers`, in a chat.
const CHAT_TAG_OF_OLD: Version = Version::new(0, 8, 5);

/// What a request needs of the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Needs {
    /// Path of the field that needs it.
    pub(crate) field: &'static str,
    /// The oldest vLLM that honours the field.
    pub(crate) version: Version,
}

/// A form as it is sent: exactly one of the first two is set.
#[derive(Debug, Default)]
pub(super) struct Form {
    pub(super) response_format: Option<ResponseFormat>,
    pub(super) structured_outputs: Option<StructuredOutputs>,
    pub(super) needs: Option<Needs>,
}

/// The form that an answer must have.
pub(super) fn form(output: StructuredOutput, input: Input) -> Result<Form, InvalidRequest> {
    let StructuredOutput { constraint } = output;
    let Some(constraint) = constraint else {
        let description = "nothing is set; set the form that the answer must have";
        return Err(InvalidRequest::new("structured_output", description));
    };
    match constraint {
        Constraint::JsonSchema(schema) => {
            let field = "structured_output.json_schema";
            let schema = json::object(field, schema, MAX_SCHEMA_DEPTH)?;
            Ok(json_schema(schema, input))
        }
        Constraint::JsonObject(_) => Ok(json_object(input)),
        Constraint::Regex(regex) => self::regex(regex),
        Constraint::Choice(choice) => self::choice(choice.values),
        Constraint::Grammar(grammar) => self::grammar(grammar),
        Constraint::StructuralTagJson(tag) => structural_tag(tag, input),
    }
}

// === The forms ===

fn json_schema(schema: Json, input: Input) -> Form {
    // vLLM wants a name and does nothing with it.
    let json_schema = JsonSchema {
        name: "answer",
        schema,
    };
    let format = ResponseFormat::JsonSchema { json_schema };
    Form::response_format(format, "structured_output.json_schema", input)
}

fn json_object(input: Input) -> Form {
    let field = "structured_output.json_object";
    Form::response_format(ResponseFormat::JsonObject, field, input)
}

fn regex(regex: String) -> Result<Form, InvalidRequest> {
    let field = "structured_output.regex";
    if regex.is_empty() {
        return Err(InvalidRequest::new(field, "must not be empty"));
    }
    if regex.contains('\0') {
        return Err(InvalidRequest::new(field, "must not contain NUL"));
    }
    let outputs = StructuredOutputs {
        regex: Some(regex),
        ..StructuredOutputs::default()
    };
    Ok(Form::structured_outputs(outputs, field))
}

fn choice(values: Vec<String>) -> Result<Form, InvalidRequest> {
    if values.is_empty() {
        let field = "structured_output.choice.values";
        return Err(InvalidRequest::new(field, "must not be empty"));
    }
    let outputs = StructuredOutputs {
        choice: values,
        ..StructuredOutputs::default()
    };
    Ok(Form::structured_outputs(
        outputs,
        "structured_output.choice",
    ))
}

fn grammar(grammar: String) -> Result<Form, InvalidRequest> {
    let field = "structured_output.grammar";
    if grammar.trim().is_empty() {
        return Err(InvalidRequest::new(field, "must not be empty"));
    }
    let outputs = StructuredOutputs {
        grammar: Some(grammar),
        ..StructuredOutputs::default()
    };
    Ok(Form::structured_outputs(outputs, field))
}

/// The tag of today holds `format`, that of old `structures` and `triggers`; both may name their own `type`.
fn structural_tag(tag: String, input: Input) -> Result<Form, InvalidRequest> {
    let field = "structured_output.structural_tag_json";
    let tag = json::object(field, tag, MAX_TAG_DEPTH)?;
    let mut tag = json::members(field, &tag)?;
    let kind = tag.remove("type");
    if kind.is_some_and(|kind| kind.get() != r#""structural_tag""#) {
        let description = "`type` must be `structural_tag`";
        return Err(InvalidRequest::new(field, description));
    }
    let is_of_old = !tag.contains_key("format");
    if is_of_old && !(tag.contains_key("structures") && tag.contains_key("triggers")) {
        let description = "must have `format`, or `structures` and `triggers`";
        return Err(InvalidRequest::new(field, description));
    }
    let version = match (input.is_chat(), is_of_old) {
        (false, _) => COMPLETION_TAG,
        (true, false) => CHAT_TAG,
        (true, true) => CHAT_TAG_OF_OLD,
    };
    Ok(Form {
        response_format: Some(ResponseFormat::StructuralTag { tag }),
        structured_outputs: None,
        needs: Some(Needs { field, version }),
    })
}

// === impl Form ===

impl Form {
    fn response_format(format: ResponseFormat, field: &'static str, input: Input) -> Self {
        // A chat's `response_format` is as old as the oldest release that is spoken to.
        let version = (!input.is_chat()).then_some(COMPLETION_FORMAT);
        Self {
            response_format: Some(format),
            structured_outputs: None,
            needs: version.map(|version| Needs { field, version }),
        }
    }

    fn structured_outputs(outputs: StructuredOutputs, field: &'static str) -> Self {
        Self {
            response_format: None,
            structured_outputs: Some(outputs),
            needs: Some(Needs {
                field,
                version: STRUCTURED_OUTPUTS,
            }),
        }
    }
}

#[cfg(test)]
mod tests;
