//! Reads the configuration, binds, serves, and turns the end into an exit code.

use std::{
    error::Error,
    fmt,
    io::{self, Write},
    net::SocketAddr,
    process::ExitCode,
};

use async_stream::stream;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_stream::Stream;
use vllm_grpc_adapter::{
    config::{self, Args, Command, Config, UnknownVariable},
    demo, server,
    telemetry::{Chain, logging},
};

/// The command line or the configuration is wrong (`EX_USAGE` of BSD's sysexits).
const EXIT_USAGE: u8 = 64;

fn main() -> ExitCode {
    let args = match Args::read(std::env::args_os()) {
        Ok(args) => args,
        Err(error) => return usage(&error),
    };
    let command = args.command.clone();
    let config = match Config::try_from_args(args) {
        Ok(config) => config,
        Err(faults) => {
            tell(&faults.to_string());
            return ExitCode::from(EXIT_USAGE);
        }
    };
    match run(config, command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&format!("vllm-grpc-adapter: {}", Chain(error.as_ref())));
            ExitCode::FAILURE
        }
    }
}

/// Prints clap's word; help and version are no faults.
fn usage(error: &clap::Error) -> ExitCode {
    // Nobody is left to be told where standard output is closed.
    let _ = error.print();
    if error.use_stderr() {
        return ExitCode::from(EXIT_USAGE);
    }
    ExitCode::SUCCESS
}

fn run(config: Config, command: Option<Command>) -> Result<(), Box<dyn Error>> {
    logging::start(&config.log)?;
    warn_of_unknown_variables();
    raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let served = runtime.block_on(serve(config, command));
    // A look-up of a name that still runs must not hold up the end.
    runtime.shutdown_background();
    served
}

/// A misspelt name leaves its flag's default in force, so it must not pass in silence.
fn warn_of_unknown_variables() {
    for UnknownVariable { name, nearest } in config::unknown_variables() {
        tracing::warn!(name, nearest, "no variable of the adapter: it is ignored");
    }
}

async fn serve(mut config: Config, command: Option<Command>) -> Result<(), Box<dyn Error>> {
    // Before anything else, so that no signal ends the process in silence.
    let stop = stop()?;
    let listen = config.listen;
    let listener = TcpListener::bind(listen)
        .await
        .map_err(|error| format!("cannot listen on {listen}: {error}"))?;
    let address = listener.local_addr()?;
    let demo = match command {
        Some(Command::Demo) => {
            let upstream =
                demo::Upstream::bind(([127, 0, 0, 1], 0).into(), demo::Settings::default()).await?;
            config.upstream.base_url = upstream.base_url();
            // Nobody depends on a demo, so that Ctrl-C ends it at once.
            (config.server.drain_delay, config.server.drain_timeout) = Default::default();
            say_how_to_call(address, &config.upstream.base_url)?;
            Some(upstream)
        }
        None => None,
    };
    tracing::info!(%address, upstream = %config.upstream.base_url, "serving gRPC");
    let served = server::serve(listener, config, stop);
    match demo {
        None => served.await?,
        Some(upstream) => tokio::select! {
            served = served => served?,
            ended = upstream.run() => match ended? {},
        },
    }
    Ok(())
}

/// Yields at each SIGTERM and SIGINT.
fn stop() -> io::Result<impl Stream<Item = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(stream! {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            yield;
        }
    })
}

/// Allows as many descriptors as the system lets this process have: each call takes two.
///
/// The soft limit is low only for programs that use `select`, which this one does not.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "could not raise the limit of open descriptors");
    }
}

/// Prints the calls to try, ready to paste.
fn say_how_to_call(address: SocketAddr, upstream: &impl fmt::Display) -> io::Result<()> {
    let lines = demo::grpcurl_lines(address);
    writeln!(
        io::stdout(),
        "The simulated vLLM is at {upstream}. In another terminal:\n\n{lines}\nCtrl-C ends it."
    )
}

/// One line that says what is wrong.
fn tell(fault: &str) {
    // Nobody is left to be told where standard error is closed.
    let _ = writeln!(io::stderr(), "{fault}");
}
