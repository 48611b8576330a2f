//! `GenerationService`: text from a chat or a completion model.

use tonic::Request;

use super::{
    Adapter, Reply,
    call::Call,
    error::Error,
    stream::{Responses, streamed},
    unary,
};
use crate::{
    openai::{error::ErrorBody, request::Request as UpstreamRequest},
    proto::{
        GenerateRequest, GenerateResponse, StreamGenerateResponse,
        generation_service_server::GenerationService,
    },
    translate::{
        Mode, Needs,
        generation::{self, StreamTranslator, Translated},
    },
    upstream::{self, Route},
};

#[tonic::async_trait]
impl GenerationService for Adapter {
    type StreamGenerateStream = Responses<StreamGenerateResponse>;

    async fn generate(&self, request: Request<GenerateRequest>) -> Reply<GenerateResponse> {
        unary(request, |call, message| async move {
            let translated = self.translate(message, Mode::Unary, &call)?;
            self.check_version(translated.needs).await?;
            let route = route(&translated.request);
            let answer = self.post(&call, route, translated.request).await;
            let answer = self.explained(answer).await?;
            let (response, asked) = (answer.read()?, &translated.asked);
            Ok(generation::response(response, answer.text(), asked)?)
        })
        .await
    }

    async fn stream_generate(
        &self,
        request: Request<GenerateRequest>,
    ) -> Reply<Self::StreamGenerateStream> {
        streamed(request, |call, message| async move {
            let translated = self.translate(message, Mode::Stream, &call)?;
            self.check_version(translated.needs).await?;
            let (upstream, headers) = (&self.upstream, &call.headers);
            let route = route(&translated.request);
            let events = upstream.stream(route, translated.request, headers).await;
            let events = self.explained(events.map_err(Error::from)).await?;
            let request_id = call.id().to_owned();
            Ok((events, StreamTranslator::new(translated.asked, request_id)))
        })
        .await
    }
}

impl Adapter {
    fn translate(
        &self,
        message: GenerateRequest,
        mode: Mode,
        call: &Call,
    ) -> Result<Translated, Error> {
        call.set_model(&message.model);
        let translated = generation::request(message, mode, &self.policy)?;
        call.set_fields(translated.fields);
        Ok(translated)
    }

    /// Tells an upstream whose model does not generate from one that is set up wrongly: the router of both lacks the route.
    async fn explained<T>(&self, answered: Result<T, Error>) -> Result<T, Error> {
        let Err(Error::Upstream(upstream::Error::Refused(refusal))) = &answered else {
            return answered;
        };
        if refusal.status != 404 || refusal.body != ErrorBody::Router {
            return answered;
        }
        let routes = self.upstream.routes().await;
        let has = |route| routes.contains(&route);
        // These stand below the base URL too, so that it is right.
        let has_others = has(Route::EMBEDDINGS) || has(Route::TRANSCRIPTIONS);
        match has_others && !has(Route::CHAT_COMPLETIONS) {
            true => Err(Error::Unsupported),
            false => answered,
        }
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

fn route(request: &UpstreamRequest) -> Route {
    match request {
        UpstreamRequest::Chat(_) => Route::CHAT_COMPLETIONS,
        UpstreamRequest::Completion(_) => Route::COMPLETIONS,
    }
}
