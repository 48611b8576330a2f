//! How an answer looks: text on standard output, all else on standard error, or one JSON object.

use std::{
    io::{self, Write},
    time::Duration,
};

use anstyle::{AnsiColor, Style};
use serde_json::{Value, json};

use super::failure::{Failure, INTERRUPTED};
use crate::proto::{Choice, FinishReason, GenerateResponse, stream_generate_response::Event};

const DIM: Style = Style::new().dimmed();
const WARNING: Style = AnsiColor::Yellow.on_default();
const ERROR: Style = AnsiColor::Red.on_default().bold();

/// Writes to `out` and `err`, whose owner strips the styles where they are not wanted.
#[derive(Debug)]
pub(super) struct Printer<O, E> {
    out: O,
    err: E,
    /// Whether a terminal shows `out`: control characters are left out then.
    is_terminal: bool,
    /// Prints one JSON object for each answer, and nothing else on `out`.
    pub(super) is_json: bool,
    /// What was written last of the answer; `None` before its first text.
    last: Option<Part>,
    /// Whether that ended its line.
    is_line_ended: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Reasoning,
    Content,
}

/// What an answer took, as its caller saw it.
#[derive(Debug)]
pub(super) struct Figures {
    /// From the request to the first text; `None` where none came.
    pub(super) first: Option<Duration>,
    /// From then to the end.
    pub(super) rest: Duration,
}

// === impl Printer ===

impl<O: Write, E: Write> Printer<O, E> {
    pub(super) fn new(out: O, err: E, is_terminal: bool) -> Self {
        Self {
            out,
            err,
            is_terminal,
            is_json: false,
            last: None,
            is_line_ended: true,
        }
    }

    /// Prints what an event adds to the text; whether it is of the answer.
    pub(super) fn event(&mut self, event: &Event) -> io::Result<bool> {
        match event {
            Event::Reasoning(delta) => self.text(Part::Reasoning, &delta.text)?,
            Event::Content(delta) => self.text(Part::Content, &delta.text)?,
            Event::Refusal(delta) => self.text(Part::Content, &delta.text)?,
            Event::ToolCall(_) => {}
            Event::Started(_) | Event::Tokens(_) | Event::Finished(_) | Event::Usage(_) => {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Prints what is known at the end alone: calls of tools, and the figures.
    pub(super) fn end(&mut self, response: &GenerateResponse, took: &Figures) -> io::Result<()> {
        let choice = response.choices.first().cloned().unwrap_or_default();
        if self.is_json {
            return writeln!(self.out, "{}", json(response, &choice, took));
        }
        self.end_line()?;
        let why = cut(choice.finish_reason());
        for call in choice.message.unwrap_or_default().tool_calls {
            let call = format!("{}({})", call.name, call.arguments);
            writeln!(self.out, "{}", self.shown(&call))?;
        }
        if let Some(why) = why {
            writeln!(self.err, "{WARNING}{why}{WARNING:#}")?;
        }
        let figures = printable(&figures(response, took));
        writeln!(self.err, "{DIM}{figures}{DIM:#}")
    }

    /// Prints why there is no whole answer.
    pub(super) fn failure(&mut self, failure: &Failure) -> io::Result<()> {
        if self.is_json {
            return writeln!(self.out, "{}", failure.json());
        }
        self.end_line()?;
        let lines = printable(&failure.lines());
        if failure.exit == INTERRUPTED {
            return write!(self.err, "{DIM}{lines}{DIM:#}");
        }
        write!(self.err, "{ERROR}error:{ERROR:#} {lines}")
    }

    fn text(&mut self, part: Part, text: &str) -> io::Result<()> {
        let begins = self.last != Some(part);
        // Models put blank lines between reasoning and content; on a terminal there is one.
        let text = match begins && (self.is_terminal || part == Part::Reasoning) {
            true => text.trim_start_matches('\n'),
            false => text,
        };
        if self.is_json || text.is_empty() {
            return Ok(());
        }
        if begins && self.last.is_some() {
            self.end_line()?;
            writeln!(self.err)?;
        }
        match part {
            Part::Reasoning => {
                write!(self.err, "{DIM}{}{DIM:#}", printable(text))?;
                self.err.flush()?;
            }
            Part::Content => {
                write!(self.out, "{}", self.shown(text))?;
                self.out.flush()?;
            }
        }
        self.last = Some(part);
        self.is_line_ended = text.ends_with('\n');
        Ok(())
    }

    fn end_line(&mut self) -> io::Result<()> {
        match self.last.take() {
            Some(Part::Reasoning) if !self.is_line_ended => writeln!(self.err),
            Some(Part::Content) if !self.is_line_ended => writeln!(self.out),
            _ => Ok(()),
        }
    }

    /// A text as `out` takes it.
    fn shown(&self, text: &str) -> String {
        match self.is_terminal {
            true => printable(text),
            false => text.to_owned(),
        }
    }
}

/// A text without what could steer a terminal.
fn printable(text: &str) -> String {
    let is_shown = |character: &char| !character.is_control() || matches!(character, '\n' | '\t');
    text.chars().filter(is_shown).collect()
}

/// Why an answer is not whole; `None` where it is.
pub(super) fn cut(reason: FinishReason) -> Option<&'static str> {
    match reason {
        FinishReason::Stop | FinishReason::ToolCalls => None,
        FinishReason::Length => Some("cut off: see --max-tokens, and the model's context"),
        FinishReason::ContentFilter => Some("cut off: held back by a filter"),
        FinishReason::Repetition => Some("cut off: it repeated itself"),
        FinishReason::Unspecified => Some("ended for a reason that this program does not know"),
    }
}

/// `demo: 12 tokens, first after 25 ms, 40.0 tokens/s`.
fn figures(response: &GenerateResponse, took: &Figures) -> String {
    let n_tokens = n_tokens(response).map(|n| format!("{n} tokens"));
    let first = took
        .first
        .map(|first| format!("first after {} ms", first.as_millis()));
    let rate = rate(response, took).map(|rate| format!("{rate:.1} tokens/s"));
    let parts: Vec<_> = [n_tokens, first, rate].into_iter().flatten().collect();
    format!("{}: {}", response.model, parts.join(", "))
}

fn n_tokens(response: &GenerateResponse) -> Option<i32> {
    response.usage.as_ref()?.completion_tokens
}

/// Tokens a second, from the first one on.
fn rate(response: &GenerateResponse, took: &Figures) -> Option<f64> {
    let n_more = f64::from(n_tokens(response)? - 1);
    let seconds = took.rest.as_secs_f64();
    (n_more > 0.0 && seconds > 0.0).then(|| n_more / seconds)
}

fn json(response: &GenerateResponse, choice: &Choice, took: &Figures) -> Value {
    let message = choice.message.clone().unwrap_or_default();
    let calls = message.tool_calls.iter();
    let calls = calls.map(|it| json!({"id": it.id, "name": it.name, "arguments": it.arguments}));
    let reason = choice.finish_reason().as_str_name();
    json!({
        "model": response.model,
        "content": message.content,
        "reasoning": message.reasoning,
        "refusal": choice.refusal,
        "tool_calls": calls.collect::<Vec<_>>(),
        "finish_reason": reason.trim_start_matches("FINISH_REASON_"),
        "completion_tokens": n_tokens(response),
        "first_token_ms": took.first.map(|first| first.as_secs_f64() * 1e3),
        "tokens_per_second": rate(response, took),
    })
}

#[cfg(test)]
mod tests;
