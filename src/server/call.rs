//! The calls of one connection: where they run, and when the server ends them.

use std::{
    convert::Infallible,
    future::poll_fn,
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{self, Instant, Sleep},
};

use crate::service::{call::Call, deadline::Ending};

/// The calls of one connection. Dropping it ends them.
#[derive(Debug)]
pub(super) struct Calls(Arc<Shared>);

/// Where hyper runs the calls of one connection. hyper keeps a copy in each call, so it must not keep the calls alive.
#[derive(Clone, Debug)]
pub(super) struct Executor(Weak<Shared>);

#[derive(Debug)]
struct Shared {
    open: Mutex<Open>,
    /// For calls of the contract.
    own: Arc<Signal>,
    /// For calls of gRPC's own services.
    standard: Arc<Signal>,
    stall_timeout: Option<Duration>,
}

#[derive(Debug)]
struct Open {
    tasks: JoinSet<()>,
    /// The call that the executor is given next: hyper 1.12 first calls the service with a request, which makes the
    /// call, and then gives its future to the executor.
    next: Option<Call>,
    /// When the last call began or ended.
    changed: Instant,
}

/// Broadcasts an ending to the calls of a connection.
#[derive(Debug, Default)]
struct Signal {
    ending: OnceLock<Ending>,
    given: Arc<Notify>,
}

/// When a call ends by itself: at its deadline, or where its caller has not read for too long.
#[derive(Debug)]
struct Timer {
    stall_timeout: Option<Duration>,
    sleep: Option<Pin<Box<Sleep>>>,
}

// === impl Calls ===

impl Calls {
    pub(super) fn new(stall_timeout: Option<Duration>) -> Self {
        Self(Arc::new(Shared {
            open: Mutex::new(Open {
                tasks: JoinSet::new(),
                next: None,
                changed: Instant::now(),
            }),
            own: Arc::default(),
            standard: Arc::default(),
            stall_timeout,
        }))
    }

    pub(super) fn executor(&self) -> Executor {
        Executor(Arc::downgrade(&self.0))
    }

    /// A call that hyper is about to run.
    pub(super) fn begin(&self, call: Call) {
        self.0.open().next = Some(call);
    }

    /// Gives back the memory of calls that have ended. Pending, so that it is polled along with the connection.
    pub(super) fn poll_reap(&self, cx: &mut Context<'_>) -> Poll<Infallible> {
        let mut open = self.0.open();
        // A panic in a call is caught, and one of hyper's own has been logged by the hook.
        while let Poll::Ready(Some(_ended)) = open.tasks.poll_join_next(cx) {
            open.changed = Instant::now();
        }
        Poll::Pending
    }

    /// Returns once there has been no call for that long; never where there is no limit.
    pub(super) async fn idle_for(&self, limit: Option<Duration>) {
        let Some(limit) = limit else {
            return std::future::pending().await;
        };
        loop {
            let idle_since = self.0.idle_since();
            if idle_since + limit <= Instant::now() {
                return;
            }
            time::sleep_until(idle_since + limit).await;
        }
    }

    /// Ends the calls that run and those still to come. The first ending counts.
    pub(super) fn end(&self, ending: Ending) {
        self.0.own.give(ending);
        self.0.standard.give(ending);
    }

    /// Ends watches of the health and reflection, which would go on for as long as their callers like.
    pub(super) fn drain(&self) {
        self.0.standard.give(Ending::Draining);
    }
}

// === impl Shared ===

impl Shared {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn idle_since(&self) -> Instant {
        let open = self.open();
        match open.tasks.is_empty() {
            true => open.changed,
            false => Instant::now(),
        }
    }
}

// === impl Signal ===

impl Signal {
    fn give(&self, ending: Ending) {
        let _ = self.ending.set(ending);
        self.given.notify_waiters();
    }
}

// === impl Executor ===

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let Some(shared) = self.0.upgrade() else {
            return;
        };
        let mut open = shared.open();
        let call = open.next.take();
        open.changed = Instant::now();
        let Some(call) = call else {
            open.tasks.spawn(stream);
            return;
        };
        let signal = match call.is_standard() {
            true => &shared.standard,
            false => &shared.own,
        };
        let timer = Timer::new(shared.stall_timeout);
        // Boxed, since it is large, and a future that is moved into another is copied.
        let task = run(Box::pin(stream), call, Arc::clone(signal), timer);
        open.tasks.spawn(task);
    }
}

