//! The RPCs: each a composition of translation and upstream, with its deadline, its status and its record.

mod call;
mod deadline;
mod error;
mod observer;
mod pace;
pub(crate) mod request_id;
mod stream;
pub(crate) mod transport_error;

use std::{convert::Infallible, sync::Arc};

use tonic::{Request, Response, Status};

use crate::{
    config::{Config, Limits, Policy},
    proto::{self, generation_service_server::GenerationService},
    translate::{self, Mode, StreamTranslator, Translated},
    upstream,
};
use call::Call;
use error::Error;
use stream::Responses;

/// `GenerationService`: text from a chat or a completion model.
#[derive(Clone, Debug)]
pub(crate) struct Generation {
    upstream: upstream::Client,
    policy: Arc<Policy>,
    limits: Limits,
}

impl Generation {
    /// The service before the configured upstream.
    pub(crate) fn new(config: &Config) -> Result<Self, upstream::SetupError> {
        Ok(Self {
            upstream: upstream::Client::new(&config.upstream, config.limits)?,
            policy: Arc::new(config.policy.clone()),
            limits: config.limits,
        })
    }

    /// What has to run beside the calls, for ever.
    pub(crate) fn upkeep(&self) -> impl Future<Output = Infallible> + Send + use<> {
        self.upstream.expire_idle()
    }

    async fn answer(
        &self,
        request: proto::GenerateRequest,
        call: &mut Call,
    ) -> Result<proto::GenerateResponse, Error> {
        let Translated {
            request,
            asked,
            needs,
        } = self.translate(request, Mode::Unary, call)?;
        let answer = async {
            self.check_version(needs).await?;
            let json = self.upstream.generate(&request, &call.headers).await?;
            Ok(translate::response(json.read()?, json.text(), &asked)?)
        };
        call.deadline.bound(answer).await?
    }

    /// Opens a stream and waits for its first event, since an error until then can still be told without a response,
    /// which lets a library or a mesh try again (gRFC A6).
    async fn open(
        &self,
        request: proto::GenerateRequest,
        call: &mut Call,
    ) -> Result<(upstream::Events, StreamTranslator), Error> {
        let Translated {
            request,
            asked,
            needs,
        } = self.translate(request, Mode::Stream, call)?;
        let events = async {
            self.check_version(needs).await?;
            Ok::<_, Error>(self.upstream.stream(&request, &call.headers).await?)
        };
        let events = call.deadline.bound(events).await??;
        let request_id = call.observer.subject.request_id.clone();
        let mut translator = StreamTranslator::new(asked, request_id);
        stream::take(&events, &mut translator)?;
        Ok((events, translator))
    }

    fn translate(
        &self,
        request: proto::GenerateRequest,
        mode: Mode,
        call: &mut Call,
    ) -> Result<Translated, Error> {
        let subject = &mut call.observer.subject;
        subject.model = request.model.clone();
        subject.is_stream = matches!(mode, Mode::Stream);
        let translated = translate::request(request, mode, &self.policy)?;
        subject.input = translated.asked.input;
        Ok(translated)
    }

    /// Refuses what the upstream would ignore in silence.
    async fn check_version(&self, needs: Option<translate::Needs>) -> Result<(), Error> {
        let Some(needs) = needs else { return Ok(()) };
        match self.upstream.version().await {
            Some(version) if version < needs.version => Err(Error::TooOld(needs)),
            _ => Ok(()),
        }
    }
}

#[tonic::async_trait]
impl GenerationService for Generation {
    type StreamGenerateStream = Responses;

    async fn generate(
        &self,
        request: Request<proto::GenerateRequest>,
    ) -> Result<Response<proto::GenerateResponse>, Status> {
        let mut call = Call::begin("Generate", &request, &self.limits)?;
        match self.answer(request.into_inner(), &mut call).await {
            Ok(answer) => {
                call.observer.responded();
                call.observer.end();
                Ok(Response::new(answer))
            }
            Err(error) => Err(call.observer.fail(&error)),
        }
    }

    async fn stream_generate(
        &self,
        request: Request<proto::GenerateRequest>,
    ) -> Result<Response<Self::StreamGenerateStream>, Status> {
        let mut call = Call::begin("StreamGenerate", &request, &self.limits)?;
        match self.open(request.into_inner(), &mut call).await {
            Ok((events, translator)) => Ok(Response::new(Responses::new(events, translator, call))),
            Err(error) => Err(call.observer.fail(&error)),
        }
    }
}
