//! What an upstream says of itself, asked for when it is needed and kept for a while.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Mutex, time::Instant};

/// An upstream may be replaced by another release at any time, but not often.
const MAX_AGE: Duration = Duration::from_secs(60);

/// One that said nothing may have been starting or busy.
const MAX_AGE_OF_NOTHING: Duration = Duration::from_secs(1);

/// What the upstream last said. Clones share it.
#[derive(Debug)]
pub(super) struct Known<T>(Arc<Mutex<Option<(Instant, T)>>>);

impl<T: Clone> Known<T> {
    /// What was said of late, or what `ask` gives now. Callers that come meanwhile wait for the same answer.
    ///
    /// What `is_known` does not pass is soon asked for again.
    pub(super) async fn get(
        &self,
        ask: impl Future<Output = T>,
        is_known: impl Fn(&T) -> bool,
    ) -> T {
        let mut known = self.0.lock().await;
        if let Some((since, said)) = &*known {
            let max_age = if is_known(said) {
                MAX_AGE
            } else {
                MAX_AGE_OF_NOTHING
            };
            if since.elapsed() < max_age {
                return said.clone();
            }
        }
        let said = ask.await;
        *known = Some((Instant::now(), said.clone()));
        said
    }
}

impl<T> Clone for Known<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}
