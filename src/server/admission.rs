//! Limits the calls that run at once, and the memory of their requests.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::service::error::transport::TransportError;

/// Memory is counted in steps, since a semaphore counts to 2^61 at most and takes 2^32 at once.
const STEP: usize = 1024;

/// A request that holds more takes milliseconds to decode and to translate.
const LARGE_BYTES: usize = 1 << 20;

/// The limits of all calls together.
#[derive(Debug)]
pub(super) struct Admission {
    in_flight: Arc<Semaphore>,
    memory: Arc<Semaphore>,
    max_memory: usize,
}

/// What one request's message holds of the memory; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Held {
    memory: Arc<Semaphore>,
    max_memory: usize,
    bytes: Mutex<(usize, Option<OwnedSemaphorePermit>)>,
}

// === impl Admission ===

impl Admission {
    /// Unlimited calls where `max_in_flight` is `None`; memory in bytes.
    pub(super) fn new(max_in_flight: Option<usize>, max_memory: usize) -> Self {
        let most = |n: usize| Arc::new(Semaphore::new(n.min(Semaphore::MAX_PERMITS)));
        Self {
            in_flight: most(max_in_flight.unwrap_or(usize::MAX)),
            memory: most(max_memory.div_ceil(STEP)),
            max_memory,
        }
    }

    /// A place among the calls, which is held to the call's end.
    pub(super) fn begin(&self) -> Result<OwnedSemaphorePermit, TransportError> {
        let permit = Arc::clone(&self.in_flight).try_acquire_owned();
        permit.map_err(|_no_permit| TransportError::Overloaded)
    }

    /// Bytes that the messages of all requests hold.
    pub(super) fn held_bytes(&self) -> usize {
        let n_steps = self.max_memory.div_ceil(STEP).min(Semaphore::MAX_PERMITS);
        n_steps.saturating_sub(self.memory.available_permits()) * STEP
    }

    /// For a request whose message has not arrived yet.
    pub(super) fn held(&self) -> Arc<Held> {
        Arc::new(Held {
            memory: Arc::clone(&self.memory),
            max_memory: self.max_memory,
            bytes: Mutex::default(),
        })
    }
}

// === impl Held ===

impl Held {
    /// Makes room for so many more bytes of memory.
    pub(super) fn add(&self, n_more: usize) -> Result<(), TransportError> {
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let (n_bytes, permit) = &mut *bytes;
        *n_bytes += n_more;
        if *n_bytes > self.max_memory {
            return Err(TransportError::TooMuchMemory(self.max_memory));
        }
        let n_steps = n_bytes.div_ceil(STEP);
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

    /// Whether the message takes long to handle.
    pub(super) fn is_large(&self) -> bool {
        let bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        bytes.0 > LARGE_BYTES
    }
}
