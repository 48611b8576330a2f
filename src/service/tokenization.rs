//! `TokenizationService`: texts to tokens, and back.

use tonic::{Request, Response, Status};

use super::{Backend, error::Subject};
use crate::{
    config::Policy,
    openai::tokenization::DetokenizeRequest,
    proto::{self, tokenization_service_server::TokenizationService},
    translate::{
        Fields,
        tokenization::{self, Translated},
    },
    upstream::{Content, Route},
};

/// The service before the configured upstream.
#[derive(Clone, Debug)]
pub(crate) struct Tokenization {
    backend: Backend,
}

impl Tokenization {
    /// The service before that upstream.
    pub(crate) fn new(backend: Backend) -> Self {
        Self { backend }
    }
}

#[tonic::async_trait]
impl TokenizationService for Tokenization {
    async fn tokenize(
        &self,
        request: Request<proto::TokenizeRequest>,
    ) -> Result<Response<proto::TokenizeResponse>, Status> {
        let translate =
            |message: proto::TokenizeRequest, policy: &Policy, subject: &mut Subject| {
                subject.model.clone_from(&message.model);
                let translated = tokenization::request(message, policy)?;
                subject.fields = translated.fields;
                Ok(translated)
            };
        let answer = |translated: Translated, headers| async move {
            let content = Content::json(&translated.request)?;
            let upstream = &self.backend.upstream;
            let json = upstream.post(Route::TOKENIZE, content, &headers).await?;
            let wants_strings = translated.wants_strings;
            Ok(tokenization::response(json.read()?, wants_strings)?)
        };
        self.backend
            .unary("Tokenize", request, translate, answer)
            .await
    }

    async fn detokenize(
        &self,
        request: Request<proto::DetokenizeRequest>,
    ) -> Result<Response<proto::DetokenizeResponse>, Status> {
        let translate =
            |message: proto::DetokenizeRequest, policy: &Policy, subject: &mut Subject| {
                subject.model.clone_from(&message.model);
                subject.fields = Fields::DETOKENIZE;
                tokenization::detokenize_request(message, policy)
            };
        let answer = |request: DetokenizeRequest, headers| async move {
            let content = Content::json(&request)?;
            let upstream = &self.backend.upstream;
            let json = upstream.post(Route::DETOKENIZE, content, &headers).await?;
            Ok(tokenization::detokenize_response(json.read()?))
        };
        self.backend
            .unary("Detokenize", request, translate, answer)
            .await
    }
}
