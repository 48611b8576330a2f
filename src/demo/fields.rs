//! The members of a JSON object, read as vLLM's pydantic models read them: null counts as absent, and a wrong type is
//! refused in pydantic's words.

use serde_json::{Map, Value};

use super::error::Rejection;

/// An object of the request, with the path that leads to it.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    path: &'a str,
    members: &'a Map<String, Value>,
}

/// A type, as pydantic speaks of it.
struct Type {
    word: &'static str,
    reason: &'static str,
    /// Said besides of a text, which pydantic tries to read as the type.
    unparsed: Option<&'static str>,
}

const NUMBER: Type = Type {
    word: "float",
    reason: "Input should be a valid number",
    unparsed: Some("unable to parse string as a number"),
};
const INTEGER: Type = Type {
    word: "int",
    reason: "Input should be a valid integer",
    unparsed: Some("unable to parse string as an integer"),
};
const BOOLEAN: Type = Type {
    word: "bool",
    reason: "Input should be a valid boolean",
    unparsed: Some("unable to interpret input"),
};
const TEXT: Type = Type {
    word: "string",
    reason: "Input should be a valid string",
    unparsed: None,
};
const LIST: Type = Type {
    word: "list",
    reason: "Input should be a valid list",
    unparsed: None,
};
const OBJECT: Type = Type {
    word: "dict",
    reason: "Input should be a valid dictionary",
    unparsed: None,
};

// === impl Fields ===

impl<'a> Fields<'a> {
    /// `path` is `body`, or `body.` and what follows.
    pub(super) fn new(path: &'a str, members: &'a Map<String, Value>) -> Self {
        Self { path, members }
    }

    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.members.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn required(&self, name: &str) -> Result<&'a Value, Rejection> {
        self.members.get(name).ok_or_else(|| {
            let input = format!("<dict of {} items>", self.members.len());
            Rejection::malformed("missing", &self.path_of(name), "Field required", &input)
        })
    }

    pub(super) fn number(&self, name: &str) -> Result<Option<f64>, Rejection> {
        self.read(name, &NUMBER, Value::as_f64)
    }

    pub(super) fn integer(&self, name: &str) -> Result<Option<i64>, Rejection> {
        self.read(name, &INTEGER, Value::as_i64)
    }

    pub(super) fn boolean(&self, name: &str) -> Result<Option<bool>, Rejection> {
        self.read(name, &BOOLEAN, Value::as_bool)
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<&'a str>, Rejection> {
        self.read(name, &TEXT, Value::as_str)
    }

    pub(super) fn list(&self, name: &str) -> Result<Option<&'a Vec<Value>>, Rejection> {
        self.read(name, &LIST, Value::as_array)
    }

    pub(super) fn object(&self, name: &str) -> Result<Option<&'a Map<String, Value>>, Rejection> {
        self.read(name, &OBJECT, Value::as_object)
    }

    /// A text, or a list of texts.
    pub(super) fn texts(&self, name: &str) -> Result<Vec<String>, Rejection> {
        if let Some(Value::String(text)) = self.get(name) {
            return Ok(vec![text.clone()]);
        }
        let list = self.list(name)?.into_iter().flatten();
        list.map(|item| item.as_str().map(str::to_owned))
            .collect::<Option<_>>()
            .ok_or_else(|| self.wrong(name, &TEXT))
    }

    fn read<T>(
        &self,
        name: &str,
        expected: &Type,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, Rejection> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        match read(value) {
            Some(value) => Ok(Some(value)),
            None => Err(self.wrong(name, expected)),
        }
    }

    fn wrong(&self, name: &str, expected: &Type) -> Rejection {
        let path = self.path_of(name);
        let value = self.get(name);
        let (kind, reason) = match (value, expected.unparsed) {
            (Some(Value::String(_)), Some(unparsed)) => (
                format!("{}_parsing", expected.word),
                format!("{}, {unparsed}", expected.reason),
            ),
            _ => (
                format!("{}_type", expected.word),
                expected.reason.to_owned(),
            ),
        };
        Rejection::malformed(&kind, &path, &reason, &shown(value))
    }

    fn path_of(&self, name: &str) -> String {
        format!("{}.{name}", self.path)
    }
}

/// A value as vLLM shows it in an error: lists and objects by their size alone.
fn shown(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "None".to_owned(),
        Some(Value::Array(items)) => format!("<list of {} items>", items.len()),
        Some(Value::Object(members)) => format!("<dict of {} items>", members.len()),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Bool(true)) => "True".to_owned(),
        Some(Value::Bool(false)) => "False".to_owned(),
        Some(Value::Number(number)) => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_wrong_type_is_refused_in_pydantics_words() {
        let body = json!({"temperature": "hot", "stop": 5, "n": [1], "user": null});
        let fields = Fields::new("body", body.as_object().unwrap());
        for (refused, said) in [
            (
                fields.number("temperature").map(|_| ()),
                "{'type': 'float_parsing', 'loc': 'body.temperature', 'msg': 'Input should be a valid number, unable to parse string as a number', 'input': 'hot'}",
            ),
            (
                fields.texts("stop").map(|_| ()),
                "{'type': 'list_type', 'loc': 'body.stop', 'msg': 'Input should be a valid list', 'input': '5'}",
            ),
            (
                fields.integer("n").map(|_| ()),
                "{'type': 'int_type', 'loc': 'body.n', 'msg': 'Input should be a valid integer', 'input': '<list of 1 items>'}",
            ),
            (
                fields.required("messages").map(|_| ()),
                "{'type': 'missing', 'loc': 'body.messages', 'msg': 'Field required', 'input': '<dict of 4 items>'}",
            ),
        ] {
            let body = refused.unwrap_err().body();
            assert!(body.contains(said), "{body}");
        }
        assert_eq!(fields.text("user"), Ok(None), "null is absent");
    }
}
