//! `ModelService`: the models that are served.

use tonic::{Request, Response, Status};

use super::{
    Backend,
    error::{Error, Subject},
};
use crate::{
    config::Policy,
    openai::model::ModelList,
    proto::{
        self, embedding_service_server, generation_service_server,
        model_service_server::ModelService, ranking_service_server, tokenization_service_server,
        transcription_service_server,
    },
    translate::{
        Fields,
        models::{self, Server},
    },
    upstream::{Headers, Route},
};

/// The service before the configured upstream.
#[derive(Clone, Debug)]
pub(crate) struct Models {
    backend: Backend,
}

impl Models {
    /// The service before that upstream.
    pub(crate) fn new(backend: Backend) -> Self {
        Self { backend }
    }

    /// What the upstream lists, and what it is.
    async fn ask(&self, headers: &Headers) -> Result<(ModelList, Server), Error> {
        let upstream = &self.backend.upstream;
        let list = upstream.get(Route::MODELS, headers).await?.read()?;
        let server = Server {
            version: upstream.version().await,
            services: services(&upstream.routes().await),
        };
        Ok((list, server))
    }
}

/// Full names of the services that stand before those routes; none where the routes do not tell.
fn services(routes: &[Route]) -> Vec<&'static str> {
    let has = |route| routes.contains(&route);
    // No model does both: such an upstream has the routes of all tasks, whatever its model can do.
    if routes.is_empty() || has(Route::CHAT_COMPLETIONS) && has(Route::EMBEDDINGS) {
        return Vec::new();
    }
    [
        (
            has(Route::EMBEDDINGS),
            embedding_service_server::SERVICE_NAME,
        ),
        (
            has(Route::CHAT_COMPLETIONS),
            generation_service_server::SERVICE_NAME,
        ),
        (has(Route::SCORE), ranking_service_server::SERVICE_NAME),
        // Every model has a tokenizer.
        (true, tokenization_service_server::SERVICE_NAME),
        (
            has(Route::TRANSCRIPTIONS),
            transcription_service_server::SERVICE_NAME,
        ),
    ]
    .into_iter()
    .filter_map(|(has, name)| has.then_some(name))
    .collect()
}

#[tonic::async_trait]
impl ModelService for Models {
    async fn list_models(
        &self,
        request: Request<proto::ListModelsRequest>,
    ) -> Result<Response<proto::ListModelsResponse>, Status> {
        let translate = |message: proto::ListModelsRequest, _: &Policy, subject: &mut Subject| {
            let proto::ListModelsRequest {} = message;
            subject.fields = Fields::MODELS;
            Ok(())
        };
        let answer = |(), headers| async move {
            let (list, server) = self.ask(&headers).await?;
            let models = models::models(list, &server);
            Ok(proto::ListModelsResponse { models })
        };
        self.backend
            .unary("ListModels", request, translate, answer)
            .await
    }

    async fn get_model(
        &self,
        request: Request<proto::GetModelRequest>,
    ) -> Result<Response<proto::GetModelResponse>, Status> {
        let translate =
            |message: proto::GetModelRequest, policy: &Policy, subject: &mut Subject| {
                let proto::GetModelRequest { model } = message;
                subject.fields = Fields::MODELS;
                subject.model.clone_from(&model);
                let default = policy.default_model.clone();
                Ok(match model.as_str() {
                    "" => default.unwrap_or_default(),
                    _ => model,
                })
            };
        let answer = |id: String, headers| async move {
            let (list, server) = self.ask(&headers).await?;
            let model = models::find(list, &id, &server);
            let model = Some(model.ok_or(Error::UnknownModel)?);
            Ok(proto::GetModelResponse { model })
        };
        self.backend
            .unary("GetModel", request, translate, answer)
            .await
    }
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
            Route::EMBEDDINGS,
            Route::SCORE,
            Route::TRANSCRIPTIONS,
        ];
        for (routes, expected) in [
            (&all[..], ""),
            (&[], ""),
            (&all[..1], "Generation Tokenization"),
            (&all[1..3], "Embedding Ranking Tokenization"),
            (&all[2..3], "Ranking Tokenization"),
            (&all[3..], "Tokenization Transcription"),
        ] {
            assert_eq!(short(routes), expected, "{routes:?}");
        }
    }
}
