//! A caller that speaks gRPC.

use std::net::SocketAddr;

use memchr::memmem;
use tonic::transport::{Channel, Endpoint};
use vllm_grpc_adapter::proto::{
    GenerateRequest, generation_service_client::GenerationServiceClient,
    stream_generate_response::Event,
};

use crate::{
    Result,
    http_client::CONTENT_MARK,
    plan::{MODEL, PROMPT, TOKEN},
};

/// Of a connection. h2 closes one whose small frames lie unread for more than half of this, and frames here are small.
const CONNECTION_WINDOW: u32 = 64 << 20;

/// Of a stream: small, so that a server that is faster than its caller waits, and is not counted for what still lies
/// in windows.
const STREAM_WINDOW: u32 = 64 << 10;

/// How content chunks are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// By their text, since a server may merge them.
    Text,
    /// By the event that a message carries unread.
    Event,
}

/// A client on a connection that it shares with its clones.
#[derive(Clone)]
pub(crate) struct GrpcClient {
    client: GenerationServiceClient<Channel>,
    unit: Unit,
}

// === impl GrpcClient ===

impl GrpcClient {
    pub(crate) async fn connect(address: SocketAddr, unit: Unit) -> Result<Self> {
        let channel = Endpoint::from_shared(format!("http://{address}"))?
            .initial_connection_window_size(CONNECTION_WINDOW)
            .initial_stream_window_size(STREAM_WINDOW)
            .tcp_nodelay(true)
            .connect()
            .await?;
        Ok(Self {
            client: GenerationServiceClient::new(channel),
            unit,
        })
    }

    pub(crate) async fn stream(&mut self, tokens: u32, mut seen: impl FnMut(u64)) -> Result<u64> {
        let call = self.client.stream_generate(request(tokens));
        let mut responses = call.await?.into_inner();
        let mut total = 0;
        while let Some(response) = responses.message().await? {
            let Some(Event::Content(delta)) = response.event else {
                continue;
            };
            let chunks = self.unit.chunks(&delta.text);
            if chunks > 0 {
                seen(chunks);
                total += chunks;
            }
        }
        Ok(total)
    }

    pub(crate) async fn unary(&mut self) -> Result<()> {
        let response = self.client.generate(request(1)).await?.into_inner();
        let message = response
            .choices
            .into_iter()
            .next()
            .and_then(|it| it.message);
        match message.is_some_and(|message| message.content.contains(TOKEN)) {
            true => Ok(()),
            false => Err("the answer lacks its text".into()),
        }
    }
}

// === impl Unit ===

impl Unit {
    fn chunks(self, text: &str) -> u64 {
        match self {
            Self::Text => (text.len() / TOKEN.len()) as u64,
            Self::Event => memmem::find(text.as_bytes(), CONTENT_MARK).map_or(0, |_at| 1),
        }
    }
}

fn request(tokens: u32) -> GenerateRequest {
    GenerateRequest {
        model: MODEL.to_owned(),
        prompt: PROMPT.to_owned(),
        max_tokens: i32::try_from(tokens).ok(),
        ignore_eos: Some(true),
        ..GenerateRequest::default()
    }
}
