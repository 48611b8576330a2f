//! `TokenizationService`: texts to tokens, and back.

use tonic::{Request, Response, Status};

use super::{Adapter, call::Call, unary};
use crate::{
    proto::{self, tokenization_service_server::TokenizationService},
    translate::{Fields, tokenization},
    upstream::Route,
};

#[tonic::async_trait]
impl TokenizationService for Adapter {
    async fn tokenize(
        &self,
        request: Request<proto::TokenizeRequest>,
    ) -> Result<Response<proto::TokenizeResponse>, Status> {
        let (call, message) = Call::parts(request);
        let answer = async {
            call.set_model(&message.model);
            let translated = tokenization::request(message, &self.policy)?;
            call.set_fields(translated.fields);
            let answer = self
                .upstream
                .post(Route::TOKENIZE, translated.request, call.headers())
                .await?;
            let wants_strings = translated.wants_strings;
            Ok(tokenization::response(answer.read()?, wants_strings)?)
        };
        unary(&call, answer).await
    }

    async fn detokenize(
        &self,
        request: Request<proto::DetokenizeRequest>,
    ) -> Result<Response<proto::DetokenizeResponse>, Status> {
        let (call, message) = Call::parts(request);
        let answer = async {
            call.set_model(&message.model);
            call.set_fields(Fields::DETOKENIZE);
            let request = tokenization::detokenize_request(message, &self.policy)?;
            let answer = self
                .upstream
                .post(Route::DETOKENIZE, request, call.headers())
                .await?;
            Ok(tokenization::detokenize_response(answer.read()?))
        };
        unary(&call, answer).await
    }
}
