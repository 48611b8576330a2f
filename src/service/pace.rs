//! How often streams are sent in tiny pieces.
//!
//! A Rust client counts the DATA frames under 256 bytes that it has received and its application has not read: what
//! each lacks of 256 bytes is charged, for all streams of a connection together, and with a charge of half its
//! connection window it closes the connection (h2 from 0.4.19, RUSTSEC-2026-0258): with tonic's default windows after
//! some 10,000 tokens. Neither window nor socket tells the server that an application pauses. So the streams of a
//! connection share a [`Budget`]: they are sent as their events come until a quarter of that charge is reached, and
//! then no faster than fills the rest in more than a minute, while deltas are merged. A pause of a minute is thus
//! survived by some thirty streams with the default window, and by more with a larger one. One stream that is read
//! waits for its pieces no longer than 10 ms, which no reader sees, each of many no longer than [`MAX_WAIT`], and for
//! its first piece not at all.
//!
//! gRPC's own libraries count nothing, and proxies in Rust may stand before them; there, each stream has a budget of
//! its own.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep};

/// From this size on, a piece is not charged by the client.
const SMALL_BYTES: usize = 256;

/// The connection window of a hyper client that sets none; smaller ones are taken for it, since they are those of other
/// libraries, which charge nothing.
const DEFAULT_WINDOW: u32 = 5 << 20;

/// Time in which steady pieces are charged all that a client bears.
const PERIOD: Duration = Duration::from_secs(100);

/// How far pieces may be ahead of that: the quarter that may come at any rate. With it, a pause of a minute takes
/// 85 % of what the client bears.
const LEAD: Duration = Duration::from_secs(25);

/// Longest time for which a piece is held, however many streams share a connection.
const MAX_WAIT: Duration = Duration::from_millis(300);

/// What the streams of a connection may be charged together.
#[derive(Debug)]
pub(crate) struct Budget {
    /// When all charges so far would be due at a steady rate.
    due: Mutex<Instant>,
    /// The client's connection window, in bytes.
    window: AtomicU32,
}

/// The pieces of one stream.
#[derive(Debug)]
pub(super) struct Pace {
    budget: Arc<Budget>,
    /// The bytes of the piece that is being made.
    n_bytes: usize,
    turn: Turn,
    timer: Option<Pin<Box<Sleep>>>,
}

/// Where a stream stands in the queue of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// The next piece is the stream's first, which does not wait.
    First,
    /// It has not been asked for the next piece.
    Open,
    /// The next piece may begin then, and was charged that time as a small one.
    At { at: Instant, charged: Duration },
    /// The same, and nothing was there to be sent then.
    Missed,
}

// === impl Budget ===

impl Default for Budget {
    fn default() -> Self {
        Self {
            due: Mutex::new(Instant::now()),
            window: AtomicU32::new(DEFAULT_WINDOW),
        }
    }
}

impl Budget {
    /// The client's connection window, from which it derives what it bears.
    pub(crate) fn set_window(&self, n_bytes: u32) {
        let n_bytes = n_bytes.max(DEFAULT_WINDOW);
        self.window.store(n_bytes, Ordering::Relaxed);
    }

    /// The time in which that charge comes due.
    fn time(&self, charge: usize) -> Duration {
        let borne = f64::from(self.window.load(Ordering::Relaxed) / 2);
        PERIOD.mul_f64(charge as f64 / borne)
    }

    fn due(&self) -> MutexGuard<'_, Instant> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn charge(&self, charge: usize) {
        let mut due = self.due();
        *due = (*due).max(Instant::now()) + self.time(charge);
    }

    fn refund(&self, time: Duration) {
        let mut due = self.due();
        *due = due.checked_sub(time).unwrap_or(*due);
    }

    /// Where a piece may begin now, nothing is charged yet. Where it has to wait, it is charged as a small one, so that
    /// each of many streams waits for a time of its own.
    fn ask(&self) -> Turn {
        let mut due = self.due();
        let now = Instant::now();
        if *due <= now + LEAD {
            return Turn::Open;
        }
        let at = due.checked_sub(LEAD).unwrap_or(now).min(now + MAX_WAIT);
        // Beyond the longest wait there is no queue.
        let room = (now + LEAD + MAX_WAIT).saturating_duration_since(*due);
        let charged = self.time(SMALL_BYTES).min(room);
        *due += charged;
        Turn::At { at, charged }
    }
}

// === impl Pace ===

