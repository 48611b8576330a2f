//! A caller of any server: over HTTP/1.1 or over gRPC, with the same calls.

use std::net::SocketAddr;

use crate::{
    Result,
    grpc_client::GrpcClient,
    http_client::HttpClient,
    server::{Kind, Protocol},
};

/// Makes one call at a time.
pub(crate) enum Client {
    Http(HttpClient),
    Grpc(GrpcClient),
}

/// The clients of one measurement, opened together.
pub(crate) struct Clients {
    address: SocketAddr,
    /// The connections that gRPC clients share; none for HTTP, where each client has its own.
    shared: Vec<GrpcClient>,
}

// === impl Client ===

impl Client {
    /// Reads a whole stream of as many tokens, and reports content chunks as they come.
    ///
    /// Returns how many came; a stream that does not end as it should is an error.
    pub(crate) async fn stream(&mut self, tokens: u32, seen: impl FnMut(u64)) -> Result<u64> {
        match self {
            Self::Http(client) => client.stream(tokens, seen).await,
            Self::Grpc(client) => client.stream(tokens, seen).await,
        }
    }

    pub(crate) async fn unary(&mut self) -> Result<()> {
        match self {
            Self::Http(client) => client.unary().await,
            Self::Grpc(client) => client.unary().await,
        }
    }
}

// === impl Clients ===

impl Clients {
    /// Connects `connections` times where clients share connections.
    pub(crate) async fn connect(
        kind: Kind,
        address: SocketAddr,
        connections: usize,
    ) -> Result<Self> {
        let mut shared = Vec::new();
        if let Protocol::Grpc(unit) = kind.protocol() {
            for _ in 0..connections {
                shared.push(GrpcClient::connect(address, unit).await?);
            }
        }
        Ok(Self { address, shared })
    }

    /// The client of the caller with that number.
    pub(crate) async fn client(&self, number: usize) -> Result<Client> {
        if self.shared.is_empty() {
            return Ok(Client::Http(HttpClient::connect(self.address).await?));
        }
        let client = &self.shared[number % self.shared.len()];
        Ok(Client::Grpc(client.clone()))
    }
}
