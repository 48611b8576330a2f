//! `RankingService`: how well texts fit each other.

use tonic::{Request, Response, Status};

use super::{Backend, error::Subject};
use crate::{
    config::Policy,
    openai::ranking::{RerankRequest, ScoreRequest},
    proto::{self, ranking_service_server::RankingService},
    translate::{Fields, ranking},
    upstream::{Content, Route},
};

/// The service before the configured upstream.
#[derive(Clone, Debug)]
pub(crate) struct Ranking {
    backend: Backend,
}

impl Ranking {
    /// The service before that upstream.
    pub(crate) fn new(backend: Backend) -> Self {
        Self { backend }
    }
}

#[tonic::async_trait]
impl RankingService for Ranking {
    async fn score(
        &self,
        request: Request<proto::ScoreRequest>,
    ) -> Result<Response<proto::ScoreResponse>, Status> {
        let translate = |message: proto::ScoreRequest, policy: &Policy, subject: &mut Subject| {
            subject.model.clone_from(&message.model);
            subject.fields = Fields::SCORE;
            ranking::score_request(message, policy)
        };
        let answer = |request: ScoreRequest, headers| async move {
            let content = Content::json(&request)?;
            let upstream = &self.backend.upstream;
            let json = upstream.post(Route::SCORE, content, &headers).await?;
            let n_documents = request.text_2.len();
            Ok(ranking::score_response(json.read()?, n_documents)?)
        };
        self.backend
            .unary("Score", request, translate, answer)
            .await
    }

    async fn rerank(
        &self,
        request: Request<proto::RerankRequest>,
    ) -> Result<Response<proto::RerankResponse>, Status> {
        let translate = |message: proto::RerankRequest, policy: &Policy, subject: &mut Subject| {
            subject.model.clone_from(&message.model);
            subject.fields = Fields::RERANK;
            ranking::rerank_request(message, policy)
        };
        let answer = |request: RerankRequest, headers| async move {
            let content = Content::json(&request)?;
            let upstream = &self.backend.upstream;
            let json = upstream.post(Route::RERANK, content, &headers).await?;
            let n_documents = request.documents.len();
            let answer = ranking::rerank_response(json.read()?, n_documents, request.top_n)?;
            Ok(answer)
        };
        self.backend
            .unary("Rerank", request, translate, answer)
            .await
    }
}
