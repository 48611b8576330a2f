//! `GenerationService`: text from a chat or a completion model.

use tonic::{Request, Response, Status};

use super::{
    Backend,
    error::{Error, Subject},
    stream::Responses,
};
use crate::{
    config::Policy,
    openai::request,
    proto::{self, generation_service_server::GenerationService},
    translate::{
        InvalidRequest, Mode, Needs,
        generation::{self, StreamTranslator, Translated},
    },
    upstream::{Content, Route},
};

/// The service before the configured upstream.
#[derive(Clone, Debug)]
pub(crate) struct Generation {
    backend: Backend,
}

impl Generation {
    /// The service before that upstream.
    pub(crate) fn new(backend: Backend) -> Self {
        Self { backend }
    }

    /// Refuses what the upstream would ignore in silence.
    async fn check_version(&self, needs: Option<Needs>) -> Result<(), Error> {
        let Some(needs) = needs else { return Ok(()) };
        match self.backend.upstream.version().await {
            Some(version) if version < needs.version => Err(Error::TooOld(needs)),
            _ => Ok(()),
        }
    }
}

fn translate(
    request: proto::GenerateRequest,
    mode: Mode,
    policy: &Policy,
    subject: &mut Subject,
) -> Result<Translated, InvalidRequest> {
    subject.model.clone_from(&request.model);
    let translated = generation::request(request, mode, policy)?;
    subject.fields = translated.fields;
    Ok(translated)
}

fn route(request: &request::Request) -> Route {
    match request {
        request::Request::Chat(_) => Route::CHAT_COMPLETIONS,
        request::Request::Completion(_) => Route::COMPLETIONS,
    }
}

#[tonic::async_trait]
impl GenerationService for Generation {
    type StreamGenerateStream = Responses<StreamTranslator>;

    async fn generate(
        &self,
        request: Request<proto::GenerateRequest>,
    ) -> Result<Response<proto::GenerateResponse>, Status> {
        let translate = |message, policy: &Policy, subject: &mut Subject| {
            translate(message, Mode::Unary, policy, subject)
        };
        let answer = |translated: Translated, headers| async move {
            let Translated {
                request,
                asked,
                needs,
                ..
            } = translated;
            self.check_version(needs).await?;
            let content = Content::json(&request)?;
            let json = self
                .backend
                .upstream
                .post(route(&request), content, &headers)
                .await?;
            Ok(generation::response(json.read()?, json.text(), &asked)?)
        };
        self.backend
            .unary("Generate", request, translate, answer)
            .await
    }

    async fn stream_generate(
        &self,
        request: Request<proto::GenerateRequest>,
    ) -> Result<Response<Self::StreamGenerateStream>, Status> {
        let translate = |message, policy: &Policy, subject: &mut Subject| {
            let Translated {
                request,
                asked,
                needs,
                ..
            } = translate(message, Mode::Stream, policy, subject)?;
            let translator = StreamTranslator::new(asked, subject.request_id.clone());
            Ok(((request, needs), translator))
        };
        let open = |(request, needs): (request::Request, _), headers| async move {
            self.check_version(needs).await?;
            let content = Content::json(&request)?;
            let upstream = &self.backend.upstream;
            Ok(upstream.stream(route(&request), content, &headers).await?)
        };
        self.backend
            .streamed("StreamGenerate", request, translate, open)
            .await
    }
}
