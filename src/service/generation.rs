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
    openai::{
        error::ErrorBody,
        request::{Chats, Request as UpstreamRequest},
    },
    proto::{
        GenerateRequest, GenerateResponse, StreamGenerateResponse,
        generation_service_server::GenerationService,
    },
    translate::{
        Mode, Needs,
        generation::{self, StreamTranslator, Translated},
    },
    upstream::{self, Chosen, Replica, Route},
};

#[tonic::async_trait]
impl GenerationService for Adapter {
    type StreamGenerateStream = Responses<StreamGenerateResponse>;

    async fn generate(&self, request: Request<GenerateRequest>) -> Reply<GenerateResponse> {
        unary(request, |call, message| async move {
            let mut translated = self.translate(message, Mode::Unary, &call)?;
            let upstream = self.choose(&call, &mut translated.request).await?;
            check_version(&upstream, translated.needs).await?;
            let (route, request) = (route(&translated.request), translated.request);
            let replica = upstream.replica();
            let answer = upstream.post(route, request, &call.headers).await;
            let answer = explained(answer, &replica).await?;
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
            let mut translated = self.translate(message, Mode::Stream, &call)?;
            let upstream = self.choose(&call, &mut translated.request).await?;
            check_version(&upstream, translated.needs).await?;
            let (route, request) = (route(&translated.request), translated.request);
            let replica = upstream.replica();
            let events = upstream.stream(route, request, &call.headers).await;
            let events = explained(events, &replica).await?;
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
}

/// Tells an upstream whose model does not generate from one that is set up wrongly: the router of both lacks the route.
async fn explained<T>(answered: Result<T, upstream::Error>, replica: &Replica) -> Result<T, Error> {
    let error = match answered {
        Ok(answer) => return Ok(answer),
        Err(error) => error,
    };
    if let upstream::Error::Refused(refusal) = &error
        && refusal.status == 404
        && refusal.body == ErrorBody::Router
    {
        let routes = replica.routes().await;
        let has = |route| routes.contains(&route);
        // These stand below the base URL too, so that it is right.
        let has_others = has(Route::EMBEDDINGS) || has(Route::TRANSCRIPTIONS);
        if has_others && !has(Route::CHAT_COMPLETIONS) {
            return Err(Error::Unsupported);
        }
    }
    Err(error.into())
}

/// Refuses what the upstream would silently ignore.
async fn check_version(upstream: &Chosen, needs: Option<Needs>) -> Result<(), Error> {
    let Some(needs) = needs else { return Ok(()) };
    match upstream.version().await {
        Some(version) if version < needs.version => Err(Error::TooOld(needs)),
        _ => Ok(()),
    }
}

fn route(request: &UpstreamRequest) -> Route {
    match request {
        UpstreamRequest::Chat(chat) => match chat.messages {
            Chats::One(_) => Route::CHAT_COMPLETIONS,
            Chats::Batch(_) => Route::CHAT_BATCH,
        },
        UpstreamRequest::Completion(_) => Route::COMPLETIONS,
    }
}
