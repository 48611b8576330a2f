//! The JSON of answers, in the order of a recorded vLLM 0.32.

use serde_json::{Value, json};

use crate::answer::{Answer, Kind, Part};

const FINGERPRINT: &str = r#""system_fingerprint":"vllm-0.32.0-00000000""#;

/// The answer to a request, whole or as chunks.
pub(crate) struct Wire {
    pub(crate) object: &'static str,
    pub(crate) id: String,
    /// Seconds since the epoch.
    pub(crate) created: u64,
    pub(crate) model: String,
    pub(crate) n_prompt_tokens: usize,
    /// One for each chat or prompt; never empty.
    pub(crate) answers: Vec<Answer>,
    /// Choices of each, which are all the same.
    pub(crate) n_each: usize,
}

// === impl Wire ===

impl Wire {
    /// The whole answer.
    pub(crate) fn body(&self) -> String {
        let choice = |index| {
            let answer = self.answer(index)?;
            let tokens = (0..answer.n_tokens).filter_map(|n| answer.token(n));
            let mut message = self.message(tokens);
            message["role"] = json!("assistant");
            Some(self.choice(index, "message", &message, Some(answer)))
        };
        let choices: Vec<String> = (0..self.n_choices()).filter_map(choice).collect();
        let rest = format!(
            r#","service_tier":null,{FINGERPRINT},{},"prompt_logprobs":null,"kv_transfer_params":null,"metrics":null"#,
            self.usage()
        );
        self.envelope(&choices.join(","), &rest)
    }

    /// The chunk that opens a choice; a completion has none.
    pub(crate) fn role_chunk(&self, index: usize) -> Option<String> {
        let delta = json!({"role": "assistant", "content": ""});
        let choice = self.choice(index, "delta", &delta, None);
        self.is_chat().then(|| self.envelope(&choice, ""))
    }

    /// The chunk of the `n`th token of a choice; `None` where it shows nothing.
    pub(crate) fn token_chunk(&self, index: usize, n: usize) -> Option<String> {
        let token = self.answer(index)?.token(n)?;
        let last = self.answer(index);
        let last = last.filter(|answer| n + 1 == answer.n_tokens);
        let choice = self.choice(index, "delta", &self.message([token]), last);
        let is_shown = token.0 != Kind::Hidden || last.is_some();
        is_shown.then(|| self.envelope(&choice, ""))
    }

    /// The chunk without choices that ends a stream whose caller asked for the usage.
    pub(crate) fn usage_chunk(&self) -> String {
        self.envelope("", &format!(",{},{FINGERPRINT}", self.usage()))
    }

    pub(crate) fn n_choices(&self) -> usize {
        self.answers.len() * self.n_each
    }

    /// Tokens of the longest choice.
    pub(crate) fn n_steps(&self) -> usize {
        let tokens = self.answers.iter().map(|answer| answer.n_tokens);
        tokens.max().unwrap_or(0)
    }

    fn answer(&self, index: usize) -> Option<&Answer> {
        self.answers.get(index.checked_div(self.n_each)?)
    }

    fn is_chat(&self) -> bool {
        self.object != "text_completion"
    }

    fn envelope(&self, choices: &str, rest: &str) -> String {
        let (id, object, model) = (json!(self.id), self.object, &self.model);
        let created = self.created;
        format!(
            r#"{{"id":{id},"object":"{object}","created":{created},"model":"{model}","choices":[{choices}]{rest}}}"#
        )
    }

    fn usage(&self) -> String {
        let tokens = self.answers.iter().map(|answer| answer.n_tokens);
        let (prompt, completion) = (self.n_prompt_tokens, self.n_each * tokens.sum::<usize>());
        let total = prompt + completion;
        format!(
            r#""usage":{{"prompt_tokens":{prompt},"total_tokens":{total},"completion_tokens":{completion}}}"#
        )
    }

    /// A choice with a message, or with a part of it under the name `delta`; `ended` where it is the last.
    fn choice(&self, index: usize, name: &str, message: &Value, ended: Option<&Answer>) -> String {
        let said = match self.is_chat() {
            true => format!(r#""{name}":{message}"#),
            false => format!(r#""text":{}"#, message.get("content").unwrap_or(&json!(""))),
        };
        let end = ended.map_or(r#""finish_reason":null"#.to_owned(), |answer| {
            let (reason, stop) = (answer.finish_reason, json!(answer.stop_reason));
            format!(r#""finish_reason":"{reason}","stop_reason":{stop}"#)
        });
        format!(r#"{{"index":{index},{said},"logprobs":null,{end},"token_ids":null}}"#)
    }

    /// The message, or the part of it, that these tokens make.
    fn message<'a>(&self, tokens: impl IntoIterator<Item = &'a Part>) -> Value {
        let mut message = json!({});
        let mut calls: Vec<Value> = Vec::new();
        let append = |to: &mut Value, text: &str| {
            *to = json!(to.as_str().unwrap_or_default().to_owned() + text);
        };
        for (kind, text) in tokens {
            match (kind, calls.last_mut()) {
                (Kind::Hidden, _) => {}
                (Kind::Content, _) => append(&mut message["content"], text),
                (Kind::Reasoning, _) => append(&mut message["reasoning"], text),
                (Kind::Call(index), _) => {
                    let id = format!("{}-call-{index}", self.id);
                    calls.push(json!({"id": id, "type": "function", "index": index, "function": {"name": text}}));
                }
                (Kind::Arguments(_), Some(call)) => {
                    append(&mut call["function"]["arguments"], text)
                }
                (Kind::Arguments(index), None) => {
                    calls.push(json!({"index": index, "function": {"arguments": text}}));
                }
            }
        }
        if !calls.is_empty() {
            message["tool_calls"] = json!(calls);
        }
        message
    }
}
