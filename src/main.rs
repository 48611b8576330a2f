//! Reads the configuration, binds, serves, and turns the end into an exit code.

use std::{
    error::Error,
    fmt,
    io::{self, IsTerminal, Write},
    net::SocketAddr,
    process::ExitCode,
};

use async_stream::stream;
use tokio::signal::unix::{SignalKind, signal};
use tokio_stream::Stream;
use vllm_grpc_adapter::{
    ask,
    config::{self, Args, Ask, Command, Config},
    demo, server, startup,
    telemetry::{Chain, logging},
};

/// How a command to try looks on a terminal.
const COMMAND: anstyle::Style = anstyle::AnsiColor::Cyan.on_default();

/// The command line or the configuration is wrong (`EX_USAGE` of BSD's sysexits).
const EXIT_USAGE: u8 = 64;

fn main() -> ExitCode {
    let args = match Args::read(std::env::args_os()) {
        Ok(args) => args,
        Err(error) => return usage(&error),
    };
    let command = args.command.clone();
    if let Some(Command::Ask(options)) = command {
        return ask(&options);
    }
    let config = match Config::try_from_args(args) {
        Ok(config) => config,
        Err(faults) => {
            print_error(&faults);
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let log = match logging::start(&config.log) {
        Ok(log) => log,
        Err(error) => {
            print_error(error.as_ref());
            return ExitCode::FAILURE;
        }
    };
    match run(config, command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // By way of the log, which does not wait where nobody reads it.
            log.write_failure(&Chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

/// Prints what clap reports; help and version are no faults.
fn usage(error: &clap::Error) -> ExitCode {
    // Nothing can be done where the output is closed.
    let _ = error.print();
    if error.use_stderr() {
        return ExitCode::from(EXIT_USAGE);
    }
    ExitCode::SUCCESS
}

/// Asks, and turns what happened into an exit code.
fn ask(options: &Ask) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            print_error(&error);
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(ask::run(options));
    // A thread that waits for a line must not hold up the end.
    runtime.shutdown_background();
    ExitCode::from(code)
}

fn run(config: Config, command: Option<Command>) -> Result<(), Box<dyn Error>> {
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

/// A misspelt name leaves its flag's default in force.
fn warn_of_unknown_variables() {
    for name in config::unknown_variables() {
        tracing::warn!(name, "unknown variable: it is ignored");
    }
}

async fn serve(mut config: Config, command: Option<Command>) -> Result<(), Box<dyn Error>> {
    // Before anything else, so that no signal ends the process in silence.
    let stop = stop()?;
    let listeners = server::Listeners::bind(&config).await?;
    let address = listeners.grpc.local_addr()?;
    if let Some(admin) = &listeners.admin {
        tracing::info!(admin = %admin.local_addr()?, "serving probes");
    }
    let demo = match command {
        Some(Command::Demo) => {
            let upstream = fake_vllm::Upstream::bind(
                ([127, 0, 0, 1], 0).into(),
                fake_vllm::Settings::default(),
            )
            .await?;
            config.upstream.base_url = upstream.base_url();
            // Nobody depends on a demo, so that Ctrl-C ends it at once.
            (config.server.drain_delay, config.server.drain_timeout) = Default::default();
            Some(upstream)
        }
        Some(Command::Ask(_)) | None => None,
    };
    say_what_is_served(&config, address);
    if demo.is_some() {
        say_what_to_try(address, &config.upstream.base_url)?;
    }
    let served = server::serve(listeners, config, stop);
    match demo {
        None => served.await?,
        Some(upstream) => tokio::select! {
            served = served => served?,
            ended = upstream.run() => match ended? {},
        },
    }
    Ok(())
}

/// Yields at each signal that asks the process to end, and logs those that would end it by default.
fn stop() -> io::Result<impl Stream<Item = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut quit = signal(SignalKind::quit())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut user_1 = signal(SignalKind::user_defined1())?;
    let mut user_2 = signal(SignalKind::user_defined2())?;
    Ok(stream! {
        loop {
            let ignored = tokio::select! {
                _ = terminate.recv() => None,
                _ = interrupt.recv() => None,
                _ = quit.recv() => None,
                _ = hangup.recv() => Some("SIGHUP"),
                _ = user_1.recv() => Some("SIGUSR1"),
                _ = user_2.recv() => Some("SIGUSR2"),
            };
            match ignored {
                Some(signal) => tracing::info!(signal, "ignored a signal"),
                None => yield,
            }
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

/// Says what is served: to a person at a terminal on a screen, elsewhere in a line of the log.
fn say_what_is_served(config: &Config, address: SocketAddr) {
    let is_for_a_person = io::stderr().is_terminal() && !config.log.json;
    if is_for_a_person && tracing::enabled!(tracing::Level::INFO) {
        // Nothing can be done where standard error is closed.
        let _ = write!(anstream::stderr(), "{}", startup::screen(config, address));
        return;
    }
    let config::Upstream {
        base_url: upstream,
        api_key_source: key,
        ..
    } = &config.upstream;
    let version = env!("CARGO_PKG_VERSION");
    tracing::info!(%address, %upstream, %key, version, "serving gRPC");
}

/// Prints what to try in the demo.
fn say_what_to_try(address: SocketAddr, upstream: &impl fmt::Display) -> io::Result<()> {
    let program = std::env::args().next();
    let program = program.as_deref().unwrap_or("vllm-grpc-adapter");
    let lines = demo::lines(program, address).map(|line| format!("  {COMMAND}{line}{COMMAND:#}"));
    writeln!(
        anstream::stdout(),
        "\nThe simulated vLLM is at {upstream} and recites a script. In another terminal:\n\n{}\n\n\
        `ask` without a question begins a conversation. Ctrl-C ends the demo.\n",
        lines.join("\n"),
    )
}

/// Prints to standard error, before there is a log.
fn print_error(error: &dyn Error) {
    // Nothing can be done where standard error is closed.
    let _ = writeln!(io::stderr(), "{error}");
}
