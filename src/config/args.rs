//! The command line.

use std::{env, ffi::OsString, net::SocketAddr, path, time::Duration};

use clap::{
    CommandFactory, FromArgMatches, Parser, Subcommand, builder::BoolishValueParser,
    error::ErrorKind, parser::ValueSource,
};
use secrecy::SecretString;

use super::{
    Ask, Limits, Log, Policy, Server, Web, dotenv, file,
    server::{SERVING, SIZE_LIMITS},
    value::{MESSAGE, OrOff, address, bytes, duration, or_off},
};

/// The variable that the OpenAI SDK reads its key from.
const API_KEY: &str = "OPENAI_API_KEY";
const UPSTREAM: &str = "Upstream";
const POLICY: &str = "What callers may ask for";

/// Serves vLLM's OpenAI-compatible HTTP API over gRPC: generation of text, embeddings, models, tokenization, ranking
/// and transcription.
///
/// Every flag has an environment variable. A `.env` file in the working directory may set those that the environment
/// lacks. Durations need a unit (500ms, 2s, 5m); sizes may have one (64KiB, 32MiB). `off` removes a limit where the
/// flag allows it. Lists are separated by commas.
#[derive(Debug, Parser)]
#[command(name = "vllm-grpc-adapter", version, max_term_width = 100)]
pub struct Args {
    /// Without a command, the adapter serves.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Address and port to serve gRPC on. Of a name, the first address is taken.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:50051")]
    #[arg(value_parser = address, help_heading = SERVING)]
    pub(super) listen: SocketAddr,
    /// Address and port for probes and metrics by plain HTTP (`/livez`, `/readyz`, `/metrics`), or `off`.
    #[arg(long, value_name = "ADDRESS", default_value = "off")]
    #[arg(value_parser = or_off(address), help_heading = SERVING)]
    pub(super) admin_listen: OrOff<SocketAddr>,
    /// Configuration file in TOML, with one or several upstreams, and with callers; docs/UPSTREAMS.md and
    /// docs/ACCESS.md show it.
    #[arg(long, value_name = "FILE", conflicts_with = "upstream")]
    #[arg(help_heading = UPSTREAM)]
    pub(super) config: Option<path::PathBuf>,
    /// Base URL of the vLLM, as the OpenAI SDK takes it.
    #[arg(long, value_name = "URL", default_value = "http://localhost:8000/v1")]
    #[arg(help_heading = UPSTREAM)]
    pub(super) upstream: String,
    /// Bearer key for the upstream. An empty one counts as none.
    #[arg(long = "upstream-api-key", env = API_KEY, value_name = "KEY")]
    #[arg(hide_env_values = true, help_heading = UPSTREAM)]
    pub(super) api_key: Option<SecretString>,
    #[arg(skip)]
    pub(super) api_key_source: String,
    /// Send each call's `authorization` to the upstream, which checks it; calls without one are refused.
    #[arg(long, value_parser = BoolishValueParser::new(), help_heading = UPSTREAM)]
    pub(super) forward_authorization: bool,
    /// Longest time to connect to the upstream.
    #[arg(long, value_name = "DURATION", default_value = "2s")]
    #[arg(value_parser = duration, help_heading = UPSTREAM)]
    pub(super) connect_timeout: Duration,
    /// Time after which an idle connection to the upstream is closed. vLLM closes it after 5s.
    #[arg(long, value_name = "DURATION", default_value = "3s")]
    #[arg(value_parser = duration, help_heading = UPSTREAM)]
    pub(super) upstream_idle_timeout: Duration,
    /// Time between two questions to a replica's `/health`, or `off`.
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    #[arg(value_parser = or_off(duration), help_heading = UPSTREAM)]
    pub(super) probe_interval: OrOff<Duration>,

    /// Keys that `extra_body_json` may carry. `*` is refused, and a key that has a field of its own stays refused in
    /// requests that have that field.
    #[arg(long, value_name = "KEYS", value_delimiter = ',')]
    #[arg(help_heading = POLICY)]
    pub(super) allow_extra_body: Vec<String>,
    /// Fields of the upstream's answer that `extension_keys` may name. `*` is refused.
    #[arg(long, value_name = "KEYS", value_delimiter = ',')]
    #[arg(help_heading = POLICY)]
    pub(super) allow_extensions: Vec<String>,
    /// Hosts that the upstream may fetch media from; `*` allows any host.
    #[arg(long, value_name = "HOSTS", value_delimiter = ',')]
    #[arg(help_heading = POLICY)]
    pub(super) allow_media_hosts: Vec<String>,

