//! Checks the JSON texts of a request, which are passed on unchanged.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserializer,
    de::{Error as _, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::openai::request::Json;

use super::invalid::InvalidRequest;

/// How deep objects and arrays may nest. Python's JSON reader, which vLLM uses, gives up at about 1000.
pub(super) const MAX_DEPTH: usize = 128;

/// Most digits of an integer. Python's JSON reader refuses a body with a longer one, and does not report which.
const MAX_DIGITS: usize = 4300;

/// JSON text of any kind, nested at most `max_depth` deep, whose numbers vLLM can read.
pub(super) fn value(field: &str, text: String, max_depth: usize) -> Result<Json, InvalidRequest> {
    let json = RawValue::from_string(text).map_err(|error| not_json(field, &error))?;
    match fault(json.get(), max_depth) {
        Some(fault) => Err(InvalidRequest::new(field, fault)),
        None => Ok(json),
    }
}

/// The JSON text of an object, nested at most `max_depth` deep.
pub(super) fn object(field: &str, text: String, max_depth: usize) -> Result<Json, InvalidRequest> {
    let json = value(field, text, max_depth)?;
    if !json.get().starts_with('{') {
        return Err(InvalidRequest::new(field, "must be a JSON object"));
    }
    Ok(json)
}

/// Most members of an object that is looked at: each takes many times its bytes.
const MAX_MEMBERS: usize = 4096;

/// The members of an object. A name that comes twice is an error, since readers differ in which of the two counts.
pub(super) fn members(
    field: &str,
    object: &Json,
) -> Result<BTreeMap<String, Json>, InvalidRequest> {
    let mut deserializer = serde_json::Deserializer::from_str(object.get());
    deserializer
        .deserialize_map(Members)
        // It is JSON, so that this is the error of the visitor below.
        .map_err(|_many| {
            let description = format!("must have at most {MAX_MEMBERS} members");
            InvalidRequest::new(field, description)
        })?
        .ok_or_else(|| InvalidRequest::new(field, "has a duplicate member name"))
}

fn not_json(field: &str, error: &serde_json::Error) -> InvalidRequest {
    let (line, column) = (error.line(), error.column());
    let description = format!("is not JSON: wrong at line {line}, column {column}");
    InvalidRequest::new(field, description)
}

/// What makes a valid JSON text unreadable to vLLM.
fn fault(json: &str, max_depth: usize) -> Option<String> {
    let (mut depth, mut rest) = (0_usize, json);
    while let Some(byte) = rest.bytes().next() {
        let length = match byte {
            b'"' => string_length(rest),
            b'-' | b'0'..=b'9' => number_length(rest),
            _ => 1,
        };
        let token;
        (token, rest) = rest.split_at_checked(length)?;
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'-' | b'0'..=b'9' => {
                if let Some(fault) = fault_of_number(token) {
                    return Some(fault);
                }
            }
            _ => {}
        }
        if depth > max_depth {
            return Some(format!(
                "objects and arrays may nest at most {max_depth} deep"
            ));
        }
    }
    None
}

/// Python's reader takes `1e400` for infinity, which JSON does not have.
fn fault_of_number(number: &str) -> Option<String> {
    if number.contains(['.', 'e', 'E']) {
        let overflows = number.parse().is_ok_and(f64::is_infinite);
        return overflows.then(|| "holds a number that is too large for a double".to_owned());
    }
    let is_long = number.trim_start_matches('-').len() > MAX_DIGITS;
    is_long.then(|| format!("holds an integer of more than {MAX_DIGITS} digits"))
}

/// The length of the string that a text begins with, both quotes included.
fn string_length(json: &str) -> usize {
    let mut is_escaped = false;
    let end = json.bytes().skip(1).position(|byte| {
        let is_end = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        is_end
    });
    end.map_or(json.len(), |end| end + 2)
}

fn number_length(json: &str) -> usize {
    let end = json.find(|c: char| !matches!(c, '0'..='9' | '+' | '-' | '.' | 'e' | 'E'));
    end.unwrap_or(json.len())
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
            if members.len() > MAX_MEMBERS {
                return Err(A::Error::custom("too many members"));
            }
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
            (r#"["é", "\u00e9[", [1]]"#, 2),
        ] {
            assert_eq!(fault(text, expected), None, "{text}");
            let is_deeper = expected
                .checked_sub(1)
                .map(|less| fault(text, less).is_some());
            assert_ne!(is_deeper, Some(false), "{text}");
        }
    }

    #[test]
    fn numbers_are_found_outside_texts() {
        for (text, is_readable) in [
            ("1e400", false),
            (r#"{"1":[2,-3 , 4E500],"\"6":true}"#, false),
            (r#"["7e400","\\",8]"#, true),
            (r#"["\\",8e400]"#, false),
            (r#"{"\"1e400":null}"#, true),
        ] {
            assert_eq!(fault(text, 4).is_none(), is_readable, "{text}");
        }
    }

    #[test]
    fn a_number_that_vllm_cannot_read_is_refused() {
        let digits = |count: usize| "1".repeat(count);
        let taken = [
            digits(MAX_DIGITS),
            format!("-{}", digits(MAX_DIGITS)),
            // Python has no limit for the digits of these.
            format!("0.{}", digits(5000)),
            "1e308".to_owned(),
            "1e-400".to_owned(),
            format!(r#""{} 1e400""#, digits(5000)),
        ];
        for number in taken {
            let text = format!(r#"{{"a":[{number}]}}"#);
            assert!(value("field", text, 4).is_ok(), "{number}");
        }
        let text = |number: String| format!(r#"{{"a":[{number}]}}"#);
        for number in [
            digits(4301),
            format!("-{}", digits(4301)),
            digits(1_000_000),
        ] {
            let says = "an integer of more than 4300 digits";
            refused(value("field", text(number), 4), says);
        }
        for number in ["1e400", "-1E+400", &format!("{}.0", digits(5000))] {
            refused(value("field", text(number.to_owned()), 4), "for a double");
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
        refused(members(r#"{"a":1,"\u0061":2}"#), "duplicate member");
        let many = |n| {
            format!(
                r#"{{{}"z":0}}"#,
                (1..n).map(|n| format!(r#""{n}":0,"#)).collect::<String>()
            )
        };
        assert!(members(&many(MAX_MEMBERS)).is_ok());
        refused(members(&many(MAX_MEMBERS + 1)), "at most 4096 members");
    }
}
