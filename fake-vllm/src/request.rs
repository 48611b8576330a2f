//! The request body of both routes, and what vLLM refuses of it.

use serde::Deserialize;
use serde_json::Value;

use crate::error::Error;

/// The members that the simulated vLLM acts on; all others are ignored.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Request {
    model: Option<String>,
    /// The turns of a chat, oldest first; empty for a completion, and the chats of a batch.
    pub(crate) messages: Vec<Value>,
    /// Of a completion: a text, token ids, or a list of these.
    prompt: Value,
    pub(crate) stream: bool,
    pub(crate) stream_options: Value,
    max_tokens: Option<usize>,
    max_completion_tokens: Option<usize>,
    pub(crate) n: Option<usize>,
    temperature: Option<f64>,
    pub(crate) stop: Value,
    pub(crate) ignore_eos: bool,
    pub(crate) tools: Vec<Value>,
    pub(crate) tool_choice: Value,
    pub(crate) parallel_tool_calls: Option<bool>,
    pub(crate) chat_template_kwargs: Value,
    pub(crate) include_reasoning: Option<bool>,
    pub(crate) response_format: Value,
    pub(crate) structured_outputs: Value,
}

// === impl Request ===

impl Request {
    /// A request for each of several chats or prompts.
    pub(crate) fn each(self) -> Vec<Self> {
        if self.messages.first().is_some_and(Value::is_array) {
            let chats = self.messages.iter().filter_map(Value::as_array);
            let chats: Vec<Vec<Value>> = chats.cloned().collect();
            let of = |messages| Self {
                messages,
                ..self.clone()
            };
            return chats.into_iter().map(of).collect();
        }
        match self.prompt.as_array() {
            Some(prompts) if prompts.first().is_some_and(|it| !it.is_number()) => {
                let of = |prompt: &Value| Self {
                    prompt: prompt.clone(),
                    ..self.clone()
                };
                prompts.iter().map(of).collect()
            }
            _ => vec![self],
        }
    }

    /// The text to answer: the newest turn of the user, or the prompt of a completion.
    pub(crate) fn question(&self) -> String {
        let turn = self.newest_turn();
        turn.map_or_else(|| text(&self.prompt), |turn| text(&turn["content"]))
    }

    /// The newest turn of the user.
    pub(crate) fn newest_turn(&self) -> Option<&Value> {
        let mut newest_first = self.messages.iter().rev();
        newest_first.find(|turn| turn["role"] == "user")
    }

    /// A token is four bytes.
    pub(crate) fn n_prompt_tokens(&self) -> usize {
        let turns = self
            .messages
            .iter()
            .map(|turn| text(&turn["content"]).len());
        (turns.sum::<usize>() + text(&self.prompt).len()).div_ceil(4)
    }

    /// Checks it, and returns the tokens that each choice may have.
    pub(crate) fn max_tokens(&self, model: &str, max_model_len: usize) -> Result<usize, Error> {
        let n_prompt_tokens = self.n_prompt_tokens();
        let room = max_model_len.saturating_sub(n_prompt_tokens);
        let wanted = self.max_completion_tokens.or(self.max_tokens);
        let refused = |param, message: String| Err(Error::new(400, message, Some(param)));
        match (&self.model, self.temperature, self.n, wanted) {
            (Some(asked), ..) if asked != model => {
                let message = format!("The model `{asked}` does not exist.");
                Err(Error::new(404, message, Some("model")))
            }
            (_, Some(it), ..) if !(0.0..=2.0).contains(&it) => refused(
                "temperature",
                format!("temperature must be in [0, 2], got {it:?}."),
            ),
            (.., Some(n), _) if !(1..=16).contains(&n) => {
                refused("n", format!("n must be in [1, 16], got {n}."))
            }
            (.., Some(it)) if !(1..=max_model_len).contains(&it) => {
                let message = format!("max_tokens must be in [1, {max_model_len}], got {it}.");
                refused("max_tokens", message)
            }
            _ if room == 0 => {
                let message = format!(
                    "This model's maximum context length is {max_model_len} tokens. However, your prompt contains {n_prompt_tokens} input tokens."
                );
                refused("input_tokens", message)
            }
            _ => Ok(wanted.unwrap_or(room).min(room)),
        }
    }
}

/// The text of a content; text parts are joined by line ends, as vLLM does.
pub(crate) fn text(content: &Value) -> String {
    let parts = content.as_array().into_iter().flatten();
    let parts = parts.filter_map(|part| part.get("text")?.as_str());
    let texts: Vec<&str> = content.as_str().into_iter().chain(parts).collect();
    texts.join("\n")
}
