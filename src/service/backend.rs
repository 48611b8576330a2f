//! What every service answers from, and the shape of a unary call.

use std::{convert::Infallible, sync::Arc};

use tonic::{Request, Response, Status};

use super::{
    call::Call,
    error::{Error, Subject},
    stream::{self, Responses},
};
use crate::{
    config::{Config, Limits, Policy},
    translate::{ChunkTranslator, InvalidRequest},
    upstream::{self, Events, Headers},
};

/// The upstream, and what callers may ask of it. Clones share their connections.
#[derive(Clone, Debug)]
pub(crate) struct Backend {
    pub(super) upstream: upstream::Client,
    policy: Arc<Policy>,
    limits: Limits,
}

impl Backend {
    /// The configured upstream.
    pub(crate) fn new(config: &Config) -> Result<Self, upstream::SetupError> {
        Ok(Self {
            upstream: upstream::Client::new(&config.upstream, config.limits)?,
            policy: Arc::new(config.policy.clone()),
            limits: config.limits,
        })
    }

    /// What has to run beside the calls, for ever.
    pub(crate) fn upkeep(&self) -> impl Future<Output = Infallible> + Send + use<> {
        self.upstream.expire_idle()
    }

    /// A unary call: begins it, translates its message, answers it within its deadline, and leaves its record.
    pub(super) async fn unary<M, T, A, F>(
        &self,
        method: &'static str,
        request: Request<M>,
        translate: impl FnOnce(M, &Policy, &mut Subject) -> Result<T, InvalidRequest>,
        answer: impl FnOnce(T, Headers) -> F,
    ) -> Result<Response<A>, Status>
    where
        F: Future<Output = Result<A, Error>>,
    {
        let mut call = Call::begin(method, &request, &self.limits)?;
        let subject = &mut call.observer.subject;
        let answered = match translate(request.into_inner(), &self.policy, subject) {
            Ok(translated) => {
                let answer = answer(translated, call.headers.clone());
                call.deadline.bound(answer).await
            }
            Err(invalid) => Ok(Err(invalid.into())),
        };
        call.finish(answered.unwrap_or_else(|expired| Err(expired.into())))
    }

    /// A streamed call: as [`unary`](Self::unary) up to the first event, since an error until then can still be told
    /// without a response, which lets a library or a mesh try again (gRFC A6).
    pub(super) async fn streamed<M, T, R, F>(
        &self,
        method: &'static str,
        request: Request<M>,
        translate: impl FnOnce(M, &Policy, &mut Subject) -> Result<(T, R), InvalidRequest>,
        open: impl FnOnce(T, Headers) -> F,
    ) -> Result<Response<Responses<R>>, Status>
    where
        R: ChunkTranslator,
        F: Future<Output = Result<Events, Error>>,
    {
        let mut call = Call::begin(method, &request, &self.limits)?;
        let subject = &mut call.observer.subject;
        subject.is_stream = true;
        let opened = match translate(request.into_inner(), &self.policy, subject) {
            Ok((translated, translator)) => {
                let open = open(translated, call.headers.clone());
                let events = call.deadline.bound(open).await;
                let events = events.unwrap_or_else(|expired| Err(expired.into()));
                events.map(|events| (events, translator))
            }
            Err(invalid) => Err(invalid.into()),
        };
        let taken = opened.and_then(|(events, mut translator)| {
            stream::take(&events, &mut translator)?;
            Ok((events, translator))
        });
        match taken {
            Ok((events, translator)) => Ok(Response::new(Responses::new(events, translator, call))),
            Err(error) => Err(call.observer.fail(&error)),
        }
    }
}
