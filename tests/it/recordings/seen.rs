//! What a caller saw, as text: a line for each event, in an order that does not depend on time.
//!
//! The number of deltas means nothing in the contract, and the events of two choices may be mixed in any way. So the
//! adjacent deltas of a choice are joined, and the choices stand one after the other.

use std::{
    collections::BTreeMap,
    fmt::{self, Display, Write},
};

use tonic::{Code, Status};
use tonic_types::StatusExt;
use vllm_grpc_adapter::proto::{
    Choice, ChoiceFinished, FinishReason, GenerateResponse, PromptTokenLogprobs, StreamStarted,
    TokenLogprob, TokensDelta, ToolCallDelta, Usage, choice::StopReason, choice_finished,
    stream_generate_response::Event,
};

use crate::support::adapter::Streamed;

/// The events of a stream and its status.
pub(super) fn of_stream(streamed: &Streamed) -> String {
    let mut lines = Lines::default();
    let mut choices = BTreeMap::new();
    for response in &streamed.events {
        match &response.event {
            Some(Event::Started(started)) => lines.started(started),
            Some(Event::Usage(usage)) => lines.usage = Some(usage.clone()),
            Some(of_choice) => add(&mut choices, of_choice),
            // The fingerprint stands alone where the upstream sends no usage to go with it.
            None => {}
        }
        if !response.system_fingerprint.is_empty() {
            lines.fingerprint.clone_from(&response.system_fingerprint);
        }
    }
    for (index, choice) in &choices {
        lines.choice(*index, choice);
    }
    lines.end(&streamed.status)
}

fn add(choices: &mut BTreeMap<i32, SeenChoice>, event: &Event) {
    let index = choice_index(event).expect("an event of a choice");
    let choice = choices.entry(index).or_default();
    match event {
        Event::Started(_) | Event::Usage(_) => {}
        Event::Content(delta) => choice.add(Part::Content, &delta.text),
        Event::Reasoning(delta) => choice.add(Part::Reasoning, &delta.text),
        // No recording has one.
        Event::Refusal(delta) => panic!("{delta:?}"),
        Event::ToolCall(delta) => choice.tool_call(delta),
        Event::Tokens(tokens) => choice.tokens(tokens),
        Event::Finished(finished) => choice.finish(finished),
    }
}

/// The choice that an event is of, if it is of one.
pub(super) fn choice_index(event: &Event) -> Option<i32> {
    match event {
        Event::Started(_) | Event::Usage(_) => None,
        Event::Content(delta) => Some(delta.choice_index),
        Event::Reasoning(delta) => Some(delta.choice_index),
        Event::Refusal(delta) => Some(delta.choice_index),
        Event::ToolCall(delta) => Some(delta.choice_index),
        Event::Tokens(delta) => Some(delta.choice_index),
        Event::Finished(delta) => Some(delta.choice_index),
    }
}

/// A whole answer, in the same form, or the status in its place.
pub(super) fn of_answer(answer: &Result<GenerateResponse, Status>) -> String {
    let mut lines = Lines::default();
    let answer = match answer {
        Ok(answer) => answer,
        Err(status) => return lines.end(status),
    };
    lines.started(&StreamStarted {
        id: answer.id.clone(),
        model: answer.model.clone(),
        create_time: answer.create_time,
        prompt_token_ids: answer.prompt_token_ids.clone(),
        prompt_text: answer.prompt_text.clone(),
        ..StreamStarted::default()
    });
    for place in &answer.prompt_logprobs {
        lines.push(format_args!("prompt_token{}", candidates(place)));
    }
    for choice in &answer.choices {
        lines.choice(choice.index.expect("an index"), &SeenChoice::of(choice));
    }
    lines.usage.clone_from(&answer.usage);
    lines.fingerprint.clone_from(&answer.system_fingerprint);
    lines.end(&Status::new(Code::Ok, ""))
}

fn candidates(place: &PromptTokenLogprobs) -> String {
    let candidates = place.candidates.iter().map(|it| {
        let (id, logprob) = (it.token_id.unwrap(), it.logprob.unwrap());
        format!(" {:?}({id}) {logprob} rank={}", it.token, it.rank.unwrap())
    });
    candidates.collect()
}

