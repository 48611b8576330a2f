//! Tests over real sockets: the adapter before a scripted upstream, called through the generated client.
//!
//! - `architecture`: the modules of `src/` depend on each other in one direction.
//! - `demo`: the simulated vLLM speaks as the recorded one, and answers through the adapter.
//! - `recordings`: what a real vLLM sent, whole, cut in two and cut off.
//! - `scripted_upstream`: the upstream of the other tests does what its script says.
//! - `support`: the adapter, the scripted upstream and the requests that tests are made of.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::large_futures,
    clippy::panic,
    clippy::print_stderr,
    clippy::string_slice,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    dead_code,
    reason = "tests"
)]

mod scripted_upstream;
mod support;
