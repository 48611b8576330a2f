//! The upstream's version, asked for when a request depends on it.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Mutex, time::Instant};

use crate::openai::version::Version;

/// An upstream may be replaced by another release at any time, but not often.
const MAX_AGE: Duration = Duration::from_secs(60);

/// What the upstream last said.
#[derive(Clone, Debug, Default)]
pub(super) struct VersionCache(Arc<Mutex<Option<Known>>>);

#[derive(Clone, Copy, Debug)]
struct Known {
    since: Instant,
    /// `None` where it told nothing that is a release of vLLM.
    version: Option<Version>,
}

impl VersionCache {
    /// What was said of late, or what `ask` gives now. Callers that come meanwhile wait for the same answer.
    pub(super) async fn get(&self, ask: impl Future<Output = Option<Version>>) -> Option<Version> {
        let mut known = self.0.lock().await;
        if let Some(Known { since, version }) = *known
            && since.elapsed() < MAX_AGE
        {
            return version;
        }
        let version = ask.await;
        *known = Some(Known {
            since: Instant::now(),
            version,
        });
        version
    }
}
