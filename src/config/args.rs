//! The flags and their variables; the comments here are what `--help` prints.

use std::{
    ffi::OsString,
    net::{SocketAddr, ToSocketAddrs},
    path::Path,
};

use clap::{
    ArgAction, CommandFactory, FromArgMatches, Parser, Subcommand, builder::StringValueParser,
};
use secrecy::SecretString;

use super::{
    Config, Faults, Limits, Log, Policy, Server, UnknownVariable, Upstream, base_url, dotenv,
    value::{self, Collector},
    variables,
};

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

/// What the arguments mean, or all that is wrong with them.
pub(super) fn check(args: Args) -> Result<Config, Faults> {
    let mut faults = Collector::default();
    for variable in &args.misnamed {
        faults.tell(format!(".env: {variable}"));
    }
    let listen = faults.keep("listen", address(&args.listen));
    let upstream = upstream(&args, &mut faults);
    let limits = limits(&args, &mut faults);
    let log = log(&args, &mut faults);
    let server = server(&args, &mut faults);
    let policy = policy(args, &mut faults);
    let whole = move || {
        Some(Config {
            listen: listen?,
            server: server?,
            upstream: upstream?,
            limits: limits?,
            policy: policy?,
            log: log?,
        })
    };
    let whole = whole();
    faults.finish(whole)
}

fn log(args: &Args, faults: &mut Collector) -> Option<Log> {
    let filter = faults.keep("log", value::filter(&args.log));
    let json = faults.keep("log-json", value::switch(&args.log_json));
    Some(Log {
        filter: filter?,
        json: json?,
    })
}

fn policy(args: Args, faults: &mut Collector) -> Option<Policy> {
    let max_audio_bytes = faults.keep("max-audio-bytes", value::bytes(&args.max_audio_bytes));
    let extra_body_keys = faults.keep_each(
        "allow-extra-body",
        &args.allow_extra_body,
        value::extra_body_key,
    );
    let extension_keys = faults.keep_each("allow-extensions", &args.allow_extensions, value::key);
    let media_hosts = faults.keep_each("allow-media-hosts", &args.allow_media_hosts, value::host);
    Some(Policy {
        max_audio_bytes: max_audio_bytes?,
        default_model: args.default_model.filter(|model| !model.is_empty()),
        extra_body_keys: extra_body_keys?,
        extension_keys: extension_keys?,
        media_hosts: media_hosts?,
    })
}

fn server(args: &Args, faults: &mut Collector) -> Option<Server> {
    let max_request_bytes = faults.keep("max-request-bytes", value::bytes(&args.max_request_bytes));
    let max_response_bytes =
        faults.keep("max-response-bytes", value::bytes(&args.max_response_bytes));
    let max_connections = faults.keep("max-connections", value::count(&args.max_connections));
    let max_per_source = value::count_or_off(&args.max_connections_per_source);
    let max_per_source = faults.keep("max-connections-per-source", max_per_source);
    let max_streams = value::count(&args.max_streams_per_connection);
    let max_streams = faults.keep("max-streams-per-connection", max_streams);
    let keepalive_interval = faults.keep(
        "keepalive-interval",
        value::duration_or_off(&args.keepalive_interval),
    );
    let keepalive_timeout = faults.keep(
        "keepalive-timeout",
        value::duration(&args.keepalive_timeout),
    );
    let age = faults.keep(
        "max-connection-age",
        value::duration_or_off(&args.max_connection_age),
    );
    let grace = faults.keep(
        "max-connection-age-grace",
        value::duration_or_off(&args.max_connection_age_grace),
    );
    let stall = faults.keep(
        "write-stall-timeout",
        value::duration_or_off(&args.write_stall_timeout),
    );
    let drain_delay = faults.keep("drain-delay", value::duration_or_zero(&args.drain_delay));
    let drain_timeout = faults.keep(
        "drain-timeout",
        value::duration_or_zero(&args.drain_timeout),
    );
    let no_reflection = faults.keep("no-reflection", value::switch(&args.no_reflection));
    Some(Server {
        max_request_bytes: max_request_bytes?,
        max_response_bytes: max_response_bytes?,
        max_connections: max_connections?,
        max_connections_per_source: max_per_source?,
        max_streams_per_connection: max_streams?,
        keepalive_interval: keepalive_interval?,
        keepalive_timeout: keepalive_timeout?,
        max_connection_age: age?,
        max_connection_age_grace: grace?,
        write_stall_timeout: stall?,
        drain_delay: drain_delay?,
        drain_timeout: drain_timeout?,
        reflection: !no_reflection?,
    })
}

fn upstream(args: &Args, faults: &mut Collector) -> Option<Upstream> {
    let base_url = faults.keep("upstream", base_url::read(&args.upstream));
    let api_key = faults.keep("upstream-api-key", value::api_key(args.api_key.clone()));
    let connect_timeout = faults.keep("connect-timeout", value::duration(&args.connect_timeout));
    let idle_timeout = faults.keep(
        "upstream-idle-timeout",
        value::duration(&args.upstream_idle_timeout),
    );
    let max_event_bytes = faults.keep("max-event-bytes", value::bytes(&args.max_event_bytes));
    let max_body_bytes = faults.keep("max-body-bytes", value::bytes(&args.max_body_bytes));
    Some(Upstream {
        base_url: base_url?,
        api_key: api_key?,
        connect_timeout: connect_timeout?,
        idle_timeout: idle_timeout?,
        max_event_bytes: max_event_bytes?,
        max_body_bytes: max_body_bytes?,
    })
}

fn limits(args: &Args, faults: &mut Collector) -> Option<Limits> {
    let first_token = faults.keep(
        "first-token-timeout",
        value::duration_or_off(&args.first_token_timeout),
    );
    let token_idle = faults.keep(
        "token-idle-timeout",
        value::duration_or_off(&args.token_idle_timeout),
    );
    let max_duration = faults.keep("max-duration", value::duration_or_off(&args.max_duration));
    Some(Limits {
        first_token: first_token?,
        token_idle: token_idle?,
        max_duration: max_duration?,
    })
}

/// An address and port; a name is looked up.
fn address(text: &str) -> Result<SocketAddr, String> {
    let fault =
        || format!("{text:?} is not an address and a port, as 0.0.0.0:50051 or [::1]:50051");
    text.to_socket_addrs()
        .map_err(|_unknown| fault())?
        .next()
        .ok_or_else(fault)
}
