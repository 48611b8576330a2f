//! A streamed answer: folds chunks into the events that a caller is sent.

use std::collections::{BTreeMap, VecDeque};

use super::{
    Asked, InvalidAnswer,
    extensions::{self, Extensions, Members},
    finish, logprobs,
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

/// Folds the chunks of one streamed answer into responses.
pub(crate) trait ChunkTranslator {
    /// What a caller is sent.
    type Response: prost::Message;

    /// Takes a chunk by its text alone, if it is mere text as chunks before it were; false if it has to be parsed.
    fn push_text(&mut self, _json: &str) -> Result<bool, InvalidAnswer> {
        Ok(false)
    }

    /// Takes a chunk; `json` is its text.
    fn push(&mut self, chunk: Chunk<'_>, json: &str) -> Result<(), InvalidAnswer>;

    /// Takes the end of the stream, which must be whole.
    fn end(&mut self) -> Result<(), InvalidAnswer>;

    /// The next response for the caller.
    fn pop(&mut self) -> Option<Self::Response>;

    /// Whether a response holds a piece of the answer's text or of its calls.
    fn is_delta(response: &Self::Response) -> bool;
}

/// Turns the chunks of one answer into responses.
///
/// Deltas that wait to be taken are merged with the next ones of their kind, so that a caller who reads slowly gets
/// fewer and larger ones.
#[derive(Debug)]
pub(crate) struct StreamTranslator {
    asked: Asked,
    request_id: String,
    /// The answer's id, from the first chunk on.
    id: Option<String>,
    choices: BTreeMap<i32, Choice>,
    /// How chunks of mere text look in this stream; with several choices they differ in more than that.
    pattern: Option<Pattern>,
    /// Held back to the end, since the last one counts.
    usage: Option<proto::Usage>,
    system_fingerprint: String,
    extensions: Members,
    waiting: VecDeque<StreamGenerateResponse>,
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
        let n_finished = self
            .choices
            .values()
            .filter(|choice| choice.is_finished)
            .count();
        if u32::try_from(n_finished).unwrap_or(u32::MAX) < self.asked.choices {
            return Err(InvalidAnswer::Unfinished);
        }
        let last = StreamGenerateResponse {
            event: self.usage.take().map(Event::Usage),
            system_fingerprint: std::mem::take(&mut self.system_fingerprint),
            extensions_json: extensions::to_json(&self.extensions),
        };
        if last != StreamGenerateResponse::default() {
            self.waiting.push_back(last);
        }
        Ok(())
    }

    fn pop(&mut self) -> Option<StreamGenerateResponse> {
        self.waiting.pop_front()
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
            id: None,
            choices: BTreeMap::new(),
            pattern: None,
            usage: None,
            system_fingerprint: String::new(),
            extensions: Members::new(),
            waiting: VecDeque::new(),
        }
    }

    /// The first chunk begins the answer.
    fn start(&mut self, chunk: &mut Chunk<'_>) {
        if self.id.is_some() {
            return;
        }
        let owned =
            |text: &mut Option<Text<'_>>| text.take().map(Text::into_owned).unwrap_or_default();
        let id = owned(&mut chunk.id);
        self.id = Some(id.clone());
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
            id,
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
        self.tell(Event::Started(started));
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
        match self.waiting.back_mut().and_then(|last| last.event.as_mut()) {
            Some(Event::Content(last)) if last.choice_index == choice_index => {
                last.text.push_str(text)
            }
            _ => self.tell(Event::Content(proto::ContentDelta {
                choice_index,
                text: text.to_owned(),
            })),
        }
        Ok(())
    }

    fn tell_reasoning(&mut self, choice_index: i32, text: &str) -> Result<(), InvalidAnswer> {
        if text.is_empty() {
            return Ok(());
        }
        self.check_unfinished(choice_index)?;
        match self.waiting.back_mut().and_then(|last| last.event.as_mut()) {
            Some(Event::Reasoning(last)) if last.choice_index == choice_index => {
                last.text.push_str(text)
            }
            _ => self.tell(Event::Reasoning(proto::ReasoningDelta {
                choice_index,
                text: text.to_owned(),
            })),
        }
        Ok(())
    }

    fn tell_tool_call(
        &mut self,
        choice_index: i32,
        position: usize,
        call: chunk::ToolCallDelta<'_>,
    ) -> Result<(), InvalidAnswer> {
        self.check_unfinished(choice_index)?;
        let id = self.id.as_deref().unwrap_or_default();
        let state = self.choices.entry(choice_index).or_default();
        let Some(delta) = state.tool_calls.push(position, call, id, choice_index)? else {
            return Ok(());
        };
        match self.waiting.back_mut().and_then(|last| last.event.as_mut()) {
            Some(Event::ToolCall(last))
                if last.choice_index == choice_index
                    && last.tool_index == delta.tool_index
                    && delta.name.is_empty() =>
            {
                last.arguments.push_str(&delta.arguments);
            }
            _ => self.tell(Event::ToolCall(delta)),
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
        self.tell(Event::Tokens(tokens));
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
        self.tell(Event::Finished(proto::ChoiceFinished {
            choice_index,
            finish_reason: finish_reason.into(),
            finish_reason_raw: word.into_owned(),
            stop_reason: stop_reason.map(|reason| match reason {
                StopReason::Text(text) => proto::choice_finished::StopReason::StopString(text),
                StopReason::TokenId(id) => proto::choice_finished::StopReason::StopTokenId(id),
            }),
            extensions_json,
        }));
        Ok(())
    }

    fn check_unfinished(&self, choice_index: i32) -> Result<(), InvalidAnswer> {
        match self.choices.get(&choice_index) {
            Some(choice) if choice.is_finished => Err(InvalidAnswer::Malformed(
                "a choice that goes on after its end",
            )),
            _ => Ok(()),
        }
    }

    fn tell(&mut self, event: Event) {
        self.waiting.push_back(StreamGenerateResponse {
            event: Some(event),
            ..Default::default()
        });
    }
}

#[cfg(test)]
mod tests;
