//! Tests over real sockets: the adapter before a scripted upstream, called through the generated client.
//!
//! - `access`: callers by their keys, what they may use, and how much.
//! - `access_tls`: callers by their certificates, and keys over TLS, on the web port too.
//! - `architecture`: the modules of `src/` depend on each other in one direction.
//! - `ask`: the client for the terminal.
//! - `demo`: the simulated vLLM answers through the adapter.
//! - `documentation`: what the documents list is what there is.
//! - `classification`, `embedding`, `models`, `ranking`, `tokenization`, `transcription`: the services beside generation, each whole.
//! - `recordings`: what a real vLLM sent, whole, cut in two and cut off.
//! - `scripted_upstream`: the upstream of the other tests does what its script says.
//! - `caller_faults`: callers that leave, or whose time is over.
//! - `slow_callers`: callers that read slowly or never, and messages that are too large.
//! - `hostile_input`: what callers and upstreams send to mislead, and what must never be seen.
//! - `hostile_memory`: many callers at once that send what takes much memory or time.
//! - `hostile_protobuf`: messages that are legal protobuf and cost more than they are worth.
//! - `killed_processes`: callers and upstreams whose process is killed.
//! - `network_faults`: the network between caller and adapter, and the host's limits.
//! - `process_faults`: the process: its end, its upstream's restart, memory.
//! - `server_settings`: what a connection offers, and how much it takes.
//! - `server_calls`: what every call gets, whatever it asks for.
//! - `server_hostile`: callers that send what no client sends, or nothing.
//! - `server_end`: connections and the process come to their end.
//! - `server_process`: the binary: exit codes, signals, descriptors.
//! - `server_upstream`: what the server ends, ends upstream too.
//! - `upstream_connections`: connections to the upstream that cannot be had, and those that are lost.
//! - `upstream_statuses`: the statuses of the upstream, and how long it asks callers to wait.
//! - `upstream_http`: what else the upstream answers as HTTP: encodings, framing, redirects.
//! - `upstream_sizes`: upstreams that send too much, or what is costly to read.
//! - `upstream_limits`: upstreams that are silent, endless or odd.
//! - `upstream_tls`: upstreams that are reached by TLS, and those that must not be.
//! - `upstream_ends`: how an upstream's answer may end, and that only a whole one is OK.
//! - `upstream_foreign`: answers that belong to another request.
//! - `upstreams`: several upstreams and replicas: routing, balance, failover, readiness.
//! - `upstreams_file`: the configuration file, `check`, and reading it again.
//! - `upstreams_trouble`: replicas that are silent, down, full or resting, and come back.
//! - `support`: the adapter, the scripted upstream and the requests that tests are made of.

#![allow(
    clippy::allow_attributes,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::expect_used,
    clippy::large_futures,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::string_slice,
    clippy::too_many_lines,
    clippy::type_complexity,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    unreachable_pub,
    reason = "tests"
)]

mod access;
mod access_tls;
mod architecture;
mod ask;
mod batches;
mod caller_faults;
mod classification;
mod demo;
mod documentation;
mod embedding;
mod hostile_input;
mod hostile_memory;
mod hostile_protobuf;
mod killed_processes;
mod models;
mod network_faults;
mod process_faults;
mod ranking;
mod recordings;
mod scripted_upstream;
mod server_calls;
mod server_end;
mod server_hostile;
mod server_process;
mod server_settings;
mod server_tls;
mod server_upstream;
mod slow_callers;
mod support;
mod telemetry;
mod tokenization;
mod transcription;
mod upstream_connections;
mod upstream_ends;
mod upstream_foreign;
mod upstream_http;
mod upstream_limits;
mod upstream_sizes;
mod upstream_statuses;
mod upstream_tls;
mod upstreams;
mod upstreams_file;
mod upstreams_trouble;
mod web;
