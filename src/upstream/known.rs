//! What an upstream says of itself, asked for when it is needed and kept for a while.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Mutex, time::Instant};

/// An upstream may be replaced by another release at any time, but not often.
const MAX_AGE: Duration = Duration::from_secs(60);

/// One that said nothing may have been starting; asking one that never says anything delays a call each time.
const MAX_AGE_OF_NOTHING: Duration = Duration::from_secs(30);

/// What the upstream last said, and until when it is believed. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Known<T>(Arc<Mutex<Option<(Instant, T)>>>);

impl<T: Clone + Default + PartialEq> Known<T> {
    /// What was said of late, or what `ask` gives now, which is the default where nothing is known.
    ///
    /// Callers that come meanwhile wait for the same answer.
    pub(super) async fn get(&self, ask: impl Future<Output = T>) -> T {
        let mut known = self.0.lock().await;
        if let Some((until, said)) = &*known
            && Instant::now() < *until
        {
            return said.clone();
        }
        let said = ask.await;
        let is_nothing = said == T::default();
        let max_age = if is_nothing {
            MAX_AGE_OF_NOTHING
        } else {
            MAX_AGE
        };
        *known = Some((Instant::now() + max_age, said.clone()));
        said
    }
}
