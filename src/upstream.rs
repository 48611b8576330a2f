//! The HTTP side: sends requests to vLLM, and yields its answers as `openai` types.
//!
//! Knows nothing of gRPC. Dropping an answer closes its connection, which makes vLLM abort the request.

mod answer;
mod attempt;
mod body;
mod client;
mod connection;
mod connector;
mod error;
mod events;
mod known;
mod pool;
mod route;
mod transport;

pub(crate) use answer::Answer;
pub(crate) use client::{Client, SetupError};
pub(crate) use error::{Error, Refusal};
pub(crate) use events::Events;
pub(crate) use route::Route;
pub(crate) use transport::Headers;
