//! `ModelService`: the models that are served.

use tonic::Request;

use super::{Adapter, Reply, call::Call, error::Error, unary};
use crate::{
    openai::model::ModelList,
    proto::{
        GetModelRequest, GetModelResponse, ListModelsRequest, ListModelsResponse,
        classification_service_server::SERVICE_NAME as CLASSIFICATION,
        embedding_service_server::SERVICE_NAME as EMBEDDING,
        generation_service_server::SERVICE_NAME as GENERATION, model_service_server::ModelService,
        ranking_service_server::SERVICE_NAME as RANKING,
        tokenization_service_server::SERVICE_NAME as TOKENIZATION,
        transcription_service_server::SERVICE_NAME as TRANSCRIPTION,
    },
    translate::{
        Fields,
        models::{self, Server},
    },
    upstream::Route,
};

#[tonic::async_trait]
impl ModelService for Adapter {
    async fn list_models(&self, request: Request<ListModelsRequest>) -> Reply<ListModelsResponse> {
        unary(request, |call, ListModelsRequest {}| async move {
            let (list, server) = self.models(&call).await?;
            let models = models::models(list, &server);
            Ok(ListModelsResponse { models })
        })
        .await
    }

    async fn get_model(&self, request: Request<GetModelRequest>) -> Reply<GetModelResponse> {
        unary(request, |call, GetModelRequest { model }| async move {
            call.set_model(&model);
            let default = self.policy.default_model.as_deref().unwrap_or_default();
            let id = if model.is_empty() { default } else { &model };
            let (list, server) = self.models(&call).await?;
            let model = models::find(list, id, &server).ok_or(Error::UnknownModel)?;
            Ok(GetModelResponse { model: Some(model) })
        })
        .await
    }
}

impl Adapter {
    /// What the upstream lists, and what it is.
    async fn models(&self, call: &Call) -> Result<(ModelList, Server), Error> {
        call.set_fields(Fields::MODELS);
        let answer = self.upstream.get(Route::MODELS, &call.headers).await?;
        let list = answer.read()?;
        let server = Server {
            version: self.upstream.version().await,
            services: services(&self.upstream.routes().await),
        };
        Ok((list, server))
    }
}

/// Full names of the services that stand before those routes; none where the routes do not show it.
fn services(routes: &[Route]) -> Vec<&'static str> {
    let has = |route| routes.contains(&route);
    // No model does both: such an upstream has the routes of all tasks, whatever its model can do.
    if routes.is_empty() || has(Route::CHAT_COMPLETIONS) && has(Route::EMBEDDINGS) {
        return Vec::new();
    }
    [
        (has(Route::CLASSIFY), CLASSIFICATION),
        (has(Route::EMBEDDINGS), EMBEDDING),
        (has(Route::CHAT_COMPLETIONS), GENERATION),
        (has(Route::SCORE), RANKING),
        // Every model has a tokenizer.
        (true, TOKENIZATION),
        (has(Route::TRANSCRIPTIONS), TRANSCRIPTION),
    ]
    .into_iter()
    .filter_map(|(has, name)| has.then_some(name))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_tell_the_services_where_they_differ() {
        let short = |routes: &[Route]| {
            let names = services(routes).into_iter();
            let names: Vec<_> = names.map(|name| name.rsplit('.').next().unwrap()).collect();
            names.join(" ").replace("Service", "")
        };
        let all = [
            Route::CHAT_COMPLETIONS,
            Route::CLASSIFY,
            Route::EMBEDDINGS,
            Route::SCORE,
            Route::TRANSCRIPTIONS,
        ];
        for (routes, expected) in [
            (&all[..], ""),
            (&[], ""),
            (&all[..1], "Generation Tokenization"),
            (&all[1..2], "Classification Tokenization"),
            (&all[2..4], "Embedding Ranking Tokenization"),
            (&all[3..4], "Ranking Tokenization"),
            (&all[4..], "Tokenization Transcription"),
        ] {
            assert_eq!(short(routes), expected, "{routes:?}");
        }
    }
}
