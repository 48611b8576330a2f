//! A streamed answer: folds chunks into the events that a caller is sent.

mod waiting;

use std::collections::BTreeMap;

use crate::{
    openai::{
        chunk::{self, Chunk},
        text::{StopReason, Text},
    },
    proto::{self, StreamGenerateResponse, stream_generate_response::Event},
    translate::{
        answer::{ChunkTranslator, create_time, finish_reason, usage},
        invalid::InvalidAnswer,
    },
};

use super::{
    asked::Asked,
    extensions::{self, Extensions, Members},
    logprobs,
    tool_calls::ToolCalls,
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
    /// The answer's id, of the first chunk that has one; empty before.
    id: String,
    is_started: bool,
    choices: BTreeMap<i32, Choice>,
    /// Held back to the end, since the last one counts.
    usage: Option<proto::Usage>,
    /// The end of the last choice, held back too: it is the last event where there is no usage.
    last_finished: Option<Event>,
    system_fingerprint: String,
    extensions: Members,
    waiting: Waiting,
}

/// The state of a choice.
#[derive(Debug, Default)]
struct Choice {
    tool_calls: ToolCalls,
    extensions: Members,
    is_finished: bool,
}

impl ChunkTranslator for StreamTranslator {
    type Response = StreamGenerateResponse;

    fn push(&mut self, mut chunk: Chunk<'_>, json: &str) -> Result<(), InvalidAnswer> {
        if self.id.is_empty() {
            self.id = chunk.id.as_deref().unwrap_or_default().to_owned();
        }
        let Extensions { beside, choices } = extensions::pick(json, &self.asked.extension_keys)?;
        self.extensions.extend(beside);
        let mut extensions = choices.into_iter();
        self.start(&mut chunk);
        if let Some(fingerprint) = chunk.system_fingerprint {
            self.system_fingerprint = fingerprint.into_owned();
        }
        let choices = chunk.choices.unwrap_or_default();
        let usage = chunk.usage.map(usage);
        // Beside choices it counts one of them alone (vLLM's continuous usage).
        if choices.is_empty() || self.asked.choices == 1 {
            self.usage = usage.clone().or(self.usage.take());
        }
        for (place, choice) in choices.into_iter().enumerate() {
            let index = self.choice_index(choice.index, place)?;
            let state = self.choices.entry(index).or_default();
            let extensions = extensions.next().unwrap_or_default();
            state.extensions.extend(extensions);
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
            Some(Event::Content(_) | Event::Reasoning(_) | Event::ToolCall(_) | Event::Refusal(_))
        )
    }
}

