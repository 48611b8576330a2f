//! The adapter over real sockets.
//!
//! - `server_settings`: what a connection offers, and how much it takes.
//! - `server_calls`: what every call gets, whatever it asks for.
//! - `server_hostile`: callers that send what no client sends, or nothing.
//! - `server_end`: connections and the process come to their end.
//! - `server_process`: the binary: exit codes, signals, descriptors.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::allow_attributes,
    unreachable_pub,
    dead_code,
    reason = "tests"
)]

mod server_calls;
mod server_end;
mod server_hostile;
mod server_process;
mod server_settings;
mod support;
