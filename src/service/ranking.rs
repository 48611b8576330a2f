//! `RankingService`: how well texts fit each other.

use tonic::Request;

use super::{Adapter, Reply, unary};
use crate::{
    proto::{
        RerankRequest, RerankResponse, ScoreRequest, ScoreResponse,
        ranking_service_server::RankingService,
    },
    translate::{Fields, ranking},
    upstream::Route,
};

#[tonic::async_trait]
impl RankingService for Adapter {
    async fn score(&self, request: Request<ScoreRequest>) -> Reply<ScoreResponse> {
        unary(request, |call, message| async move {
            call.set_model(&message.model);
            call.set_fields(Fields::SCORE);
            let request = ranking::score_request(message, &self.policy)?;
            let n_documents = request.text_2.len();
            let answer = self.post(&call, Route::SCORE, request).await?;
            Ok(ranking::score_response(answer.read()?, n_documents)?)
        })
        .await
    }

    async fn rerank(&self, request: Request<RerankRequest>) -> Reply<RerankResponse> {
        unary(request, |call, message| async move {
            call.set_model(&message.model);
            call.set_fields(Fields::RERANK);
            let with_documents = message.return_documents == Some(true);
            let request = ranking::rerank_request(message, &self.policy)?;
            let (n_documents, top_n) = (request.documents.len(), request.top_n);
            let answer = self.post(&call, Route::RERANK, request).await?;
            Ok(ranking::rerank_response(
                answer.read()?,
                n_documents,
                top_n,
                with_documents,
            )?)
        })
        .await
    }
}
