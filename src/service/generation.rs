//! `GenerationService`: text from a chat or a completion model.

use tonic::{Request, Response, Status};

use super::{
    Adapter,
    call::Call,
    error::Error,
    stream::{Responses, streamed},
    unary,
};
use crate::{
    openai::request,
    proto::{self, generation_service_server::GenerationService},
    translate::{
        Mode, Needs,
        generation::{self, StreamTranslator, Translated},
    },
    upstream::Route,
};

#[tonic::async_trait]
impl GenerationService for Adapter {
    type StreamGenerateStream = Responses<proto::StreamGenerateResponse>;

    async fn generate(
        &self,
        request: Request<proto::GenerateRequest>,
    ) -> Result<Response<proto::GenerateResponse>, Status> {
        let (call, message) = Call::parts(request);
        let answer = async {
            let translated = self.translate(message, Mode::Unary, &call)?;
            self.check_version(translated.needs).await?;
            let route = route(&translated.request);
            let answer = self
                .upstream
                .post(route, translated.request, call.headers())
                .await?;
            let (response, asked) = (answer.read()?, &translated.asked);
            Ok(generation::response(response, answer.text(), asked)?)
        };
        unary(&call, answer).await
    }

    async fn stream_generate(
        &self,
        request: Request<proto::GenerateRequest>,
    ) -> Result<Response<Self::StreamGenerateStream>, Status> {
        let (call, message) = Call::parts(request);
        let opened = async {
            let translated = self.translate(message, Mode::Stream, &call)?;
            self.check_version(translated.needs).await?;
            let route = route(&translated.request);
            let events = self
                .upstream
                .stream(route, translated.request, call.headers())
                .await?;
            let request_id = call.id().as_str().to_owned();
            Ok((events, StreamTranslator::new(translated.asked, request_id)))
        };
        streamed(&call, opened).await
    }
}

impl Adapter {
    fn translate(
        &self,
        message: proto::GenerateRequest,
        mode: Mode,
        call: &Call,
    ) -> Result<Translated, Error> {
        call.set_model(&message.model);
        let translated = generation::request(message, mode, &self.policy)?;
        call.set_fields(translated.fields);
        Ok(translated)
    }

    /// Refuses what the upstream would silently ignore.
    async fn check_version(&self, needs: Option<Needs>) -> Result<(), Error> {
        let Some(needs) = needs else { return Ok(()) };
        match self.upstream.version().await {
            Some(version) if version < needs.version => Err(Error::TooOld(needs)),
            _ => Ok(()),
        }
    }
}

fn route(request: &request::Request) -> Route {
    match request {
        request::Request::Chat(_) => Route::CHAT_COMPLETIONS,
        request::Request::Completion(_) => Route::COMPLETIONS,
    }
}
