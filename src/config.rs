//! The checked configuration: what the flags and the environment mean.
//!
//! [`Args`] is what was typed; [`Config`] is what it means, one struct per concern. Nothing outside this module reads
//! the environment, and nothing here does I/O beyond reading it and the `.env` file.

mod args;
mod base_url;
mod collector;
mod dotenv;
mod value;
mod variables;

use std::{collections::BTreeSet, fmt, net::SocketAddr, time::Duration};

use secrecy::SecretString;
use url::Url;

pub use args::{Args, Command};
#[cfg(test)]
pub(crate) use value::ALWAYS_TAKEN;
pub use variables::{UnknownVariable, unknown_variables};

/// Everything that the adapter needs to know before it starts.
#[derive(Debug)]
pub struct Config {
    /// Where gRPC is served.
    pub listen: SocketAddr,
    /// What listener and connections may do.
    pub server: Server,
    /// The vLLM behind the adapter.
    pub upstream: Upstream,
    /// How long a call may take.
    pub limits: Limits,
    /// What callers may ask for.
    pub policy: Policy,
    /// How the log is written.
    pub log: Log,
}

/// Limits of the listener and its connections.
#[derive(Clone, Debug)]
pub struct Server {
    /// Largest gRPC message that a caller may send, in bytes.
    pub max_request_bytes: usize,
    /// Largest gRPC message that a caller is sent, in bytes.
    pub max_response_bytes: usize,
    /// Connections open at once; further ones are closed at accept.
    pub max_connections: usize,
    /// The same from one address; `None` sets no other limit.
    pub max_connections_per_source: Option<usize>,
    /// Streams open at once on one connection.
    pub max_streams_per_connection: u32,
    /// Time between HTTP/2 pings to a silent caller; `None` sends none.
    pub keepalive_interval: Option<Duration>,
    /// Time that a caller has to answer a ping.
    pub keepalive_timeout: Duration,
    /// Age at which a connection is told to go away, ±10 %; `None` lets it grow old.
    pub max_connection_age: Option<Duration>,
    /// Time that streams have after that until they are ended; `None` waits for them.
    pub max_connection_age_grace: Option<Duration>,
    /// Time without progress after which a caller that does not read is cut; `None` waits.
    pub write_stall_timeout: Option<Duration>,
    /// Time after the stop signal in which new connections are still served.
    pub drain_delay: Duration,
    /// Time after that until running streams are ended.
    pub drain_timeout: Duration,
    /// Whether server reflection is served.
    pub reflection: bool,
    /// Size that responses are filled up to, in bytes; `None` fills none.
    pub pad_responses: Option<usize>,
    /// Calls at once; `None` sets no limit.
    pub max_in_flight: Option<usize>,
    /// What the messages of requests may hold at once, in bytes.
    pub max_request_memory: usize,
    /// Time without a call after which a connection is told to go away; `None` keeps it.
    pub max_connection_idle: Option<Duration>,
}

/// The vLLM behind the adapter, and how it is reached.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// Base URL as the OpenAI SDK takes it, with the `/v1`.
    pub base_url: Url,
    /// Sent as the bearer token; `None` sends none.
    pub api_key: Option<SecretString>,
    /// Time to reach the upstream.
    pub connect_timeout: Duration,
    /// Time after which an idle pooled connection is dropped.
    pub idle_timeout: Duration,
    /// Largest server-sent event, in bytes.
    pub max_event_bytes: usize,
    /// Largest JSON body, in bytes.
    pub max_body_bytes: usize,
}

/// How long the phases of a call may take, beside the caller's own deadline.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From the request to the first event of a stream; `None` waits.
    pub first_token: Option<Duration>,
    /// Silence between two events of a stream; `None` waits.
    pub token_idle: Option<Duration>,
    /// The whole call; `None` leaves it to the caller.
    pub max_duration: Option<Duration>,
}

/// What callers may ask for.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// The model of a request that names none; `None` lets the upstream choose.
    pub default_model: Option<String>,
    /// Keys that `extra_body_json` may carry.
    pub extra_body_keys: BTreeSet<String>,
    /// Keys that `extension_keys` may name.
    pub extension_keys: BTreeSet<String>,
    /// Hosts that media URLs may name, as `Url` writes them; `*` is any. `data` URLs are always allowed.
    pub media_hosts: BTreeSet<String>,
    /// Most bytes of sound to transcribe.
    pub max_audio_bytes: usize,
}

/// How the log is written.
#[derive(Clone, Debug)]
pub struct Log {
    /// A filter as `tracing` takes it, as `info` or `vllm_grpc_adapter=debug`.
    pub filter: String,
    /// One JSON object a line in place of readable text.
    pub json: bool,
}

/// All that is wrong with a configuration, one line a fault.
#[derive(Debug, PartialEq, Eq)]
pub struct Faults(Vec<String>);

// === impl Config ===

impl Config {
    /// Checks what was typed; on failure every fault is in the error.
    ///
    /// # Errors
    ///
    /// A value that is out of range, lacks its unit or cannot be read.
    pub fn try_from_args(args: Args) -> Result<Self, Faults> {
        args::check(args)
    }
}

// === impl Faults ===

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, fault) in self.0.iter().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            f.write_str(fault)?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

#[cfg(test)]
mod tests;
