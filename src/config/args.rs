//! The flags and their variables; the comments here are what `--help` prints.

mod check;

use std::{ffi::OsString, path::Path};

use clap::{
    ArgAction, CommandFactory, FromArgMatches, Parser, Subcommand, builder::StringValueParser,
};
use secrecy::SecretString;

use super::{UnknownVariable, dotenv, variables};

pub(super) use check::check;

/// Serves vLLM's OpenAI-compatible HTTP API over gRPC: generation of text, embeddings, models, tokenization, ranking
/// and transcription.
///
/// Every flag has an environment variable, and a `.env` file in the working directory may set those that the
/// environment lacks. Durations carry a unit (500ms, 2s, 5m) and sizes may (64KiB, 32MiB); `off` switches a limit off
/// where it says so. Lists are separated by commas.
#[derive(Debug, Parser)]
#[command(name = "vllm-grpc-adapter", version, max_term_width = 100)]
pub struct Args {
    /// What to run; without it, the adapter itself.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Address and port to serve gRPC on.
    #[arg(
        long,
        env = "ADAPTER_LISTEN",
        default_value = "127.0.0.1:50051",
        global = true,
        value_name = "ADDRESS"
    )]
    listen: String,
    /// Base URL of the vLLM, as the OpenAI SDK takes it.
    #[arg(
        long,
        env = "ADAPTER_UPSTREAM",
        default_value = "http://localhost:8000/v1",
        value_name = "URL"
    )]
    upstream: String,
    /// Bearer key for the upstream; an empty one counts as none.
    #[arg(
        long = "upstream-api-key",
        env = "OPENAI_API_KEY",
        hide_env_values = true,
        hide_default_value = true,
        value_name = "KEY"
    )]
    api_key: Option<SecretString>,
    /// Model of a request that names none. Unset: the upstream's own default.
    #[arg(long, env = "ADAPTER_DEFAULT_MODEL", value_name = "MODEL")]
    default_model: Option<String>,

    /// Keys that `extra_body_json` may carry, separated by commas; each is named, `*` is refused. A key that has a typed
    /// field stays refused in the request that has it.
    #[arg(
        long,
        env = "ADAPTER_ALLOW_EXTRA_BODY",
        value_delimiter = ',',
        value_name = "KEYS"
    )]
    allow_extra_body: Vec<String>,
    /// Fields of the upstream's answer that `extension_keys` may name, separated by commas; `*` is refused.
    #[arg(
        long,
        env = "ADAPTER_ALLOW_EXTENSIONS",
        value_delimiter = ',',
        value_name = "KEYS"
    )]
    allow_extensions: Vec<String>,
    /// Hosts that the upstream may fetch media from, separated by commas; `*` is any host.
    #[arg(
        long,
        env = "ADAPTER_ALLOW_MEDIA_HOSTS",
        value_delimiter = ',',
        value_name = "HOSTS"
    )]
    allow_media_hosts: Vec<String>,

    /// Longest time to reach the upstream.
    #[arg(
        long,
        env = "ADAPTER_CONNECT_TIMEOUT",
        default_value = "2s",
        global = true,
        value_name = "DURATION"
    )]
    connect_timeout: String,
    /// Longest time from a request to the first event of its stream; `off` waits. It bounds streams alone.
    #[arg(
        long,
        env = "ADAPTER_FIRST_TOKEN_TIMEOUT",
        default_value = "off",
        global = true,
        value_name = "DURATION"
    )]
    first_token_timeout: String,
    /// Longest silence between two events of a stream, once begun; `off` waits. Comments are no events. It bounds
    /// streams alone.
    #[arg(
        long,
        env = "ADAPTER_TOKEN_IDLE_TIMEOUT",
        default_value = "60s",
        global = true,
        value_name = "DURATION"
    )]
    token_idle_timeout: String,
    /// Longest time of a whole call; `off` leaves it to the caller's deadline, which always holds. Beside that deadline
    /// it is the only limit of time of a unary call, once the upstream is reached.
    #[arg(
        long,
        env = "ADAPTER_MAX_DURATION",
        default_value = "off",
        global = true,
        value_name = "DURATION"
    )]
    max_duration: String,
    /// Time after which a caller that does not read its stream is disconnected; `off` waits.
    #[arg(
        long,
        env = "ADAPTER_WRITE_STALL_TIMEOUT",
        default_value = "60s",
        global = true,
        value_name = "DURATION"
    )]
    write_stall_timeout: String,
    /// Time after SIGTERM or SIGINT in which new connections are still served.
    #[arg(
        long,
        env = "ADAPTER_DRAIN_DELAY",
        default_value = "5s",
        global = true,
        value_name = "DURATION"
    )]
    drain_delay: String,
    /// Time after that until running calls are ended; a second signal ends them at once.
    #[arg(
        long,
        env = "ADAPTER_DRAIN_TIMEOUT",
        default_value = "120s",
        global = true,
        value_name = "DURATION"
    )]
    drain_timeout: String,
    /// Time between HTTP/2 pings, which find dead callers; `off` sends none.
    #[arg(
        long,
        env = "ADAPTER_KEEPALIVE_INTERVAL",
        default_value = "30s",
        global = true,
        value_name = "DURATION"
    )]
    keepalive_interval: String,
    /// Time that a caller has to answer a ping.
    #[arg(
        long,
        env = "ADAPTER_KEEPALIVE_TIMEOUT",
        default_value = "10s",
        global = true,
        value_name = "DURATION"
    )]
    keepalive_timeout: String,
    /// Age, ±10 %, at which a connection is told to go away, so that load is spread anew; `off` lets it grow old.
    #[arg(
        long,
        env = "ADAPTER_MAX_CONNECTION_AGE",
        default_value = "off",
        global = true,
        value_name = "DURATION"
    )]
    max_connection_age: String,
    /// Time after that until its streams are ended; `off` waits for them.
    #[arg(
        long,
        env = "ADAPTER_MAX_CONNECTION_AGE_GRACE",
        default_value = "120s",
        global = true,
        value_name = "DURATION"
    )]
    max_connection_age_grace: String,
    /// Connections open at once.
    #[arg(
        long,
        env = "ADAPTER_MAX_CONNECTIONS",
        default_value = "10000",
        global = true,
        value_name = "COUNT"
    )]
    max_connections: String,
    /// Connections open at once from one address, which behind a proxy is that of all callers; `off` sets no limit.
    #[arg(
        long,
        env = "ADAPTER_MAX_CONNECTIONS_PER_SOURCE",
        default_value = "off",
        global = true,
        value_name = "COUNT"
    )]
    max_connections_per_source: String,
    /// Calls open at once on one connection.
    #[arg(
        long,
        env = "ADAPTER_MAX_STREAMS_PER_CONNECTION",
        default_value = "256",
        global = true,
        value_name = "COUNT"
    )]
    max_streams_per_connection: String,
    /// Largest gRPC message that a caller may send.
    #[arg(
        long,
        env = "ADAPTER_MAX_REQUEST_BYTES",
        default_value = "32MiB",
        global = true,
        value_name = "SIZE"
    )]
    max_request_bytes: String,
    /// Largest gRPC message that a caller is sent.
    #[arg(
        long,
        env = "ADAPTER_MAX_RESPONSE_BYTES",
        default_value = "32MiB",
        global = true,
        value_name = "SIZE"
    )]
    max_response_bytes: String,
    /// Largest server-sent event of the upstream.
    #[arg(
        long,
        env = "ADAPTER_MAX_EVENT_BYTES",
        default_value = "1MiB",
        global = true,
        value_name = "SIZE"
    )]
    max_event_bytes: String,
    /// Largest JSON body of the upstream.
    #[arg(
        long,
        env = "ADAPTER_MAX_BODY_BYTES",
        default_value = "32MiB",
        global = true,
        value_name = "SIZE"
    )]
    max_body_bytes: String,
    /// Largest sound to transcribe. vLLM takes 25 MiB unless its environment says otherwise.
    #[arg(
        long,
        env = "ADAPTER_MAX_AUDIO_BYTES",
        default_value = "25MiB",
        global = true,
        value_name = "SIZE"
    )]
    max_audio_bytes: String,
    /// Time after which an idle connection to the upstream is dropped; vLLM closes it after 5s.
    #[arg(
        long,
        env = "ADAPTER_UPSTREAM_IDLE_TIMEOUT",
        default_value = "3s",
        global = true,
        value_name = "DURATION"
    )]
    upstream_idle_timeout: String,

    /// Serves no reflection, which grpcurl and the like ask for the contract.
    #[arg(
        long,
        env = "ADAPTER_NO_REFLECTION",
        action = ArgAction::SetTrue,
        value_parser = StringValueParser::new(),
        global = true
    )]
    no_reflection: String,
    /// What to log, as `warn`, `info` or `vllm_grpc_adapter=debug`.
    #[arg(
        long,
        env = "ADAPTER_LOG",
        default_value = "info",
        global = true,
        value_name = "FILTER"
    )]
    log: String,
    /// Logs one JSON object a line.
    #[arg(
        long,
        env = "ADAPTER_LOG_JSON",
        action = ArgAction::SetTrue,
        value_parser = StringValueParser::new(),
        global = true
    )]
    log_json: String,

    /// What `.env` sets beside the variables above, as if it were one of them.
    #[arg(skip)]
    misnamed: Vec<UnknownVariable>,
}

/// What to run in place of the adapter in front of a vLLM.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Serves in front of a simulated vLLM inside this process, so that no GPU is needed to try it.
    Demo,
}

// === impl Args ===

impl Args {
    /// Reads the command line, the environment, and the `.env` file of the working directory.
    ///
    /// # Errors
    ///
    /// What clap says of the command line, `--help` and `--version` among it.
    pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let values = dotenv::read(Path::new(".env"))
            .map_err(|fault| Self::command().error(clap::error::ErrorKind::Io, fault))?;
        let command = dotenv::apply(Self::command(), &values);
        let matches = command.try_get_matches_from(arguments)?;
        Ok(Self {
            misnamed: variables::unknown(values.keys()),
            ..Self::from_arg_matches(&matches)?
        })
    }
}
