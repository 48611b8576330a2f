//! Scalars that are read without copying where the JSON allows it.

use std::{borrow::Cow, ops::Deref};

use serde::Deserialize;

/// A JSON string, borrowed from the event unless it holds an escape.
///
/// Serde borrows no `Cow` inside an `Option`, hence a type of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(crate) struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl Text<'_> {
    /// The text, copied if it was borrowed.
    pub(crate) fn into_owned(self) -> String {
        self.0.into_owned()
    }
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// `stop_reason`: the stop text or the stop token that ended a choice.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(crate) enum StopReason {
    Text(String),
    TokenId(i32),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_is_copied_only_where_it_holds_an_escape() {
        for (json, is_borrowed) in [(r#""a""#, true), (r#""""#, true), (r#""\u0061""#, false)] {
            let text: Option<Text<'_>> = serde_json::from_str(json).unwrap();
            let is_found = matches!(text, Some(Text(Cow::Borrowed(_))));
            assert_eq!(is_found, is_borrowed, "{json}");
        }
    }

    #[test]
    fn a_stop_reason_is_a_text_or_a_token_id() {
        for (json, expected) in [
            (r#""a""#, Some(StopReason::Text("a".to_owned()))),
            ("7", Some(StopReason::TokenId(7))),
            ("-1", Some(StopReason::TokenId(-1))),
            ("2147483648", None),
            ("[]", None),
        ] {
            let read: Option<StopReason> = serde_json::from_str(json).ok();
            assert_eq!(read, expected, "{json}");
        }
    }
}
