use serde_json::{Value, json};

use super::*;
use crate::proto::{AnyJsonObject, TextChoices};

const TAG: &str = r#"{"format":{"type":"any_text"}}"#;
const LEGACY_TAG: &str = r#"{"type":"structural_tag","structures":[],"triggers":[]}"#;

fn of(constraint: Constraint) -> StructuredOutput {
    StructuredOutput {
        constraint: Some(constraint),
    }
}

fn schema(schema: &str) -> Constraint {
    Constraint::JsonSchema(schema.to_owned())
}

fn tag(tag: &str) -> Constraint {
    Constraint::StructuralTagJson(tag.to_owned())
}

fn choices(values: &[&str]) -> Constraint {
    let values = values.iter().map(|value| (*value).to_owned()).collect();
    Constraint::Choice(TextChoices { values })
}

/// Checks which of the two fields is sent, and what is in it.
#[track_caller]
fn check(output: StructuredOutput, name: &str, expected: Value) {
    let Form {
        response_format,
        structured_outputs,
        needs: _,
    } = form(output, true).unwrap();
    let sent = json!({
        "response_format": response_format,
        "structured_outputs": structured_outputs,
    });
    let mut only = json!({"response_format": null, "structured_outputs": null});
    only[name] = expected;
    assert_eq!(sent, only);
}

#[track_caller]
fn refused(output: StructuredOutput, field: &str, says: &str) {
    let invalid = form(output, true).unwrap_err();
    let violation = &invalid.violations()[0];
    assert_eq!(violation.field, field);
    assert!(violation.description.contains(says), "{invalid}");
}

#[track_caller]
fn needs(constraint: Constraint, is_chat: bool, expected: Option<Version>) {
    let needs = form(of(constraint), is_chat).unwrap().needs;
    assert_eq!(needs.map(|needs| needs.version), expected);
}

#[test]
fn json_and_tags_are_response_formats() {
    let name = "response_format";
    check(
        of(schema(r#"{"type":"object"}"#)),
        name,
        json!({"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}}}),
    );
    let object = Constraint::JsonObject(AnyJsonObject {});
    check(of(object), name, json!({"type": "json_object"}));
    let format = json!({"type": "structural_tag", "format": {"type": "any_text"}});
    check(of(tag(TAG)), name, format);
    let legacy = json!({"type": "structural_tag", "structures": [], "triggers": []});
    check(of(tag(LEGACY_TAG)), name, legacy);
}

#[test]
fn other_forms_are_structured_outputs() {
    let name = "structured_outputs";
    let regex = Constraint::Regex("a+".to_owned());
    check(of(regex), name, json!({"regex": "a+"}));
    check(of(choices(&["a", ""])), name, json!({"choice": ["a", ""]}));
    let grammar = Constraint::Grammar("root ::= \"a\"".to_owned());
    check(of(grammar), name, json!({"grammar": "root ::= \"a\""}));
}

#[test]
fn a_schema_keeps_its_key_order() {
    let text = r#"{"properties":{"z":{"maximum":18446744073709551616},"a":{}}}"#;
    let format = form(of(schema(text)), true).unwrap().response_format;
    let body = serde_json::to_string(&format).unwrap();
    assert!(body.contains(text), "{body}");
}

#[test]
fn forms_that_say_nothing_are_refused() {
    let nested = |depth: usize| r#"{"a":"#.repeat(depth) + "1" + &"}".repeat(depth);
    assert!(form(of(schema(&nested(64))), true).is_ok());
    let text = |text: &str| text.to_owned();
    for (constraint, field, says) in [
        (schema(""), "json_schema", "not JSON"),
        (schema("{"), "json_schema", "not JSON"),
        (schema("true"), "json_schema", "must be a JSON object"),
        (schema(&nested(65)), "json_schema", "at most 64 deep"),
        (Constraint::Regex(text("")), "regex", "empty"),
        (Constraint::Regex(text("a\0")), "regex", "NUL"),
        (choices(&[]), "choice.values", "empty"),
        (Constraint::Grammar(text(" \n")), "grammar", "empty"),
        (tag("[]"), "structural_tag_json", "must be a JSON object"),
        (tag("{}"), "structural_tag_json", "must have `format`"),
        (
            tag(r#"{"triggers":[]}"#),
            "structural_tag_json",
            "must have",
        ),
        (
            tag(r#"{"type":"text","format":1}"#),
            "structural_tag_json",
            "`type`",
        ),
        (
            tag(r#"{"format":1,"format":2}"#),
            "structural_tag_json",
            "duplicate member",
        ),
    ] {
        let field = format!("structured_output.{field}");
        refused(of(constraint), &field, says);
    }
    refused(
        StructuredOutput::default(),
        "structured_output",
        "must have",
    );
}

/// Read in the sources of 0.6.0, 0.6.6, 0.8.4, 0.8.5, 0.10.2, 0.11.0, 0.11.1, 0.11.2, 0.12.0 and 0.33.0.
#[test]
fn each_form_needs_a_vllm_that_honours_it() {
    let regex = || Constraint::Regex("a".to_owned());
    let object = || Constraint::JsonObject(AnyJsonObject {});
    needs(schema("{}"), true, None);
    needs(object(), true, None);
    needs(regex(), true, Some(Version::new(0, 11, 0)));
    needs(tag(TAG), true, Some(Version::new(0, 11, 1)));
    needs(tag(LEGACY_TAG), true, Some(Version::new(0, 8, 5)));
    needs(schema("{}"), false, Some(Version::new(0, 11, 1)));
    needs(object(), false, Some(Version::new(0, 11, 1)));
    needs(regex(), false, Some(Version::new(0, 11, 0)));
    needs(tag(TAG), false, Some(Version::new(0, 12, 0)));
    needs(tag(LEGACY_TAG), false, Some(Version::new(0, 12, 0)));
    let field = form(of(regex()), false).unwrap().needs.unwrap().field;
    assert_eq!(field, "structured_output.regex");
}
