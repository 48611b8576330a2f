//! The simulated vLLM of the demo, at the pace of a measurement.
//!
//! One thread serves all connections, as the event loop of vLLM's API server does, and takes them in turn, so that a
//! step of the engine gives each stream its event.

use std::net::SocketAddr;

use fake_vllm::{Settings, Upstream};

use crate::{
    Result,
    plan::{ENDLESS, MODEL, Pace},
};

/// Serves until the process is ended.
pub(crate) fn serve(listen: SocketAddr, pace: Pace) -> Result<()> {
    let settings = Settings {
        model: MODEL.to_owned(),
        max_model_len: 2 * ENDLESS as usize,
        write_interval: pace.pause,
        tokens_per_write: pace.burst as usize,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let upstream = Upstream::bind(listen, settings).await?;
        match upstream.run().await? {}
    })
}
