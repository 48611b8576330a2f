//! The HTTP side: sends requests to vLLM, and yields its answers as `openai` types.
//!
//! Knows nothing of gRPC. Dropping an answer closes its connection, which makes vLLM abort the request.

mod answer;
mod attempt;
mod balance;
mod body;
mod budget;
mod chosen;
mod client;
mod connection;
mod connector;
mod error;
mod events;
mod group;
mod known;
mod pool;
mod replica;
mod route;
mod set;
mod transport;
mod upkeep;
mod wanted;

pub(crate) use answer::Answer;
pub(crate) use chosen::Chosen;
pub(crate) use client::SetupError;
pub(crate) use error::{Error, Refusal};
pub(crate) use events::Events;
pub(crate) use replica::Replica;
pub(crate) use route::Route;
pub(crate) use set::{Readiness, Upstreams};
pub(crate) use transport::Headers;
pub(crate) use wanted::{Unroutable, Wanted};
