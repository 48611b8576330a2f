//! The log: readable on a terminal, or one JSON object a line.

use std::{
    io::{self, IsTerminal},
    panic::PanicHookInfo,
};

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::config::Log;

/// The log could not be started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter cannot be read.
    #[error("the log filter cannot be read")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// This process logs already.
    #[error("the log is started already")]
    Started(#[from] tracing_subscriber::util::TryInitError),
}

/// Starts the log, on standard error, and sends panics there.
///
/// # Errors
///
/// A filter that cannot be read, and a second start in one process.
pub fn start(log: &Log) -> Result<(), Error> {
    let subscriber = tracing_subscriber::registry().with(log.filter.parse::<EnvFilter>()?);
    let lines = fmt::layer().with_writer(io::stderr);
    if log.json {
        subscriber
            .with(lines.json().flatten_event(true))
            .try_init()?;
    } else {
        subscriber
            .with(lines.with_ansi(io::stderr().is_terminal()))
            .try_init()?;
    }
    std::panic::set_hook(Box::new(panicked));
    Ok(())
}

/// Logs where, not what: a panic's message can hold what a caller sent.
fn panicked(panic: &PanicHookInfo<'_>) {
    let location = panic.location().map(tracing::field::display);
    tracing::error!(location, "panicked");
}
