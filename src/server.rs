//! The listener, its connections, and how they end.
//!
//! tonic provides the services. The accept loop is the project's own, because tonic's server cannot set what a safe
//! default needs: the buffer of a stream that is not read, an age with a grace that works, an end to the drain.
//!
//! - `services`: what is served, `health` among it.
//! - `listener`: accepts connections, and survives running out of descriptors.
//! - `connection`: one connection, from its `preface` to its last call.
//! - `call`: the calls of a connection, and when the server ends them.
//! - `admission`: how much at once.
//! - `answer`: what surrounds every call; `body`: what it receives and sends.
//! - `phase`: how far the server is from its end.
//!
//! Nothing here outlives [`serve`]: each task is in a set that is dropped with its owner.

mod admission;
mod answer;
mod body;
mod call;
mod connection;
mod health;
mod listener;
mod padding;
mod phase;
mod preface;
mod services;

use std::{pin::pin, time::Duration};

use std::sync::Arc;

use tokio::{net::TcpListener, sync::watch, task::JoinSet, time};
use tokio_stream::{Stream, StreamExt};

use crate::{
    config::{self, Config},
    service::error::transport::MessageLimits,
};
use admission::Admission;
use answer::Answers;
use connection::Shared;
use health::ServingStatus;
use listener::Listener;
use phase::{Phase, Phases};
use services::Services;

/// What keeps the server from serving, or from ending well.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A service could not be built.
    #[error("a service could not be built")]
    Service(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The contract's descriptors cannot be served.
    #[error("reflection could not be built")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// It was told to stop a second time, and running calls were cut.
    #[error("stopped at once")]
    Interrupted,
}

/// What connections and calls are limited by.
struct Settings {
    server: config::Server,
    max_duration: Option<Duration>,
}

/// Time that the last statuses of cut calls have to be sent.
///
/// Callers that read get theirs in one round trip; the others must not hold up the end of the process.
const LAST_WORDS: Duration = Duration::from_millis(750);

/// The same where the process was told to stop at once.
const PARTING_WORDS: Duration = Duration::from_millis(200);

/// Serves until `stop` yields, and then until running calls have ended or had their time.
///
/// The first item of `stop` starts the drain: health turns `NOT_SERVING`, after `drain_delay` the listener is closed and
/// connections are told to go away, and after `drain_timeout` calls that still run end with UNAVAILABLE. A second item
/// ends them at once, with no more time than it takes to tell those that read.
///
/// # Errors
///
/// A service that cannot be built, and [`Error::Interrupted`] after a second item.
pub async fn serve(
    listener: TcpListener,
    config: Config,
    stop: impl Stream<Item = ()>,
) -> Result<(), Error> {
    let (services, upkeep) = services::services(&config)?;
    let settings = Settings {
        max_duration: config.limits.max_duration,
        server: config.server,
    };
    tokio::select! {
        served = run(listener, services, settings, stop) => served,
        never = upkeep => match never {},
    }
}

async fn run(
    listener: TcpListener,
    services: Services,
    settings: Settings,
    stop: impl Stream<Item = ()>,
) -> Result<(), Error> {
    let mut stop = pin!(stop);
    let (phase, phases) = Phases::channel();
    let Settings {
        server: config,
        max_duration,
    } = settings;
    let (drain_delay, drain_timeout) = (config.drain_delay, config.drain_timeout);
    services.report(ServingStatus::Serving);
    let answers = Arc::new(Answers {
        routes: services.routes(),
        limits: MessageLimits {
            request: config.max_request_bytes,
            response: config.max_response_bytes,
        },
        admission: Admission::new(config.max_in_flight, config.max_request_memory),
        pad_responses: config.pad_responses,
    });
    let shared = Shared {
        config,
        answers,
        phases,
        max_duration,
    };
    let mut listener = Listener::new(listener, shared);

    tokio::select! {
        never = listener.accept() => match never {},
        Some(()) = stop.next() => {}
    }
    tracing::info!("stopping: health is NOT_SERVING");
    services.report(ServingStatus::NotServing);
    let delay = async {
        tokio::select! {
            never = listener.accept() => match never {},
            () = time::sleep(drain_delay) => {}
        }
    };
    let delayed = unless_stopped(&mut stop, delay).await;
    let mut connections = listener.close();
    let drained = match delayed {
        Ok(()) => {
            let drain = drain(&mut connections, &phase, drain_timeout);
            unless_stopped(&mut stop, drain).await
        }
        Err(interrupted) => Err(interrupted),
    };
    if drained.is_err() {
        tracing::warn!("stopping at once");
        phase.send_replace(Phase::Ending);
        all_ended(&mut connections, PARTING_WORDS).await;
    }
    connections.shutdown().await;
    drained
}

/// Tells connections to go away, and ends what still runs after `limit`.
async fn drain(connections: &mut JoinSet<()>, phase: &watch::Sender<Phase>, limit: Duration) {
    tracing::info!(connections = connections.len(), "stopping: draining");
    phase.send_replace(Phase::GoingAway);
    if all_ended(connections, limit).await {
        return;
    }
    tracing::warn!(
        connections = connections.len(),
        "stopping: ending what still runs"
    );
    phase.send_replace(Phase::Ending);
    all_ended(connections, LAST_WORDS).await;
}

/// Whether all connections ended within `limit`.
async fn all_ended(connections: &mut JoinSet<()>, limit: Duration) -> bool {
    let ended = async { while connections.join_next().await.is_some() {} };
    time::timeout(limit, ended).await.is_ok()
}

/// What `future` gives, unless `stop` yields first.
async fn unless_stopped<F: Future>(
    mut stop: impl Stream<Item = ()> + Unpin,
    future: F,
) -> Result<F::Output, Error> {
    tokio::select! {
        output = future => Ok(output),
        Some(()) = stop.next() => Err(Error::Interrupted),
    }
}

#[cfg(test)]
mod tests;
