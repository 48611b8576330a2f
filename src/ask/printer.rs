//! How an answer looks: text on standard output, all else on standard error, or one JSON object.

use std::{
    io::{self, Write},
    time::Duration,
};

use anstyle::{AnsiColor, Style};
use serde_json::{Value, json};

use super::failure::{EXIT_INTERRUPTED, Failure};
use crate::proto::{ChatMessage, FinishReason, GenerateResponse, stream_generate_response::Event};

const DIM: Style = Style::new().dimmed();
const PROMPT: Style = AnsiColor::Cyan.on_default().bold();
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

    /// Begins a conversation.
    pub(super) fn greet(&mut self, address: &str) -> io::Result<()> {
        let text = format!("Asking the adapter at {address}. Ctrl-C stops an answer, Ctrl-D ends.");
        writeln!(self.err, "{DIM}{text}{DIM:#}")
    }

    /// Ends a conversation, in a line of its own.
    pub(super) fn part(&mut self) -> io::Result<()> {
        writeln!(self.err)
    }

    /// Asks for the next turn.
    pub(super) fn invite(&mut self) -> io::Result<()> {
        write!(self.err, "\n{PROMPT}>{PROMPT:#} ")?;
        self.err.flush()
    }

    /// Prints what an event adds to the text.
    pub(super) fn event(&mut self, event: Option<&Event>) -> io::Result<()> {
        match event {
            Some(Event::Reasoning(delta)) => self.text(Part::Reasoning, &delta.text),
            Some(Event::Content(delta)) => self.text(Part::Content, &delta.text),
            _ => Ok(()),
        }
    }

    /// Prints what is known at the end alone: calls of tools, and the figures.
    pub(super) fn end(&mut self, response: &GenerateResponse, took: &Figures) -> io::Result<()> {
        let choice = response.choices.first().cloned().unwrap_or_default();
        let reason = choice.finish_reason();
        let message = choice.message.unwrap_or_default();
        if self.is_json {
            let answer = answer(response, &message, reason, took);
            return writeln!(self.out, "{answer}");
        }
        self.end_line()?;
        for call in &message.tool_calls {
            let call = format!("{}({})", call.name, call.arguments);
            writeln!(self.out, "{}", self.shown(&call))?;
        }
        self.out.flush()?;
        if let Some(text) = cut(reason) {
            writeln!(self.err, "{WARNING}{text}{WARNING:#}")?;
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
        if failure.exit == EXIT_INTERRUPTED {
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

/// `demo: 12 tokens, first after 25 ms, 40 tokens/s`.
fn figures(response: &GenerateResponse, took: &Figures) -> String {
    let mut parts = Vec::new();
    let n_tokens = n_tokens(response);
    parts.extend(n_tokens.map(|n| format!("{n} tokens")));
    let first = took.first.map(|first| first.as_millis());
    parts.extend(first.map(|first| format!("first after {first} ms")));
    parts.extend(rate(n_tokens, took).map(|rate| format!("{rate:.1} tokens/s")));
    format!("{}: {}", response.model, parts.join(", "))
}

fn n_tokens(response: &GenerateResponse) -> Option<i32> {
    response.usage.as_ref()?.completion_tokens
}

/// Tokens a second, from the first one on.
fn rate(n_tokens: Option<i32>, took: &Figures) -> Option<f64> {
    let n_more = f64::from(n_tokens? - 1);
    let seconds = took.rest.as_secs_f64();
    (n_more > 0.0 && seconds > 0.0).then(|| n_more / seconds)
}

fn answer(
    response: &GenerateResponse,
    message: &ChatMessage,
    reason: FinishReason,
    took: &Figures,
) -> Value {
    let calls = message.tool_calls.iter();
    let calls = calls.map(|it| json!({"id": it.id, "name": it.name, "arguments": it.arguments}));
    json!({
        "model": response.model,
        "content": message.content,
        "reasoning": message.reasoning,
        "tool_calls": calls.collect::<Vec<_>>(),
        "finish_reason": reason.as_str_name().trim_start_matches("FINISH_REASON_"),
        "prompt_tokens": response.usage.as_ref().and_then(|usage| usage.prompt_tokens),
        "completion_tokens": n_tokens(response),
        "first_token_ms": took.first.map(|first| first.as_secs_f64() * 1e3),
        "tokens_per_second": rate(n_tokens(response), took),
    })
}

#[cfg(test)]
mod tests;
