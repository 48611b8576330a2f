//! What tests are made of: the adapter, the upstream before it, and the requests between.

pub(crate) mod adapter;
pub(crate) mod bounds;
pub(crate) mod certificates;
pub(crate) mod fault_proxy;
pub(crate) mod file;
pub(crate) mod outcome;
pub(crate) mod process;
pub(crate) mod raw_h2;
pub(crate) mod recording;
pub(crate) mod reply;
pub(crate) mod requests;
pub(crate) mod signal;
pub(crate) mod told;
pub(crate) mod twin;
pub(crate) mod vllm;
pub(crate) mod wire;

use std::time::Duration;

/// Longest time that a test waits for what should come at once, on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Awaits what should come at once, and fails with `what` when it does not.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_elapsed) => panic!("in vain: {what}"),
    }
}
