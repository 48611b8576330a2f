//! Limits the calls that run at once, and the memory of their requests.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::service::error::transport::TransportError;

/// Bytes of memory for each byte of a request's message until the upstream answers: the message as it arrived, as it
/// was decoded, and the JSON made from it.
const BYTES_HELD: usize = 4;

/// Memory is counted in steps, since a semaphore counts to 2^61 at most and takes 2^32 at once.
const STEP: usize = 1024;

/// The limits of all calls together.
#[derive(Debug)]
pub(super) struct Admission {
    in_flight: Arc<Semaphore>,
    memory: Arc<Semaphore>,
}

/// What one request's message holds of the memory; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Held {
    memory: Arc<Semaphore>,
    message: Mutex<(usize, Option<OwnedSemaphorePermit>)>,
}

// === impl Admission ===

impl Admission {
    /// Unlimited calls where `max_in_flight` is `None`; memory in bytes.
    pub(super) fn new(max_in_flight: Option<usize>, max_memory: usize) -> Self {
        let most = |n: usize| Arc::new(Semaphore::new(n.min(Semaphore::MAX_PERMITS)));
        Self {
            in_flight: most(max_in_flight.unwrap_or(usize::MAX)),
            memory: most(max_memory.div_ceil(STEP)),
        }
    }

    /// A place among the calls, which is held to the call's end.
    pub(super) fn begin(&self) -> Result<OwnedSemaphorePermit, TransportError> {
        let permit = Arc::clone(&self.in_flight).try_acquire_owned();
        permit.map_err(|_no_permit| TransportError::Overloaded)
    }

    /// For a request whose message has not arrived yet.
    pub(super) fn held(&self) -> Arc<Held> {
        Arc::new(Held {
            memory: Arc::clone(&self.memory),
            message: Mutex::default(),
        })
    }
}

// === impl Held ===

impl Held {
    /// Makes room for so many more bytes of the message.
    pub(super) fn add(&self, n_bytes: usize) -> Result<(), TransportError> {
        let mut message = self.message.lock().unwrap_or_else(PoisonError::into_inner);
        let (n_arrived, permit) = &mut *message;
        *n_arrived += n_bytes;
        let n_steps = (*n_arrived * BYTES_HELD).div_ceil(STEP);
        let n_held = permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let lacking = u32::try_from(n_steps.saturating_sub(n_held)).unwrap_or(u32::MAX);
        let more = Arc::clone(&self.memory).try_acquire_many_owned(lacking);
        let more = more.map_err(|_no_permit| TransportError::Overloaded)?;
        match permit {
            Some(permit) => permit.merge(more),
            None => *permit = Some(more),
        }
        Ok(())
    }
}
