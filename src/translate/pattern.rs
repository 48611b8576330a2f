//! A short way for the chunks that most of a stream consists of.

use crate::openai::{chunk::Chunk, text::Text};

/// The JSON around the text of a chunk that holds nothing but text.
///
/// Chunks of one answer differ in that text alone, as a rule. One that begins and ends as another did, with nothing
/// between but characters that stand for themselves, is the same chunk with another text, so that parsing it would find
/// nothing else. Any other chunk goes the long way.
#[derive(Debug)]
pub(super) struct Pattern {
    /// Up to the text, its opening quote included.
    head: String,
    /// From the text on, its closing quote included.
    tail: String,
    is_reasoning: bool,
}

/// The text of a chunk that follows a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Match<'a> {
    Content(&'a str),
    Reasoning(&'a str),
}

impl Pattern {
    /// The pattern of a chunk with this JSON, if it holds nothing but the text of one choice.
    pub(super) fn of(chunk: &Chunk<'_>, json: &str) -> Option<Self> {
        let [choice] = chunk.choices.as_deref()? else {
            return None;
        };
        let is_bare = chunk.usage.is_none()
            && chunk.system_fingerprint.is_none()
            && choice.finish_reason.is_none()
            && choice.logprobs.is_none()
            && choice.token_ids.is_none();
        if !is_bare {
            return None;
        }
        let (text, is_reasoning) = match (&choice.delta, &choice.text) {
            (None, Some(text)) => (text, false),
            (Some(delta), None) if delta.tool_calls.is_none() => {
                match (&delta.content, &delta.reasoning, &delta.reasoning_content) {
                    (Some(text), None, None) => (text, false),
                    (None, Some(text), None) | (None, None, Some(text)) => (text, true),
                    _ => return None,
                }
            }
            _ => return None,
        };
        let (head, tail) = around(text, json)?;
        Some(Self {
            head: head.to_owned(),
            tail: tail.to_owned(),
            is_reasoning,
        })
    }

    /// The text of a chunk with this JSON, if the chunk follows the pattern.
    pub(super) fn find<'a>(&self, json: &'a str) -> Option<Match<'a>> {
        let text = json.strip_prefix(self.head.as_str())?;
        let text = text.strip_suffix(self.tail.as_str())?;
        let stands_for_itself = |byte: u8| byte >= b' ' && byte != b'"' && byte != b'\\';
        if !text.bytes().all(stands_for_itself) {
            return None;
        }
        Some(if self.is_reasoning {
            Match::Reasoning(text)
        } else {
            Match::Content(text)
        })
    }
}

/// What stands before and after a text in its JSON; `None` where the text is a copy, since the JSON has it escaped.
fn around<'a>(text: &Text<'_>, json: &'a str) -> Option<(&'a str, &'a str)> {
    let start = text.as_ptr().addr().checked_sub(json.as_ptr().addr())?;
    let end = start.checked_add(text.len())?;
    let (head, tail) = (json.get(..start)?, json.get(end..)?);
    (head.ends_with('"') && tail.starts_with('"')).then_some((head, tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(json: &str) -> Option<Pattern> {
        Pattern::of(&serde_json::from_str(json).unwrap(), json)
    }

    #[test]
    fn a_chunk_that_differs_in_its_text_alone_is_read_the_short_way() {
        let chunk = |text: &str| {
            format!(
                r#"{{"id":"i","choices":[{{"index":0,"delta":{{"content":"{text}"}},"logprobs":null}}]}}"#
            )
        };
        let pattern = pattern(&chunk("a")).unwrap();
        for text in ["", "b", "a longer text", "é😀\u{2028}", "{}[],:"] {
            assert_eq!(pattern.find(&chunk(text)), Some(Match::Content(text)));
        }
        for escaped in [r"\n", r#"\""#, r"\\", r"\u00e9", r#"x","role":"y"#] {
            assert_eq!(pattern.find(&chunk(escaped)), None, "{escaped}");
        }
        assert_eq!(pattern.find(&chunk("a").replace("null", "7")), None);
        assert_eq!(pattern.find(""), None);
        // Head and tail must not overlap.
        let short = Pattern {
            head: "ab".to_owned(),
            tail: "bc".to_owned(),
            is_reasoning: false,
        };
        assert_eq!(short.find("abc"), None);
    }

    #[test]
    fn only_bare_text_makes_a_pattern() {
        let rows = [
            (r#"{"choices":[{"delta":{"content":"a"}}]}"#, true),
            (r#"{"choices":[{"delta":{"reasoning":"a"}}]}"#, true),
            (r#"{"choices":[{"delta":{"reasoning_content":"a"}}]}"#, true),
            (r#"{"choices":[{"text":"a","token_ids":null}]}"#, true),
            (
                r#"{"choices":[{"delta":{"content":"a","reasoning":"b"}}]}"#,
                false,
            ),
            (
                r#"{"choices":[{"delta":{"content":"a","tool_calls":[]}}]}"#,
                false,
            ),
            (r#"{"choices":[{"delta":{"content":"\n"}}]}"#, false),
            (
                r#"{"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}"#,
                false,
            ),
            (
                r#"{"choices":[{"delta":{"content":"a"},"token_ids":[1]}]}"#,
                false,
            ),
            (
                r#"{"choices":[{"delta":{"content":"a"},"logprobs":{}}]}"#,
                false,
            ),
            (
                r#"{"choices":[{"delta":{"content":"a"}}],"usage":{}}"#,
                false,
            ),
            (
                r#"{"choices":[{"delta":{"content":"a"}},{"delta":{"content":"b"}}]}"#,
                false,
            ),
            (r#"{"choices":[]}"#, false),
        ];
        for (json, is_pattern) in rows {
            assert_eq!(pattern(json).is_some(), is_pattern, "{json}");
        }
    }
}
