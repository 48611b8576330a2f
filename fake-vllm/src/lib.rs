//! A simulated vLLM, to try the adapter without a GPU: for its `demo`, its clients' tests and its benchmark of load.
//!
//! It answers as vLLM 0.32 does: the same routes, JSON, server-sent events and error bodies. Texts come from a
//! small script in place of a model, and vectors from the letters of the texts, so that all is the same every time. It shares no code with the adapter, so a mistake there cannot hide itself here.

mod answer;
mod embedding;
mod error;
mod fault;
mod picture;
mod request;
mod schema;
mod script;
mod server;
mod tokenizer;
mod wire;

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc};

use tokio::{net::TcpListener, task::JoinSet};
use url::Url;

pub use self::server::{MODEL, Settings};

/// A simulated vLLM that holds its port but does not answer yet.
#[derive(Debug)]
pub struct Upstream {
    listener: TcpListener,
    base_url: Url,
    server: Arc<server::Server>,
}

// === impl Upstream ===

impl Upstream {
    /// Listens on an address; port 0 is any free port.
    ///
    /// # Errors
    ///
    /// The address cannot be bound.
    pub async fn bind(address: SocketAddr, settings: Settings) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let base_url = Url::parse(&format!("http://{address}/v1")).map_err(io::Error::other)?;
        Ok(Self {
            listener,
            base_url,
            server: Arc::new(server::Server::new(settings)),
        })
    }

    /// The base URL as the OpenAI SDK takes it, with the `/v1`.
    pub fn base_url(&self) -> Url {
        self.base_url.clone()
    }

    /// Answers until it can accept no more; dropping it closes every connection.
    ///
    /// # Errors
    ///
    /// Accepting has failed, as when file descriptors run out.
    pub async fn run(self) -> io::Result<Infallible> {
        let mut connections = JoinSet::new();
        loop {
            let (stream, _address) = self.listener.accept().await?;
            connections.spawn(Arc::clone(&self.server).serve(stream));
            while connections.try_join_next().is_some() {}
        }
    }
}
