//! The log: readable text, or one JSON object per line, on standard error.
//!
//! A thread of its own writes the lines, so that no call waits for standard error. Where nobody reads it, a bounded
//! number of lines wait; further ones are dropped and counted.

use std::{
    error::Error,
    fmt::Display,
    io::{self, IsTerminal, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
        mpsc::{self, Receiver, SyncSender},
    },
    thread,
    time::{Duration, SystemTime},
};

use serde_json::json;
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::config::Log;

/// Lines that may wait to be written: some 2 MiB.
const MAX_WAITING_LINES: usize = 8192;

/// Lines that were dropped since the process began.
pub(super) static LINES_DROPPED: AtomicU64 = AtomicU64::new(0);

/// How long lines are collected and then written together: a wake of the thread and a system call for each would cost
/// more than the rest of the line.
const WRITE_INTERVAL: Duration = Duration::from_millis(5);

/// Bytes that are written together, beyond the last line.
const MAX_WRITE_BYTES: usize = 256 << 10;

/// Longest time to write the last lines before the process ends.
const LAST_LINES_TIMEOUT: Duration = Duration::from_secs(2);

/// The running log. Dropping it writes the lines that wait, as far as somebody reads them soon.
#[derive(Debug)]
#[must_use]
pub struct Logging {
    lines: Lines,
    is_json: bool,
    /// Disconnected once the last line is written.
    end: Receiver<()>,
}

/// Takes lines without waiting; an empty one is the last.
#[derive(Clone, Debug)]
struct Lines {
    waiting: SyncSender<Vec<u8>>,
    n_dropped: Arc<AtomicUsize>,
}

/// Starts the log, and sends panics there.
///
/// # Errors
///
/// A filter that cannot be read, a second start in one process, and a system that gives no thread.
pub fn start(log: &Log) -> Result<Logging, Box<dyn Error + Send + Sync>> {
    let subscriber = tracing_subscriber::registry().with(log.filter.parse::<EnvFilter>()?);
    let (waiting, received) = mpsc::sync_channel(MAX_WAITING_LINES);
    let n_dropped = Arc::<AtomicUsize>::default();
    let lines = Lines {
        waiting,
        n_dropped: n_dropped.clone(),
    };
    let (ended, end) = mpsc::channel::<()>();
    thread::Builder::new().spawn(move || {
        write(&received, &n_dropped);
        drop(ended);
    })?;
    let writer = lines.clone();
    let layer = fmt::layer().with_writer(move || writer.clone());
    if log.json {
        let layer = layer.with_ansi(false).json().flatten_event(true);
        subscriber.with(layer).try_init()?;
    } else {
        let layer = layer.with_ansi(io::stderr().is_terminal());
        subscriber.with(layer).try_init()?;
    }
    // Where, not what: a panic's message can hold what a caller sent.
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(tracing::field::display);
        tracing::error!(location, "panicked");
    }));
    Ok(Logging {
        lines,
        is_json: log.json,
        end,
    })
}

/// Writes lines up to the last one. Once they have been written, it reports how many were dropped, as a line of the log.
fn write(lines: &Receiver<Vec<u8>>, n_dropped: &AtomicUsize) {
    let mut text = Vec::new();
    while let Ok(first) = lines.recv() {
        if !first.is_empty() {
            thread::sleep(WRITE_INTERVAL);
        }
        let (mut is_last, mut has_room) = (first.is_empty(), false);
        text.extend(first);
        while !is_last && !has_room && text.len() < MAX_WRITE_BYTES {
            match lines.try_recv() {
                Ok(line) => {
                    is_last = line.is_empty();
                    text.extend(line);
                }
                Err(_none) => has_room = true,
            }
        }
        // The report is a line too, which would be dropped with the count where no more may wait.
        let lines_dropped = if has_room {
            n_dropped.swap(0, Relaxed)
        } else {
            0
        };
        if lines_dropped > 0 {
            tracing::warn!(
                lines_dropped,
                "lines of the log were dropped: nobody read them"
            );
        }
        // Nothing can be done where standard error is closed.
        let _ = io::stderr().write_all(&text);
        text.clear();
        if is_last {
            return;
        }
    }
}

impl Logging {
    /// Writes why the process ends, in its turn and whatever the filter: plain text, or as the log's other JSON lines.
    pub fn write_failure(&self, failure: &impl Display) {
        let line = if self.is_json {
            let timestamp = humantime::format_rfc3339_micros(SystemTime::now()).to_string();
            json!({"timestamp": timestamp, "level": "ERROR", "message": failure.to_string()})
                .to_string()
        } else {
            format!("vllm-grpc-adapter: {failure}")
        };
        // What cannot be written is counted.
        let _ = self.lines.clone().write_all(format!("{line}\n").as_bytes());
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        let waiting = self.lines.waiting.clone();
        // A thread of its own, since sending waits where nobody reads.
        let sending = thread::Builder::new().spawn(move || waiting.send(Vec::new()));
        if sending.is_ok() {
            let _ = self.end.recv_timeout(LAST_LINES_TIMEOUT);
        }
    }
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.waiting.try_send(line.to_vec()).is_err() {
            self.n_dropped.fetch_add(1, Relaxed);
            LINES_DROPPED.fetch_add(1, Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
