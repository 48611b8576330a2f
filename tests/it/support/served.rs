//! A server in this process, before an upstream that nobody listens for.

use std::{net::SocketAddr, time::Duration};

use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::ReceiverStream;
use vllm_grpc_adapter::{
    config::{Config, Limits, Log, Policy, Server, Upstream},
    server::{self, Error},
};

/// Ends when it is dropped.
pub struct Served {
    pub address: SocketAddr,
    stop: mpsc::Sender<()>,
    task: JoinHandle<Result<(), Error>>,
}

/// Serves with the default limits, as `change` leaves them.
pub async fn serve(change: impl FnOnce(&mut Server)) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut config = config();
    change(&mut config.server);
    let (stop, stops) = mpsc::channel(2);
    let stops = ReceiverStream::new(stops);
    let task = tokio::spawn(server::serve(listener, config, stops));
    Served {
        address,
        stop,
        task,
    }
}

/// What the flags' defaults give, but for a drain without a delay.
fn config() -> Config {
    let seconds = Duration::from_secs;
    Config {
        listen: ([127, 0, 0, 1], 0).into(),
        server: Server {
            max_request_bytes: 32 << 20,
            max_response_bytes: 32 << 20,
            max_connections: 10_000,
            max_streams_per_connection: 256,
            keepalive_interval: Some(seconds(30)),
            keepalive_timeout: seconds(10),
            max_connection_age: None,
            max_connection_age_grace: Some(seconds(120)),
            write_stall_timeout: Some(seconds(60)),
            drain_delay: Duration::ZERO,
            drain_timeout: seconds(120),
            reflection: true,
        },
        upstream: Upstream {
            base_url: "http://127.0.0.1:1/v1".parse().unwrap(),
            api_key: None,
            connect_timeout: seconds(2),
            idle_timeout: seconds(3),
            max_event_bytes: 1 << 20,
            max_body_bytes: 32 << 20,
        },
        limits: Limits {
            first_token: None,
            token_idle: Some(seconds(60)),
            max_duration: None,
        },
        policy: Policy::default(),
        log: Log {
            filter: "info".to_owned(),
            json: false,
        },
    }
}

// === impl Served ===

impl Served {
    /// As a signal does.
    pub async fn stop(&self) {
        self.stop.send(()).await.unwrap();
    }

    /// What `serve` returned, in the time that a test may take.
    pub async fn ended(mut self) -> Result<(), Error> {
        let ended = tokio::time::timeout(Duration::from_secs(30), &mut self.task).await;
        ended.expect("the server does not end").unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}
