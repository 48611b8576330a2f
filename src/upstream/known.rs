//! Facts about an upstream, asked for when they are needed and cached for a while.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Mutex, time::Instant};

/// An upstream may be replaced by another release at any time, but not often.
const MAX_AGE: Duration = Duration::from_secs(60);

/// One that said nothing may have been starting; asking one that never says anything delays a call each time.
const MAX_AGE_OF_NOTHING: Duration = Duration::from_secs(30);

/// The upstream's last answer, and until when it is valid. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Known<T>(Arc<Mutex<Option<(Instant, T)>>>);

impl<T: Clone + Default + PartialEq> Known<T> {
    /// The cached answer, or that of `ask`, which is the default where nothing is known.
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
