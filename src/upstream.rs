//! The HTTP side: sends requests to vLLM, and yields its answers as `openai` types.
//!
//! Knows nothing of gRPC. Whoever drops an answer closes its connection, which makes vLLM abort the request.

mod body;
mod client;
mod content;
pub(crate) mod error;
mod events;
mod http1;
mod known;
mod pool;
mod route;

pub(crate) use body::Json;
pub(crate) use client::{Client, Headers, SetupError};
pub(crate) use content::Content;
pub(crate) use error::{Error, Refusal};
pub(crate) use events::Events;
pub(crate) use route::Route;
