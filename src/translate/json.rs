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

/// The members of an object. A name that comes twice is an error, since readers differ in which of the two counts.
pub(super) fn members(
    field: &str,
    object: &Json,
) -> Result<BTreeMap<String, Json>, InvalidRequest> {
    let mut deserializer = serde_json::Deserializer::from_str(object.get());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused<T: fmt::Debug>(result: Result<T, InvalidRequest>, says: &str) {
        let invalid = result.unwrap_err();
        let violation = &invalid.violations()[0];
        assert_eq!(violation.field, "field");
        assert!(violation.description.contains(says), "{invalid}");
    }

    #[test]
    fn text_is_passed_on_as_it_is() {
        for text in [
            r#"{"b":1,"a":[1.50,12345678901234567890]}"#,
            r#""[[[\"[""#,
            "null",
        ] {
            let json = value("field", text.to_owned(), 4).unwrap();
            assert_eq!(json.get(), text);
        }
        let spaced = value("field", " {\n} ".to_owned(), 4).unwrap();
        assert_eq!(spaced.get(), "{\n}");
    }

    #[test]
    fn text_that_is_not_json_is_refused_with_its_place() {
        for text in ["", "{", "{'a':1}", "{}{}", "NaN", "[1,]", "\u{feff}{}"] {
            refused(value("field", text.to_owned(), 4), "is not JSON");
        }
        refused(value("field", "[\n!".to_owned(), 4), "line 2, column 1");
    }

    #[test]
    fn an_object_is_no_other_value() {
        for text in ["[]", "null", r#""{}""#, "1"] {
            refused(object("field", text.to_owned(), 4), "must be a JSON object");
        }
    }

    #[test]
    fn depth_counts_objects_and_arrays_but_not_text() {
        for (text, expected) in [
            ("1", 0),
            ("{}", 1),
            (r#"{"a":[{}],"b":{}}"#, 3),
            (r#"["[[[", "\"[[", "\\", [1]]"#, 2),
        ] {
            assert_eq!(depth(text), expected, "{text}");
        }
    }

    #[test]
    fn nesting_is_bounded_at_the_edge() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(value("field", nested(64), 64).is_ok());
        refused(value("field", nested(65), 64), "at most 64 deep");
        refused(value("field", nested(1_000_000), 64), "at most 64 deep");
    }

    #[test]
    fn a_member_comes_once() {
        let members = |text: &str| {
            let object = object("field", text.to_owned(), 4).unwrap();
            super::members("field", &object)
        };
        assert_eq!(members(r#"{"a":1,"b":{"a":2}}"#).unwrap().len(), 2);
        refused(members(r#"{"a":1,"\u0061":2}"#), "two members of one name");
    }
}
