//! A server in this process, before an upstream that nobody listens for.

use std::{net::SocketAddr, time::Duration};

use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::ReceiverStream;
use vllm_grpc_adapter::{
    config::Server,
    server::{self, Error},
};

use super::adapter::config;

/// Ends when it is dropped.
pub struct Served {
    pub address: SocketAddr,
    stop: mpsc::Sender<()>,
    task: JoinHandle<Result<(), Error>>,
}

/// Serves with the defaults of the flags but for a drain without delay, as `change` leaves them.
pub async fn serve(change: impl FnOnce(&mut Server)) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut config = config("http://127.0.0.1:1/v1".parse().unwrap());
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
