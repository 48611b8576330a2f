//! How many requests a replica has.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use crate::telemetry::Series;

/// Counts one request until it is dropped.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<AtomicUsize>, Arc<Series>);

impl InFlight {
    /// Counts a request, unless there are `max` already.
    pub(super) fn begin(
        count: &Arc<AtomicUsize>,
        series: &Arc<Series>,
        max: usize,
    ) -> Option<Self> {
        series.in_flight.inc();
        let counted = Self(Arc::clone(count), Arc::clone(series));
        (count.fetch_add(1, Relaxed) < max).then_some(counted)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
        self.1.in_flight.dec();
    }
}
