//! How many requests may be sent a second time.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use tokio::time::Instant;

/// Seconds that are counted.
const WINDOW: u64 = 10;

/// Repeats that are allowed however few calls there are.
const LEAST: u64 = 3;

/// A fifth of the calls of the last ten seconds.
#[derive(Debug)]
pub(super) struct Budget {
    begun: Instant,
    /// The second, the calls in it, and the repeats; the newest comes last.
    seconds: Mutex<VecDeque<(u64, u64, u64)>>,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            seconds: Mutex::default(),
        }
    }
}

impl Budget {
    pub(super) fn count_call(&self) {
        self.with(|seconds| {
            if let Some((_, n_calls, _)) = seconds.back_mut() {
                *n_calls += 1;
            }
        });
    }

    /// Whether a repeat is allowed, which is then counted.
    pub(super) fn allows_repeat(&self) -> bool {
        self.with(|seconds| {
            let sum = |(calls, repeats), &(_, more, again)| (calls + more, repeats + again);
            let (n_calls, n_repeats) = seconds.iter().fold((0, 0), sum);
            let is_allowed = n_repeats < LEAST.max(n_calls / 5);
            if let Some((_, _, repeats)) = seconds.back_mut() {
                *repeats += u64::from(is_allowed);
            }
            is_allowed
        })
    }

    fn with<T>(&self, change: impl FnOnce(&mut VecDeque<(u64, u64, u64)>) -> T) -> T {
        let now = self.begun.elapsed().as_secs();
        let mut seconds = self.seconds.lock().unwrap_or_else(PoisonError::into_inner);
        while (seconds.front()).is_some_and(|(second, ..)| second + WINDOW <= now) {
            seconds.pop_front();
        }
        if seconds.back().is_none_or(|(second, ..)| *second != now) {
            seconds.push_back((now, 0, 0));
        }
        change(&mut seconds)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_fifth_of_the_last_ten_seconds_is_allowed_and_never_less_than_three() {
        let budget = Budget::default();
        let allowed = || (0..100).filter(|_| budget.allows_repeat()).count();
        assert_eq!(allowed(), 3);
        for _ in 0..50 {
            budget.count_call();
        }
        assert_eq!(allowed(), 7);
        tokio::time::advance(Duration::from_secs(9)).await;
        assert_eq!(allowed(), 0);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(allowed(), 3);
    }
}
