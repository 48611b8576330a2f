//! The log: readable text, or one JSON object per line, on standard error.
//!
//! A thread of its own writes the lines, so that no call waits for standard error. Where nobody reads it, a bounded
//! number of lines wait; further ones are dropped and counted.

use std::{
    io::{self, IsTerminal, Write},
    panic::PanicHookInfo,
    sync::{Arc, OnceLock, mpsc},
    thread,
    time::Duration,
};

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{
    EnvFilter,
    fmt::{
        self,
        format::Writer,
        time::{FormatTime, SystemTime},
    },
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use crate::config::Log;

/// Lines that may wait to be written: some 2 MiB.
const MAX_WAITING_LINES: usize = 8192;

/// Longest time to write the last lines before the process ends.
const LAST_LINES_TIMEOUT: Duration = Duration::from_secs(2);

/// The log could not be started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter cannot be read.
    #[error("the log filter cannot be read")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// This process logs already.
    #[error("the log has been started already")]
    Started(#[from] tracing_subscriber::util::TryInitError),
}

/// The running log. Dropping it writes the lines that wait, as far as somebody reads them soon.
#[derive(Debug)]
#[must_use]
pub struct Logging {
    lines: NonBlocking,
    worker: Option<WorkerGuard>,
}

/// Standard error, for the thread that writes the lines.
struct Output {
    n_dropped: Arc<OnceLock<ErrorCounter>>,
    n_reported: usize,
    json: bool,
}

/// Starts the log, and sends panics there.
///
/// # Errors
///
/// A filter that cannot be read, and a second start in one process.
pub fn start(log: &Log) -> Result<Logging, Error> {
    let subscriber = tracing_subscriber::registry().with(log.filter.parse::<EnvFilter>()?);
    let logging = Logging::new(log.json);
    let lines = fmt::layer().with_writer(logging.lines.clone());
    if log.json {
        let lines = lines.with_ansi(false).json().flatten_event(true);
        subscriber.with(lines).try_init()?;
    } else {
        let lines = lines.with_ansi(io::stderr().is_terminal());
        subscriber.with(lines).try_init()?;
    }
    std::panic::set_hook(Box::new(panicked));
    Ok(logging)
}

/// Logs where, not what: a panic's message can hold what a caller sent.
fn panicked(panic: &PanicHookInfo<'_>) {
    let location = panic.location().map(tracing::field::display);
    tracing::error!(location, "panicked");
}

// === impl Logging ===

impl Logging {
    fn new(json: bool) -> Self {
        let n_dropped = Arc::new(OnceLock::new());
        let output = Output {
            n_dropped: n_dropped.clone(),
            n_reported: 0,
            json,
        };
        let builder = NonBlockingBuilder::default().lossy(true);
        let builder = builder.buffered_lines_limit(MAX_WAITING_LINES);
        let (lines, worker) = builder.thread_name("log").finish(output);
        n_dropped.get_or_init(|| lines.error_counter());
        Self {
            lines,
            worker: Some(worker),
        }
    }

    /// Writes a line as it is, in its turn.
    pub fn write_line(&self, line: &str) {
        // What cannot be written is counted.
        let _ = self.lines.clone().write_all(format!("{line}\n").as_bytes());
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        let worker = self.worker.take();
        let (ended, end) = mpsc::channel();
        // The worker's guard waits for a limited time, but it may write to standard output, which can be as blocked as
        // standard error.
        let waiting = thread::Builder::new().spawn(move || {
            drop(worker);
            ended.send(())
        });
        if waiting.is_ok() {
            let _ = end.recv_timeout(LAST_LINES_TIMEOUT);
        }
    }
}

// === impl Output ===

impl Output {
    /// Writes that lines were dropped: directly, since what is logged while the process ends is not written any more.
    fn report_dropped(&mut self) -> io::Result<()> {
        let n_dropped = self.n_dropped.get().map_or(0, ErrorCounter::dropped_lines);
        let n = n_dropped - self.n_reported;
        if n == 0 {
            return Ok(());
        }
        let mut now = String::new();
        // Without its time, the line is still of use.
        let _ = SystemTime.format_time(&mut Writer::new(&mut now));
        let message = "lines of the log were dropped, since nobody read them";
        let line = if self.json {
            format!(r#"{{"timestamp":"{now}","level":"WARN","message":"{message}","lines":{n}}}"#)
        } else {
            format!("{now}  WARN {message} lines={n}")
        };
        io::stderr().write_all(format!("{line}\n").as_bytes())?;
        self.n_reported = n_dropped;
        Ok(())
    }
}

impl Write for Output {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        io::stderr().write(lines)
    }

    /// Called when no line waits any more.
    fn flush(&mut self) -> io::Result<()> {
        self.report_dropped()
    }
}
