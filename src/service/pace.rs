//! How often a stream is sent in tiny pieces.
//!
//! A Rust client counts the DATA frames under 256 bytes that it has received and its application has not read, and
//! closes its connection when they are too many (h2 from 0.4.16, RUSTSEC-2026-0258): with tonic's default windows after
//! some 10,000 tokens. Neither window nor socket tells the server that an application pauses. So a stream is sent as
//! its events come for [`BURST`] pieces, and then no more often than once in [`INTERVAL`], which a caller who keeps up
//! does not see and which lets deltas be merged: a pause of a minute is then some 8,000 pieces.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep};

/// From this size on, a piece is no longer counted by the client.
const SMALL_BYTES: usize = 256;

/// Small pieces that may come at any rate.
const BURST: u32 = 2_000;

/// Time between small pieces after that.
const INTERVAL: Duration = Duration::from_millis(10);

/// The pieces of one stream.
#[derive(Debug)]
pub(super) struct Pace {
    /// When all pieces so far would have gone, one in each interval.
    gone: Instant,
    /// The bytes of the piece that is being made.
    n_bytes: usize,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self {
            gone: Instant::now(),
            n_bytes: 0,
            timer: None,
        }
    }

    /// A message goes into the piece.
    pub(super) fn add(&mut self, message: &impl prost::Message) {
        if self.n_bytes < SMALL_BYTES {
            self.n_bytes += message.encoded_len();
        }
    }

    /// The piece is whole, if there is one.
    pub(super) fn end_piece(&mut self) {
        let n_bytes = std::mem::take(&mut self.n_bytes);
        if (1..SMALL_BYTES).contains(&n_bytes) {
            self.gone = self.gone.max(Instant::now()) + INTERVAL;
        }
    }

    /// Ready when another piece may begin.
    pub(super) fn poll_begin(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.n_bytes > 0 {
            return Poll::Ready(());
        }
        let now = Instant::now();
        let ahead = self.gone.saturating_duration_since(now);
        if ahead <= BURST * INTERVAL {
            return Poll::Ready(());
        }
        let at = now + (ahead - BURST * INTERVAL);
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        timer.as_mut().reset(at);
        timer.as_mut().poll(context)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    /// How long `n` pieces of that size take when they are sent as fast as they may.
    async fn time_of(n: u32, message: &str) -> Duration {
        let begun = Instant::now();
        let mut pace = Pace::new();
        for _ in 0..n {
            poll_fn(|context| pace.poll_begin(context)).await;
            pace.add(&message.to_owned());
            pace.end_piece();
        }
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn small_pieces_come_at_once_until_there_are_many() {
        assert_eq!(time_of(BURST, "token").await, Duration::ZERO);
        let minute = Duration::from_secs(60);
        let took = time_of(BURST + 6_000, "token").await;
        assert!(
            took >= minute - INTERVAL && took <= minute + INTERVAL,
            "{took:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn large_pieces_are_never_held() {
        let large = "x".repeat(SMALL_BYTES);
        assert_eq!(time_of(100_000, &large).await, Duration::ZERO);
    }
}
