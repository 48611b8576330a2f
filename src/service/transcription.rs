//! `TranscriptionService`: speech to text.

use tonic::Request;

use super::{
    Adapter, Reply,
    call::Call,
    error::Error,
    stream::{Responses, streamed},
    unary,
};
use crate::{
    openai::transcription::TranscriptionForm,
    proto::{
        StreamTranscribeResponse, TranscribeRequest, TranscribeResponse,
        transcription_service_server::TranscriptionService,
    },
    translate::{
        Fields, Mode,
        transcription::{self, Asked, Translator},
    },
    upstream::Route,
};

#[tonic::async_trait]
impl TranscriptionService for Adapter {
    type StreamTranscribeStream = Responses<StreamTranscribeResponse>;

    async fn transcribe(&self, request: Request<TranscribeRequest>) -> Reply<TranscribeResponse> {
        unary(request, |call, message| async move {
            let asked = Asked::of(&message);
            let mut form = self.form(message, Mode::Unary, &call)?;
            let upstream = self.choose(&call, &mut form).await?;
            let headers = &call.headers;
            let answer = upstream
                .post_form(Route::TRANSCRIPTIONS, form, headers)
                .await?;
            Ok(transcription::response(answer.read()?, asked))
        })
        .await
    }

    async fn stream_transcribe(
        &self,
        request: Request<TranscribeRequest>,
    ) -> Reply<Self::StreamTranscribeStream> {
        streamed(request, |call, message| async move {
            let mut form = self.form(message, Mode::Stream, &call)?;
            let upstream = self.choose(&call, &mut form).await?;
            let headers = &call.headers;
            let events = upstream
                .stream_form(Route::TRANSCRIPTIONS, form, headers)
                .await?;
            Ok((events, Translator::default()))
        })
        .await
    }
}

impl Adapter {
    fn form(
        &self,
        message: TranscribeRequest,
        mode: Mode,
        call: &Call,
    ) -> Result<TranscriptionForm, Error> {
        call.set_model(&message.model);
        call.set_fields(Fields::TRANSCRIBE);
        Ok(transcription::form(message, mode, &self.policy)?)
    }
}
