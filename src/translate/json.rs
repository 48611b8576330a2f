//! The JSON texts of a request: checked, and passed on as they are.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::openai::request::Json;

use super::InvalidRequest;

/// How deep objects and arrays may nest. Python's JSON reader, which vLLM uses, gives up at about 1000.
pub(super) const MAX_DEPTH: usize = 128;

/// JSON text of any kind, nested at most `max_depth` deep.
pub(super) fn value(field: &str, text: String, max_depth: usize) -> Result<Json, InvalidRequest> {
    let json = RawValue::from_string(text).map_err(|error| not_json(field, &error))?;
    if depth(json.get()) > max_depth {
        let limit = format!("objects and arrays may nest at most {max_depth} deep");
        return Err(InvalidRequest::new(field, limit));
    }
    Ok(json)
}

/// The JSON text of an object, nested at most `max_depth` deep.
pub(super) fn object(field: &str, text: String, max_depth: usize) -> Result<Json, InvalidRequest> {
    let json = value(field, text, max_depth)?;
    if !json.get().starts_with('{') {
        return Err(InvalidRequest::new(field, "must be a JSON object"));
    }
    Ok(json)
}

/// The members of a JSON object. A name that comes twice is an error, since readers differ in which of the two counts.
pub(super) fn members(
    field: &str,
    text: String,
    max_depth: usize,
) -> Result<BTreeMap<String, Json>, InvalidRequest> {
    let json = object(field, text, max_depth)?;
    let mut deserializer = serde_json::Deserializer::from_str(json.get());
    deserializer
        .deserialize_map(Members)
        .map_err(|error| not_json(field, &error))?
        .ok_or_else(|| InvalidRequest::new(field, "has two members of one name"))
}

fn not_json(field: &str, error: &serde_json::Error) -> InvalidRequest {
    let (line, column) = (error.line(), error.column());
    let description = format!("is not JSON: wrong at line {line}, column {column}");
    InvalidRequest::new(field, description)
}

/// How deep the objects and arrays of a valid JSON text nest; 0 for a scalar.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Reads an object; `None` where a name comes twice.
struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Option<BTreeMap<String, Json>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = BTreeMap::new();
        let mut twice = false;
        while let Some((name, value)) = map.next_entry::<String, Json>()? {
            twice |= members.insert(name, value).is_some();
        }
        Ok((!twice).then_some(members))
    }
}
