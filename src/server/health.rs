//! `grpc.health.v1`: whether the server takes calls.
//!
//! tonic's own has no `List`, and ends the `Watch` of a service that it does not know, which the protocol keeps open:
//! <https://github.com/grpc/grpc/blob/master/doc/health-checking.md>.

use std::pin::Pin;

use async_stream::stream;
use tokio::sync::watch;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use crate::proto::health::{
    HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse, health_server,
};
pub(super) use crate::proto::health::{
    health_check_response::ServingStatus, health_server::HealthServer,
};

/// The health of the server as a whole, whose name is empty, and of its services, which is the same.
#[derive(Debug)]
pub(super) struct Health {
    pub(super) names: Vec<&'static str>,
    /// Watches end where nobody is left to change it.
    pub(super) status: watch::Receiver<ServingStatus>,
}

type Watch = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

// === impl Health ===

impl Health {
    fn knows(&self, name: &str) -> bool {
        self.names.contains(&name)
    }
}

#[tonic::async_trait]
impl health_server::Health for Health {
    type WatchStream = Watch;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        if !self.knows(&request.get_ref().service) {
            return Err(no_such_service());
        }
        Ok(Response::new(response(*self.status.borrow())))
    }

    async fn list(
        &self,
        _request: Request<HealthListRequest>,
    ) -> Result<Response<HealthListResponse>, Status> {
        let status = response(*self.status.borrow());
        let statuses = self.names.iter().map(|&name| (name.to_owned(), status));
        Ok(Response::new(HealthListResponse {
            statuses: statuses.collect(),
        }))
    }

    /// The health now and after each change, or once that there is no such service; then it stays open.
    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Watch>, Status> {
        let is_known = self.knows(&request.get_ref().service);
        let mut status = self.status.clone();
        Ok(Response::new(Box::pin(stream! {
            if !is_known {
                yield Ok(response(ServingStatus::ServiceUnknown));
            }
            loop {
                let now = *status.borrow_and_update();
                if is_known {
                    yield Ok(response(now));
                }
                if status.changed().await.is_err() {
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