impl Pace {
    /// By the budget of the connection, or by one of its own.
    pub(super) fn new(budget: Option<Arc<Budget>>) -> Self {
        Self {
            budget: budget.unwrap_or_default(),
            n_bytes: 0,
            turn: Turn::First,
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
        let n_bytes = std::mem::take(&mut self.n_bytes).min(SMALL_BYTES);
        if n_bytes == 0 {
            if let Turn::At { .. } = self.turn {
                self.turn = Turn::Missed;
            }
            return;
        }
        match std::mem::replace(&mut self.turn, Turn::Open) {
            Turn::First | Turn::Open => self.budget.charge(SMALL_BYTES - n_bytes),
            Turn::At { charged, .. } => {
                self.budget.refund(self.budget.time(n_bytes).min(charged));
            }
            // What was charged has come due in the meantime.
            Turn::Missed => {}
        }
    }

    /// Ready when another piece may begin.
    pub(super) fn poll_begin(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.n_bytes > 0 {
            return Poll::Ready(());
        }
        if self.turn == Turn::Open {
            self.turn = self.budget.ask();
        }
        let Turn::At { at, .. } = self.turn else {
            return Poll::Ready(());
        };
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        if timer.deadline() != at {
            timer.as_mut().reset(at);
        }
        timer.as_mut().poll(context)
    }
}

impl Drop for Pace {
    fn drop(&mut self) {
        // The last piece of a stream ends with it.
        if self.n_bytes > 0 {
            self.end_piece();
        } else if let Turn::At { charged, .. } = self.turn {
            self.budget.refund(charged);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::task::JoinSet;

    use super::*;

    /// What a client bears with the default window, in messages of [`TOKEN`].
    const BORNE: u32 = (5 << 20) / 2 / (SMALL_BYTES as u32 - 7);

    const TOKEN: &str = "token";

    /// How long that many pieces take when they are sent as fast as they may.
    async fn time_of(n: u32, message: &str, budget: Option<Arc<Budget>>) -> Duration {
        let begun = Instant::now();
        let mut pace = Pace::new(budget);
        for _ in 0..n {
            poll_fn(|context| pace.poll_begin(context)).await;
            pace.add(&message.to_owned());
            pace.end_piece();
            tokio::task::yield_now().await;
        }
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn small_pieces_come_at_once_until_there_are_many() {
        assert_eq!(time_of(BORNE / 4, TOKEN, None).await, Duration::ZERO);
        let took = time_of(BORNE * 85 / 100, TOKEN, None).await;
        assert!((59..=61).contains(&took.as_secs()), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_streams_of_a_connection_wait_for_each_other() {
        let budget = Arc::new(Budget::default());
        let begun = Instant::now();
        let mut streams = JoinSet::new();
        for _ in 0..32 {
            let budget = Arc::clone(&budget);
            streams.spawn(async { time_of(BORNE * 85 / 100 / 32, TOKEN, Some(budget)).await });
        }
        let times = streams.join_all().await;
        let took = begun.elapsed();
        assert!((56..=61).contains(&took.as_secs()), "{took:?}");
        // None is served before the others.
        assert!(times.iter().all(|time| time.as_secs() >= 55), "{times:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn no_piece_is_held_for_long_and_a_first_one_not_at_all() {
        let budget = Arc::new(Budget::default());
        time_of(BORNE, TOKEN, Some(Arc::clone(&budget))).await;
        let mut streams = JoinSet::new();
        for _ in 0..500 {
            let budget = Arc::clone(&budget);
            streams.spawn(async {
                let first = time_of(1, TOKEN, Some(Arc::clone(&budget))).await;
                (first, time_of(11, TOKEN, Some(budget)).await)
            });
        }
        for (first, eleven) in streams.join_all().await {
            assert_eq!(first, Duration::ZERO);
            assert!(
                eleven <= 10 * (MAX_WAIT + Duration::from_millis(1)),
                "{eleven:?}"
            );
        }
        // One that is alone is as fast as before when what the first pieces were charged is due.
        tokio::time::advance(Duration::from_secs(10)).await;
        let alone = time_of(101, TOKEN, Some(budget)).await;
        assert!(alone < Duration::from_millis(1_500), "{alone:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_larger_window_bears_more() {
        let budget = Arc::new(Budget::default());
        budget.set_window(40 << 20);
        let took = time_of(BORNE * 2, TOKEN, Some(budget)).await;
        assert_eq!(took, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn large_pieces_are_never_held() {
        let large = "x".repeat(SMALL_BYTES);
        assert_eq!(time_of(100_000, &large, None).await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn streams_of_one_piece_are_counted_too() {
        let budget = Arc::new(Budget::default());
        for _ in 0..BORNE / 2 {
            let mut pace = Pace::new(Some(Arc::clone(&budget)));
            pace.add(&TOKEN.to_owned());
        }
        let lead = budget.due().saturating_duration_since(Instant::now());
        assert!((49..=50).contains(&lead.as_secs()), "{lead:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_leaves_the_queue_takes_no_ones_turn() {
        let budget = Arc::new(Budget::default());
        time_of(BORNE / 4 + 10, TOKEN, Some(Arc::clone(&budget))).await;
        let due = *budget.due();
        let mut streams = Vec::new();
        for _ in 0..500 {
            let mut pace = Pace::new(Some(Arc::clone(&budget)));
            // Beyond its first piece.
            pace.turn = Turn::Open;
            let began = poll_fn(|context| Poll::Ready(pace.poll_begin(context))).await;
            assert!(began.is_pending());
            streams.push(pace);
        }
        drop(streams);
        assert_eq!(*budget.due(), due);
    }
}
