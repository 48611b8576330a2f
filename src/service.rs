//! The RPCs. None is served yet.

pub(crate) mod request_id;
pub(crate) mod transport_error;

use std::{convert::Infallible, pin::Pin};

use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use crate::{config::Config, proto};

/// Answers generation from vLLM.
#[derive(Debug)]
pub(crate) struct Generation;

impl Generation {
    pub(crate) fn new(_config: &Config) -> Result<Self, Infallible> {
        Ok(Self)
    }
}

#[tonic::async_trait]
impl proto::generation_service_server::GenerationService for Generation {
    type StreamGenerateStream =
        Pin<Box<dyn Stream<Item = Result<proto::StreamGenerateResponse, Status>> + Send>>;

    async fn generate(
        &self,
        _request: Request<proto::GenerateRequest>,
    ) -> Result<Response<proto::GenerateResponse>, Status> {
        Err(unserved())
    }

    async fn stream_generate(
        &self,
        _request: Request<proto::GenerateRequest>,
    ) -> Result<Response<Self::StreamGenerateStream>, Status> {
        Err(unserved())
    }
}

#[expect(clippy::disallowed_methods, reason = "no service picks statuses yet")]
fn unserved() -> Status {
    Status::unimplemented("not served yet")
}
