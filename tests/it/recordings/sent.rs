//! Request bodies in a form in which they can be compared.

use serde_json::{Map, Value};

/// The body without what the adapter decides by itself, and with one spelling for what vLLM takes in several.
pub(super) fn normal(body: &Value) -> Value {
    let mut normal = Map::new();
    for (name, value) in body.as_object().expect("an object") {
        match name.as_str() {
            "stream" | "stream_options" => {}
            // The older name, which vLLM still takes.
            "max_completion_tokens" => insert(&mut normal, "max_tokens", value),
            // Two ways to ask for the same schema.
            "structured_outputs" if value.get("json").is_some() => {
                insert(&mut normal, "schema", &value["json"]);
            }
            "response_format" if value.get("json_schema").is_some() => {
                insert(&mut normal, "schema", &value["json_schema"]["schema"]);
            }
            name => insert(&mut normal, name, value),
        }
    }
    Value::Object(normal)
}

fn insert(normal: &mut Map<String, Value>, name: &str, value: &Value) {
    normal.insert(name.to_owned(), number_as_double(value));
}

/// 0 and 0.0 are one number.
fn number_as_double(value: &Value) -> Value {
    match value {
        Value::Number(number) => number.as_f64().into(),
        Value::Array(items) => items.iter().map(number_as_double).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| (name.clone(), number_as_double(value)))
            .collect(),
        Value::Null | Value::Bool(_) | Value::String(_) => value.clone(),
    }
}
