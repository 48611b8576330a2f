//! `EmbeddingService`: vectors for texts, and what else a pooler makes of them.

use tonic::Request;

use super::{Adapter, Reply, call::Call, error::Error, unary};
use crate::{
    openai::{
        embedding::{EmbeddingRequest, EncodingFormat},
        error::ErrorBody,
    },
    proto::{
        EmbedRequest, EmbedResponse, PoolRequest, PoolResponse,
        embedding_service_server::EmbeddingService,
    },
    translate::{embedding, pooling},
    upstream::{self, Answer, Refusal, Route},
};

#[tonic::async_trait]
impl EmbeddingService for Adapter {
    async fn embed(&self, request: Request<EmbedRequest>) -> Reply<EmbedResponse> {
        unary(request, |call, message| async move {
            call.set_model(&message.model);
            let translated = embedding::request(message, &self.policy)?;
            call.set_fields(translated.fields);
            let answer = self.embeddings(translated.request, &call).await?;
            Ok(embedding::response(answer.read()?, translated.asked)?)
        })
        .await
    }

    async fn pool(&self, request: Request<PoolRequest>) -> Reply<PoolResponse> {
        unary(request, |call, message| async move {
            call.set_model(&message.model);
            let translated = pooling::request(message, &self.policy)?;
            call.set_fields(translated.fields);
            let answer = self.pooled(Route::POOLING, translated.request, &call);
            Ok(pooling::response(answer.await?.read()?, translated.asked)?)
        })
        .await
    }
}

impl Adapter {
    /// Asks for what a pooler makes, as far as the upstream's release honours the request.
    pub(super) async fn pooled(
        &self,
        route: Route,
        mut request: EmbeddingRequest,
        call: &Call,
    ) -> Result<Answer, Error> {
        embedding::fit(&mut request, self.upstream.version().await).map_err(Error::TooOld)?;
        self.post(call, route, request).await
    }

    /// Asks for vectors in base64, and once more for JSON numbers where the model gives no others (models that embed
    /// each token, vLLM 0.33).
    async fn embeddings(
        &self,
        mut request: EmbeddingRequest,
        call: &Call,
    ) -> Result<Answer, Error> {
        embedding::fit(&mut request, self.upstream.version().await).map_err(Error::TooOld)?;
        match self.post(call, Route::EMBEDDINGS, &request).await {
            Err(error) if is_about_encoding(&error) => {
                request.encoding_format = Some(EncodingFormat::Float);
                request.endianness = None;
                self.post(call, Route::EMBEDDINGS, request).await
            }
            answer => answer,
        }
    }
}

/// Whether the upstream refused the encoding, before it ran anything.
fn is_about_encoding(error: &Error) -> bool {
    let Error::Upstream(upstream::Error::Refused(Refusal {
        status: 400 | 422,
        body: ErrorBody::Engine(error),
        ..
    })) = error
    else {
        return false;
    };
    let param = error.param.as_deref().unwrap_or_default();
    let mut texts = [param, &error.message].into_iter();
    texts.any(|text| text.contains("encoding_format"))
}
