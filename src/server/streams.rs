//! The tasks of a connection's calls.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::{
    sync::{Notify, futures::OwnedNotified},
    task::JoinSet,
};

use super::stall::Stall;
use crate::telemetry::call::{self, Ending};

/// The calls of one connection. Dropping it ends them.
#[derive(Debug)]
pub(super) struct Streams(Arc<Tasks>);

/// Where hyper puts the calls of one connection.
///
/// hyper keeps a copy in each call, so it must not keep the calls alive.
#[derive(Clone, Debug)]
pub(super) struct Executor(Weak<Tasks>);

#[derive(Debug)]
struct Tasks {
    set: Mutex<JoinSet<()>>,
    signal: Arc<Signal>,
    stall_timeout: Option<Duration>,
}

/// Tells every call of a connection that it shall end.
#[derive(Debug, Default)]
struct Signal {
    ending: OnceLock<Ending>,
    changed: Arc<Notify>,
}

pin_project! {
    /// One call, as hyper runs it: what answers it, and then its response's body.
    struct Stream<F> {
        #[pin]
        call: F,
        #[pin]
        changed: OwnedNotified,
        is_listening: bool,
        signal: Arc<Signal>,
        stall: Stall,
    }
}

// === impl Streams ===

impl Streams {
    pub(super) fn new(stall_timeout: Option<Duration>) -> Self {
        Self(Arc::new(Tasks {
            set: Mutex::default(),
            signal: Arc::default(),
            stall_timeout,
        }))
    }

    pub(super) fn executor(&self) -> Executor {
        Executor(Arc::downgrade(&self.0))
    }

    /// Gives back the memory of calls that have ended. Pending, so that it is polled along with the connection.
    pub(super) fn poll_reap(&self, cx: &mut Context<'_>) -> Poll<Infallible> {
        let mut set = self.0.set();
        // A panic is one of hyper's own, since a call's are caught, and the hook has told it.
        while let Poll::Ready(Some(_ended)) = set.poll_join_next(cx) {}
        Poll::Pending
    }

    /// Ends what runs and what is still to come.
    pub(super) fn end(&self, ending: Ending) {
        // The first ending holds.
        if self.0.signal.ending.set(ending).is_ok() {
            self.0.signal.changed.notify_waiters();
        }
    }
}

// === impl Tasks ===

impl Tasks {
    fn set(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Executor ===

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, call: F) {
        let Some(tasks) = self.0.upgrade() else {
            return;
        };
        let stream = Stream {
            call,
            changed: Arc::clone(&tasks.signal.changed).notified_owned(),
            is_listening: false,
            signal: Arc::clone(&tasks.signal),
            stall: Stall::new(tasks.stall_timeout),
        };
        tasks.set().spawn(call::scope(stream));
    }
}

// === impl Stream ===

impl<F: Future<Output = ()>> Future for Stream<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        if !*this.is_listening {
            // Once is enough, as this is the outermost future of its task, whose waker stays the same. Asking again
            // would take the lock that all calls of the connection share.
            let _ = this.changed.poll(cx);
            *this.is_listening = true;
        }
        if let Some(ending) = this.signal.ending.get() {
            call::end(*ending);
        }
        if this.call.poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let ending = ready!(this.stall.poll(call::blocked_at(), call::deadline(), cx));
        // What the call holds is dropped with this task, which resets the stream.
        call::end(ending);
        Poll::Ready(())
    }
}
