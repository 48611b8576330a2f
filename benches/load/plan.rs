//! What the simulated vLLM is asked for, and how it answers.

use std::time::Duration;

/// The model of every request.
pub(crate) const MODEL: &str = "meta-llama/Llama-3.3-70B-Instruct";

/// The prompt of every request. Its answer is [`TOKEN`], which `ignore_eos` repeats up to `max_tokens`.
pub(crate) const PROMPT: &str = "Repeat token.";

/// The text of every content chunk, so that chunks can be counted by their text where a server merges them.
pub(crate) const TOKEN: &str = " token";

/// More tokens than any measurement waits for.
pub(crate) const ENDLESS: u32 = 1_000_000_000;

/// How a stream is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    /// Events a `write`.
    pub(crate) burst: u32,
    /// From one `write` to the next; zero writes as fast as the server reads.
    pub(crate) pause: Duration,
}

// === impl Pace ===

impl Pace {
    /// As fast as the server reads, one event a `write`.
    pub(crate) const FLAT: Self = Self {
        burst: 1,
        pause: Duration::ZERO,
    };
    /// As fast as the server reads, sixteen events a `write`, as they queue before a busy server.
    pub(crate) const BATCHED: Self = Self {
        burst: 16,
        pause: Duration::ZERO,
    };
    /// An event each 20 ms, as a busy engine steps.
    pub(crate) const PACED: Self = Self {
        burst: 1,
        pause: Duration::from_millis(20),
    };
    /// One event and then silence, for longer than any measurement takes.
    pub(crate) const IDLE: Self = Self {
        burst: 1,
        pause: Duration::from_secs(3600),
    };
}
