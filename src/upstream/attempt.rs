//! The id of one attempt, which no other answer can carry.

use std::fmt;

use http::HeaderValue;
use memchr::{memchr, memmem};
use serde::Deserialize;

use super::error::{Error, Malformed};
use crate::openai::text::Text;

/// Stands before a suffix's digits.
const MARK: char = '~';

/// Lowercase hexadecimal digits of a suffix.
const N_DIGITS: usize = 16;

/// The id that one attempt sends as `x-request-id`: the caller's, and a random suffix.
///
/// vLLM makes an answer's id from it, so that the answer to another attempt is known by its suffix. Answers without an
/// id of that form pass.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) id: HeaderValue,
    suffix: Suffix,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Suffix(u64);

#[derive(Deserialize)]
struct Identified<'a> {
    #[serde(borrow)]
    id: Option<Text<'a>>,
}

// === impl Attempt ===

impl Attempt {
    /// A further attempt of the call with that id.
    pub(super) fn new(request_id: &HeaderValue) -> Self {
        let suffix = Suffix(fastrand::u64(..));
        let id = [request_id.as_bytes(), suffix.to_string().as_bytes()].concat();
        Self {
            // Cannot fail: every byte may stand in a header.
            id: HeaderValue::from_bytes(&id).unwrap_or_else(|_invalid| request_id.clone()),
            suffix,
        }
    }

    /// Refuses an answer, or its first chunk, whose id is that of another attempt.
    pub(super) fn check(&self, json: &str) -> Result<(), Error> {
        let bytes = json.as_bytes();
        // Nearly every answer ends here, without being parsed.
        if memchr(MARK as u8, bytes).is_none()
            || memmem::find(bytes, self.suffix.to_string().as_bytes()).is_some()
        {
            return Ok(());
        }
        // What cannot be parsed is refused by whoever reads it.
        let id = serde_json::from_str::<Identified<'_>>(json).map_or(None, |answer| answer.id);
        match id.and_then(|id| Suffix::of(&id)) {
            Some(suffix) if suffix != self.suffix => Err(Error::Protocol(Malformed::ForeignAnswer)),
            _ => Ok(()),
        }
    }
}

// === impl Suffix ===

impl Suffix {
    /// The last suffix in an id; a server may append a tail, as `-0`.
    fn of(id: &str) -> Option<Self> {
        let (_id, tail) = id.rsplit_once(MARK)?;
        let (digits, tail) = tail.split_at_checked(N_DIGITS)?;
        let is_lowercase_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if !digits.bytes().all(is_lowercase_hex) || !(tail.is_empty() || tail.starts_with('-')) {
            return None;
        }
        u64::from_str_radix(digits, 16).ok().map(Self)
    }
}

impl fmt::Display for Suffix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{MARK}{:0width$x}", self.0, width = N_DIGITS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_id_with_the_suffix_of_another_attempt_is_refused() {
        let attempt = Attempt::new(&HeaderValue::from_static("mine"));
        let id = attempt.id.to_str().unwrap();
        let other = "~0123456789abcdef";
        let rows = [
            (format!("chatcmpl-{id}"), true),
            (format!("chatcmpl-{id}-0"), true),
            ("chatcmpl-mine".to_owned(), true),
            (format!("chatcmpl-mine{other}"), false),
            (format!("chatcmpl-mine{other}-0"), false),
            // A caller's own id may have the form of a suffix.
            (format!("chatcmpl-mine{other}{}", attempt.suffix), true),
            (format!("mine{other}a"), true),
            ("mine~0123456789ABCDEF".to_owned(), true),
            ("mine~0123456789abcde".to_owned(), true),
            ("mine~0123456789abcdé".to_owned(), true),
        ];
        for (id, passes) in rows {
            let json = serde_json::json!({"object": "chat.completion", "id": id}).to_string();
            assert_eq!(attempt.check(&json).is_ok(), passes, "{id}");
        }
        for json in [
            "",
            "[]",
            "{\"id\":7,\"x\":\"~\"}",
            "{\"id\":null,\"x\":\"~\"}",
        ] {
            assert!(attempt.check(json).is_ok(), "{json}");
        }
    }
}
