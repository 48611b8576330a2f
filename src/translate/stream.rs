//! A streamed answer: folds chunks into the events that a caller is sent.

mod waiting;

use std::collections::BTreeMap;

use super::{
    Asked, ChunkTranslator, InvalidAnswer,
    extensions::{self, Extensions, Members},
    finish,
    identity::Identity,
    logprobs,
    pattern::{Match, Pattern},
    response::{choice_index, create_time, either},
    tool_calls::ToolCalls,
    usage,
};
use crate::{
    openai::{
        chunk::{self, Chunk},
        text::{StopReason, Text},
    },
    proto::{self, StreamGenerateResponse, stream_generate_response::Event},
};
use waiting::Waiting;

/// Turns the chunks of one answer into responses.
///
/// Deltas that wait to be taken are merged with the next ones of their kind, so that a caller who reads slowly gets
/// fewer and larger ones.
#[derive(Debug)]
pub(crate) struct StreamTranslator {
    asked: Asked,
    request_id: String,
    identity: Identity,
    is_started: bool,
    choices: BTreeMap<i32, Choice>,
    /// How chunks of mere text look in this stream; with several choices they differ in more than that.
    pattern: Option<Pattern>,
    /// Held back to the end, since the last one counts.
    usage: Option<proto::Usage>,
    /// The end of the last choice, held back too: it is the last event where there is no usage.
    last_finished: Option<Event>,
    system_fingerprint: String,
    extensions: Members,
    waiting: Waiting,
}

/// What is known of a choice.
#[derive(Debug, Default)]
struct Choice {
    tool_calls: ToolCalls,
    extensions: Members,
    is_finished: bool,
}

impl ChunkTranslator for StreamTranslator {
    type Response = StreamGenerateResponse;

    fn push_text(&mut self, json: &str) -> Result<bool, InvalidAnswer> {
        match self.pattern.as_ref().and_then(|pattern| pattern.find(json)) {
            Some(Match::Content(text)) => self.tell_content(0, text)?,
            Some(Match::Reasoning(text)) => self.tell_reasoning(0, text)?,
            None => return Ok(false),
        }
        Ok(true)
    }

    fn push(&mut self, mut chunk: Chunk<'_>, json: &str) -> Result<(), InvalidAnswer> {
        self.identity.check(&chunk)?;
        let Extensions { beside, choices } = extensions::pick(json, &self.asked.extension_keys)?;
        self.extensions.extend(beside);
        if self.asked.choices == 1 && self.asked.extension_keys.is_empty() {
            self.pattern = Pattern::of(&chunk, json).or(self.pattern.take());
        }
        let mut extensions = choices.into_iter();
        self.start(&mut chunk);
        if let Some(fingerprint) = chunk.system_fingerprint {
            self.system_fingerprint = fingerprint.into_owned();
        }
        let choices = chunk.choices.unwrap_or_default();
        let usage = chunk.usage.map(usage::usage);
        // Beside choices it counts one of them alone (vLLM's continuous usage).
        if choices.is_empty() || self.asked.choices == 1 {
            self.usage = usage.clone().or(self.usage.take());
        }
        for (place, choice) in choices.into_iter().enumerate() {
            let index = choice_index(choice.index, place, &self.asked)?;
            let state = self.choices.entry(index).or_default();
            state
                .extensions
                .extend(extensions.next().unwrap_or_default());
            self.push_choice(index, choice, usage.as_ref())?;
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), InvalidAnswer> {
        let finished = self.last_finished.take();
        self.waiting
            .push(finished.ok_or(InvalidAnswer::Unfinished)?);
        if let Some(usage) = self.usage.take() {
            self.waiting.push(Event::Usage(usage));
        }
        // Until now a later value could come.
        if let Some(last) = self.waiting.last_mut() {
            last.system_fingerprint = std::mem::take(&mut self.system_fingerprint);
            last.extensions_json = extensions::to_json(&self.extensions);
        }
        Ok(())
    }

    fn pop(&mut self) -> Option<StreamGenerateResponse> {
        self.waiting.pop()
    }

    fn is_delta(response: &StreamGenerateResponse) -> bool {
        matches!(
            response.event,
            Some(Event::Content(_) | Event::Reasoning(_) | Event::ToolCall(_))
        )
    }
}

impl StreamTranslator {
    /// Before the first chunk.
    pub(crate) fn new(asked: Asked, request_id: String) -> Self {
        Self {
            asked,
            request_id,
            identity: Identity::default(),
            is_started: false,
            choices: BTreeMap::new(),
            pattern: None,
            usage: None,
            last_finished: None,
            system_fingerprint: String::new(),
            extensions: Members::new(),
            waiting: Waiting::default(),
        }
    }