impl StreamTranslator {
    /// Before the first chunk.
    pub(crate) fn new(asked: Asked, request_id: String) -> Self {
        Self {
            asked,
            request_id,
            id: String::new(),
            is_started: false,
            choices: BTreeMap::new(),
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
        let owned = |text: Option<Text<'_>>| text.map(Text::into_owned).unwrap_or_default();
        let choices = chunk.choices.iter_mut().flatten();
        let mut of_choice = None;
        if self.asked.choices_each.is_none() {
            of_choice = choices.map(|choice| choice.prompt_token_ids.take()).next();
        }
        let prompt_token_ids = chunk.prompt_token_ids.take().or(of_choice.flatten());
        let prompt_token_ids = prompt_token_ids.filter(|_| self.asked.token_ids);
        let prompt_text = chunk.prompt_text.take().filter(|_| self.asked.prompt_text);
        let started = proto::StreamStarted {
            id: self.id.clone(),
            model: owned(chunk.model.take()),
            create_time: chunk.created.as_ref().and_then(create_time),
            request_id: std::mem::take(&mut self.request_id),
            prompt_token_ids: prompt_token_ids.unwrap_or_default(),
            prompt_text: owned(prompt_text),
        };
        self.waiting.push(Event::Started(started));
    }

    /// A choice's index, which must be one of those that were asked for.
    fn choice_index(&self, index: Option<i64>, place: usize) -> Result<i32, InvalidAnswer> {
        let place = i64::try_from(place).unwrap_or(i64::MAX);
        let index = u32::try_from(index.unwrap_or(place)).ok();
        let index = index.filter(|index| *index < self.asked.choices);
        let index = index.and_then(|index| i32::try_from(index).ok());
        index.ok_or(InvalidAnswer::Malformed("a choice that was not asked for"))
    }

    fn push_choice(
        &mut self,
        index: i32,
        choice: chunk::Choice<'_>,
        usage: Option<&proto::Usage>,
    ) -> Result<(), InvalidAnswer> {
        if choice.delta.is_none() && choice.text.is_none() {
            return Err(InvalidAnswer::Malformed("a choice without content"));
        }
        let delta = choice.delta.unwrap_or_default();
        // By today's name or the older one; where both come, they are the same text (vLLM 0.11 to 0.14).
        if let Some(text) = delta.reasoning.or(delta.reasoning_content) {
            self.push_reasoning(index, &text)?;
        }
        if let Some(text) = delta.content.or(choice.text) {
            self.push_content(index, &text)?;
        }
        if delta.function_call.is_some() {
            return Err(InvalidAnswer::FUNCTION_CALL);
        }
        if let Some(text) = delta.refusal {
            self.push_refusal(index, &text)?;
        }
        let tool_calls = delta.tool_calls.unwrap_or_default();
        for (position, call) in tool_calls.into_iter().enumerate() {
            let state = unfinished(&mut self.choices, index)?;
            let piece = state.tool_calls.push(position, call, &self.id, index)?;
            if let Some(piece) = piece {
                self.waiting.push_tool_call(piece);
            }
        }
        let logprobs = choice.logprobs.filter(|_| self.asked.logprobs);
        let logprobs = logprobs.map(|logprobs| logprobs::token_logprobs(logprobs, &self.asked));
        let token_ids = choice.token_ids.filter(|_| self.asked.token_ids);
        let of_several = self.asked.token_ids && self.asked.choices_each.is_some();
        let prompt_token_ids = choice.prompt_token_ids.filter(|_| of_several);
        self.push_tokens(proto::TokensDelta {
            choice_index: index,
            logprobs: logprobs.transpose()?.unwrap_or_default(),
            token_ids: token_ids.unwrap_or_default(),
            usage: usage.filter(|_| self.asked.continuous_usage).cloned(),
            prompt_token_ids: prompt_token_ids.unwrap_or_default(),
        })?;
        match choice.finish_reason {
            Some(reason) if !reason.is_empty() => self.finish(index, reason, choice.stop_reason),
            _ => Ok(()),
        }
    }

    fn push_content(&mut self, choice_index: i32, text: &str) -> Result<(), InvalidAnswer> {
        if !text.is_empty() {
            unfinished(&mut self.choices, choice_index)?;
            self.waiting.push_content(choice_index, text);
        }
        Ok(())
    }

    fn push_reasoning(&mut self, choice_index: i32, text: &str) -> Result<(), InvalidAnswer> {
        if !text.is_empty() {
            unfinished(&mut self.choices, choice_index)?;
            self.waiting.push_reasoning(choice_index, text);
        }
        Ok(())
    }

    fn push_refusal(&mut self, choice_index: i32, text: &str) -> Result<(), InvalidAnswer> {
        if !text.is_empty() {
            unfinished(&mut self.choices, choice_index)?;
            self.waiting.push(Event::Refusal(proto::RefusalDelta {
                choice_index,
                text: text.to_owned(),
            }));
        }
        Ok(())
    }

    fn push_tokens(&mut self, tokens: proto::TokensDelta) -> Result<(), InvalidAnswer> {
        let is_empty = tokens.logprobs.is_empty() && tokens.token_ids.is_empty();
        if !is_empty || tokens.usage.is_some() || !tokens.prompt_token_ids.is_empty() {
            unfinished(&mut self.choices, tokens.choice_index)?;
            self.waiting.push(Event::Tokens(tokens));
        }
        Ok(())
    }

    fn finish(
        &mut self,
        choice_index: i32,
        word: Text<'_>,
        stop_reason: Option<StopReason>,
    ) -> Result<(), InvalidAnswer> {
        let state = unfinished(&mut self.choices, choice_index)?;
        let finish_reason = finish_reason(&word)?;
        state.tool_calls.end(finish_reason)?;
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
            prompt_index: self.asked.prompt_index(choice_index),
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
}

/// A choice that may go on.
fn unfinished(
    choices: &mut BTreeMap<i32, Choice>,
    choice_index: i32,
) -> Result<&mut Choice, InvalidAnswer> {
    let choice = choices.entry(choice_index).or_default();
    if choice.is_finished {
        let what = "a choice that goes on after its end";
        return Err(InvalidAnswer::Malformed(what));
    }
    Ok(choice)
}

#[cfg(test)]
mod tests;
