//! How the simulated vLLM shall answer: named by the request's model, so that it passes any server unharmed.

use std::{fmt, str::FromStr, time::Duration};

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

/// A pace and how many content chunks come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) pace: Pace,
    /// Content chunks; the request's `max_tokens`.
    pub(crate) tokens: u32,
}

// === impl Plan ===

impl Plan {
    /// The shortest answer.
    pub(crate) const SHORT: Self = Self {
        pace: Pace::FLAT,
        tokens: 1,
    };
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

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "burst-{}-pause-{}ms", self.burst, self.pause.as_millis())
    }
}

impl FromStr for Pace {
    type Err = String;

    fn from_str(model: &str) -> Result<Self, String> {
        let numbers = || {
            let (burst, pause) = model.strip_prefix("burst-")?.split_once("-pause-")?;
            let pause = pause.strip_suffix("ms")?.parse().ok()?;
            Some(Self {
                burst: burst.parse().ok().filter(|&burst| burst > 0)?,
                pause: Duration::from_millis(pause),
            })
        };
        numbers().ok_or_else(|| format!("{model:?} names no pace"))
    }
}
