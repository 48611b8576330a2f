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
mod told;
mod transcription;

use std::{convert::Infallible, sync::Arc};

use serde::Serialize;
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use self::{call::Call, error::Error, told::Told};
use crate::{
    access::Access,
    config::{Config, Policy},
    openai::named::Named,
    telemetry::Metrics,
    upstream::{Answer, Chosen, Route, SetupError, Upstreams},
};

pub(crate) use crate::upstream::Readiness;

/// What answers every service of the contract. Clones share the upstream's connections.
#[derive(Clone, Debug)]
pub(crate) struct Adapter {
    upstreams: Upstreams,
    policy: Arc<Policy>,
}

impl Adapter {
    /// An adapter before the configured upstream.
    pub(crate) fn new(config: &Config, metrics: &Arc<Metrics>) -> Result<Self, SetupError> {
        Ok(Self {
            upstreams: Upstreams::new(config, metrics)?,
            policy: Arc::new(config.policy.clone()),
        })
    }

    /// Who may call.
    pub(crate) fn access(&self) -> Arc<Access> {
        self.upstreams.access()
    }

    /// What has to run beside the calls, for ever.
    pub(crate) fn upkeep(&self) -> impl Future<Output = Infallible> + Send + use<> {
        self.upstreams.clone().upkeep()
    }

    /// Which upstreams answer, as that changes.
    pub(crate) fn readiness(&self) -> watch::Receiver<Readiness> {
        self.upstreams.readiness()
    }

    /// What each upstream answers now, a line each.
    pub(crate) async fn describe(&self) -> Vec<String> {
        self.upstreams.describe().await
    }

    /// The upstream of a request, which gets the model's real name.
    async fn choose(&self, call: &Call, request: &mut impl Named) -> Result<Chosen, Error> {
        Ok(self.upstreams.choose(&call.wanted, request).await?)
    }

    /// Asks the upstream of a request, and reads its whole answer.
    async fn post(
        &self,
        call: &Call,
        route: Route,
        mut request: impl Named + Serialize,
    ) -> Result<Answer, Error> {
        let upstream = self.choose(call, &mut request).await?;
        Ok(upstream.post(route, request, &call.headers).await?)
    }
}

/// What an RPC returns.
type Reply<T> = Result<Response<T>, Status>;

/// Answers a unary call; a failure becomes its status.
async fn unary<M, T: Told, F>(request: Request<M>, answer: impl FnOnce(Call, M) -> F) -> Reply<T>
where
    F: Future<Output = Result<T, Error>>,
{
    let (call, message) = Call::parts(request);
    match answer(call.clone(), message).await {
        Ok(answer) => {
            call.responded(false);
            answer.tell(&call.headers.record);
            Ok(Response::new(answer))
        }
        Err(error) => Err(error.to_status(&call)),
    }
}
