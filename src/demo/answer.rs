//! What a choice says, token by token, within the limits of the request.

use super::{
    chat::ToolChoice,
    request::{Input, Request},
    script::{self, Message},
    text,
};

/// One choice: a token at a time, and how it ends.
#[derive(Debug)]
pub(super) struct Answer {
    /// Never empty; the last one comes with the finish reason.
    pub(super) tokens: Vec<Token>,
    pub(super) finish_reason: &'static str,
    /// The stop text that ended it.
    pub(super) stop_reason: Option<String>,
}

/// A token, and what it adds to the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) text: String,
    pub(super) delta: Delta,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Delta {
    /// A mark that is no text, as the end of the turn.
    Nothing,
    Content(String),
    Reasoning(String),
    ToolCall {
        index: usize,
        name: String,
    },
    Arguments {
        index: usize,
        text: String,
    },
}

/// The mark that ends a turn.
const END: &str = "<|im_end|>";

// === impl Answer ===

impl Answer {
    /// The answers of all choices.
    pub(super) fn all(request: &Request) -> Vec<Self> {
        (0..request.n)
            .map(|choice| match &request.input {
                Input::Chat(chat) => {
                    let message = script::chat_message(chat, choice);
                    let answer = Self::of_message(message, request);
                    answer.with_reasoning_if(chat.includes_reasoning)
                }
                Input::Completion(completion) => {
                    let (text, goes_on) =
                        script::continuation(&completion.prompt, request.max_tokens);
                    Self::of_text(&text, goes_on, request)
                }
            })
            .collect()
    }

    fn of_message(message: Message, request: &Request) -> Self {
        let mut tokens = Vec::new();
        if !message.reasoning.is_empty() {
            tokens.push(mark("<think>"));
            let pieces = text::tokens(&message.reasoning);
            tokens.extend(pieces.into_iter().map(|text| Token {
                delta: Delta::Reasoning(text.clone()),
                text,
            }));
            tokens.push(mark("</think>"));
        }
        let is_called = !message.calls.is_empty();
        for (index, (name, arguments)) in message.calls.into_iter().enumerate() {
            tokens.push(Token {
                text: name.clone(),
                delta: Delta::ToolCall { index, name },
            });
            tokens.extend(text::tokens(&arguments).into_iter().map(|text| Token {
                delta: Delta::Arguments {
                    index,
                    text: text.clone(),
                },
                text,
            }));
        }
        let mut answer = Self::ended(tokens, &message.content, false, request);
        if is_called && answer.finish_reason == "stop" && !is_named(request) {
            answer.finish_reason = "tool_calls";
        }
        answer
    }

    fn of_text(text: &str, goes_on: bool, request: &Request) -> Self {
        let answer = Self::ended(Vec::new(), text, goes_on, request);
        match &request.input {
            Input::Completion(completion) if completion.echo => answer.after(&completion.prompt),
            Input::Completion(_) | Input::Chat(_) => answer,
        }
    }

    /// Adds the content, up to a stop text, to the end of the turn or to the limit, whatever comes first.
    fn ended(mut tokens: Vec<Token>, content: &str, goes_on: bool, request: &Request) -> Self {
        let (content, stop_reason) = cut_at_stop(content, request);
        let pieces = text::tokens(content);
        let content: Vec<Token> = pieces.into_iter().map(content_token).collect();
        tokens.extend(content.iter().cloned());
        if let Some(stop) = &stop_reason {
            tokens.push(Token {
                text: stop.clone(),
                delta: Delta::Content(String::new()),
            });
        } else if request.ignore_eos && !content.is_empty() {
            tokens.extend(content.into_iter().cycle().take(request.max_tokens));
        } else if !goes_on {
            tokens.push(mark(END));
        }
        let is_cut = tokens.len() > request.max_tokens || (goes_on && stop_reason.is_none());
        tokens.truncate(request.max_tokens);
        Self {
            tokens,
            finish_reason: if is_cut { "length" } else { "stop" },
            stop_reason: stop_reason.filter(|_| !is_cut),
        }
    }

