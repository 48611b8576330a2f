//! `EmbeddingService`: vectors for texts.

use tonic::{Request, Response, Status};

use super::{
    Backend,
    error::{Error, Subject},
};
use crate::{
    config::Policy,
    openai::{
        embedding::{EmbeddingRequest, EncodingFormat},
        error::ErrorBody,
    },
    proto::{self, embedding_service_server::EmbeddingService},
    translate::embedding::{self, Translated},
    upstream::{self, Content, Headers, Json, Refusal, Route},
};

/// The service before the configured upstream.
#[derive(Clone, Debug)]
pub(crate) struct Embedding {
    backend: Backend,
}

impl Embedding {
    /// The service before that upstream.
    pub(crate) fn new(backend: Backend) -> Self {
        Self { backend }
    }

    /// Asks for vectors in base64, and once more for JSON numbers where the model gives no others (models that embed
    /// each token, vLLM 0.33).
    async fn ask(&self, mut request: EmbeddingRequest, headers: &Headers) -> Result<Json, Error> {
        let upstream = &self.backend.upstream;
        embedding::fit(&mut request, upstream.version().await).map_err(Error::TooOld)?;
        let content = Content::json(&request)?;
        match upstream.post(Route::EMBEDDINGS, content, headers).await {
            Err(error) if is_about_encoding(&error) => {
                request.encoding_format = EncodingFormat::Float;
                request.endianness = None;
                let content = Content::json(&request)?;
                Ok(upstream.post(Route::EMBEDDINGS, content, headers).await?)
            }
            answer => Ok(answer?),
        }
    }
}

/// Whether the upstream refused the encoding, before it ran anything.
fn is_about_encoding(error: &upstream::Error) -> bool {
    let upstream::Error::Refused(Refusal {
        status: 400 | 422,
        body: ErrorBody::Engine(error),
        ..
    }) = error
    else {
        return false;
    };
    let param = error.param.as_deref().unwrap_or_default();
    [param, &error.message]
        .iter()
        .any(|text| text.contains("encoding_format"))
}

#[tonic::async_trait]
impl EmbeddingService for Embedding {
    async fn embed(
        &self,
        request: Request<proto::EmbedRequest>,
    ) -> Result<Response<proto::EmbedResponse>, Status> {
        let translate = |message: proto::EmbedRequest, policy: &Policy, subject: &mut Subject| {
            subject.model.clone_from(&message.model);
            let translated = embedding::request(message, policy)?;
            subject.fields = translated.fields;
            Ok(translated)
        };
        let answer = |translated: Translated, headers| async move {
            let json = self.ask(translated.request, &headers).await?;
            Ok(embedding::response(json.read()?, translated.asked)?)
        };
        self.backend
            .unary("Embed", request, translate, answer)
            .await
    }
}
