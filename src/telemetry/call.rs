//! What the transport knows of the call that runs in this task.
//!
//! The server runs each call in a task of its own, inside [`scope`]. What a call is made of, from the request's headers
//! to the last piece of its response, is polled and dropped there, so a report that is written when a call is dropped
//! can ask [`ending`] whether the server ended it or the caller left.

use std::cell::Cell;

use tokio::time::Instant;

tokio::task_local! {
    static CALL: Call;
}

/// Why the server ends a call that would have gone on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The process stops, and the time that running calls had is over.
    Draining,
    /// The connection has reached its age, and the time that its calls had is over.
    ConnectionAged,
    /// The caller has not read for too long.
    CallerTooSlow,
    /// The call's deadline passed while its caller did not read.
    DeadlinePassed,
}

/// The state of one call, as its transport sees it.
#[derive(Debug, Default)]
pub(crate) struct Call {
    ending: Cell<Option<Ending>>,
    deadline: Cell<Option<Instant>>,
    /// Pieces of the response that were handed to the transport.
    n_frames: Cell<u64>,
    /// Whether the last of them still waits for the caller to read.
    is_blocked: Cell<bool>,
    /// Deltas of text among them.
    n_deltas: Cell<u64>,
}

/// Runs `future` as one call.
pub(crate) fn scope<F: Future>(future: F) -> impl Future<Output = F::Output> {
    CALL.scope(Call::default(), future)
}

/// Why the server ends the running call; `None` while it does not.
pub(crate) fn ending() -> Option<Ending> {
    CALL.try_with(|call| call.ending.get()).ok().flatten()
}

/// The running call shall end; its parts learn it when they are next polled or dropped.
pub(crate) fn end(ending: Ending) {
    // Outside a call there is nothing to end.
    let _ = CALL.try_with(|call| call.ending.set(Some(ending)));
}

/// The running call has a deadline, which holds also while its caller does not read.
pub(crate) fn set_deadline(at: Instant) {
    let _ = CALL.try_with(|call| call.deadline.set(Some(at)));
}

/// The running call's deadline.
pub(crate) fn deadline() -> Option<Instant> {
    CALL.try_with(|call| call.deadline.get()).ok().flatten()
}

/// A piece of the response was handed to the transport.
///
/// The transport asks for the next one only when it could send this one, so until then the call is blocked.
pub(crate) fn handed_over() {
    let _ = CALL.try_with(|call| {
        call.n_frames.set(call.n_frames.get().wrapping_add(1));
        call.is_blocked.set(true);
    });
}

/// The transport asked for the next piece, and there is none yet.
pub(crate) fn waits() {
    let _ = CALL.try_with(|call| call.is_blocked.set(false));
}

/// The number of the piece that waits for the caller to read; `None` where none does.
pub(crate) fn blocked_at() -> Option<u64> {
    CALL.try_with(|call| call.is_blocked.get().then(|| call.n_frames.get()))
        .ok()
        .flatten()
}

/// The service made a delta of the response.
pub(crate) fn delta_made() {
    let _ = CALL.try_with(|call| call.n_deltas.set(call.n_deltas.get().wrapping_add(1)));
}

/// Deltas of the response so far.
pub(crate) fn n_deltas() -> u64 {
    CALL.try_with(|call| call.n_deltas.get())
        .unwrap_or_default()
}
