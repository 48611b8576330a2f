//! The RPCs: each translates its request, asks the upstream, and translates the answer.

pub(crate) mod call;
mod classification;
pub(crate) mod deadline;
mod embedding;
pub(crate) mod error;
mod generation;
mod models;
pub(crate) mod observer;
mod ranking;
pub(crate) mod request_id;
mod stream;
mod tokenization;
mod transcription;

use std::{convert::Infallible, sync::Arc};

use serde::Serialize;
use tonic::{Request, Response, Status};

use self::{call::Call, error::Error};
use crate::{
    config::{Config, Policy},
    upstream::{self, Answer, Route},
};

/// What answers every service of the contract. Clones share the upstream's connections.
#[derive(Clone, Debug)]
pub(crate) struct Adapter {
    upstream: upstream::Client,
    policy: Arc<Policy>,
}

impl Adapter {
    /// An adapter before the configured upstream.
    pub(crate) fn new(config: &Config) -> Result<Self, upstream::SetupError> {
        Ok(Self {
            upstream: upstream::Client::new(&config.upstream, config.limits)?,
            policy: Arc::new(config.policy.clone()),
        })
    }

    /// What has to run beside the calls, for ever.
    pub(crate) fn upkeep(&self) -> impl Future<Output = Infallible> + Send + use<> {
        self.upstream.expire_idle()
    }

    /// Asks the upstream, and reads its whole answer.
    async fn post(
        &self,
        call: &Call,
        route: Route,
        request: impl Serialize,
    ) -> Result<Answer, Error> {
        let answer = self.upstream.post(route, request, &call.headers).await;
        Ok(answer?)
    }
}

/// What an RPC returns.
type Reply<T> = Result<Response<T>, Status>;

/// Answers a unary call; a failure becomes its status.
async fn unary<M, T, F>(request: Request<M>, answer: impl FnOnce(Call, M) -> F) -> Reply<T>
where
    F: Future<Output = Result<T, Error>>,
{
    let (call, message) = Call::parts(request);
    match answer(call.clone(), message).await {
        Ok(answer) => {
            call.responded(false);
            Ok(Response::new(answer))
        }
        Err(error) => Err(error.to_status(&call)),
    }
}
