//! Reads the configuration, binds, serves, and turns the end into an exit code.

use std::{
    error::Error,
    fmt,
    io::{self, IsTerminal, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    process::ExitCode,
};

use async_stream::stream;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_stream::Stream;
use vllm_grpc_adapter::{
    ask,
    config::{self, Args, Ask, Command, Config},
    demo, server,
    startup::{self, Addresses},
    telemetry::{Chain, logging},
};

/// How a command to try looks on a terminal.
const COMMAND: anstyle::Style = anstyle::AnsiColor::Cyan.on_default();

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
    if let Some(Command::Ask(options)) = command {
        return ask(&options);
    }
    if let Some(Command::Keygen { name }) = command {
        return keygen(&name);
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
    let ended = match command {
        Some(Command::Check { offline }) => check(&config, offline),
        Some(Command::Ask(_) | Command::Keygen { .. } | Command::Demo) | None => {
            run(config, command)
        }
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // By way of the log, which does not wait where nobody reads it.
            log.write_failure(&Chain(error.as_ref()));
            match error.downcast_ref() {
                Some(server::Error::Tls(_)) => ExitCode::from(EXIT_USAGE),
                _ => ExitCode::FAILURE,
            }
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

/// Prints a new key and its entry.
fn keygen(name: &str) -> ExitCode {
    let printed = config::keygen(name).map_err(io::Error::other);
    match printed.and_then(|text| write!(io::stdout(), "{text}")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            print_error(&fault);
            ExitCode::from(EXIT_USAGE)
        }
    }
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
    let callers = config.callers.iter();
    lines.extend(callers.map(|it| format!("caller {}", it.name)));
    let runtime = tokio::runtime::Runtime::new()?;
    lines.extend(runtime.block_on(server::describe(config, is_offline))?);
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
    let demo = match command {
        Some(Command::Demo) => Some(start_demo(&mut config, &mut listeners).await?),
        Some(Command::Ask(_) | Command::Check { .. } | Command::Keygen { .. }) | None => None,
    };
    let address = |listener: &TcpListener| listener.local_addr();
    let addresses = Addresses {
        grpc: address(&listeners.grpc)?,
        admin: listeners.admin.as_ref().map(address).transpose()?,
        web: listeners.web.as_ref().map(address).transpose()?,
    };
    say_what_is_served(&config, &addresses);
    if demo.is_some() {
        say_what_to_try(&addresses, &config.upstream.base_url)?;
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

/// A simulated vLLM behind the adapter, and the playground before it.
async fn start_demo(
    config: &mut Config,
    listeners: &mut server::Listeners,
) -> io::Result<fake_vllm::Upstream> {
    let local = ([127, 0, 0, 1], 0).into();
    let upstream = fake_vllm::Upstream::bind(local, fake_vllm::Settings::default()).await?;
    config.upstreams = None;
    config.upstream.base_url = upstream.base_url();
    // Nobody depends on a demo, so that Ctrl-C ends it at once.
    (config.server.drain_delay, config.server.drain_timeout) = Default::default();
    config.web.playground = true;
    if listeners.web.is_none() {
        listeners.web = Some(bind_demo_web().await?);
    }
    Ok(upstream)
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

/// Says what is served: to a person at a terminal on a screen, elsewhere in lines of the log.
fn say_what_is_served(config: &Config, addresses: &Addresses) {
    let is_for_a_person = io::stderr().is_terminal() && !config.log.json;
    if is_for_a_person && tracing::enabled!(tracing::Level::INFO) {
        // Nothing can be done where standard error is closed.
        let _ = write!(anstream::stderr(), "{}", startup::screen(config, addresses));
        return;
    }
    if let Some(admin) = addresses.admin {
        tracing::info!(%admin, "serving probes");
    }
    if let Some(web) = addresses.web {
        let playground = config.web.playground;
        tracing::info!(%web, playground, "serving gRPC-Web");
    }
    let (upstream, key) = startup::upstream(config);
    let (address, version) = (addresses.grpc, env!("CARGO_PKG_VERSION"));
    tracing::info!(%address, %upstream, %key, version, "serving gRPC");
}

/// Prints what to try in the demo.
fn say_what_to_try(addresses: &Addresses, upstream: &impl fmt::Display) -> io::Result<()> {
    let program = std::env::args().next();
    let program = program.as_deref().unwrap_or("vllm-grpc-adapter");
    let lines = demo::lines(program, addresses.grpc);
    let lines = lines.map(|line| format!("  {COMMAND}{line}{COMMAND:#}"));
    let page = addresses
        .web
        .map(|web| format!("The playground is at {COMMAND}http://{web}/{COMMAND:#}\n"));
    writeln!(
        anstream::stdout(),
        "\nThe simulated vLLM is at {upstream} and recites a script. In another terminal:\n\n{}\n\n\
        {}`ask` without a question begins a conversation. Ctrl-C ends the demo.\n",
        lines.join("\n"),
        page.unwrap_or_default(),
    )
}

/// Prints to standard error, before there is a log.
fn print_error(error: &dyn Error) {
    // Nothing can be done where standard error is closed.
    let _ = writeln!(io::stderr(), "{error}");
}
