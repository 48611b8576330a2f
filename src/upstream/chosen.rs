//! A call's upstream: asks the replica that was picked, and another one where that fails before it answered.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use bytes::Bytes;
use http::HeaderValue;
use serde::Serialize;
use tokio::time::Instant;

use super::{
    answer::Answer, balance::Picked, error::Error, events::Events, group::Group, replica::Replica,
    route::Route, transport::Headers, wanted::KEY,
};
use crate::{
    access::Identity,
    openai::{named::Named, transcription::TranscriptionForm, version::Version},
    telemetry::{Attempt, Counted, Label},
};

/// The upstream of one call, with a replica that counts it.
#[derive(Debug)]
pub(crate) struct Chosen {
    pub(super) group: Arc<Group>,
    pub(super) picked: Picked,
    /// Where to go if no replica can be reached, and the model there.
    pub(super) fallback: Option<(Arc<Group>, String)>,
    /// The key of a caller that chose the URL, or whose key is the upstream's to check.
    pub(super) authorization: Option<HeaderValue>,
    /// The model that the caller named, for the metrics; empty for none.
    pub(super) model: Label,
}

impl Chosen {
    /// Sends JSON, and reads the whole answer.
    pub(crate) async fn post(
        self,
        route: Route,
        request: impl Named + Serialize,
        headers: &Headers,
    ) -> Result<Answer, Error> {
        let sent = &self.headers(headers);
        let send = |replica: Arc<Replica>, body| async move {
            let sent = sent.as_ref().unwrap_or(headers);
            replica.post(route, body, sent).await
        };
        let (answer, _counted) = self.ask((route, request), json, send, headers).await?;
        Ok(answer)
    }

    /// Sends JSON, and waits for the first event of the streamed answer.
    pub(crate) async fn stream(
        self,
        route: Route,
        request: impl Named + Serialize,
        headers: &Headers,
    ) -> Result<Events, Error> {
        let sent = &self.headers(headers);
        let send = |replica: Arc<Replica>, body| async move {
            let sent = sent.as_ref().unwrap_or(headers);
            replica.stream(route, body, sent).await
        };
        let (mut events, counted) = self.ask((route, request), json, send, headers).await?;
        events.count(counted);
        Ok(events)
    }

    /// Sends a form, and reads the whole answer.
    pub(crate) async fn post_form(
        self,
        route: Route,
        form: TranscriptionForm,
        headers: &Headers,
    ) -> Result<Answer, Error> {
        let sent = &self.headers(headers);
        let send = |replica: Arc<Replica>, form| async move {
            let sent = sent.as_ref().unwrap_or(headers);
            replica.post_form(route, form, sent).await
        };
        let (answer, _counted) = self.ask((route, form), same, send, headers).await?;
        Ok(answer)
    }

    /// Sends a form, and waits for the first event of the streamed answer.
    pub(crate) async fn stream_form(
        self,
        route: Route,
        form: TranscriptionForm,
        headers: &Headers,
    ) -> Result<Events, Error> {
        let sent = &self.headers(headers);
        let send = |replica: Arc<Replica>, form| async move {
            let sent = sent.as_ref().unwrap_or(headers);
            replica.stream_form(route, form, sent).await
        };
        let (mut events, counted) = self.ask((route, form), same, send, headers).await?;
        events.count(counted);
        Ok(events)
    }

    /// Sends a GET to the picked replica, or another one.
    pub(crate) async fn get(&self, route: Route, headers: &Headers) -> Result<Answer, Error> {
        let sent = self.headers(headers);
        let sent = sent.as_ref().unwrap_or(headers);
        let ask = |replica: Arc<Replica>| async move {
            headers.n_attempts.fetch_add(1, Relaxed);
            replica.series.attempts.inc();
            let answer = replica.get(route, sent).await;
            replica.record(answer.as_ref().err());
            answer
        };
        let (replica, _counted) = &self.picked;
        let answer = ask(Arc::clone(replica)).await;
        let others = [Arc::clone(replica)];
        match (&answer, self.group.pick_other(&others)) {
            (Err(error), Some((other, _counted))) if is_unsent(error) => ask(other).await,
            _ => answer,
        }
    }

    /// The release of the picked replica; `None` where it gives none.
    pub(crate) async fn version(&self) -> Option<Version> {
        self.picked.0.version().await
    }

    /// Those of [`Route::TELLING`] that the picked replica has.
    pub(crate) async fn routes(&self) -> Vec<Route> {
        self.picked.0.routes().await
    }

