//! `RankingService`: how well texts fit each other.

use tonic::{Request, Response, Status};

use super::{Adapter, call::Call, unary};
use crate::{
    proto::{self, ranking_service_server::RankingService},
    translate::{Fields, ranking},
    upstream::Route,
};

#[tonic::async_trait]
impl RankingService for Adapter {
    async fn score(
        &self,
        request: Request<proto::ScoreRequest>,
    ) -> Result<Response<proto::ScoreResponse>, Status> {
        let (call, message) = Call::parts(request);
        let answer = async {
            call.set_model(&message.model);
            call.set_fields(Fields::SCORE);
            let request = ranking::score_request(message, &self.policy)?;
            let answer = self
                .upstream
                .post(Route::SCORE, &request, &call.headers)
                .await?;
            let n_documents = request.text_2.len();
            Ok(ranking::score_response(answer.read()?, n_documents)?)
        };
        unary(&call, answer).await
    }

    async fn rerank(
        &self,
        request: Request<proto::RerankRequest>,
    ) -> Result<Response<proto::RerankResponse>, Status> {
        let (call, message) = Call::parts(request);
        let answer = async {
            call.set_model(&message.model);
            call.set_fields(Fields::RERANK);
            let request = ranking::rerank_request(message, &self.policy)?;
            let answer = self
                .upstream
                .post(Route::RERANK, &request, &call.headers)
                .await?;
            let n_documents = request.documents.len();
            let response = ranking::rerank_response(answer.read()?, n_documents, request.top_n)?;
            Ok(response)
        };
        unary(&call, answer).await
    }
}