/// What a part of a choice is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Reasoning,
    Content,
    Arguments(i32),
}

/// A choice, whichever way it came.
#[derive(Debug, Default)]
struct SeenChoice {
    parts: Vec<(Part, String)>,
    /// Id and name by the index of the call.
    calls: BTreeMap<i32, (String, String)>,
    logprobs: Vec<TokenLogprob>,
    token_ids: Vec<i32>,
    prompt_index: Option<i32>,
    prompt_token_ids: Vec<i32>,
    prompt_logprobs: Vec<PromptTokenLogprobs>,
    finish: String,
}

#[derive(Default)]
struct Lines {
    text: String,
    usage: Option<Usage>,
    fingerprint: String,
}

// === impl SeenChoice ===

impl SeenChoice {
    fn of(choice: &Choice) -> Self {
        let message = choice.message.clone().expect("a message");
        let mut seen = Self::default();
        seen.add(Part::Reasoning, &message.reasoning);
        seen.add(Part::Content, &message.content);
        for (index, call) in (0..).zip(message.tool_calls) {
            seen.call(index, &call.id, &call.name);
            seen.add(Part::Arguments(index), &call.arguments);
        }
        seen.logprobs.clone_from(&choice.logprobs);
        seen.token_ids.clone_from(&choice.token_ids);
        seen.prompt_index = choice.prompt_index;
        seen.prompt_token_ids.clone_from(&choice.prompt_token_ids);
        seen.prompt_logprobs.clone_from(&choice.prompt_logprobs);
        let stop = match &choice.stop_reason {
            None => String::new(),
            Some(StopReason::StopString(text)) => format!(" stop={text:?}"),
            Some(StopReason::StopTokenId(id)) => format!(" stop={id}"),
        };
        seen.finish = finish(choice.finish_reason(), &choice.finish_reason_raw, &stop);
        seen
    }

    fn add(&mut self, part: Part, text: &str) {
        match self.parts.last_mut() {
            Some((last, so_far)) if *last == part => so_far.push_str(text),
            Some(_) | None if text.is_empty() => {}
            Some(_) | None => self.parts.push((part, text.to_owned())),
        }
    }

    fn call(&mut self, index: i32, id: &str, name: &str) {
        let call = (id.to_owned(), name.to_owned());
        let earlier = self.calls.insert(index, call);
        assert_eq!(earlier, None, "a call is named once");
        self.parts.push((Part::Arguments(index), String::new()));
    }

    fn tool_call(&mut self, delta: &ToolCallDelta) {
        if !delta.name.is_empty() {
            self.call(delta.tool_index, &delta.id, &delta.name);
        }
        self.add(Part::Arguments(delta.tool_index), &delta.arguments);
    }

    fn tokens(&mut self, tokens: &TokensDelta) {
        self.logprobs.extend(tokens.logprobs.iter().cloned());
        self.token_ids.extend(&tokens.token_ids);
        self.prompt_token_ids.extend(&tokens.prompt_token_ids);
    }

    fn finish(&mut self, finished: &ChoiceFinished) {
        let stop = match &finished.stop_reason {
            None => String::new(),
            Some(choice_finished::StopReason::StopString(text)) => format!(" stop={text:?}"),
            Some(choice_finished::StopReason::StopTokenId(id)) => format!(" stop={id}"),
        };
        self.prompt_index = finished.prompt_index;
        self.finish = finish(finished.finish_reason(), &finished.finish_reason_raw, &stop);
    }
}

// === impl Lines ===

impl Lines {
    fn push(&mut self, line: impl Display) {
        writeln!(self.text, "{line}").unwrap();
    }

    fn started(&mut self, started: &StreamStarted) {
        let created = started.create_time.map_or(0, |time| time.seconds);
        self.push(format_args!(
            "started {} model={} create_time={created}",
            started.id, started.model
        ));
        if !started.prompt_token_ids.is_empty() {
            self.push(format_args!(
                "prompt_token_ids {:?}",
                started.prompt_token_ids
            ));
        }
        if !started.prompt_text.is_empty() {
            self.push(format_args!("prompt_text {:?}", started.prompt_text));
        }
    }

