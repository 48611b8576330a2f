//! Sends requests to one vLLM: JSON over connections that are polled in place, forms and GETs by reqwest.

use std::{
    sync::{Arc, atomic::AtomicU32},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri, header};
use http_body_util::Full;
use reqwest::multipart::{Form, Part};
use secrecy::ExposeSecret;
use tokio::time::Instant;
use url::Url;

use super::{
    attempt::Attempt,
    body::Body,
    connection::Connection,
    connector::{self, Connector},
    error::{BoxError, Error},
    pool::Pool,
    route::Route,
};
use crate::{config, openai::transcription::TranscriptionForm, telemetry::Record};

/// vLLM makes its own id of the request, and that of the answer, from it.
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const USER_AGENT: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));

/// A reused connection lost sooner than this was closed while idle; the request is sent again.
const MAX_LOSS_DELAY: Duration = Duration::from_millis(500);

/// Connections to one vLLM, and the headers that every request has.
#[derive(Debug)]
pub(super) struct Transport {
    connector: Connector,
    pub(super) pool: Pool,
    reqwest: reqwest::Client,
    base_url: Url,
    /// The same, for sockets.
    origin: Uri,
    headers: HeaderMap,
    connect_timeout: Duration,
}

/// Headers of one call, beside those that every request has.
#[derive(Debug)]
pub(crate) struct Headers {
    /// The call's id.
    pub(crate) request_id: HeaderValue,
    /// W3C trace context, passed on as it came.
    pub(crate) trace: Vec<(HeaderName, HeaderValue)>,
    /// How many replicas were asked for this call.
    pub(crate) n_attempts: AtomicU32,
    /// What the call leaves for its operators.
    pub(crate) record: Arc<Record>,
}

impl Headers {
    /// Those of a call with that id.
    pub(crate) fn new(request_id: HeaderValue, trace: Vec<(HeaderName, HeaderValue)>) -> Self {
        let n_attempts = AtomicU32::new(0);
        Self {
            request_id,
            trace,
            n_attempts,
            record: Arc::default(),
        }
    }

    /// Those of requests that belong to no call.
    pub(super) fn own() -> Self {
        let id = HeaderValue::from_static(env!("CARGO_PKG_NAME"));
        Self::new(id, Vec::new())
    }
}

/// The head of an answer, and the attempt that it must belong to.
pub(super) type Answered = (Response<Body>, Attempt);

