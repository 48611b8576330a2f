//! `TranscriptionService`: speech to text.

use tonic::{Request, Response, Status};

use super::{
    Adapter,
    call::Call,
    error::Error,
    stream::{Responses, streamed},
    unary,
};
use crate::{
    openai::transcription::TranscriptionForm,
    proto::{self, transcription_service_server::TranscriptionService},
    translate::{
        Fields, Mode,
        transcription::{self, Asked, Translator},
    },
    upstream::Route,
};

#[tonic::async_trait]
impl TranscriptionService for Adapter {
    type StreamTranscribeStream = Responses<proto::StreamTranscribeResponse>;

    async fn transcribe(
        &self,
        request: Request<proto::TranscribeRequest>,
    ) -> Result<Response<proto::TranscribeResponse>, Status> {
        let (call, message) = Call::parts(request);
        let answer = async {
            let asked = Asked::of(&message);
            let form = self.form(message, Mode::Unary, &call)?;
            let answer = self
                .upstream
                .post_form(Route::TRANSCRIPTIONS, form, &call.headers)
                .await?;
            Ok(transcription::response(answer.read()?, asked))
        };
        unary(&call, answer).await
    }

    async fn stream_transcribe(
        &self,
        request: Request<proto::TranscribeRequest>,
    ) -> Result<Response<Self::StreamTranscribeStream>, Status> {
        let (call, message) = Call::parts(request);
        let opened = async {
            let form = self.form(message, Mode::Stream, &call)?;
            let events = self
                .upstream
                .stream_form(Route::TRANSCRIPTIONS, form, &call.headers)
                .await?;
            Ok((events, Translator::default()))
        };
        streamed(&call, opened).await
    }
}

impl Adapter {
    fn form(
        &self,
        message: proto::TranscribeRequest,
        mode: Mode,
        call: &Call,
    ) -> Result<TranscriptionForm, Error> {
        call.set_model(&message.model);
        call.set_fields(Fields::TRANSCRIBE);
        Ok(transcription::form(message, mode, &self.policy)?)
    }
}