    fn choice(&mut self, index: i32, choice: &SeenChoice) {
        if let Some(prompt) = choice.prompt_index {
            let ids = &choice.prompt_token_ids;
            self.push(format_args!("{index} of prompt {prompt} {ids:?}"));
        }
        for place in &choice.prompt_logprobs {
            self.push(format_args!("{index} prompt_token{}", candidates(place)));
        }
        for (part, text) in &choice.parts {
            match part {
                Part::Reasoning => self.push(format_args!("{index} reasoning {text:?}")),
                Part::Content => self.push(format_args!("{index} content {text:?}")),
                Part::Arguments(call) => {
                    let (id, name) = &choice.calls[call];
                    self.push(format_args!("{index} tool_call {call} {id} {name} {text}"));
                }
            }
        }
        for token in &choice.logprobs {
            self.push(format_args!("{index} token {}", ShownToken(token)));
        }
        if !choice.token_ids.is_empty() {
            self.push(format_args!("{index} token_ids {:?}", choice.token_ids));
        }
        if !choice.finish.is_empty() {
            self.push(format_args!("{index} finished {}", choice.finish));
        }
    }

    fn end(mut self, status: &Status) -> String {
        if let Some(usage) = self.usage.take() {
            self.push(format_args!("usage{}", ShownUsage(&usage)));
        }
        if !self.fingerprint.is_empty() {
            let fingerprint = std::mem::take(&mut self.fingerprint);
            self.push(format_args!("system_fingerprint {fingerprint}"));
        }
        self.push(format_args!("{}", ShownStatus(status)));
        self.text
    }
}

struct ShownToken<'a>(&'a TokenLogprob);
struct ShownUsage<'a>(&'a Usage);
struct ShownStatus<'a>(&'a Status);

impl Display for ShownToken<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = self.0;
        write!(f, "{:?}", token.token)?;
        if let Some(logprob) = token.logprob {
            write!(f, " {logprob}")?;
        }
        if token.raw_bytes != token.token.as_bytes() {
            write!(f, " bytes={:?}", token.raw_bytes)?;
        }
        if let Some(offset) = token.text_offset {
            write!(f, " offset={offset}")?;
        }
        for top in &token.top_logprobs {
            write!(f, " | {:?} {}", top.token, top.logprob.unwrap())?;
        }
        Ok(())
    }
}

impl Display for ShownUsage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let usage = self.0;
        for (name, count) in [
            ("prompt", usage.prompt_tokens),
            ("completion", usage.completion_tokens),
            ("total", usage.total_tokens),
            ("cached", usage.cached_tokens),
            ("cache_creation", usage.cache_creation_tokens),
            ("reasoning", usage.reasoning_tokens),
        ] {
            if let Some(count) = count {
                write!(f, " {name}={count}")?;
            }
        }
        Ok(())
    }
}

impl Display for ShownStatus<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.0;
        write!(f, "{:?}", status.code())?;
        let details = status.get_error_details();
        if let Some(info) = details.error_info() {
            // The number of deltas depends on how many were merged.
            let metadata = info
                .metadata
                .iter()
                .filter(|(key, _value)| *key != "deltas");
            let metadata: BTreeMap<_, _> = metadata.collect();
            write!(f, " {} {metadata:?}", info.reason)?;
        }
        if !status.message().is_empty() {
            write!(f, " {:?}", status.message())?;
        }
        let violations = details.bad_request().map(|bad| &bad.field_violations);
        for violation in violations.into_iter().flatten() {
            write!(f, "\nviolation {}", violation.field)?;
        }
        Ok(())
    }
}

fn finish(reason: FinishReason, raw: &str, stop: &str) -> String {
    let reason = reason.as_str_name().trim_start_matches("FINISH_REASON_");
    format!("{reason} {raw:?}{stop}")
}
