//! Folds the events of a stream into a whole answer.

use std::collections::BTreeMap;

use super::extensions;
use crate::proto::{
    self, GenerateResponse, StreamGenerateResponse, choice, choice_finished,
    stream_generate_response::Event,
};

/// Folds a stream into the response that `Generate` gives for the same answer.
///
/// The rule: texts, arguments, logprobs and token ids are appended in order; a tool call has the id and name of its
/// first piece; anything else is set, and a later value replaces an earlier one. Prompt logprobs are never streamed. A
/// stream that did not end with OK gives an incomplete answer.
#[derive(Clone, Debug, Default)]
pub struct Fold {
    response: GenerateResponse,
    choices: BTreeMap<i32, proto::Choice>,
}

impl Fold {
    /// Before the first event.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next event.
    pub fn push(&mut self, response: StreamGenerateResponse) {
        if !response.system_fingerprint.is_empty() {
            self.response.system_fingerprint = response.system_fingerprint;
        }
        let extensions = &mut self.response.extensions_json;
        extensions::merge(extensions, &response.extensions_json);
        match response.event {
            None => {}
            Some(Event::Started(started)) => self.start(started),
            Some(Event::Content(delta)) => {
                let message = self.message(delta.choice_index);
                message.content.push_str(&delta.text);
            }
            Some(Event::Reasoning(delta)) => {
                let message = self.message(delta.choice_index);
                message.reasoning.push_str(&delta.text);
            }
            Some(Event::Refusal(delta)) => {
                let choice = self.choice(delta.choice_index);
                choice.refusal.push_str(&delta.text);
            }
            Some(Event::ToolCall(delta)) => self.tool_call(delta),
            Some(Event::Tokens(delta)) => {
                let choice = self.choice(delta.choice_index);
                choice.logprobs.extend(delta.logprobs);
                choice.token_ids.extend(delta.token_ids);
                choice.prompt_token_ids.extend(delta.prompt_token_ids);
            }
            Some(Event::Finished(finished)) => self.finish(finished),
            Some(Event::Usage(usage)) => self.response.usage = Some(usage),
        }
    }

    /// The answer so far.
    #[must_use]
    pub fn finish_response(self) -> GenerateResponse {
        GenerateResponse {
            choices: self.choices.into_values().collect(),
            ..self.response
        }
    }

    fn start(&mut self, started: proto::StreamStarted) {
        self.response.id = started.id;
        self.response.model = started.model;
        self.response.create_time = started.create_time;
        self.response.prompt_token_ids = started.prompt_token_ids;
        self.response.prompt_text = started.prompt_text;
    }

    fn tool_call(&mut self, delta: proto::ToolCallDelta) {
        let calls = &mut self.message(delta.choice_index).tool_calls;
        // Calls appear in the order of their index, so that a new one is the next.
        let index = usize::try_from(delta.tool_index).unwrap_or(usize::MAX);
        match calls.get_mut(index) {
            Some(call) => call.arguments.push_str(&delta.arguments),
            None => calls.push(proto::ToolCall {
                id: delta.id,
                name: delta.name,
                arguments: delta.arguments,
            }),
        }
    }

    fn finish(&mut self, finished: proto::ChoiceFinished) {
        let choice = self.choice(finished.choice_index);
        choice.finish_reason = finished.finish_reason;
        choice.finish_reason_raw = finished.finish_reason_raw;
        choice.prompt_index = finished.prompt_index;
        choice.extensions_json = finished.extensions_json;
        choice.stop_reason = finished.stop_reason.map(|reason| match reason {
            choice_finished::StopReason::StopString(text) => choice::StopReason::StopString(text),
            choice_finished::StopReason::StopTokenId(id) => choice::StopReason::StopTokenId(id),
        });
    }

    fn choice(&mut self, index: i32) -> &mut proto::Choice {
        let message = proto::ChatMessage {
            role: proto::Role::Assistant.into(),
            ..Default::default()
        };
        self.choices.entry(index).or_insert_with(|| proto::Choice {
            index: Some(index),
            message: Some(message),
            ..Default::default()
        })
    }

    fn message(&mut self, index: i32) -> &mut proto::ChatMessage {
        self.choice(index).message.get_or_insert_default()
    }
}
