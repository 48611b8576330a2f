//! How long a call has waited for its caller to read.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{self, Instant, Sleep};

use crate::telemetry::call::Ending;

/// Ends once one piece of a response has waited for too long, or beyond the call's deadline.
///
/// A caller that reads costs nothing here: there is no timer until a piece has to wait, and then one that is moved
/// only when it fires.
#[derive(Debug)]
pub(super) struct Stall {
    limit: Option<Duration>,
    /// The piece that waits, and since when.
    waiting: Option<(u64, Instant)>,
    timer: Option<Pin<Box<Sleep>>>,
}

// === impl Stall ===

impl Stall {
    /// `None` waits for ever.
    pub(super) fn new(limit: Option<Duration>) -> Self {
        Self {
            limit,
            waiting: None,
            timer: None,
        }
    }

    /// Ready once piece `blocked_at` has waited for the limit or to the deadline; `None` means that nothing waits.
    pub(super) fn poll(
        &mut self,
        blocked_at: Option<u64>,
        deadline: Option<Instant>,
        cx: &mut Context<'_>,
    ) -> Poll<Ending> {
        let Some(piece) = blocked_at else {
            self.waiting = None;
            return Poll::Pending;
        };
        let since = match self.waiting {
            Some((waiting, since)) if waiting == piece => since,
            _ => {
                let now = Instant::now();
                self.waiting = Some((piece, now));
                now
            }
        };
        let stall = self
            .limit
            .map(|limit| (since + limit, Ending::CallerTooSlow));
        let deadline = deadline.map(|deadline| (deadline, Ending::DeadlinePassed));
        let ends = stall.into_iter().chain(deadline);
        let Some((end, ending)) = ends.min_by_key(|(end, _)| *end) else {
            return Poll::Pending;
        };
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(time::sleep_until(end)));
        loop {
            ready!(timer.as_mut().poll(cx));
            if timer.deadline() >= end {
                return Poll::Ready(ending);
            }
            timer.as_mut().reset(end);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    async fn is_over(stall: &mut Stall, blocked_at: Option<u64>) -> bool {
        poll_fn(|cx| Poll::Ready(stall.poll(blocked_at, None, cx).is_ready())).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_piece_that_waits_for_the_limit_is_a_stall() {
        let mut stall = Stall::new(Some(LIMIT));
        assert!(!is_over(&mut stall, Some(1)).await);
        let start = Instant::now();
        let ending = poll_fn(|cx| stall.poll(Some(1), None, cx)).await;
        assert_eq!(ending, Ending::CallerTooSlow);
        assert_eq!(start.elapsed(), LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn each_piece_has_the_whole_limit() {
        let mut stall = Stall::new(Some(LIMIT));
        for piece in 1..10 {
            assert!(!is_over(&mut stall, Some(piece)).await);
            time::advance(LIMIT / 2 + LIMIT / 4).await;
            assert!(!is_over(&mut stall, Some(piece)).await);
        }
        time::advance(LIMIT / 4).await;
        assert!(is_over(&mut stall, Some(9)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_for_the_upstream_is_no_stall() {
        let mut stall = Stall::new(Some(LIMIT));
        assert!(!is_over(&mut stall, Some(1)).await);
        time::advance(LIMIT - Duration::from_secs(1)).await;
        assert!(!is_over(&mut stall, None).await);
        time::advance(LIMIT * 2).await;
        assert!(!is_over(&mut stall, None).await);
        assert!(!is_over(&mut stall, Some(2)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_piece_that_waits_to_the_deadline_is_over_with_it() {
        for limit in [None, Some(LIMIT)] {
            let mut stall = Stall::new(limit);
            let start = Instant::now();
            let deadline = Some(start + LIMIT / 2);
            let ending = poll_fn(|cx| stall.poll(Some(1), deadline, cx)).await;
            assert_eq!(
                (ending, start.elapsed()),
                (Ending::DeadlinePassed, LIMIT / 2)
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_it_waits() {
        let mut stall = Stall::new(None);
        assert!(!is_over(&mut stall, Some(1)).await);
        time::advance(LIMIT * 1000).await;
        assert!(!is_over(&mut stall, Some(1)).await);
    }
}
