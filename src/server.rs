//! The listener, its connections, what surrounds every call, and the drain.
//!
//! tonic provides the services. The accept loop is the project's own, because tonic's server cannot set what a safe
//! default needs: the buffer of a stream that is not read, an age with a grace that works, an end to the drain.
//! Nothing here outlives [`serve`]: each task is in a set that is dropped with its owner.

mod admin;
mod admission;
mod answer;
mod body;
mod call;
mod connection;
mod health;
mod listener;
mod padding;
mod page;
mod preface;
mod services;
mod tls;
mod web;

use std::{io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use tokio::{net::TcpListener, sync::watch, task::JoinSet, time};
use tokio_stream::{Stream, StreamExt};

use crate::{
    config::{self, Config},
    service::Adapter,
    telemetry::Telemetry,
};
use admission::Admission;
use answer::Answers;
use connection::{LAST_WORDS, Phase};
use health::ServingStatus;
use listener::Listener;
use services::Services;
use tls::Tls;
pub use tls::TlsError;

/// What keeps the server from serving, or from ending well.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("a service could not be built")]
    Service(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The files of the listener's TLS cannot be used.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] TlsError),
    #[error("reflection could not be built")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The variables of OpenTelemetry cannot be used.
    #[error("traces cannot be sent: {0}")]
    Traces(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It was told to stop a second time, and running calls were cut.
    #[error("stopped at once")]
    Interrupted,
}

/// The sockets that are served.
#[derive(Debug)]
pub struct Listeners {
    /// gRPC.
    pub grpc: TcpListener,
    /// Probes and metrics; `None` for nowhere.
    pub admin: Option<TcpListener>,
    /// gRPC-Web; `None` for nowhere.
    pub web: Option<TcpListener>,
}

/// Time to flush statuses after a second stop signal.
const PARTING_WORDS: Duration = Duration::from_millis(200);

/// Serves gRPC on `listener`, and gRPC-Web on `web` if there is one, until `stop` yields, and then until running calls have ended or had their time.
///
/// The first item of `stop` starts the drain: health turns `NOT_SERVING`, after `drain_delay` the listener is closed and
/// connections are told to go away, and after `drain_timeout` calls that still run end with UNAVAILABLE. A second item
/// ends them at once, with no more time than it takes to tell those that read.
///
/// # Errors
///
/// TLS files that cannot be used, a service that cannot be built, and [`Error::Interrupted`] after a second item.
pub async fn serve(
    listeners: Listeners,
    config: Config,
    stop: impl Stream<Item = ()>,
) -> Result<(), Error> {
    let tls = Tls::new(&config.server.tls)?;
    let telemetry = Telemetry::start(config.server.max_in_flight).map_err(Error::Traces)?;
    let telemetry = Arc::new(telemetry);
    let adapter =
        Adapter::new(&config, &telemetry.metrics).map_err(|error| Error::Service(error.into()))?;
    let services = services::services(&config, &adapter)?;
    let web = listeners.web.map(|socket| (socket, config.web));
    let answers = Answers {
        routes: services.routes.clone(),
        access: adapter.access(),
        admission: Admission::new(
            config.server.max_in_flight,
            config.server.max_request_memory,
        ),
        config: config.server,
        max_duration: config.limits.max_duration,
        tls,
        telemetry: Arc::clone(&telemetry),
    };
    let answers = Arc::new(answers);
    let admin = admin::serve(
        listeners.admin,
        services.health(),
        adapter.readiness(),
        Arc::clone(&answers),
    );
    let served = tokio::select! {
        served = run(listeners.grpc, web, services, Arc::clone(&answers), stop) => served,
        never = adapter.upkeep() => match never {},
        never = admin => match never {},
        never = tls::watch(answers.tls.as_ref(), &telemetry.metrics) => match never {},
    };
    telemetry.stop().await;
    served
}

impl Listeners {
    /// Binds what the configuration names.
    ///
    /// # Errors
    ///
    /// An address that cannot be listened on.
    pub async fn bind(config: &Config) -> io::Result<Self> {
        Ok(Self {
            grpc: bind(config.listen).await?,
            admin: bind_some(config.admin_listen).await?,
            web: bind_some(config.web.listen).await?,
        })
    }
}

async fn bind_some(address: Option<SocketAddr>) -> io::Result<Option<TcpListener>> {
    match address {
        Some(address) => bind(address).await.map(Some),
        None => Ok(None),
    }
}

async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let bound = TcpListener::bind(address).await;
    let named = |error: io::Error| {
        io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
    };
    bound.map_err(named)
}

async fn run(
    listener: TcpListener,
    web: Option<(TcpListener, config::Web)>,
    services: Services,
    answers: Arc<Answers>,
    stop: impl Stream<Item = ()>,
) -> Result<(), Error> {
    let mut stop = pin!(stop);
    let (phase, phases) = watch::channel(Phase::Serving);
    let (drain_delay, drain_timeout) = (answers.config.drain_delay, answers.config.drain_timeout);
    let mut listener = Listener::new(listener, web, answers, phases);
    services.report(ServingStatus::Serving);
    tokio::select! {
        never = listener.accept() => match never {},
        Some(()) = stop.next() => {}
    }
    tracing::info!("stopping: health is NOT_SERVING");
    services.report(ServingStatus::NotServing);
    let is_interrupted = tokio::select! {
        never = listener.accept() => match never {},
        () = time::sleep(drain_delay) => false,
        Some(()) = stop.next() => true,
    };
    let mut connections = listener.close();
    let is_interrupted = is_interrupted
        || tokio::select! {
            () = drain(&mut connections, &phase, drain_timeout) => false,
            Some(()) = stop.next() => true,
        };
    if is_interrupted {
        tracing::warn!("stopping at once");
        phase.send_replace(Phase::Ending);
        all_ended(&mut connections, PARTING_WORDS).await;
    }
    connections.shutdown().await;
    match is_interrupted {
        true => Err(Error::Interrupted),
        false => Ok(()),
    }
}

/// What each upstream answers, a line each; none where none shall be asked.
///
/// # Errors
///
/// Files of the listener's TLS that cannot be used, and no root certificates where an upstream needs the system's.
pub async fn describe(config: &Config, is_offline: bool) -> Result<Vec<String>, Error> {
    Tls::new(&config.server.tls)?;
    let adapter =
        Adapter::new(config, &Arc::default()).map_err(|error| Error::Service(error.into()))?;
    if is_offline {
        return Ok(Vec::new());
    }
    Ok(adapter.describe().await)
}

/// Tells connections to go away, and ends what still runs after `limit`.
async fn drain(connections: &mut JoinSet<()>, phase: &watch::Sender<Phase>, limit: Duration) {
    tracing::info!(connections = connections.len(), "stopping: draining");
    phase.send_replace(Phase::GoingAway);
    if all_ended(connections, limit).await {
        return;
    }
    let n_left = connections.len();
    tracing::warn!(connections = n_left, "stopping: ending what still runs");
    phase.send_replace(Phase::Ending);
    all_ended(connections, LAST_WORDS).await;
}

/// Whether all connections ended within `limit`.
async fn all_ended(connections: &mut JoinSet<()>, limit: Duration) -> bool {
    let ended = async { while connections.join_next().await.is_some() {} };
    time::timeout(limit, ended).await.is_ok()
}

#[cfg(test)]
mod tests;
