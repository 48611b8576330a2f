//! Everything that is served: the one list.

use std::convert::Infallible;

use http::{Request, Response};
use tokio::sync::watch;
use tonic::{body::Body, server::NamedService, service::Routes};
use tower::Service;

use super::{
    Error,
    health::{Health, HealthServer, ServingStatus},
};
use crate::{
    config::Config,
    proto::{
        self, classification_service_server::ClassificationServiceServer,
        embedding_service_server::EmbeddingServiceServer,
        generation_service_server::GenerationServiceServer,
        model_service_server::ModelServiceServer, ranking_service_server::RankingServiceServer,
        tokenization_service_server::TokenizationServiceServer,
        transcription_service_server::TranscriptionServiceServer,
    },
    service::{Adapter, Readiness},
};

/// The services of the contract, by method path, with their health.
#[derive(Debug, Default)]
pub(super) struct Services {
    pub(super) routes: Routes,
    names: Vec<&'static str>,
    health: watch::Sender<ServingStatus>,
}

/// Builds every service.
pub(super) fn services(config: &Config, adapter: &Adapter) -> Result<Services, Error> {
    let server = &config.server;
    /// A service of the contract with the limits that all have.
    macro_rules! limited {
        ($service:ident) => {
            $service::new(adapter.clone())
                .max_decoding_message_size(server.max_request_bytes)
                .max_encoding_message_size(server.max_response_bytes)
        };
    }
    let services = Services::default()
        .add(limited!(ClassificationServiceServer))
        .add(limited!(EmbeddingServiceServer))
        .add(limited!(GenerationServiceServer))
        .add(limited!(ModelServiceServer))
        .add(limited!(RankingServiceServer))
        .add(limited!(TokenizationServiceServer))
        .add(limited!(TranscriptionServiceServer));
    services.finish(server.reflection, adapter.readiness())
}

// === impl Services ===

impl Services {
    /// Adds a service of the contract; its health goes by its full name.
    pub(super) fn add<S>(mut self, service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
        S: NamedService + Clone + Send + Sync + 'static,
        S::Future: Send,
    {
        self.names.push(S::NAME);
        self.routes = self.routes.add_service(service);
        self
    }

    /// Adds what every gRPC server offers: health, and reflection where it is wanted.
    pub(super) fn finish(
        mut self,
        has_reflection: bool,
        upstreams: watch::Receiver<Readiness>,
    ) -> Result<Self, Error> {
        let health = Health {
            // Without a name, the server as a whole.
            names: [&[""], &self.names[..]].concat(),
            status: self.health.subscribe(),
            upstreams,
        };
        self.routes = self.routes.add_service(HealthServer::new(health));
        if has_reflection {
            // Clients in use ask for either version.
            self.routes = self
                .routes
                .add_service(reflection().build_v1()?)
                .add_service(reflection().build_v1alpha()?);
        }
        self.routes = self.routes.prepare();
        Ok(self)
    }

    /// The health of the server as a whole.
    pub(super) fn health(&self) -> watch::Receiver<ServingStatus> {
        self.health.subscribe()
    }

    /// Sets the health of the server as a whole and of each service.
    pub(super) fn report(&self, status: ServingStatus) {
        self.health.send_replace(status);
    }
}

/// The descriptors of all that is served.
fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::DESCRIPTOR_SET)
        // So that grpcurl and the like can print the details of an error.
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
}
