//! What the tests share: the adapter as a child process, the vLLM it stands before, and the requests.

pub(crate) mod adapter;
pub(crate) mod requests;
pub(crate) mod server;
pub(crate) mod streamed;
pub(crate) mod vllm;

use std::{future::Future, time::Duration};

use tokio::time::{Instant, sleep};

/// Waits until the condition holds, and fails where it does not in time.
pub(crate) async fn within<F: Future<Output = bool>>(
    limit: Duration,
    what: &str,
    mut condition: impl FnMut() -> F,
) {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}
