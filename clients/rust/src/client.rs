use std::time::Duration;

use http::{HeaderValue, header::AUTHORIZATION};
use tokio::time::{Instant, timeout_at};
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};
use tower_http::set_header::SetRequestHeader;

use crate::AdapterError;
use crate::retry::{deadline_exceeded, retry};
use crate::v1::generation_service_client::GenerationServiceClient;
use crate::v1::{GenerateRequest, GenerateResponse, StreamGenerateResponse};

/// The adapter's own limit for a response.
pub const MAX_RECEIVE_BYTES: usize = 32 << 20;

/// A connection that sends the key with each call.
pub type Connection = SetRequestHeader<Channel, Option<HeaderValue>>;

/// Calls GenerationService. Clones share the connection.
#[derive(Clone, Debug)]
pub struct Client {
    /// The connection, for the stubs of the other services; `AdapterError::from` takes what they give.
    pub connection: Connection,
    /// The stub of GenerationService, whose largest response is [`MAX_RECEIVE_BYTES`].
    pub stub: GenerationServiceClient<Connection>,
}

impl Client {
    /// A client of the adapter at `endpoint`, as `http://localhost:50051`. It connects at the first call.
    ///
    /// TLS is the endpoint's: `https` and its `tls_config`. `key`: a bearer key, sent in each call; an error without
    /// TLS. Empty: none.
    pub fn connect(endpoint: Endpoint, key: &str) -> Result<Self, AdapterError> {
        let invalid = |error: &str| AdapterError::from(Status::invalid_argument(error));
        if !key.is_empty() && endpoint.uri().scheme_str() != Some("https") {
            return Err(invalid("key is sent over TLS alone: the endpoint must begin with https."));
        }
        let mut bearer = HeaderValue::try_from(format!("Bearer {key}")).map_err(|_| invalid("key is no header."))?;
        bearer.set_sensitive(true);
        let channel = endpoint
            .http2_keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(10))
            .keep_alive_while_idle(true)
            .connect_lazy();
        let connection = SetRequestHeader::overriding(channel, AUTHORIZATION, (!key.is_empty()).then_some(bearer));
        let stub = GenerationServiceClient::new(connection.clone()).max_decoding_message_size(MAX_RECEIVE_BYTES);
        Ok(Self { connection, stub })
    }

    /// The whole answer, within a time.
    pub async fn generate(
        &self,
        request: &GenerateRequest,
        timeout: Duration,
    ) -> Result<GenerateResponse, AdapterError> {
        let call = async |request| self.stub.clone().generate(request).await;
        Ok(retry(request, Instant::now() + timeout, call).await?.into_inner())
    }

    /// The events of the answer, within a time. Dropping them ends the call.
    pub async fn stream_generate(&self, request: &GenerateRequest, timeout: Duration) -> Result<Events, AdapterError> {
        let deadline = Instant::now() + timeout;
        let call = async |request| self.stub.clone().stream_generate(request).await;
        Ok(Events { stream: retry(request, deadline, call).await?.into_inner(), deadline })
    }
}

/// The events of a stream.
#[derive(Debug)]
pub struct Events {
    stream: Streaming<StreamGenerateResponse>,
    deadline: Instant,
}

impl Events {
    /// The next event. None: the answer has ended without an error.
    pub async fn next(&mut self) -> Result<Option<StreamGenerateResponse>, AdapterError> {
        let next = timeout_at(self.deadline, self.stream.message()).await;
        Ok(next.unwrap_or_else(|_| Err(deadline_exceeded()))?)
    }
}