/// Runs one call of hyper's: what answers it, and then its response's body.
async fn run<F: Future<Output = ()>>(
    mut stream: Pin<Box<F>>,
    call: Call,
    signal: Arc<Signal>,
    mut timer: Timer,
) {
    let mut given = pin!(signal.given.notified());
    let mut is_listening = false;
    poll_fn(|cx| {
        if !is_listening {
            // Once is enough: this is the outermost future of its task, whose waker stays the same.
            let _ = given.as_mut().poll(cx);
            is_listening = true;
        }
        if let Some(&ending) = signal.ending.get() {
            call.end(ending);
        }
        // The response's body makes a status of an ending, so the time is looked at before the body is polled; and
        // after, since a caller that does not read keeps the body from being polled.
        let expired = timer.poll(&call, cx);
        if let Poll::Ready(ending) = expired {
            call.end(ending);
        }
        if stream.as_mut().poll(cx).is_ready() || expired.is_ready() {
            return Poll::Ready(());
        }
        // What the call holds is dropped with this task, which resets the stream.
        timer.poll(&call, cx).map(|ending| call.end(ending))
    })
    .await;
}

// === impl Timer ===

impl Timer {
    fn new(stall_timeout: Option<Duration>) -> Self {
        Self {
            stall_timeout,
            sleep: None,
        }
    }

    /// Ready at the call's deadline, or once a piece of its response has waited for the limit.
    fn poll(&mut self, call: &Call, cx: &mut Context<'_>) -> Poll<Ending> {
        let deadline = call.deadline.ok().flatten();
        let deadline = deadline.map(|it| (it.at, it.ending));
        let stall = self.stall_timeout.zip(call.blocked_since());
        let stall = stall.map(|(limit, since)| (since + limit, Ending::CallerTooSlow));
        let ends = deadline.into_iter().chain(stall);
        let Some((end, ending)) = ends.min_by_key(|(end, _)| *end) else {
            return Poll::Pending;
        };
        // Tokio's timers count whole milliseconds, and a deadline of nothing must not start anything.
        if self.sleep.is_none() && end <= Instant::now() {
            return Poll::Ready(ending);
        }
        let new = || Box::pin(time::sleep_until(end));
        let sleep = self.sleep.get_or_insert_with(new);
        if end < sleep.deadline() {
            sleep.as_mut().reset(end);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() >= end {
                return Poll::Ready(ending);
            }
            // It is moved later only when it fires, which costs a caller that reads nothing.
            sleep.as_mut().reset(end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    fn call(max_duration: Option<Duration>) -> Call {
        let head = http::Request::new(()).into_parts().0;
        Call::at_head(&head, max_duration, Default::default())
    }

    async fn has_ended(timer: &mut Timer, call: &Call) -> bool {
        poll_fn(|cx| Poll::Ready(timer.poll(call, cx).is_ready())).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_piece_that_waits_for_the_limit_is_a_stall() {
        let (call, mut timer) = (call(None), Timer::new(Some(LIMIT)));
        call.handed_over();
        let start = Instant::now();
        let ending = poll_fn(|cx| timer.poll(&call, cx)).await;
        assert_eq!((ending, start.elapsed()), (Ending::CallerTooSlow, LIMIT));
    }

    #[tokio::test(start_paused = true)]
    async fn each_piece_has_the_whole_limit() {
        let (call, mut timer) = (call(None), Timer::new(Some(LIMIT)));
        for _ in 0..10 {
            call.handed_over();
            assert!(!has_ended(&mut timer, &call).await);
            time::advance(LIMIT * 3 / 4).await;
            assert!(!has_ended(&mut timer, &call).await);
        }
        time::advance(LIMIT / 4).await;
        assert!(has_ended(&mut timer, &call).await);
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_for_the_upstream_is_no_stall() {
        let (call, mut timer) = (call(None), Timer::new(Some(LIMIT)));
        call.handed_over();
        assert!(!has_ended(&mut timer, &call).await);
        call.resumed();
        time::advance(LIMIT * 2).await;
        assert!(!has_ended(&mut timer, &call).await);
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_holds_whether_a_piece_waits_or_not() {
        for (stall_timeout, is_blocked) in [(None, false), (None, true), (Some(LIMIT), true)] {
            let (call, mut timer) = (call(Some(LIMIT / 2)), Timer::new(stall_timeout));
            if is_blocked {
                call.handed_over();
            }
            let start = Instant::now();
            let ending = poll_fn(|cx| timer.poll(&call, cx)).await;
            let expected = Ending::MaxDuration;
            assert_eq!((ending, start.elapsed()), (expected, LIMIT / 2));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_it_waits() {
        let (call, mut timer) = (call(None), Timer::new(None));
        call.handed_over();
        time::advance(LIMIT * 1000).await;
        assert!(!has_ended(&mut timer, &call).await);
    }
}