    /// The picked replica.
    pub(crate) fn replica(&self) -> Arc<Replica> {
        Arc::clone(&self.picked.0)
    }

    /// The upstream's name.
    pub(crate) fn name(&self) -> &str {
        &self.group.config.name
    }

    /// Further names of a model.
    pub(crate) fn aliases(&self, model: &str) -> Vec<String> {
        let aliases = self.group.config.aliases.iter();
        let aliases = aliases.filter(|(_alias, real)| *real == model);
        aliases.map(|(alias, _real)| alias.clone()).collect()
    }

    /// Whether the caller may use the model, which the upstream lists.
    pub(crate) fn offers(&self, model: &str, identity: &Identity) -> bool {
        let models = &self.group.config.models;
        let is_offered = models.is_empty() || models.iter().any(|it| it == model);
        is_offered && self.group.permits(identity, model)
    }

    /// The headers with the caller's key, where there is one.
    fn headers(&self, headers: &Headers) -> Option<Headers> {
        let authorization = self.authorization.clone()?;
        let mut sent = headers.trace.clone();
        sent.push((KEY, authorization));
        Some(Headers {
            record: Arc::clone(&headers.record),
            ..Headers::new(headers.request_id.clone(), sent)
        })
    }

    /// Writes down that the picked replica is asked for that model, after those that failed.
    fn count(&self, route: Route, model: &str, headers: &Headers, failed: &[Arc<Replica>]) {
        if let Some(before) = failed.last() {
            before.series.failovers.inc();
        }
        headers.n_attempts.fetch_add(1, Relaxed);
        headers.record.attempt(Attempt {
            begun: Instant::now(),
            operation: route.operation(),
            model: model.to_owned(),
            labels: [self.model.clone(), self.group.label(model)],
            series: Arc::clone(&self.picked.0.series),
        });
    }

    /// Asks the picked replica, and others: each once while none can be reached, and one after a refusal.
    async fn ask<R: Named, B: Clone, T, F>(
        mut self,
        (route, request): (Route, R),
        encode: impl Fn(&R) -> Result<B, Error>,
        send: impl Fn(Arc<Replica>, B) -> F,
        headers: &Headers,
    ) -> Result<(T, Counted), Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut body = encode(&request)?;
        let mut model = request.model().unwrap_or_default().to_owned();
        // Dropped unless it is needed again, since a call may last long.
        let mut request = self.fallback.is_some().then_some(request);
        let mut failed = Vec::new();
        loop {
            self.count(route, &model, headers, &failed);
            let (replica, counted) = self.picked;
            let answer = send(Arc::clone(&replica), body.clone()).await;
            replica.record(answer.as_ref().err());
            let error = match answer {
                Ok(answer) => return Ok((answer, counted)),
                Err(error) => error,
            };
            drop(counted);
            tracing::debug!(%error, replica = %replica.label, "a replica failed");
            failed.push(replica);
            if let Some(other) = self.group.pick_other(&failed) {
                let may_repeat = || failed.len() == 1 && self.group.budget.allows_repeat();
                if !(is_unsent(&error) || is_refusal(&error) && may_repeat()) {
                    return Err(error);
                }
                self.picked = other;
                continue;
            }
            let (Some((group, named)), Some(mut spare), true) =
                (self.fallback.take(), request.take(), is_unsent(&error))
            else {
                return Err(error);
            };
            let Some(picked) = group.pick(None) else {
                return Err(error);
            };
            spare.set_model(&named);
            model = named;
            body = encode(&spare)?;
            tracing::warn!(%error, from = self.group.config.name, %model, "the fallback is asked");
            (self.group, self.picked) = (group, picked);
        }
    }
}

fn json<R: Serialize>(request: &R) -> Result<Bytes, Error> {
    let json = serde_json::to_vec(request).map_err(|error| Error::from_json(&error))?;
    Ok(json.into())
}

fn same<R: Clone>(form: &R) -> Result<R, Error> {
    Ok(form.clone())
}

/// Whether nothing of the request was sent.
fn is_unsent(error: &Error) -> bool {
    matches!(error, Error::Connect(_) | Error::Dns(_) | Error::Tls(_))
}

/// Whether the replica or a proxy before it refused the work, so that another replica may be asked.
///
/// A connection that was lost is no such case, since the request may be what killed the engine.
fn is_refusal(error: &Error) -> bool {
    matches!(error, Error::Refused(refusal) if matches!(refusal.status, 429 | 502 | 503))
}
