//! Signals between a test and the scripted upstream, so that neither sleeps and hopes.

use std::time::Duration;

use tokio::sync::watch;

use super::soon;

/// Something that happens once; whoever asks later still learns of it.
#[derive(Clone, Debug)]
pub(crate) struct Signal(watch::Sender<bool>);

/// Bytes that went out, counted while they go.
#[derive(Clone, Debug)]
pub(crate) struct Meter(watch::Sender<u64>);

// === impl Signal ===

impl Signal {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    pub(crate) fn give(&self) {
        self.0.send_replace(true);
    }

    pub(crate) fn is_given(&self) -> bool {
        *self.0.borrow()
    }

    /// Ends when the signal is given; the test fails when that takes too long.
    pub(crate) async fn given(&self) {
        soon("waiting for a signal", self.given_at_last()).await;
    }

    /// Ends when the signal is given, whenever that is.
    pub(crate) async fn given_at_last(&self) {
        let mut is_given = self.0.subscribe();
        // The sender is `self`, so it is there.
        let _ = is_given.wait_for(|is_given| *is_given).await;
    }
}

// === impl Meter ===

impl Meter {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(0))
    }

    pub(crate) fn add(&self, n_bytes: usize) {
        self.0.send_modify(|sum| *sum += n_bytes as u64);
    }

    pub(crate) fn bytes(&self) -> u64 {
        *self.0.borrow()
    }

    /// Ends when nothing more has gone out for `time`, once something has; gives the bytes until then.
    ///
    /// A stall is a lack, so that only time can show it.
    pub(crate) async fn stalled_for(&self, time: Duration) -> u64 {
        let mut sum = self.0.subscribe();
        self.above(0).await;
        soon("waiting for a stall", async {
            while tokio::time::timeout(time, sum.changed()).await.is_ok() {}
        })
        .await;
        self.bytes()
    }

    /// Ends when more than `n_bytes` have gone out.
    pub(crate) async fn above(&self, n_bytes: u64) {
        let mut sum = self.0.subscribe();
        let _ = soon("waiting for bytes", sum.wait_for(|sum| *sum > n_bytes)).await;
    }
}
