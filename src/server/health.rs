//! `grpc.health.v1`: whether the server takes calls.
//!
//! tonic's own has no `List`, and ends the `Watch` of a service that it does not know, which the protocol keeps open:
//! <https://github.com/grpc/grpc/blob/master/doc/health-checking.md>.

use std::pin::Pin;

use async_stream::stream;
use tokio::sync::watch;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

pub(super) use crate::proto::health::{
    health_check_response::ServingStatus, health_server::HealthServer,
};
use crate::{
    proto::health::{
        HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse,
        health_server,
    },
    service::Readiness,
};

/// The health of the server as a whole, whose name is empty, and of its services, which is the same.
#[derive(Clone, Debug)]
pub(super) struct Health {
    pub(super) names: Vec<&'static str>,
    /// Watches end where nobody is left to change it.
    pub(super) status: watch::Receiver<ServingStatus>,
    /// `upstream`, and `upstream/NAME` for each.
    pub(super) upstreams: watch::Receiver<Readiness>,
}

type Watch = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

// === impl Health ===

impl Health {
    /// `None` where there is no such name. An upstream is not served by a server that stops.
    fn health(&self, name: &str) -> Option<ServingStatus> {
        let status = *self.status.borrow();
        if self.names.contains(&name) {
            return Some(status);
        }
        match self.upstreams.borrow().get(name)? {
            true => Some(status),
            false => Some(ServingStatus::NotServing),
        }
    }
}

#[tonic::async_trait]
impl health_server::Health for Health {
    type WatchStream = Watch;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let health = self.health(&request.get_ref().service);
        let health = health.ok_or_else(no_such_service)?;
        Ok(Response::new(response(health)))
    }

    async fn list(
        &self,
        _request: Request<HealthListRequest>,
    ) -> Result<Response<HealthListResponse>, Status> {
        let upstreams: Vec<_> = self.upstreams.borrow().keys().cloned().collect();
        let names = self.names.iter().map(|&name| name.to_owned());
        let statuses = names.chain(upstreams).filter_map(|name| {
            let health = self.health(&name)?;
            Some((name, response(health)))
        });
        Ok(Response::new(HealthListResponse {
            statuses: statuses.collect(),
        }))
    }

    /// The health now and after each change, or once that there is no such service; then it stays open.
    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Watch>, Status> {
        let name = request.into_inner().service;
        let mut health = self.clone();
        Ok(Response::new(Box::pin(stream! {
            let mut last = None;
            loop {
                health.status.borrow_and_update();
                health.upstreams.borrow_and_update();
                let now = health.health(&name).unwrap_or(ServingStatus::ServiceUnknown);
                if last.replace(now) != Some(now) {
                    yield Ok(response(now));
                }
                let changed = tokio::select! {
                    changed = health.status.changed() => changed,
                    changed = health.upstreams.changed() => changed,
                };
                if changed.is_err() {
                    return;
                }
            }
        })))
    }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse {
        status: status.into(),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the protocol's own status; its details are added to every one"
)]
fn no_such_service() -> Status {
    Status::not_found("no such service")
}
