//! Reads the configuration, binds, serves, and turns the end into an exit code.

use std::{
    error::Error,
    fmt,
    io::{self, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    process::ExitCode,
};

use async_stream::stream;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_stream::Stream;
use vllm_grpc_adapter::{
    config::{self, Args, Command, Config},
    demo, server,
    telemetry::{Chain, logging},
};

/// The command line or the configuration is wrong (`EX_USAGE` of BSD's sysexits).
const EXIT_USAGE: u8 = 64;

/// Where the demo serves the playground.
const DEMO_WEB: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

fn main() -> ExitCode {
    let args = match Args::read(std::env::args_os()) {
        Ok(args) => args,
        Err(error) => return usage(&error),
    };
    let command = args.command.clone();
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
    let ended = match command {
        Some(Command::Check { offline }) => check(&config, offline),
        Some(Command::Demo) | None => run(config, command),
    };
    match ended {
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

/// Prints what was understood, and what the upstreams answer.
fn check(config: &Config, is_offline: bool) -> Result<(), Box<dyn Error>> {
    let mut lines = vec![format!("listen {}", config.listen)];
    if let Some(model) = &config.policy.default_model {
        lines.push(format!("default model {model}"));
    }
    let upstreams = config
        .upstreams
        .iter()
        .flat_map(|(upstreams, _)| &upstreams.list);
    for upstream in upstreams {
        let (name, urls) = (
            &upstream.name,
            upstream.urls.iter().map(ToString::to_string),
        );
        let urls = urls.collect::<Vec<_>>().join(", ");
        lines.push(format!("upstream {name}: at {urls}"));
    }
    if !is_offline {
        let runtime = tokio::runtime::Runtime::new()?;
        lines.extend(runtime.block_on(server::describe(config))?);
    }
    Ok(writeln!(io::stdout(), "{}", lines.join("\n"))?)
}

/// A misspelt name leaves its flag's default in force.
fn warn_of_unknown_variables() {
    for name in config::unknown_variables() {
        tracing::warn!(name, "unknown variable: it is ignored");
    }
}

async fn serve(mut config: Config, command: Option<Command>) -> Result<(), Box<dyn Error>> {
    // Before anything else, so that no signal ends the process in silence.
    let stop = stop(config.upstreams.is_some())?;
    let mut listeners = server::Listeners::bind(&config).await?;
    let address = listeners.grpc.local_addr()?;
    if let Some(admin) = &listeners.admin {
        tracing::info!(admin = %admin.local_addr()?, "serving probes");
    }
    let demo = match command {
        Some(Command::Demo) => {
            config.upstreams = None;
            let upstream =
                demo::Upstream::bind(([127, 0, 0, 1], 0).into(), demo::Settings::default()).await?;
            config.upstream.base_url = upstream.base_url();
            config.web.playground = true;
            // Nobody depends on a demo, so that Ctrl-C ends it at once.
            (config.server.drain_delay, config.server.drain_timeout) = Default::default();
            say_how_to_call(address, &config.upstream.base_url)?;
            Some(upstream)
        }
        Some(Command::Check { .. }) | None => None,
    };
    if demo.is_some() {
        let web = match listeners.web.take() {
            Some(web) => web,
            None => bind_demo_web().await?,
        };
        writeln!(
            io::stdout(),
            "The playground is at http://{}/",
            web.local_addr()?
        )?;
        listeners.web = Some(web);
    }
    let config::Upstream {
        base_url: upstream,
        api_key_source: key,
        ..
    } = &config.upstream;
    match &config.upstreams {
        None => tracing::info!(%address, %upstream, %key, "serving gRPC"),
        Some((upstreams, _)) => {
            tracing::info!(%address, upstreams = upstreams.list.len(), "serving gRPC");
        }
    }
    if let Some(web) = &listeners.web {
        let (address, playground) = (web.local_addr()?, config.web.playground);
        tracing::info!(%address, playground, "serving gRPC-Web");
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

/// The web port of the demo, which works on any port.
async fn bind_demo_web() -> io::Result<TcpListener> {
    let listener = match TcpListener::bind(DEMO_WEB).await {
        Ok(listener) => listener,
        Err(_taken) => TcpListener::bind(SocketAddr::new(DEMO_WEB.ip(), 0)).await?,
    };
    Ok(listener)
}

/// Yields at each signal that asks the process to end, and logs those that would end it by default.
///
/// SIGHUP is the upstreams' own where they have a file, which is read again.
fn stop(has_file: bool) -> io::Result<impl Stream<Item = ()>> {
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
                Some("SIGHUP") if has_file => {}
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

/// Prints the calls to try, ready to paste.
fn say_how_to_call(address: SocketAddr, upstream: &impl fmt::Display) -> io::Result<()> {
    let lines = demo::grpcurl_lines(address);
    writeln!(
        io::stdout(),
        "The simulated vLLM is at {upstream}. In another terminal:\n\n{lines}\nCtrl-C ends it."
    )
}

/// Prints to standard error, before there is a log.
fn print_error(error: &dyn Error) {
    // Nothing can be done where standard error is closed.
    let _ = writeln!(io::stderr(), "{error}");
}