impl Transport {
    /// The transport to the configured upstream; nothing is connected yet.
    pub(super) fn new(upstream: &config::Upstream) -> Result<Self, BoxError> {
        let tls = upstream.tls.client(upstream.base_url.scheme() == "https")?;
        let mut headers = HeaderMap::new();
        headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        headers.insert(header::HOST, upstream.base_url.authority().try_into()?);
        if let Some(key) = &upstream.api_key {
            let mut bearer: HeaderValue = format!("Bearer {}", key.expose_secret()).try_into()?;
            bearer.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, bearer);
        }
        Ok(Self {
            connector: connector::connector(tls.clone(), upstream.address),
            pool: Pool::new(upstream.idle_timeout),
            reqwest: reqwest(upstream, tls)?,
            base_url: upstream.base_url.clone(),
            origin: upstream.base_url.as_str().try_into()?,
            headers,
            connect_timeout: upstream.connect_timeout,
        })
    }

    /// Sends JSON, and waits for the head of the answer.
    pub(super) async fn post_json(
        &self,
        route: Route,
        json: Bytes,
        headers: &Headers,
    ) -> Result<Answered, Error> {
        // Boxed, so that the futures of calls are not large.
        Box::pin(self.send(route, json, headers)).await
    }

    /// Sends JSON by an idle connection or a new one.
    async fn send(&self, route: Route, json: Bytes, headers: &Headers) -> Result<Answered, Error> {
        if let Some(connection) = self.pool.take().await {
            match self.send_by(connection, route, json.clone(), headers).await {
                // vLLM closes idle connections, and may do so just when one is used again. One that is lost at once
                // was closed already, so that the request may be sent again; one that is lost later may have been lost
                // because of the request.
                Err(Error::Reset { error, after }) if after < MAX_LOSS_DELAY => {
                    tracing::debug!(error, "an idle connection was closed, a new one is tried");
                }
                sent => return sent,
            }
        }
        // Boxed, since it is large and seldom needed: most calls find an idle connection.
        let open = Box::pin(Connection::open(
            self.connector.clone(),
            self.origin.clone(),
        ));
        let opened = tokio::time::timeout(self.connect_timeout, open).await;
        let connection = opened.unwrap_or_else(|elapsed| Err(elapsed.into()));
        let connection = connection.map_err(Error::from_connect)?;
        self.send_by(connection, route, json, headers).await
    }

    async fn send_by(
        &self,
        mut connection: Connection,
        route: Route,
        json: Bytes,
        headers: &Headers,
    ) -> Result<Answered, Error> {
        let attempt = Attempt::new(&headers.request_id);
        let mut request = Request::new(Full::new(json));
        *request.method_mut() = Method::POST;
        let path = Uri::try_from(route.path(self.base_url.path()));
        *request.uri_mut() = path.map_err(|error| Error::Connect(error.into()))?;
        *request.headers_mut() = self.headers(headers, &attempt);
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(header::CONTENT_TYPE, json);
        let head = connection.send(request).await?;
        headers.record.answered();
        let body = Body::InPlace(connection, self.pool.clone());
        Ok((Response::from_parts(head, body), attempt))
    }

    /// Sends a form with a file, and waits for the head of the answer.
    pub(super) async fn post_form(
        &self,
        route: Route,
        form: TranscriptionForm,
        headers: &Headers,
    ) -> Result<Answered, Error> {
        let form = multipart(form).map_err(|error| Error::Connect(error.into()))?;
        let request = self.reqwest.post(self.url(route)).multipart(form);
        self.execute(request, headers).await
    }

    /// Sends a GET, and once more if the connection is lost before the head of the answer.
    pub(super) async fn get(&self, route: Route, headers: &Headers) -> Result<Answered, Error> {
        let request = || self.reqwest.get(self.url(route));
        match self.execute(request(), headers).await {
            Err(Error::Reset { .. }) => self.execute(request(), headers).await,
            answered => answered,
        }
    }

    async fn execute(
        &self,
        request: reqwest::RequestBuilder,
        headers: &Headers,
    ) -> Result<Answered, Error> {
        let attempt = Attempt::new(&headers.request_id);
        let begun = Instant::now();
        let sent = request
            .headers(self.headers(headers, &attempt))
            .send()
            .await;
        match sent.map_err(reqwest::Error::without_url) {
            Ok(response) => {
                headers.record.answered();
                let response = Response::<reqwest::Body>::from(response);
                Ok((response.map(Body::Reqwest), attempt))
            }
            Err(error) if error.is_connect() => Err(Error::from_connect(error.into())),
            // Whether a part of the head came is not known here.
            Err(error) => Err(Error::from_head(error.into(), false, begun.elapsed())),
        }
    }

    fn headers(&self, headers: &Headers, attempt: &Attempt) -> HeaderMap {
        let mut all = self.headers.clone();
        all.insert(X_REQUEST_ID, attempt.id.clone());
        // A key of the caller's takes the place of the operator's; `extend` would send both.
        for (name, value) in &headers.trace {
            all.insert(name, value.clone());
        }
        headers.record.inject(&mut all);
        all
    }

    fn url(&self, route: Route) -> Url {
        let mut url = self.base_url.clone();
        url.set_path(&route.path(self.base_url.path()));
        url
    }
}

/// A client that goes by the URL alone, and whose answers are bounded by the call.
fn reqwest(
    upstream: &config::Upstream,
    tls: rustls::ClientConfig,
) -> Result<reqwest::Client, reqwest::Error> {
    let builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .http1_only()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .connect_timeout(upstream.connect_timeout)
        .pool_idle_timeout(upstream.idle_timeout)
        .tcp_keepalive(connector::TCP_KEEPALIVE)
        .tcp_keepalive_interval(connector::TCP_KEEPALIVE);
    let builder = match (upstream.address, upstream.base_url.host_str()) {
        (Some(address), Some(host)) => builder.resolve(host, address),
        _ => builder,
    };
    #[cfg(target_os = "linux")]
    let builder = builder.tcp_user_timeout(connector::TCP_USER_TIMEOUT);
    builder.build()
}

/// The form as it is sent; the file is not copied.
fn multipart(form: TranscriptionForm) -> Result<Form, reqwest::Error> {
    let file = Part::stream(form.file.data).file_name(form.file.name);
    let file = file.mime_str(&form.file.media_type)?;
    let fields = form.fields.into_iter();
    let form = fields.fold(Form::new(), |form, (name, value)| form.text(name, value));
    Ok(form.part("file", file))
}
