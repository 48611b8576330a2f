//! Sends requests to one vLLM.

use std::{sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, header};
use reqwest::redirect;
use secrecy::ExposeSecret;
use url::Url;

use super::{
    body::{self, Json},
    error::{Error, Malformed},
    events::Events,
};
use crate::{
    config,
    openai::{error::ErrorBody, request::Request},
};

/// vLLM takes it as the request's id, and the answer's id is made from it.
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Connections kept for reuse. More may be open at once.
const MAX_IDLE_CONNECTIONS: usize = 256;

/// One vLLM. Clones share their connections.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    /// Without a pool: what is repeated after a pooled connection died must not meet the next dead one.
    fresh: reqwest::Client,
    base_url: Arc<Url>,
    authorization: Option<HeaderValue>,
    limits: Limits,
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    first_token: Option<Duration>,
    token_idle: Option<Duration>,
    max_event_bytes: usize,
    max_body_bytes: usize,
}

/// Headers of one call, beside those that every call has.
#[derive(Clone, Debug)]
pub(crate) struct Headers {
    /// The call's id.
    pub(crate) request_id: HeaderValue,
    /// W3C trace context, passed on as it came.
    pub(crate) trace: Vec<(HeaderName, HeaderValue)>,
}

/// The client cannot be made from its configuration.
#[derive(Debug, thiserror::Error)]
#[error("the HTTP client cannot be set up")]
pub(crate) struct SetupError(#[source] Box<dyn std::error::Error + Send + Sync>);

// === impl Client ===

impl Client {
    /// A client of the configured upstream; nothing is connected yet.
    pub(crate) fn new(
        upstream: &config::Upstream,
        limits: config::Limits,
    ) -> Result<Self, SetupError> {
        // An error says that the process has a provider already, which is as good.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let build = |idle_connections| {
            reqwest::Client::builder()
                .connect_timeout(upstream.connect_timeout)
                .pool_idle_timeout(upstream.idle_timeout)
                .pool_max_idle_per_host(idle_connections)
                .tcp_nodelay(true)
                .http1_only()
                .no_proxy()
                .referer(false)
                .redirect(redirect::Policy::none())
                .retry(reqwest::retry::never())
                .build()
                .map_err(|error| SetupError(error.into()))
        };
        let authorization = upstream
            .api_key
            .as_ref()
            .map(|key| bearer(key.expose_secret()))
            .transpose()?;
        Ok(Self {
            http: build(MAX_IDLE_CONNECTIONS)?,
            fresh: build(0)?,
            base_url: Arc::new(upstream.base_url.clone()),
            authorization,
            limits: Limits {
                first_token: limits.first_token,
                token_idle: limits.token_idle,
                max_event_bytes: upstream.max_event_bytes,
                max_body_bytes: upstream.max_body_bytes,
            },
        })
    }

    /// Asks for a whole answer.
    pub(crate) async fn generate(
        &self,
        request: &Request,
        headers: &Headers,
    ) -> Result<Json, Error> {
        let response = self.post(request, headers).await?;
        body::json(response, self.limits.max_body_bytes).await
    }

    /// Asks for a streamed answer, and waits for its first event.
    pub(crate) async fn stream(
        &self,
        request: &Request,
        headers: &Headers,
    ) -> Result<Events, Error> {
        let first = async {
            let response = self.post(request, headers).await?;
            let mut events = self.events(response).await?;
            let is_open = events.advance().await?;
            if is_open {
                Ok(events)
            } else {
                Err(Error::Truncated(None))
            }
        };
        match self.limits.first_token {
            None => first.await,
            Some(limit) => tokio::time::timeout(limit, first)
                .await
                .unwrap_or_else(|_elapsed| Err(Error::FirstToken(limit))),
        }
    }

    async fn events(&self, response: reqwest::Response) -> Result<Events, Error> {
        let media_type = body::media_type(&response);
        match media_type.as_str() {
            "text/event-stream" => Ok(Events::new(
                response,
                self.limits.max_event_bytes,
                self.limits.token_idle,
            )),
            // vLLM up to 0.17 answers some errors so.
            "application/json" => match body::error_body(response).await {
                ErrorBody::Foreign => Err(Error::Protocol(Malformed::ContentType(media_type))),
                told @ (ErrorBody::Engine(_) | ErrorBody::Gate(_)) => {
                    Err(Error::from_error_body(told))
                }
            },
            _ => Err(Error::Protocol(Malformed::ContentType(media_type))),
        }
    }

    /// Sends a request, once more if its connection died before an answer began.
    async fn post(&self, request: &Request, headers: &Headers) -> Result<reqwest::Response, Error> {
        let route = match request {
            Request::Chat(_) => "chat/completions",
            Request::Completion(_) => "completions",
        };
        let body =
            serde_json::to_vec(request).map_err(|error| Error::Protocol(Malformed::Json(error)))?;
        let body = bytes::Bytes::from(body);
        let sent = self
            .request(&self.http, route, headers)
            .body(body.clone())
            .send()
            .await;
        let response = match sent.map_err(Error::from_send) {
            // vLLM closes idle connections, and may do so just when one is used again. Nothing was answered, so the
            // request may be sent again.
            Err(Error::Reset(_)) => {
                self.request(&self.fresh, route, headers)
                    .body(body)
                    .send()
                    .await
            }
            sent => return body::successful(sent?).await,
        };
        body::successful(response.map_err(Error::from_send)?).await
    }

    fn request(
        &self,
        http: &reqwest::Client,
        route: &str,
        headers: &Headers,
    ) -> reqwest::RequestBuilder {
        let mut url = Url::clone(&self.base_url);
        url.set_path(&format!(
            "{}/{route}",
            self.base_url.path().trim_end_matches('/')
        ));
        let mut request = http
            .post(url)
            .header(
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/json"),
            )
            .header(X_REQUEST_ID, &headers.request_id);
        for (name, value) in &headers.trace {
            request = request.header(name, value);
        }
        match &self.authorization {
            Some(authorization) => request.header(header::AUTHORIZATION, authorization),
            None => request,
        }
    }
}

fn bearer(key: &str) -> Result<HeaderValue, SetupError> {
    let mut value =
        HeaderValue::try_from(format!("Bearer {key}")).map_err(|error| SetupError(error.into()))?;
    value.set_sensitive(true);
    Ok(value)
}
