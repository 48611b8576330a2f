//! Sends requests to one vLLM.

use std::{convert::Infallible, time::Duration};

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header,
};
use secrecy::ExposeSecret;
use url::Url;

use super::{
    body::{self, Json},
    content::{Content, Pieces},
    error::{Error, Malformed},
    events::Events,
    http1::{self, BoxError, Connection, Connector},
    known::Known,
    pool::{Body, Pool},
    route::Route,
};
use crate::{
    config,
    openai::{
        error::ErrorBody,
        version::{Version, VersionResponse},
    },
};

/// vLLM takes it as the request's id, and the answer's id is made from it.
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// `/version` touches no engine, so that a healthy upstream answers at once.
const VERSION_TIMEOUT: Duration = Duration::from_secs(2);

/// A connection that the upstream had closed is found out in a round trip.
const MAX_LOSS_DELAY: Duration = Duration::from_millis(500);

/// `/version` is some 20 bytes.
const MAX_VERSION_BYTES: usize = 1024;

/// One vLLM. Clones share their connections.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    connector: Connector,
    pool: Pool,
    base_url: Url,
    authorization: Option<HeaderValue>,
    limits: Limits,
    /// `None` where it told nothing that is a release of vLLM.
    version: Known<Option<Version>>,
    routes: Known<Vec<Route>>,
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    connect: Duration,
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
pub(crate) struct SetupError(#[source] BoxError);

// === impl Client ===

impl Client {
    /// A client of the configured upstream; nothing is connected yet.
    pub(crate) fn new(
        upstream: &config::Upstream,
        limits: config::Limits,
    ) -> Result<Self, SetupError> {
        let authorization = upstream
            .api_key
            .as_ref()
            .map(|key| bearer(key.expose_secret()))
            .transpose()?;
        Ok(Self {
            connector: http1::connector(upstream.base_url.scheme() == "https")
                .map_err(SetupError)?,
            pool: Pool::new(upstream.idle_timeout),
            base_url: upstream.base_url.clone(),
            authorization,
            limits: Limits {
                connect: upstream.connect_timeout,
                first_token: limits.first_token,
                token_idle: limits.token_idle,
                max_event_bytes: upstream.max_event_bytes,
                max_body_bytes: upstream.max_body_bytes,
            },
            version: Known::default(),
            routes: Known::default(),
        })
    }

    /// Sends a request, and reads the whole answer.
    pub(crate) async fn post(
        &self,
        route: Route,
        content: Content,
        headers: &Headers,
    ) -> Result<Json, Error> {
        let response = self.answered(route, content, headers).await?;
        body::json(response, self.limits.max_body_bytes).await
    }

    /// Reads what stands at a route.
    pub(crate) async fn get(&self, route: Route, headers: &Headers) -> Result<Json, Error> {
        let mut request = self.request(Method::GET, route)?;
        add(headers, request.headers_mut());
        let response = body::successful(self.send(request).await?).await?;
        body::json(response, self.limits.max_body_bytes).await
    }

    /// Sends a request, and waits for the first event of its streamed answer.
    pub(crate) async fn stream(
        &self,
        route: Route,
        content: Content,
        headers: &Headers,
    ) -> Result<Events, Error> {
        let first = async {
            let response = self.answered(route, content, headers).await?;
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

    /// The upstream's release; `None` where it does not tell one.
    pub(crate) async fn version(&self) -> Option<Version> {
        self.version
            .get(Box::pin(self.ask_version()), Option::is_some)
            .await
    }

    /// Those of [`Route::TELLING`] that the upstream has; none where that cannot be known.
    pub(crate) async fn routes(&self) -> Vec<Route> {
        let is_known = |routes: &Vec<Route>| !routes.is_empty();
        self.routes.get(Box::pin(self.ask_routes()), is_known).await
    }

    /// Closes connections that have been idle for too long; runs as long as the client is used.
    pub(crate) fn expire_idle(&self) -> impl Future<Output = Infallible> + Send + use<> {
        self.pool.clone().expire()
    }

    async fn ask_version(&self) -> Option<Version> {
        let asked = async {
            let request = self.request(Method::GET, Route::VERSION)?;
            let response = body::successful(self.send(request).await?).await?;
            body::json(response, MAX_VERSION_BYTES).await
        };
        let json = tokio::time::timeout(VERSION_TIMEOUT, asked)
            .await
            .ok()?
            .ok()?;
        Version::parse(&json.read::<VersionResponse>().ok()?.version)
    }

    async fn ask_routes(&self) -> Vec<Route> {
        let asked = async {
            let mut routes = Vec::new();
            for route in Route::TELLING {
                // Each is for POST alone, so that asking costs nothing.
                let response = self.send(self.request(Method::GET, route)?).await?;
                let status = response.status();
                let _told = body::error_body(response).await;
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

    async fn events(&self, response: Response<Body>) -> Result<Events, Error> {
        let media_type = body::media_type(&response);
        match media_type.as_str() {
            "text/event-stream" => Ok(Events::new(
                response.into_body(),
                self.limits.max_event_bytes,
                self.limits.token_idle,
            )),
            // vLLM up to 0.17 answers some errors so.
            "application/json" => match body::error_body(response).await {
                ErrorBody::Foreign | ErrorBody::Detail => {
                    Err(Error::Protocol(Malformed::ContentType(media_type)))
                }
                told @ (ErrorBody::Engine(_) | ErrorBody::Gate(_)) => {
                    Err(Error::from_error_body(told))
                }
            },
            _ => Err(Error::Protocol(Malformed::ContentType(media_type))),
        }
    }

    /// Sends a request, and waits for the head of a good answer.
    async fn answered(
        &self,
        route: Route,
        content: Content,
        headers: &Headers,
    ) -> Result<Response<Body>, Error> {
        let mut request = self.request(Method::POST, route)?;
        *request.body_mut() = content.body;
        let added = request.headers_mut();
        added.insert(header::CONTENT_TYPE, content.media_type);
        add(headers, added);
        body::successful(self.send(request).await?).await
    }

    /// Sends a request by an idle connection or a new one.
    async fn send(&self, request: Request<Pieces>) -> Result<Response<Body>, Error> {
        let request = http1::encode(request);
        if let Some(connection) = self.pool.take() {
            match self.send_by(connection, request.clone()).await {
                // vLLM closes idle connections, and may do so just when one is used again. One that is lost at once
                // was closed already, so that the request may be sent again; one that is lost later may have been lost
                // for the request's sake.
                Err(Error::Reset { error, after }) if after < MAX_LOSS_DELAY => {
                    tracing::debug!(%error, "an idle connection was closed, a new one is tried");
                }
                sent => return sent,
            }
        }
        self.send_by(self.connect().await?, request).await
    }

    async fn send_by(
        &self,
        mut connection: Connection,
        request: Pieces,
    ) -> Result<Response<Body>, Error> {
        let response = connection.send(request).await.map_err(Error::from_send)?;
        Ok(response.map(|()| Body::new(connection, self.pool.clone())))
    }

    async fn connect(&self) -> Result<Connection, Error> {
        let uri = uri(self.base_url.as_str())?;
        // Boxed, since it is large and seldom needed: most calls find an idle connection.
        let opened = Box::pin(Connection::open(self.connector.clone(), uri));
        match tokio::time::timeout(self.limits.connect, opened).await {
            Ok(connection) => connection.map_err(Error::from_connect),
            Err(elapsed) => Err(Error::Connect(elapsed.into())),
        }
    }

    /// A request in origin form without a body, with the headers that all have.
    fn request(&self, method: Method, route: Route) -> Result<Request<Pieces>, Error> {
        let mut request = Request::new(Pieces::default());
        *request.method_mut() = method;
        *request.uri_mut() = uri(&route.path(self.base_url.path()))?;
        let headers: &mut HeaderMap = request.headers_mut();
        let authority = self.base_url.authority();
        let host =
            HeaderValue::try_from(authority).map_err(|error| Error::Connect(error.into()))?;
        headers.insert(header::HOST, host);
        headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        if let Some(authorization) = &self.authorization {
            headers.insert(header::AUTHORIZATION, authorization.clone());
        }
        Ok(request)
    }
}

const USER_AGENT: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));

/// Adds the headers of a call.
fn add(headers: &Headers, added: &mut HeaderMap) {
    added.insert(X_REQUEST_ID, headers.request_id.clone());
    added.extend(headers.trace.iter().cloned());
}

fn uri(text: &str) -> Result<Uri, Error> {
    text.parse()
        .map_err(|error: http::uri::InvalidUri| Error::Connect(error.into()))
}

fn bearer(key: &str) -> Result<HeaderValue, SetupError> {
    let mut value =
        HeaderValue::try_from(format!("Bearer {key}")).map_err(|error| SetupError(error.into()))?;
    value.set_sensitive(true);
    Ok(value)
}
