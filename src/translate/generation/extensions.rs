//! Fields of the upstream's answer that the contract has no field for.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::translate::invalid::InvalidAnswer;

/// The members of a JSON object, as JSON text.
pub(super) type Members = BTreeMap<String, Box<RawValue>>;

/// The members that were asked for, beside the choices and in each choice by its place in the list.
#[derive(Debug, Default)]
pub(super) struct Extensions {
    pub(super) beside: Members,
    pub(super) choices: Vec<Members>,
}

#[derive(Deserialize)]
struct Choices {
    choices: Option<Vec<Members>>,
}

/// Picks the keys out of an answer or a chunk; null counts as absent.
pub(super) fn pick(json: &str, keys: &[String]) -> Result<Extensions, InvalidAnswer> {
    if keys.is_empty() {
        return Ok(Extensions::default());
    }
    let malformed = |_error| InvalidAnswer::Malformed("it is no JSON object");
    let mut beside: Members = serde_json::from_str(json).map_err(malformed)?;
    let Choices { choices } = serde_json::from_str(json).map_err(malformed)?;
    let mut choices = choices.unwrap_or_default();
    keep(&mut beside, keys);
    for choice in &mut choices {
        keep(choice, keys);
    }
    Ok(Extensions { beside, choices })
}

/// A JSON object of the members; empty where there are none.
pub(super) fn to_json(members: &Members) -> String {
    if members.is_empty() {
        return String::new();
    }
    // A map of texts to JSON texts has nothing that could fail to serialize.
    serde_json::to_string(members).unwrap_or_default()
}

/// Adds the members of a later object; a later value replaces an earlier one.
pub(super) fn merge(json: &mut String, later: &str) {
    if json.is_empty() || later.is_empty() {
        json.push_str(later);
        return;
    }
    let read = |text: &str| serde_json::from_str::<Members>(text).unwrap_or_default();
    let mut members = read(json);
    members.extend(read(later));
    *json = to_json(&members);
}

fn keep(members: &mut Members, keys: &[String]) {
    members.retain(|key, value| keys.contains(key) && value.get() != "null");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_asked_for_is_picked() {
        let json = r#"{"a":1,"b":null,"c":{"y":1,"x":2},"choices":[{"a":[1, 2],"d":4},{"d":5}]}"#;
        let keys = ["a", "b", "c"].map(str::to_owned);
        let picked = pick(json, &keys).unwrap();
        assert_eq!(to_json(&picked.beside), r#"{"a":1,"c":{"y":1,"x":2}}"#);
        let choices: Vec<_> = picked.choices.iter().map(to_json).collect();
        assert_eq!(choices, [r#"{"a":[1, 2]}"#, ""]);
    }

    #[test]
    fn a_later_value_replaces_an_earlier_one() {
        let mut json = String::new();
        for later in ["", r#"{"a":1,"b":2}"#, "", r#"{"b":3}"#] {
            merge(&mut json, later);
        }
        assert_eq!(json, r#"{"a":1,"b":3}"#);
    }
}
