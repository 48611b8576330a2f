//! `TranscriptionService`: speech to text.

use tonic::{Request, Response, Status};

use super::{Backend, error::Subject, stream::Responses};
use crate::{
    config::Policy,
    openai::transcription::TranscriptionForm,
    proto::{self, transcription_service_server::TranscriptionService},
    translate::{
        Fields, InvalidRequest, Mode,
        transcription::{self, Asked, Translator},
    },
    upstream::{Content, Route},
};

/// The service before the configured upstream.
#[derive(Clone, Debug)]
pub(crate) struct Transcription {
    backend: Backend,
}

impl Transcription {
    /// The service before that upstream.
    pub(crate) fn new(backend: Backend) -> Self {
        Self { backend }
    }
}

fn translate(
    message: proto::TranscribeRequest,
    mode: Mode,
    policy: &Policy,
    subject: &mut Subject,
) -> Result<(TranscriptionForm, Asked), InvalidRequest> {
    subject.model.clone_from(&message.model);
    subject.fields = Fields::TRANSCRIBE;
    let asked = Asked::of(&message);
    Ok((transcription::form(message, mode, policy)?, asked))
}

#[tonic::async_trait]
impl TranscriptionService for Transcription {
    type StreamTranscribeStream = Responses<Translator>;

    async fn transcribe(
        &self,
        request: Request<proto::TranscribeRequest>,
    ) -> Result<Response<proto::TranscribeResponse>, Status> {
        let translate = |message, policy: &Policy, subject: &mut Subject| {
            translate(message, Mode::Unary, policy, subject)
        };
        let answer = |(form, asked): (TranscriptionForm, Asked), headers| async move {
            let content = Content::form(form)?;
            let upstream = &self.backend.upstream;
            let json = upstream
                .post(Route::TRANSCRIPTIONS, content, &headers)
                .await?;
            Ok(transcription::response(json.read()?, asked))
        };
        self.backend
            .unary("Transcribe", request, translate, answer)
            .await
    }

    async fn stream_transcribe(
        &self,
        request: Request<proto::TranscribeRequest>,
    ) -> Result<Response<Self::StreamTranscribeStream>, Status> {
        let translate = |message, policy: &Policy, subject: &mut Subject| {
            // Neither times nor speakers are streamed.
            let (form, _asked) = translate(message, Mode::Stream, policy, subject)?;
            Ok((form, Translator::default()))
        };
        let open = |form: TranscriptionForm, headers| async move {
            let content = Content::form(form)?;
            let upstream = &self.backend.upstream;
            Ok(upstream
                .stream(Route::TRANSCRIPTIONS, content, &headers)
                .await?)
        };
        self.backend
            .streamed("StreamTranscribe", request, translate, open)
            .await
    }
}
