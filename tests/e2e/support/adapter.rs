//! The adapter's program as a child process.

use std::{net::TcpListener, process::Stdio, time::Duration};

use tokio::{process::Child, process::Command};
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use vllm_grpc_adapter::proto::generation_service_client::GenerationServiceClient;

use super::within;

/// A running adapter; dropping it kills it.
pub(crate) struct Adapter {
    channel: Channel,
    _child: Child,
}

impl Adapter {
    /// An adapter with the default settings.
    pub(crate) async fn before(upstream: &str) -> Self {
        Self::with(upstream, &[]).await
    }

    /// An adapter with more variables in its environment.
    pub(crate) async fn with(upstream: &str, variables: &[(&str, &str)]) -> Self {
        Self::start(&[&[("ADAPTER_UPSTREAM", upstream)], variables].concat()).await
    }

    /// An adapter with these variables in its environment.
    pub(crate) async fn start(variables: &[(&str, &str)]) -> Self {
        let address = format!("127.0.0.1:{}", free_port());
        let mut child = Command::new(env!("CARGO_BIN_EXE_vllm-grpc-adapter"))
            .env("ADAPTER_LISTEN", &address)
            .env("ADAPTER_LOG", "error")
            .envs(variables.iter().copied())
            // No .env file lies there.
            .current_dir(env!("CARGO_TARGET_TMPDIR"))
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let channel = Endpoint::from_shared(format!("http://{address}"))
            .unwrap()
            .connect_lazy();
        let start = Duration::from_secs(20);
        let health = HealthClient::new(channel.clone());
        within(start, "the adapter serves", || {
            assert!(child.try_wait().unwrap().is_none(), "the adapter ended");
            let mut health = health.clone();
            async move { is_serving(&mut health).await }
        })
        .await;
        Self {
            channel,
            _child: child,
        }
    }

    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    pub(crate) fn generation(&self) -> GenerationServiceClient<Channel> {
        GenerationServiceClient::new(self.channel.clone())
    }
}

async fn is_serving(health: &mut HealthClient<Channel>) -> bool {
    match health.check(HealthCheckRequest::default()).await {
        Ok(response) => response.into_inner().status() == ServingStatus::Serving,
        Err(_not_yet) => false,
    }
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
