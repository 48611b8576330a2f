//! How far the server is from its end.

use tokio::sync::watch;

/// How far the server is from its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// It serves.
    Serving,
    /// Connections are told to go away, and running calls go on.
    GoingAway,
    /// Running calls end.
    Ending,
}

/// Follows the server's phase.
#[derive(Clone, Debug)]
pub(super) struct Phases(watch::Receiver<Phase>);

impl Phases {
    /// The sender, and what follows it.
    pub(super) fn channel() -> (watch::Sender<Phase>, Self) {
        let (sender, receiver) = watch::channel(Phase::Serving);
        (sender, Self(receiver))
    }

    /// Returns once the server is as near to its end as `phase`.
    pub(super) async fn reached(&mut self, phase: Phase) {
        if self.0.wait_for(|now| *now >= phase).await.is_err() {
            // The server is gone, and with it whoever waits.
            std::future::pending().await
        }
    }
}
