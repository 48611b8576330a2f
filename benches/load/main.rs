//! The load benchmark: what the adapter costs, beside other servers, in one run.
//!
//! ```text
//! cargo bench --bench load                 # about four minutes
//! cargo bench --bench load -- --quick      # about twenty seconds
//! cargo bench --bench load -- --instructions
//! ```
//!
//! Every measurement starts a fresh simulated vLLM ([`vllm`]) and a fresh server ([`server`]), each a process of its
//! own, and loads them from this one. The server's CPU and memory are read from `/proc`, so that it is counted alone.
//! `benches/README.md` says what each figure means.

mod bench;
mod bulk;
mod client;
mod figure;
mod grpc_client;
mod http_client;
mod instructions;
mod machine;
mod measure;
mod naive;
mod nginx;
mod plan;
mod process;
mod report;
mod server;
mod vllm;

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Duration,
};

use clap::{Parser, Subcommand};

use crate::{
    figure::Figures,
    measure::{Effort, Scenario},
    plan::Pace,
    server::{Kind, Launch},
};

/// Any fault ends the benchmark: figures of servers that fail mean nothing.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Open files that 1,000 streams need, twice over for a proxy, with room to spare.
const OPEN_FILES: u64 = 8192;

/// Measures what the adapter costs, beside other servers.
#[derive(Debug, Parser)]
#[command(name = "load")]
struct Args {
    #[command(subcommand)]
    role: Option<Role>,
    /// One short round: shows that everything runs, with figures that are not worth much.
    #[arg(long)]
    quick: bool,
    /// Counts user instructions with callgrind in place of all else; needs valgrind.
    #[arg(long)]
    instructions: bool,
    /// Only these servers.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "NAMES")]
    servers: Vec<Kind>,
    /// Measures this program in place of the one that cargo has just built.
    #[arg(long, value_name = "PATH", default_value = env!("CARGO_BIN_EXE_vllm-grpc-adapter"), hide_default_value = true)]
    adapter: PathBuf,
    /// How many replicas the adapter stands before.
    #[arg(long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=100))]
    replicas: u16,
    /// Only these scenarios.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "NAMES")]
    scenarios: Vec<Scenario>,
    /// What cargo adds to every benchmark's arguments.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What a process of the benchmark is, where it is not the one that measures.
#[derive(Debug, Subcommand)]
enum Role {
    /// The simulated vLLM.
    #[command(hide = true)]
    Vllm {
        listen: SocketAddr,
        /// Events a write.
        burst: u32,
        /// Between writes, in milliseconds.
        pause: u64,
    },
    /// The plain adapter to compare with.
    #[command(hide = true)]
    Naive {
        listen: SocketAddr,
        upstream: SocketAddr,
    },
    /// The least that a gRPC server can do.
    #[command(hide = true)]
    Bulk {
        listen: SocketAddr,
        upstream: SocketAddr,
    },
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(code) => code,
        Err(error) => {
            report::complain(error.as_ref());
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<ExitCode> {
    match args.role {
        Some(Role::Vllm {
            listen,
            burst,
            pause,
        }) => {
            let pause = Duration::from_millis(pause);
            vllm::serve(listen, Pace { burst, pause })?;
        }
        Some(Role::Naive { listen, upstream }) => naive::serve(listen, upstream)?,
        Some(Role::Bulk { listen, upstream }) => bulk::serve(listen, upstream)?,
        None if machine::open_files()? < OPEN_FILES => return with_more_files(),
        None => measure_all(args)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn measure_all(args: &Args) -> Result<()> {
    let directory = output();
    fs::create_dir_all(&directory)?;
    let launch = Launch {
        adapter: fs::canonicalize(&args.adapter)?,
        directory,
        replicas: args.replicas.into(),
        tool: None,
    };
    let servers = choose_servers(&args.servers);
    if args.instructions {
        return instructions::count(&servers, &launch);
    }
    let scenarios = or_all(&args.scenarios, &Scenario::ALL);
    let effort = if args.quick {
        Effort::QUICK
    } else {
        Effort::FULL
    };
    let mut figures = Figures::default();
    for round in 0..effort.rounds {
        for &scenario in &scenarios {
            // Every other round goes backwards, so that no server always follows the same one.
            let mut order = servers.clone();
            if round % 2 == 1 {
                order.reverse();
            }
            for kind in order {
                report::progress(round, scenario, kind);
                let samples = measure::run(scenario, kind, &launch, &effort)
                    .map_err(|error| format!("{scenario:?} of {kind}: {error}"))?;
                for (figure, sample) in samples {
                    figures.add(kind, figure, sample);
                }
            }
        }
    }
    report::print(&figures, &servers, &effort)?;
    report::save(&figures, &effort, &launch.directory.join("load.json"))
}

/// The servers asked for, without nginx where it is not installed.
fn choose_servers(asked: &[Kind]) -> Vec<Kind> {
    let mut servers = or_all(asked, &Kind::ALL);
    if servers.contains(&Kind::Nginx) && nginx::program().is_none() {
        report::note(
            "nginx is left out, since it is not installed (Debian: apt-get install nginx-light).",
        );
        servers.retain(|&kind| kind != Kind::Nginx);
    }
    servers
}

fn or_all<T: Copy>(asked: &[T], all: &[T]) -> Vec<T> {
    if asked.is_empty() { all } else { asked }.to_vec()
}

/// Runs this program again with a higher limit of open files, which every process that it starts inherits.
fn with_more_files() -> Result<ExitCode> {
    let status = Command::new("sh")
        .arg("-c")
        .arg(format!("ulimit -n {OPEN_FILES} && exec \"$0\" \"$@\""))
        .args(std::env::args_os())
        .status()?;
    // What failed has been said already, by the shell or by the program.
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Where figures and the servers' own files go: `target/bench`.
fn output() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    target.parent().unwrap_or(target).join("bench")
}
