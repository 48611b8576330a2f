//! One vLLM: what it is asked, and what it answers.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Response, StatusCode};
use serde::Serialize;

use super::{
    answer::{self, Answer},
    body::Body,
    error::{Error, Malformed},
    events::Events,
    known::Known,
    route::Route,
    transport::{Answered, Headers, SetupError, Transport},
};
use crate::{
    config,
    openai::{
        error::ErrorBody,
        transcription::TranscriptionForm,
        version::{Version, VersionResponse},
    },
};

/// `/version` touches no engine, so that a healthy upstream answers at once.
const VERSION_TIMEOUT: Duration = Duration::from_secs(2);

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

// === impl Client ===

impl Client {
    /// A client of the configured upstream; nothing is connected yet.
    pub(crate) fn new(
        upstream: &config::Upstream,
        limits: config::Limits,
    ) -> Result<Self, SetupError> {
        Ok(Self {
            transport: Arc::new(Transport::new(upstream)?),
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
        body: &impl Serialize,
        headers: &Headers,
    ) -> Result<Answer, Error> {
        let answered = self.transport.post_json(route, json(body)?, headers).await;
        self.whole(answered?).await
    }

    /// Sends a form, and reads the whole answer.
    pub(crate) async fn post_form(
        &self,
        route: Route,
        form: TranscriptionForm,
        headers: &Headers,
    ) -> Result<Answer, Error> {
        self.whole(self.transport.post_form(route, form, headers).await?)
            .await
    }

    /// Reads what a route gives.
    pub(crate) async fn get(&self, route: Route, headers: &Headers) -> Result<Answer, Error> {
        let response = self.transport.get(route, Some(headers)).await?;
        let response = answer::successful(response).await?;
        Answer::receive(response, self.max_body_bytes, None).await
    }

    /// Sends JSON, and waits for the first event of the streamed answer.
    pub(crate) async fn stream(
        &self,
        route: Route,
        body: &impl Serialize,
        headers: &Headers,
    ) -> Result<Events, Error> {
        let json = json(body)?;
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

    /// The upstream's release; `None` where it gives none.
    pub(crate) async fn version(&self) -> Option<Version> {
        self.version.get(Box::pin(self.ask_version())).await
    }

    /// Those of [`Route::TELLING`] that the upstream has; none where that cannot be known.
    pub(crate) async fn routes(&self) -> Vec<Route> {
        self.routes.get(Box::pin(self.ask_routes())).await
    }

    /// Closes connections that have been idle for too long; runs as long as the client is used.
    pub(crate) fn expire_idle(&self) -> impl Future<Output = Infallible> + Send + use<> {
        self.transport.pool.clone().expire()
    }

    async fn whole(&self, (response, attempt): Answered) -> Result<Answer, Error> {
        let response = answer::successful(response).await?;
        Answer::receive(response, self.max_body_bytes, Some(&attempt)).await
    }

    async fn first_event(
        &self,
        answered: impl Future<Output = Result<Answered, Error>>,
    ) -> Result<Events, Error> {
        let first = async {
            let (response, attempt) = answered.await?;
            let mut events = self.events(answer::successful(response).await?).await?;
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

    async fn events(&self, response: Response<Body>) -> Result<Events, Error> {
        let media_type = answer::media_type(&response);
        match media_type.as_str() {
            "text/event-stream" => Ok(Events::new(response.into_body(), self.max_event_bytes)),
            // vLLM up to 0.17 answers some errors so.
            "application/json" => match answer::error_body(response).await {
                ErrorBody::Foreign | ErrorBody::Detail => {
                    Err(Error::Protocol(Malformed::ContentType(media_type)))
                }
                error @ (ErrorBody::Engine(_) | ErrorBody::Gate(_)) => {
                    Err(Error::from_error_body(error))
                }
            },
            _ => Err(Error::Protocol(Malformed::ContentType(media_type))),
        }
    }

    async fn ask_version(&self) -> Option<Version> {
        let asked = async {
            let response = self.transport.get(Route::VERSION, None).await?;
            let response = answer::successful(response).await?;
            Answer::receive(response, MAX_VERSION_BYTES, None).await
        };
        let answer = tokio::time::timeout(VERSION_TIMEOUT, asked)
            .await
            .ok()?
            .ok()?;
        Version::parse(&answer.read::<VersionResponse>().ok()?.version)
    }

    async fn ask_routes(&self) -> Vec<Route> {
        let asked = async {
            let mut routes = Vec::new();
            for route in Route::TELLING {
                // Each is for POST alone, so that asking costs nothing.
                let response = self.transport.get(route, None).await?;
                let status = response.status();
                let _body = answer::error_body(response).await;
                match status {
                    StatusCode::METHOD_NOT_ALLOWED => routes.push(route),
                    StatusCode::NOT_FOUND => {}
                    _ => return Ok(Vec::new()),
                }
            }
            Ok::<_, Error>(routes)
        };
        let routes = tokio::time::timeout(VERSION_TIMEOUT, asked).await;
        routes.ok().and_then(Result::ok).unwrap_or_default()
    }
}

fn json(body: &impl Serialize) -> Result<Bytes, Error> {
    let json = serde_json::to_vec(body).map_err(Error::from_json)?;
    Ok(json.into())
}
