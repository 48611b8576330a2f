//! `ModelService`: the models that are served.

use std::time::Duration;

use tokio::{
    task::JoinSet,
    time::{error::Elapsed, timeout},
};
use tonic::Request;

use super::{Adapter, Reply, call::Call, error::Error, unary};
use crate::{
    proto::{
        GetModelRequest, GetModelResponse, ListModelsRequest, ListModelsResponse, Model,
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
    upstream::{self, Chosen, Route},
};

/// One of several upstreams that does not list its models by then is left out.
const LISTING_TIMEOUT: Duration = Duration::from_secs(5);

#[tonic::async_trait]
impl ModelService for Adapter {
    async fn list_models(&self, request: Request<ListModelsRequest>) -> Reply<ListModelsResponse> {
        unary(request, |call, ListModelsRequest {}| async move {
            let mut models = self.models(&call).await?;
            models.sort_by(|one, other| one.id.cmp(&other.id));
            Ok(ListModelsResponse { models })
        })
        .await
    }

    async fn get_model(&self, request: Request<GetModelRequest>) -> Reply<GetModelResponse> {
        unary(request, |call, GetModelRequest { model }| async move {
            call.set_model(&model);
            let default = self.policy.default_model.as_deref().unwrap_or_default();
            let id = if model.is_empty() { default } else { &model };
            let model = models::find(self.models(&call).await?, id);
            let model = model.ok_or(Error::UnknownModel)?;
            Ok(GetModelResponse { model: Some(model) })
        })
        .await
    }
}

impl Adapter {
    /// What all upstreams list; those that cannot be asked are left out, unless that is all of them.
    async fn models(&self, call: &Call) -> Result<Vec<Model>, Error> {
        call.set_fields(Fields::MODELS);
        let upstreams = self.upstreams.choose_all(&call.wanted)?;
        // One alone has as long as the caller waits.
        let limit = (upstreams.len() > 1).then_some(LISTING_TIMEOUT);
        let mut asked = JoinSet::new();
        for upstream in upstreams {
            let call = call.clone();
            asked.spawn(async move {
                let listed = within(limit, listed(&upstream, &call)).await;
                if let Err(error) = &listed {
                    let upstream = upstream.name();
                    tracing::warn!(upstream, %error, "an upstream does not list its models");
                }
                listed
            });
        }
        let (mut models, mut failed, mut n_asked) = (Vec::new(), None, 0);
        for listed in asked.join_all().await {
            match listed {
                Ok(more) => {
                    models.extend(more);
                    n_asked += 1;
                }
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            Some(error) if n_asked == 0 => Err(error),
            _ => Ok(models),
        }
    }
}

/// What comes in time, where there is a limit.
async fn within<T>(
    limit: Option<Duration>,
    asked: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let Some(limit) = limit else {
        return asked.await;
    };
    let late = |elapsed: Elapsed| Err(upstream::Error::Connect(elapsed.into()).into());
    timeout(limit, asked).await.unwrap_or_else(late)
}

/// What an upstream lists, and what it is.
async fn listed(upstream: &Chosen, call: &Call) -> Result<Vec<Model>, Error> {
    let answer = upstream.get(Route::MODELS, &call.headers).await?;
    let list = answer.read()?;
    let server = Server {
        name: upstream.name().to_owned(),
        version: upstream.version().await,
        services: services(&upstream.routes().await),
    };
    let mut models = models::models(list, &server);
    models.retain(|model| upstream.offers(&model.id, call.identity()));
    for model in &mut models {
        model.aliases = upstream.aliases(&model.id);
    }
    Ok(models)
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
