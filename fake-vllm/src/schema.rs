//! A value that fits a JSON Schema, for answers and arguments that must.

use serde_json::{Value, json};

/// Deepest nesting that is followed; deeper values are null, so that a recursive schema ends.
const MAX_DEPTH: usize = 16;

/// The text of a property that has no choices and none of the names in [`TEXTS`].
pub(crate) const TEXT: &str = "Ada";

/// Texts by the name of their property.
const TEXTS: [(&str, &str); 8] = [
    ("born", "1815-12-10"),
    ("city", "London"),
    ("country", "United Kingdom"),
    ("date", "1843-09-05"),
    ("email", "ada@example.com"),
    ("language", "en"),
    ("name", "Ada Lovelace"),
    ("title", "Note G"),
];

/// A value that fits `schema`, as far as its type, choices, properties and bounds go; `text` is every free text, and
/// where it is `None`, one that fits the property's name.
pub(crate) fn example(schema: &Value, text: Option<&str>) -> Value {
    let free = |name: &str| {
        let known = TEXTS.iter().find(|known| known.0 == name);
        json!(text.unwrap_or(known.map_or(TEXT, |known| known.1)))
    };
    value(schema, schema, MAX_DEPTH, &free(""), &free)
}

/// `text` is the value's own where it is a free text, and `free` gives that of a property by its name.
fn value(
    schema: &Value,
    root: &Value,
    depth: usize,
    text: &Value,
    free: &impl Fn(&str) -> Value,
) -> Value {
    if depth == 0 {
        return Value::Null;
    }
    let first = |name: &str| schema.get(name)?.get(0);
    if let Some(constant) = schema.get("const").or_else(|| first("enum")) {
        return constant.clone();
    }
    let reference = schema.get("$ref").and_then(Value::as_str);
    let target = reference.and_then(|path| root.pointer(path.strip_prefix('#')?));
    if let Some(inner) = target.or_else(|| first("anyOf")) {
        return value(inner, root, depth - 1, text, free);
    }
    let kind = first("type").or(schema.get("type")).and_then(Value::as_str);
    let bound = |name, otherwise| {
        schema
            .get(name)
            .and_then(Value::as_i64)
            .unwrap_or(otherwise)
    };
    match (kind, &schema["properties"]) {
        (None | Some("object"), Value::Object(properties)) => {
            let properties = properties.iter();
            let members = properties.map(|(name, of)| {
                let value = value(of, root, depth - 1, &free(name), free);
                (name.clone(), value)
            });
            Value::Object(members.collect())
        }
        (Some("object"), _) => json!({}),
        (Some("array"), _) => json!([value(&schema["items"], root, depth - 1, text, free)]),
        (Some("integer" | "number"), _) => {
            let at_least = 36.max(bound("minimum", i64::MIN));
            json!(at_least.min(bound("maximum", i64::MAX)))
        }
        (Some("boolean"), _) => json!(true),
        (Some("null"), _) => Value::Null,
        _ => text.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_fits_its_schema() {
        for (schema, expected) in [
            (json!({"type": "string"}), json!("Ada")),
            (json!({"type": "integer", "maximum": 9}), json!(9)),
            (json!({"type": ["boolean", "null"]}), json!(true)),
            (json!({"enum": ["four", "five"]}), json!("four")),
            (
                json!({"type": "array", "items": {"type": "boolean"}}),
                json!([true]),
            ),
            (json!({"anyOf": [{"const": 7}]}), json!(7)),
            (
                json!({"properties": {"age": {"$ref": "#/$defs/age"}}, "$defs": {"age": {"type": "integer"}}}),
                json!({"age": 36}),
            ),
            (json!({"$ref": "#"}), Value::Null),
            (
                json!({"properties": {"name": {"type": "string"}}}),
                json!({"name": "Ada Lovelace"}),
            ),
        ] {
            assert_eq!(example(&schema, None), expected, "{schema}");
        }
    }
}
