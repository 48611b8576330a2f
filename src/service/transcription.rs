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
    proto::{
        StreamTranscribeResponse, StreamTranslateResponse, TranscribeRequest, TranscribeResponse,
        TranslateResponse, transcription_service_server::TranscriptionService,
    },
    translate::{
        Fields, Mode,
        transcription::{self, Asked, Task, TranslationTranslator, Translator},
    },
    upstream::{Answer, Events, Route},
};

#[tonic::async_trait]
impl TranscriptionService for Adapter {
    type StreamTranscribeStream = Responses<StreamTranscribeResponse>;
    type StreamTranslateStream = Responses<StreamTranslateResponse>;

    async fn transcribe(&self, request: Request<TranscribeRequest>) -> Reply<TranscribeResponse> {
        unary(request, |call, message| async move {
            let asked = Asked::of(&message);
            let answer = self.heard(Task::Transcribe, message, &call).await?;
            Ok(transcription::response(answer.read()?, asked)?)
        })
        .await
    }

    async fn stream_transcribe(
        &self,
        request: Request<TranscribeRequest>,
    ) -> Reply<Self::StreamTranscribeStream> {
        streamed(request, |call, message| async move {
            let events = self.hear(Task::Transcribe, message, &call).await?;
            Ok((events, Translator::default()))
        })
        .await
    }

    async fn translate(&self, request: Request<TranscribeRequest>) -> Reply<TranslateResponse> {
        unary(request, |call, message| async move {
            let asked = Asked::of(&message);
            let answer = self.heard(Task::Translate, message, &call).await?;
            Ok(transcription::translation(answer.read()?, asked)?)
        })
        .await
    }

    async fn stream_translate(
        &self,
        request: Request<TranscribeRequest>,
    ) -> Reply<Self::StreamTranslateStream> {
        streamed(request, |call, message| async move {
            let events = self.hear(Task::Translate, message, &call).await?;
            Ok((events, TranslationTranslator::default()))
        })
        .await
    }
}

impl Adapter {
    /// Asks the upstream, and reads its whole answer.
    async fn heard(
        &self,
        task: Task,
        message: TranscribeRequest,
        call: &Call,
    ) -> Result<Answer, Error> {
        about(call, &message);
        let form = transcription::form(message, task, Mode::Unary, &self.policy)?;
        let answer = self.upstream.post_form(route(task), form, &call.headers);
        Ok(answer.await?)
    }

    /// Asks the upstream, and waits for the first event of its answer.
    async fn hear(
        &self,
        task: Task,
        message: TranscribeRequest,
        call: &Call,
    ) -> Result<Events, Error> {
        about(call, &message);
        let form = transcription::form(message, task, Mode::Stream, &self.policy)?;
        let events = self.upstream.stream_form(route(task), form, &call.headers);
        Ok(events.await?)
    }
}

/// What the call's errors are about.
fn about(call: &Call, message: &TranscribeRequest) {
    call.set_model(&message.model);
    call.set_fields(Fields::of_sound(message));
}

fn route(task: Task) -> Route {
    match task {
        Task::Transcribe => Route::TRANSCRIPTIONS,
        Task::Translate => Route::TRANSLATIONS,
    }
}
