//! A choice of an answer, token by token, within the limits of the request.

use serde_json::Value;

use crate::request::Request;

/// One choice: its tokens, and how it ends.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Never empty. They are repeated where `n_tokens` is more, and cut where it is less.
    tokens: Vec<Part>,
    pub(crate) n_tokens: usize,
    pub(crate) finish_reason: &'static str,
    /// The stop text that ended it.
    pub(crate) stop_reason: Option<String>,
}

/// A part of a message: before it is split into tokens, or a token.
pub(crate) type Part = (Kind, String);

/// Where in the message a part belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nowhere, such as the end of the turn.
    Hidden,
    Reasoning,
    Content,
    /// The name of the call with this index.
    Call(usize),
    /// The arguments of the call with this index.
    Arguments(usize),
}

// === impl Answer ===

impl Answer {
    pub(crate) fn new(message: Vec<Part>, request: &Request, max_tokens: usize) -> Self {
        let is_call = message.iter().any(|(kind, _)| *kind == Kind::Call(0));
        let mut stop_reason = None;
        let mut tokens = Vec::new();
        for (kind, mut text) in message {
            if kind == Kind::Content {
                stop_reason = cut_at_stop(&mut text, &request.stop);
            }
            match kind {
                Kind::Call(_) => tokens.push((kind, text)),
                Kind::Hidden | Kind::Reasoning | Kind::Content | Kind::Arguments(_) => {
                    tokens.extend(split(&text).into_iter().map(|text| (kind, text)))
                }
            }
        }
        let repeats = request.ignore_eos && stop_reason.is_none() && !tokens.is_empty();
        if !repeats {
            tokens.push((Kind::Hidden, "<|im_end|>".to_owned()));
        }
        let is_cut = repeats || tokens.len() > max_tokens;
        let n_tokens = if is_cut { max_tokens } else { tokens.len() };
        Self {
            tokens,
            n_tokens,
            finish_reason: match (is_cut, is_call) {
                (true, _) => "length",
                (false, true) => "tool_calls",
                (false, false) => "stop",
            },
            stop_reason: stop_reason.filter(|_| !is_cut),
        }
    }

    /// Ends it after the first token, as an engine that is shut down does.
    pub(crate) fn abort(&mut self) {
        (self.n_tokens, self.finish_reason) = (1, "abort");
    }

    /// The `n`th token, from 0; `None` after the last.
    pub(crate) fn token(&self, n: usize) -> Option<&Part> {
        let token = || self.tokens.get(n.checked_rem(self.tokens.len())?);
        (n < self.n_tokens).then(token)?
    }
}

/// Cuts a text before the first stop text, and returns that stop text.
fn cut_at_stop(text: &mut String, stop: &Value) -> Option<String> {
    let list = stop.as_array().into_iter().flatten();
    let stops = list.chain([stop]).filter_map(Value::as_str);
    let found = stops.filter_map(|stop| Some((text.find(stop)?, stop)));
    let (start, stop) = found.min()?;
    text.truncate(start);
    Some(stop.to_owned())
}

/// The tokens of a text: runs of letters and digits with the space before, and single other characters.
pub(crate) fn split(text: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut may_join = false;
    for character in text.chars() {
        match tokens.last_mut() {
            Some(token) if may_join && character.is_alphanumeric() => token.push(character),
            Some(_) | None => tokens.push(character.to_string()),
        }
        may_join = character.is_alphanumeric() || character == ' ';
    }
    tokens
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_ends_at_its_end_its_limit_or_its_stop_text() {
        for (options, max_tokens, expected) in [
            (json!({}), 9, ("1 2 3", 4, "stop")),
            (json!({}), 4, ("1 2 3", 4, "stop")),
            (json!({}), 3, ("1 2 3", 3, "length")),
            (json!({"stop": "3"}), 9, ("1 2 ", 4, "stop")),
            (json!({"stop": ["9", "2"]}), 9, ("1 ", 3, "stop")),
            (json!({"ignore_eos": true}), 4, ("1 2 31", 4, "length")),
        ] {
            let request: Request = serde_json::from_value(options.clone()).unwrap();
            let message = vec![(Kind::Content, "1 2 3".to_owned())];
            let answer = Answer::new(message, &request, max_tokens);
            let tokens = (0..answer.n_tokens).filter_map(|n| answer.token(n));
            let text: String = tokens
                .filter(|it| it.0 == Kind::Content)
                .map(|it| &*it.1)
                .collect();
            let got = (text.as_str(), answer.n_tokens, answer.finish_reason);
            assert_eq!(got, expected, "{options}");
        }
    }

    #[test]
    fn text_is_split_at_words_and_marks() {
        for (text, expected) in [
            ("", &[][..]),
            ("Hello! How can", &["Hello", "!", " How", " can"]),
            ("café 日本 🎉", &["café", " 日本", " ", "🎉"]),
        ] {
            assert_eq!(split(text), expected);
        }
    }
}
