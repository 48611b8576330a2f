//! The id of one attempt, which the answer to another does not carry.

use http::HeaderValue;
use memchr::memmem;
use serde::Deserialize;

use super::error::Error;
use crate::openai::text::Text;

/// A mark and 16 lowercase hexadecimal digits.
const SUFFIX_BYTES: usize = 17;

/// The id that one attempt sends as `x-request-id`: the caller's, and a random suffix.
///
/// vLLM makes an answer's id from it, so that the answer to another attempt is known by its suffix. Answers without an
/// id of that form pass.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) id: HeaderValue,
    suffix: String,
}

impl Attempt {
    /// A further attempt of the call with that id.
    pub(super) fn new(request_id: &HeaderValue) -> Self {
        let suffix = format!("~{:016x}", fastrand::u64(..));
        let id = [request_id.as_bytes(), suffix.as_bytes()].concat();
        // Cannot fail: every byte may stand in a header.
        let id = HeaderValue::from_bytes(&id).unwrap_or_else(|_invalid| request_id.clone());
        Self { id, suffix }
    }

    /// Refuses an answer, or its first chunk, whose id is that of another attempt.
    pub(super) fn check(&self, json: &str) -> Result<(), Error> {
        // Nearly every answer ends here, without being parsed.
        if memmem::find(json.as_bytes(), self.suffix.as_bytes()).is_some()
            || memchr::memchr(b'~', json.as_bytes()).is_none()
        {
            return Ok(());
        }
        #[derive(Deserialize)]
        struct Identified<'a> {
            #[serde(borrow)]
            id: Option<Text<'a>>,
        }
        // Malformed JSON is refused later, where the answer is parsed.
        let id = serde_json::from_str::<Identified<'_>>(json).map_or(None, |answer| answer.id);
        match id.as_deref().and_then(suffix_of) {
            Some(suffix) if suffix != self.suffix => {
                Err(Error::protocol("the answer to another request"))
            }
            _ => Ok(()),
        }
    }
}

/// The last suffix in an id; a server may append a tail, as `-0`.
fn suffix_of(id: &str) -> Option<&str> {
    let (suffix, tail) = id.get(id.rfind('~')?..)?.split_at_checked(SUFFIX_BYTES)?;
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let is_suffix = suffix.bytes().skip(1).all(is_digit);
    (is_suffix && (tail.is_empty() || tail.starts_with('-'))).then_some(suffix)
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
