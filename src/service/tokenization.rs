//! `TokenizationService`: texts to tokens, and back.

use tonic::Request;

use super::{Adapter, Reply, unary};
use crate::{
    proto::{
        DetokenizeRequest, DetokenizeResponse, TokenizeRequest, TokenizeResponse,
        tokenization_service_server::TokenizationService,
    },
    translate::{Fields, tokenization},
    upstream::Route,
};

#[tonic::async_trait]
impl TokenizationService for Adapter {
    async fn tokenize(&self, request: Request<TokenizeRequest>) -> Reply<TokenizeResponse> {
        unary(request, |call, message| async move {
            call.set_model(&message.model);
            let translated = tokenization::request(message, &self.policy)?;
            call.set_fields(translated.fields);
            let answer = self
                .post(&call, Route::TOKENIZE, translated.request)
                .await?;
            let wants_strings = translated.wants_strings;
            Ok(tokenization::response(answer.read()?, wants_strings)?)
        })
        .await
    }

    async fn detokenize(&self, request: Request<DetokenizeRequest>) -> Reply<DetokenizeResponse> {
        unary(request, |call, message| async move {
            call.set_model(&message.model);
            call.set_fields(Fields::DETOKENIZE);
            let request = tokenization::detokenize_request(message, &self.policy)?;
            let answer = self.post(&call, Route::DETOKENIZE, request).await?;
            Ok(tokenization::detokenize_response(answer.read()?))
        })
        .await
    }
}
