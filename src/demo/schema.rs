//! A value that fits a JSON Schema, for answers that must.

use serde_json::{Map, Value, json};

/// Deepest nesting that is followed; what lies deeper is null, so that a schema that names itself comes to an end.
const MAX_DEPTH: usize = 32;

/// A value that fits `schema`, as far as its type, choices, members, lengths and bounds go.
pub(super) fn example(schema: &Value) -> Value {
    value(schema, schema, MAX_DEPTH)
}

fn value(schema: &Value, root: &Value, depth: usize) -> Value {
    if depth == 0 {
        return Value::Null;
    }
    if let Some(constant) = schema.get("const") {
        return constant.clone();
    }
    let choices = ["enum", "examples"]
        .iter()
        .find_map(|name| schema.get(name));
    if let Some(first) = choices.and_then(|choices| choices.get(0)) {
        return first.clone();
    }
    if let Some(target) = reference(schema, root) {
        return value(target, root, depth - 1);
    }
    let unions = ["anyOf", "oneOf", "allOf"]
        .iter()
        .find_map(|name| schema.get(name));
    if let Some(first) = unions.and_then(|unions| unions.get(0)) {
        return value(first, root, depth - 1);
    }
    match type_name(schema) {
        "object" => object(schema, root, depth),
        "array" => array(schema, root, depth),
        "string" => string(schema),
        "integer" | "number" => number(schema),
        "boolean" => Value::Bool(true),
        _ => Value::Null,
    }
}

fn reference<'a>(schema: &Value, root: &'a Value) -> Option<&'a Value> {
    let path = schema.get("$ref")?.as_str()?.strip_prefix('#')?;
    root.pointer(path)
}

fn type_name(schema: &Value) -> &str {
    let named = schema.get("type");
    // A list of types is any of them.
    let named = named.and_then(|types| types.get(0)).or(named);
    match named.and_then(Value::as_str) {
        Some(name) => name,
        None if schema.get("properties").is_some() => "object",
        None => "string",
    }
}

fn object(schema: &Value, root: &Value, depth: usize) -> Value {
    let properties = schema.get("properties").and_then(Value::as_object);
    let members: Map<String, Value> = properties
        .into_iter()
        .flatten()
        .map(|(name, schema)| (name.clone(), value(schema, root, depth - 1)))
        .collect();
    Value::Object(members)
}

fn array(schema: &Value, root: &Value, depth: usize) -> Value {
    let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or(1);
    let items = schema.get("items").unwrap_or(&Value::Null);
    // A schema that wants thousands of items is not taken at its word.
    let n_items = usize::try_from(least).unwrap_or(usize::MAX).clamp(1, 16);
    (0..n_items)
        .map(|_| value(items, root, depth - 1))
        .collect()
}

fn string(schema: &Value) -> Value {
    let bound = |name, otherwise| {
        let bound = schema.get(name).and_then(Value::as_u64);
        bound
            .and_then(|bound| usize::try_from(bound).ok())
            .unwrap_or(otherwise)
    };
    let least = bound("minLength", 0).min(256);
    let most = bound("maxLength", usize::MAX);
    let text = "Ada ".repeat(1 + least / 4);
    let text = text.trim_end().chars().chain(std::iter::repeat('a'));
    let length = "Ada".len().max(least).min(most);
    Value::String(text.take(length).collect())
}

fn number(schema: &Value) -> Value {
    let bound = |name| schema.get(name).and_then(Value::as_i64);
    let least = bound("minimum")
        .or(bound("exclusiveMinimum").map(|bound| bound.saturating_add(1)))
        .unwrap_or(i64::MIN);
    let most = bound("maximum")
        .or(bound("exclusiveMaximum").map(|bound| bound.saturating_sub(1)))
        .unwrap_or(i64::MAX);
    json!(36.max(least).min(most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_fits_its_schema() {
        for (schema, expected) in [
            (json!({"type": "string"}), json!("Ada")),
            (json!({"type": "string", "maxLength": 2}), json!("Ad")),
            (json!({"type": "string", "minLength": 6}), json!("Ada Ad")),
            (
                json!({"type": "integer", "minimum": 0, "maximum": 9}),
                json!(9),
            ),
            (json!({"type": "number", "exclusiveMinimum": 40}), json!(41)),
            (json!({"type": ["boolean", "null"]}), json!(true)),
            (json!({"enum": ["four", "five"]}), json!("four")),
            (json!({"const": 7}), json!(7)),
            (
                json!({"type": "array", "items": {"type": "boolean"}, "minItems": 2}),
                json!([true, true]),
            ),
            (
                json!({"anyOf": [{"type": "null"}, {"type": "string"}]}),
                json!(null),
            ),
            (
                json!({"properties": {"age": {"$ref": "#/$defs/age"}}, "$defs": {"age": {"type": "integer"}}}),
                json!({"age": 36}),
            ),
        ] {
            assert_eq!(example(&schema), expected, "{schema}");
        }
    }

    #[test]
    fn a_schema_that_names_itself_comes_to_an_end() {
        let schema = json!({"type": "object", "properties": {"next": {"$ref": "#"}}});
        assert!(example(&schema).is_object());
        assert_eq!(example(&json!({"$ref": "#"})), Value::Null);
    }
}
