//! `ClassificationService`: classes of texts.

use tonic::Request;

use super::{Adapter, Reply, unary};
use crate::{
    proto::{
        ClassifyRequest, ClassifyResponse, classification_service_server::ClassificationService,
    },
    translate::classification,
    upstream::Route,
};

#[tonic::async_trait]
impl ClassificationService for Adapter {
    async fn classify(&self, request: Request<ClassifyRequest>) -> Reply<ClassifyResponse> {
        unary(request, |call, message| async move {
            call.set_model(&message.model);
            let translated = classification::request(message, &self.policy)?;
            call.set_fields(translated.fields);
            let answer = self.pooled(Route::CLASSIFY, translated.request, &call);
            Ok(classification::response(
                answer.await?.read()?,
                translated.asked,
            )?)
        })
        .await
    }
}
