//! The client of one replica.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::StatusCode;

use super::{
    answer::{self, Answer},
    error::{BoxError, Error},
    events::Events,
    known::Known,
    route::Route,
    transport::{Answered, Headers, Transport},
};
use crate::{
    config,
    openai::{
        model::ModelList,
        transcription::TranscriptionForm,
        version::{Version, VersionResponse},
    },
};

/// Limit of requests about the upstream itself. They do not reach the engine, so a healthy upstream answers at once.
pub(super) const INQUIRY_TIMEOUT: Duration = Duration::from_secs(2);

/// `/version` is some 20 bytes.
const MAX_VERSION_BYTES: usize = 1024;

/// One vLLM. Clones share their connections.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    transport: Arc<Transport>,
    limits: config::Limits,
    max_event_bytes: usize,
    max_body_bytes: usize,
    /// `None` where `/version` gives no release of vLLM.
    version: Known<Option<Version>>,
    routes: Known<Vec<Route>>,
}

/// The client cannot be made from its configuration.
#[derive(Debug, thiserror::Error)]
#[error("the HTTP client cannot be set up")]
pub(crate) struct SetupError(#[source] BoxError);

impl Client {
    /// A client of the configured upstream; nothing is connected yet.
    pub(crate) fn new(
        upstream: &config::Upstream,
        limits: config::Limits,
    ) -> Result<Self, SetupError> {
        Ok(Self {
            transport: Arc::new(Transport::new(upstream).map_err(SetupError)?),
            limits,
            max_event_bytes: upstream.max_event_bytes,
            max_body_bytes: upstream.max_body_bytes,
            version: Known::default(),
            routes: Known::default(),
        })
    }

    /// Sends JSON, and reads the whole answer.
    pub(crate) async fn post(
        &self,
        route: Route,
        json: Bytes,
        headers: &Headers,
    ) -> Result<Answer, Error> {
        let answered = self.transport.post_json(route, json, headers);
        whole(answered, self.max_body_bytes).await
    }

    /// Sends a form, and reads the whole answer.
    pub(crate) async fn post_form(
        &self,
        route: Route,
        form: TranscriptionForm,
        headers: &Headers,
    ) -> Result<Answer, Error> {
        let answered = self.transport.post_form(route, form, headers);
        whole(answered, self.max_body_bytes).await
    }

    /// Sends a GET, and reads the whole answer.
    pub(crate) async fn get(&self, route: Route, headers: &Headers) -> Result<Answer, Error> {
        let answered = self.transport.get(route, headers);
        whole(answered, self.max_body_bytes).await
    }

    /// Sends JSON, and waits for the first event of the streamed answer.
    pub(crate) async fn stream(
        &self,
        route: Route,
        json: Bytes,
        headers: &Headers,
    ) -> Result<Events, Error> {
        self.first_event(self.transport.post_json(route, json, headers))
            .await
    }

    /// Sends a form, and waits for the first event of the streamed answer.
    pub(crate) async fn stream_form(
        &self,
        route: Route,
        form: TranscriptionForm,
        headers: &Headers,
    ) -> Result<Events, Error> {
        self.first_event(self.transport.post_form(route, form, headers))
            .await
    }

    /// The status of `/health`.
    pub(super) async fn health(&self) -> Result<StatusCode, Error> {
        let headers = Headers::own();
        let asked = self.transport.get(Route::HEALTH, &headers);
        let asked = tokio::time::timeout(INQUIRY_TIMEOUT, asked).await;
        let (response, _attempt) = asked.map_err(|elapsed| Error::Connect(elapsed.into()))??;
        Ok(response.status())
    }

    /// The ids of its models, as `/v1/models` lists them.
    pub(super) async fn models(&self) -> Result<Vec<String>, Error> {
        let headers = Headers::own();
        let asked = self.get(Route::MODELS, &headers);
        let asked = tokio::time::timeout(INQUIRY_TIMEOUT, asked).await;
        let answer = asked.map_err(|elapsed| Error::Connect(elapsed.into()))??;
        let list = answer.read::<ModelList>()?;
        Ok(list.data.into_iter().map(|card| card.id).collect())
    }

    /// The upstream's release; `None` where it gives none.
    pub(crate) async fn version(&self) -> Option<Version> {
        let ask = async {
            let headers = Headers::own();
            let answered = self.transport.get(Route::VERSION, &headers);
            let answer = whole(answered, MAX_VERSION_BYTES).await?;
            Ok(Version::parse(&answer.read::<VersionResponse>()?.version))
        };
        self.version.get(Box::pin(or_nothing(ask))).await
    }

    /// Those of [`Route::TELLING`] that the upstream has; none where that cannot be known.
    pub(crate) async fn routes(&self) -> Vec<Route> {
        let ask = async {
            let mut routes = Vec::new();
            for route in Route::TELLING {
                // Each is for POST alone, so that asking costs nothing.
                let (response, _attempt) = self.transport.get(route, &Headers::own()).await?;
                let status = response.status();
                let _body = answer::error_body(response).await;
                match status {
                    StatusCode::METHOD_NOT_ALLOWED => routes.push(route),
                    StatusCode::NOT_FOUND => {}
                    _ => return Ok(Vec::new()),
                }
            }
            Ok(routes)
        };
        self.routes.get(Box::pin(or_nothing(ask))).await
    }

    /// Closes connections that have been idle for too long.
    pub(super) fn expire_idle(&self) {
        self.transport.pool.expire();
    }

    async fn first_event(
        &self,
        answered: impl Future<Output = Result<Answered, Error>>,
    ) -> Result<Events, Error> {
        let first = async {
            let (response, attempt) = answered.await?;
            let response = answer::successful(response).await?;
            let mut events = Events::receive(response, self.max_event_bytes).await?;
            if !events.advance().await? {
                return Err(Error::Truncated(None));
            }
            attempt.check(events.data()?)?;
            events.limit_silence(self.limits.token_idle);
            Ok(events)
        };
        match self.limits.first_token {
            None => first.await,
            Some(limit) => tokio::time::timeout(limit, first)
                .await
                .unwrap_or_else(|_elapsed| Err(Error::FirstToken(limit))),
        }
    }
}

/// Reads the whole answer, up to a limit in bytes.
async fn whole(
    answered: impl Future<Output = Result<Answered, Error>>,
    limit: usize,
) -> Result<Answer, Error> {
    let (response, attempt) = answered.await?;
    let response = answer::successful(response).await?;
    Answer::receive(response, limit, &attempt).await
}

/// The upstream's answer about itself, or the default where none comes in time.
async fn or_nothing<T: Default>(ask: impl Future<Output = Result<T, Error>>) -> T {
    let asked = tokio::time::timeout(INQUIRY_TIMEOUT, ask).await;
    asked.ok().and_then(Result::ok).unwrap_or_default()
}