    /// The first chunk begins the answer.
    fn start(&mut self, chunk: &mut Chunk<'_>) {
        if std::mem::replace(&mut self.is_started, true) {
            return;
        }
        let owned =
            |text: &mut Option<Text<'_>>| text.take().map(Text::into_owned).unwrap_or_default();
        let first_choice = chunk
            .choices
            .as_mut()
            .and_then(|choices| choices.first_mut());
        let prompt_token_ids = chunk
            .prompt_token_ids
            .take()
            .or_else(|| first_choice.and_then(|choice| choice.prompt_token_ids.take()))
            .filter(|_| self.asked.token_ids);
        let prompt_text = owned(&mut chunk.prompt_text);
        let started = proto::StreamStarted {
            id: owned(&mut chunk.id),
            model: owned(&mut chunk.model),
            create_time: chunk.created.map(create_time),
            request_id: std::mem::take(&mut self.request_id),
            prompt_token_ids: prompt_token_ids.unwrap_or_default(),
            prompt_text: if self.asked.prompt_text {
                prompt_text
            } else {
                String::new()
            },
        };
        self.waiting.push(Event::Started(started));
    }

    fn push_choice(
        &mut self,
        index: i32,
        choice: chunk::Choice<'_>,
        usage: Option<&proto::Usage>,
    ) -> Result<(), InvalidAnswer> {
        let delta = choice.delta.unwrap_or_default();
        let tool_calls = delta.tool_calls.unwrap_or_default();
        if let Some(text) = either(delta.reasoning, delta.reasoning_content) {
            self.tell_reasoning(index, &text)?;
        }
        if let Some(text) = delta.content.or(choice.text) {
            self.tell_content(index, &text)?;
        }
        for (position, call) in tool_calls.into_iter().enumerate() {
            self.tell_tool_call(index, position, call)?;
        }
        let logprobs = choice.logprobs.filter(|_| self.asked.logprobs);
        let logprobs = logprobs
            .map(|logprobs| logprobs::token_logprobs(logprobs, &self.asked))
            .transpose()?;
        self.tell_tokens(proto::TokensDelta {
            choice_index: index,
            logprobs: logprobs.unwrap_or_default(),
            token_ids: choice
                .token_ids
                .filter(|_| self.asked.token_ids)
                .unwrap_or_default(),
            usage: usage.filter(|_| self.asked.continuous_usage).cloned(),
        })?;
        match choice.finish_reason {
            Some(reason) if !reason.is_empty() => self.finish(index, reason, choice.stop_reason),
            _ => Ok(()),
        }
    }

    fn tell_content(&mut self, choice_index: i32, text: &str) -> Result<(), InvalidAnswer> {
        if text.is_empty() {
            return Ok(());
        }
        self.check_unfinished(choice_index)?;
        self.waiting.push_content(choice_index, text);
        Ok(())
    }

    fn tell_reasoning(&mut self, choice_index: i32, text: &str) -> Result<(), InvalidAnswer> {
        if text.is_empty() {
            return Ok(());
        }
        self.check_unfinished(choice_index)?;
        self.waiting.push_reasoning(choice_index, text);
        Ok(())
    }

    fn tell_tool_call(
        &mut self,
        choice_index: i32,
        position: usize,
        call: chunk::ToolCallDelta<'_>,
    ) -> Result<(), InvalidAnswer> {
        self.check_unfinished(choice_index)?;
        let id = self.identity.id();
        let state = self.choices.entry(choice_index).or_default();
        if let Some(delta) = state.tool_calls.push(position, call, id, choice_index)? {
            self.waiting.push_tool_call(delta);
        }
        Ok(())
    }

    fn tell_tokens(&mut self, tokens: proto::TokensDelta) -> Result<(), InvalidAnswer> {
        let is_empty =
            tokens.logprobs.is_empty() && tokens.token_ids.is_empty() && tokens.usage.is_none();
        if is_empty {
            return Ok(());
        }
        self.check_unfinished(tokens.choice_index)?;
        self.waiting.push(Event::Tokens(tokens));
        Ok(())
    }

    fn finish(
        &mut self,
        choice_index: i32,
        word: Text<'_>,
        stop_reason: Option<StopReason>,
    ) -> Result<(), InvalidAnswer> {
        self.check_unfinished(choice_index)?;
        let state = self.choices.entry(choice_index).or_default();
        let finish_reason = finish::finish_reason(&word)?;
        state.tool_calls.end()?;
        state.is_finished = true;
        let extensions_json = extensions::to_json(&state.extensions);
        let finished = Event::Finished(proto::ChoiceFinished {
            choice_index,
            finish_reason: finish_reason.into(),
            finish_reason_raw: word.into_owned(),
            stop_reason: stop_reason.map(|reason| match reason {
                StopReason::Text(text) => proto::choice_finished::StopReason::StopString(text),
                StopReason::TokenId(id) => proto::choice_finished::StopReason::StopTokenId(id),
            }),
            extensions_json,
        });
        if self.is_whole() {
            self.last_finished = Some(finished);
        } else {
            self.waiting.push(finished);
        }
        Ok(())
    }

    /// Whether every choice is finished.
    fn is_whole(&self) -> bool {
        let choices = self.choices.values();
        let n_finished = choices.filter(|choice| choice.is_finished).count();
        u32::try_from(n_finished).is_ok_and(|n_finished| n_finished == self.asked.choices)
    }

    fn check_unfinished(&self, choice_index: i32) -> Result<(), InvalidAnswer> {
        match self.choices.get(&choice_index) {
            Some(choice) if choice.is_finished => Err(InvalidAnswer::Malformed(
                "a choice that goes on after its end",
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