    /// Puts the echoed prompt before the first token.
    fn after(mut self, prompt: &str) -> Self {
        if let Some(first) = self.tokens.first_mut() {
            first.delta = Delta::Content(format!("{prompt}{}", first.content()));
        }
        self
    }

    /// Leaves the reasoning out of the message; its tokens are still counted.
    fn with_reasoning_if(mut self, is_included: bool) -> Self {
        for token in &mut self.tokens {
            if matches!(token.delta, Delta::Reasoning(_)) && !is_included {
                token.delta = Delta::Nothing;
            }
        }
        self
    }
}

// === impl Token ===

impl Token {
    /// What it adds to the content.
    pub(super) fn content(&self) -> &str {
        match &self.delta {
            Delta::Content(text) => text,
            Delta::Nothing
            | Delta::Reasoning(_)
            | Delta::ToolCall { .. }
            | Delta::Arguments { .. } => "",
        }
    }
}

fn is_named(request: &Request) -> bool {
    match &request.input {
        Input::Chat(chat) => matches!(chat.tool_choice, ToolChoice::Named(_)),
        Input::Completion(_) => false,
    }
}

/// The text before the first stop text, and that stop text.
fn cut_at_stop<'a>(text: &'a str, request: &Request) -> (&'a str, Option<String>) {
    let found = request
        .stop
        .iter()
        .filter_map(|stop| Some((text.find(stop)?, stop)));
    let Some((start, stop)) = found.min_by_key(|(start, _stop)| *start) else {
        return (text, None);
    };
    let end = if request.include_stop {
        start + stop.len()
    } else {
        start
    };
    (text.get(..end).unwrap_or(text), Some(stop.clone()))
}

fn content_token(text: String) -> Token {
    Token {
        delta: Delta::Content(text.clone()),
        text,
    }
}

fn mark(text: &str) -> Token {
    Token {
        text: text.to_owned(),
        delta: Delta::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn answer(body: Value) -> Answer {
        let body = body.as_object().unwrap();
        let request = if body.contains_key("prompt") {
            Request::completion(body)
        } else {
            Request::chat(body)
        };
        Answer::all(&request.unwrap()).remove(0)
    }

    /// Content, number of tokens, finish reason and stop reason.
    fn summary(answer: &Answer) -> (String, usize, &str, Option<&str>) {
        let content = answer.tokens.iter().map(Token::content);
        (
            content.collect(),
            answer.tokens.len(),
            answer.finish_reason,
            answer.stop_reason.as_deref(),
        )
    }

    #[test]
    fn an_answer_ends_at_its_end_its_limit_or_its_stop_text() {
        let count = |options: Value| {
            let mut body = json!({"messages": [{"role": "user", "content": "Count to 5."}]});
            let body_members = body.as_object_mut().unwrap();
            body_members.extend(options.as_object().unwrap().clone());
            body
        };
        for (body, expected) in [
            (count(json!({})), ("1 2 3 4 5", 6, "stop", None)),
            (
                count(json!({"max_tokens": 6})),
                ("1 2 3 4 5", 6, "stop", None),
            ),
            (
                count(json!({"max_tokens": 5})),
                ("1 2 3 4 5", 5, "length", None),
            ),
            (count(json!({"max_tokens": 2})), ("1 2", 2, "length", None)),
            (count(json!({"stop": "3"})), ("1 2 ", 4, "stop", Some("3"))),
            (
                count(json!({"stop": ["9", "3"], "include_stop_str_in_output": true})),
                ("1 2 3", 4, "stop", Some("3")),
            ),
            (
                count(json!({"ignore_eos": true, "max_tokens": 7})),
                ("1 2 3 4 51 2", 7, "length", None),
            ),
            (
                json!({"prompt": "1 2", "max_tokens": 3}),
                (" 3 4 5", 3, "length", None),
            ),
            (
                json!({"prompt": "1 2", "max_tokens": 1, "echo": true}),
                ("1 2 3", 1, "length", None),
            ),
        ] {
            let answer = answer(body);
            let (content, n_tokens, finish_reason, stop_reason) = expected;
            assert_eq!(
                summary(&answer),
                (content.to_owned(), n_tokens, finish_reason, stop_reason)
            );
        }
    }
}
