//! A gRPC front for vLLM.
//!
//! The modules, in the order in which a request meets them:
//!
//! - [`config`]: flags and environment, checked.
//! - [`server`]: the listener, its connections, and how they end.
//! - [`access`]: who may call, and how much at once.
//! - [`service`]: the RPCs; deadlines, statuses, and one report for each call.
//! - [`translate`]: the contract to the upstream's JSON, and back.
//! - [`upstream`]: HTTP to vLLM, and the events of its answers.
//! - [`openai`]: the upstream's JSON, as data.
//! - [`sse`]: server-sent events from bytes.
//! - [`proto`]: the contract, generated.
//! - [`startup`]: what a terminal shows at the start.
//! - [`telemetry`]: the log.
//! - [`ask`]: a client for the terminal.
//! - [`demo`]: what to try in front of a simulated vLLM.

mod access;
pub mod ask;
pub mod config;
pub mod demo;
mod openai;
pub mod proto;
pub mod server;
mod service;
mod sse;
pub mod startup;
pub mod telemetry;
mod translate;
mod upstream;

pub use translate::Fold;
