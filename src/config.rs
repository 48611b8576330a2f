//! The configuration: flags, environment variables, the `.env` file and the configuration file.
//!
//! [`Args`] is the command line; [`Config`] is the checked configuration, one struct per concern. Where a flag's value
//! needs no more than its parser, clap fills the struct itself, and the comments on its fields are what `--help` prints.
//! Nothing outside this module reads the environment.

mod args;
mod ask;
mod base_url;
mod callers;
mod check;
mod dotenv;
mod file;
mod server;
mod source;
mod tls;
mod upstreams;
mod value;
mod variables;
mod web;

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use secrecy::SecretString;
use url::Url;

pub use args::{Args, Command};
pub use ask::{Ask, DEFAULT_ADDRESS};
pub use callers::{Caller, CallerRules, keygen, sha256};
#[cfg(test)]
pub(crate) use check::ALWAYS_TAKEN;
pub use check::Faults;
pub use server::Server;
pub use source::Source;
pub use tls::{ClientAuth, Tls};
pub use upstreams::{NamedUpstream, UpstreamTls, Upstreams};
pub use value::OrOff;
use value::{MESSAGE, bytes, duration, or_off};
pub(crate) use variables::exports_traces;
pub use variables::unknown_variables;
pub use web::Web;

/// Everything that the adapter needs to know before it starts.
#[derive(Debug)]
pub struct Config {
    /// Where gRPC is served.
    pub listen: SocketAddr,
    /// Where probes are answered; `None` for nowhere.
    pub admin_listen: Option<SocketAddr>,
    /// Limits of the listener and its connections.
    pub server: Server,
    /// The web port.
    pub web: Web,
    /// The vLLM behind the adapter, and what all upstreams have in common.
    pub upstream: Upstream,
    /// The upstreams of the configuration file, which take the place of the one above.
    pub upstreams: Option<(Upstreams, Source)>,
    /// Who may call; nobody where everybody may.
    pub callers: Vec<Caller>,
    /// Callers' keys go to the upstream, which checks them.
    pub forward_authorization: bool,
    /// How long a call may take.
    pub limits: Limits,
    /// What callers may ask for.
    pub policy: Policy,
    /// How the log is written.
    pub log: Log,
}

/// The vLLM behind the adapter, and how it is reached.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// Base URL as the OpenAI SDK takes it, with the `/v1`.
    pub base_url: Url,
    /// Sent as the bearer token; `None` sends none.
    pub api_key: Option<SecretString>,
    /// Where the key came from, for the log.
    pub api_key_source: String,
    /// Time to reach the upstream.
    pub connect_timeout: Duration,
    /// Time after which an idle pooled connection is dropped.
    pub idle_timeout: Duration,
    /// Largest server-sent event, in bytes.
    pub max_event_bytes: usize,
    /// Largest JSON body, in bytes.
    pub max_body_bytes: usize,
    /// Time between two questions about the health of a replica; `None` asks nothing.
    pub probe_interval: Option<Duration>,
    /// Whom to trust, and as whom to connect.
    pub tls: UpstreamTls,
    /// The one address to connect to, whatever the host's others are.
    pub address: Option<SocketAddr>,
}

/// How long the phases of a call may take, beside the caller's own deadline.
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(next_help_heading = "Time limits")]
pub struct Limits {
    /// Longest time from a request to the first event of its stream, or `off`. It does not apply to unary calls.
    #[arg(long = "first-token-timeout", value_name = "DURATION")]
    #[arg(default_value = "off", value_parser = or_off(duration))]
    pub first_token: OrOff<Duration>,
    /// Longest time between two events of a stream, or `off`. Comments are not events. It does not apply to unary calls.
    #[arg(long = "token-idle-timeout", value_name = "DURATION")]
    #[arg(default_value = "60s", value_parser = or_off(duration))]
    pub token_idle: OrOff<Duration>,
    /// Longest time of a whole call, or `off`. The caller's own deadline always holds. Without either, nothing limits
    /// the time of a unary call once the upstream is reached.
    #[arg(long, value_name = "DURATION", default_value = "off")]
    #[arg(value_parser = or_off(duration))]
    pub max_duration: OrOff<Duration>,
}

/// What callers may ask for.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "What callers may ask for")]
pub struct Policy {
    /// Model of a request that names none. Unset: the upstream chooses.
    #[arg(long, value_name = "MODEL")]
    pub default_model: Option<String>,
    /// Keys that `extra_body_json` may carry.
    #[arg(skip)]
    pub extra_body_keys: BTreeSet<String>,
    /// Keys that `extension_keys` may name.
    #[arg(skip)]
    pub extension_keys: BTreeSet<String>,
    /// Hosts that media URLs may name, as `Url` writes them; `*` is any. `data` URLs are always allowed.
    #[arg(skip)]
    pub media_hosts: BTreeSet<String>,
    /// Largest audio to transcribe. vLLM takes 25 MiB unless its environment says otherwise.
    #[arg(long, value_name = "SIZE", default_value = "25MiB")]
    #[arg(value_parser = bytes::<MESSAGE>, help_heading = server::SIZE_LIMITS)]
    pub max_audio_bytes: usize,
}

/// How the log is written.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Log")]
pub struct Log {
    /// What to log: a level, as `warn`, or a module's, as `vllm_grpc_adapter=debug`; several are separated by commas.
    #[arg(long = "log", value_name = "FILTER", default_value = "info")]
    pub filter: String,
    /// Log one JSON object per line.
    #[arg(long = "log-json")]
    #[arg(value_parser = clap::builder::BoolishValueParser::new())]
    pub json: bool,
}

#[cfg(test)]
mod tests;