    #[command(flatten)]
    pub(super) limits: Limits,
    #[command(flatten)]
    pub(super) policy: Policy,
    /// Largest server-sent event of the upstream.
    #[arg(long, value_name = "SIZE", default_value = "8MiB")]
    #[arg(value_parser = bytes::<MESSAGE>, help_heading = SIZE_LIMITS)]
    pub(super) max_event_bytes: usize,
    /// Largest JSON body of the upstream.
    #[arg(long, value_name = "SIZE", default_value = "32MiB")]
    #[arg(value_parser = bytes::<MESSAGE>, help_heading = SIZE_LIMITS)]
    pub(super) max_body_bytes: usize,
    #[command(flatten)]
    pub(super) server: Server,
    #[command(flatten)]
    pub(super) web: Web,
    #[command(flatten)]
    pub(super) log: Log,
}

/// What to run in place of the adapter in front of a vLLM.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Ask a model by way of an adapter, and print the answer as it comes.
    Ask(Box<Ask>),
    /// Serve in front of a simulated vLLM inside this process, which needs no GPU. `--upstream` is not used.
    Demo,
    /// Check the configuration, print what each upstream answers, and exit: with 0, or with 64 where there are faults.
    Check {
        /// Ask no upstream.
        #[arg(long)]
        offline: bool,
    },
    /// Make a random key for a caller, and print it with its entry for the configuration file.
    Keygen {
        /// What logs are to call the caller.
        name: String,
    },
}

// === impl Args ===

impl Args {
    /// Reads the command line, the environment, and the `.env` file of the working directory.
    ///
    /// The file's variables become the process's own where the environment lacks them, so this is called before there
    /// are other threads.
    ///
    /// # Errors
    ///
    /// A `.env` file that cannot be read, and what clap reports; `--help` and `--version` are among it.
    pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let fault = |fault: String| Self::command().error(ErrorKind::Io, fault);
        let file = path::absolute(".env").map_err(|error| fault(error.to_string()))?;
        let mut variables = env::vars_os();
        let in_environment = variables.any(|(name, _value)| name == API_KEY);
        dotenv::load(&file).map_err(fault)?;
        let arguments: Vec<_> = arguments.into_iter().collect();
        let serves = arguments
            .get(1)
            .is_none_or(|command| command != "ask" && command != "keygen");
        // The others have none of the server's flags.
        let command = command().mut_args(|arg| arg.global(serves));
        let matches = command.try_get_matches_from(arguments)?;
        let mut args = Self::from_arg_matches(&matches)?;
        let is_typed = |flag: &str| {
            matches
                .value_source(flag)
                .is_some_and(|it| it != ValueSource::DefaultValue)
        };
        if let Some(path) = args.config.clone() {
            let path = path::absolute(path).map_err(|error| fault(error.to_string()))?;
            args.take_scalars(file::read(&path).map_err(fault)?, is_typed)?;
            args.config = Some(path);
        }
        args.api_key_source = match matches.value_source("api_key") {
            Some(ValueSource::CommandLine) => "--upstream-api-key".to_owned(),
            _ if in_environment => API_KEY.to_owned(),
            _ => file.display().to_string(),
        };
        Ok(args)
    }

    /// Takes the file's scalars where neither a flag nor a variable gives them.
    fn take_scalars(
        &mut self,
        file: file::File,
        is_typed: impl Fn(&str) -> bool,
    ) -> Result<(), clap::Error> {
        if let Some(text) = file.listen.filter(|_| !is_typed("listen")) {
            let fault = |fault| Self::command().error(ErrorKind::InvalidValue, fault);
            self.listen = address(&text).map_err(|it| fault(format!("listen = {text:?}: {it}")))?;
        }
        if file.default_model.is_some() && !is_typed("default_model") {
            self.policy.default_model = file.default_model;
        }
        Ok(())
    }
}

/// The flags, which may stand before and after the subcommand, each with its variable.
pub(super) fn command() -> clap::Command {
    Args::command().mut_args(|arg| {
        let flag = arg.get_long().unwrap_or_default().to_uppercase();
        let variable = format!("ADAPTER_{}", flag.replace('-', "_")).into();
        let variable = arg.get_env().map_or(variable, ToOwned::to_owned);
        arg.global(true).env(variable)
    })
}
