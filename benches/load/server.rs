//! The servers that are measured, each started as a process of its own and ended when dropped.

use std::{
    env, fmt, fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use clap::ValueEnum;
use tokio::time::Instant;

use crate::{Result, grpc_client::Unit, nginx, plan::Pace, process};

/// The longest that a server may take to listen; under valgrind it takes seconds.
const START: Duration = Duration::from_secs(60);

/// The time in which a server ends on SIGTERM, before it is killed.
const STOP: Duration = Duration::from_secs(20);

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Kind {
    /// No server: the simulated vLLM itself.
    Direct,
    /// A proxy of bytes.
    Nginx,
    /// The least that a gRPC server can do.
    Bulk,
    /// A plain adapter.
    Naive,
    /// This project's.
    Adapter,
}

/// What a server speaks to its callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// HTTP/1.1 with server-sent events, as vLLM does.
    Http,
    /// gRPC, and how its chunks are counted.
    Grpc(Unit),
}

/// What servers are started with.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    /// The adapter's program.
    pub(crate) adapter: PathBuf,
    /// For the servers' own files.
    pub(crate) directory: PathBuf,
    /// Simulated vLLMs, all of which the adapter stands before; other servers stand before the first.
    pub(crate) replicas: usize,
    /// A program and arguments to run servers under.
    pub(crate) tool: Option<Vec<String>>,
}

/// A process that listens.
pub(crate) struct Server {
    child: Child,
    address: SocketAddr,
}

// === impl Kind ===

impl Kind {
    pub(crate) const ALL: [Self; 5] = [
        Self::Direct,
        Self::Nginx,
        Self::Bulk,
        Self::Naive,
        Self::Adapter,
    ];

    pub(crate) fn protocol(self) -> Protocol {
        match self {
            Self::Direct | Self::Nginx => Protocol::Http,
            Self::Bulk => Protocol::Grpc(Unit::Event),
            Self::Naive | Self::Adapter => Protocol::Grpc(Unit::Text),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Direct => "direct",
            Self::Nginx => "nginx",
            Self::Bulk => "bulk",
            Self::Naive => "naive",
            Self::Adapter => "adapter",
        })
    }
}

// === impl Server ===

impl Server {
    /// Starts the simulated vLLM.
    fn vllm(pace: Pace) -> Result<Self> {
        let listen = free_address()?;
        let mut command = Command::new(env::current_exe()?);
        let Pace { burst, pause } = pace;
        let pause = pause.as_millis().to_string();
        command.args(["vllm", &listen.to_string(), &burst.to_string(), &pause]);
        Self::spawn(command, listen)
    }

    /// Starts as many simulated vLLMs as there shall be replicas.
    pub(crate) fn vllms(pace: Pace, launch: &Launch) -> Result<Vec<Self>> {
        let each = std::iter::repeat_with(|| Self::vllm(pace));
        each.take(launch.replicas).collect()
    }

    /// Starts a server before simulated vLLMs; `None` for [`Kind::Direct`].
    pub(crate) fn start(kind: Kind, vllms: &[Self], launch: &Launch) -> Result<Option<Self>> {
        let listen = free_address()?;
        let upstream = vllms.first().ok_or("no upstream")?.address;
        let own = |role: &str| -> Result<Command> {
            let mut command = Command::new(env::current_exe()?);
            command.args([role, &listen.to_string(), &upstream.to_string()]);
            Ok(command)
        };
        let command = match kind {
            Kind::Direct => return Ok(None),
            Kind::Nginx => {
                nginx::command(listen, upstream, &launch.directory, launch.tool.is_some())?
            }
            Kind::Bulk => own("bulk")?,
            Kind::Naive => own("naive")?,
            Kind::Adapter => adapter(listen, vllms, launch)?,
        };
        let command = match &launch.tool {
            Some(tool) => under(tool, &command),
            None => command,
        };
        Self::spawn(command, listen).map(Some)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The CPU time of all its processes so far.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        process::cpu(self.child.id())
    }

    /// The resident memory of all its processes, in bytes.
    pub(crate) fn resident(&self) -> Result<u64> {
        process::resident(self.child.id())
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn stop(&mut self) -> Result<()> {
        let id = self.child.id().to_string();
        Command::new("sh")
            .args(["-c", "kill -TERM \"$0\"", &id])
            .stderr(Stdio::null())
            .status()?;
        let start = Instant::now();
        while self.child.try_wait()?.is_none() {
            if start.elapsed() > STOP {
                self.child.kill()?;
                self.child.wait()?;
                break;
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn spawn(mut command: Command, address: SocketAddr) -> Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("{}: {error}", command.get_program().display()))?;
        let mut server = Self { child, address };
        let start = Instant::now();
        while TcpStream::connect(address).is_err() {
            if let Some(status) = server.child.try_wait()? {
                return Err(format!("{command:?} ended before it listened: {status}").into());
            }
            if start.elapsed() > START {
                return Err(format!("{command:?} does not listen").into());
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A fault has nowhere to go, and the process may have ended already.
        drop(self.stop());
    }
}

/// The adapter as a release runs it, with the limits of its defaults.
fn adapter(listen: SocketAddr, vllms: &[Server], launch: &Launch) -> Result<Command> {
    let urls = vllms
        .iter()
        .map(|vllm| format!("http://{}/v1", vllm.address));
    let urls: Vec<_> = urls.collect();
    let upstreams = launch.directory.join("replicas.toml");
    fs::write(
        &upstreams,
        format!("[[upstream]]\nname = \"vllm\"\nurls = {urls:?}\n"),
    )?;
    let mut command = Command::new(&launch.adapter);
    // What the environment and a `.env` file of the working directory hold is not what is measured.
    for (name, _) in env::vars_os() {
        let is_setting = name.to_string_lossy().starts_with("ADAPTER_");
        if is_setting || name == "OPENAI_API_KEY" {
            command.env_remove(name);
        }
    }
    command
        .current_dir(&launch.directory)
        .args(["--listen", &listen.to_string()])
        .arg("--config")
        .arg(upstreams)
        .args(["--drain-delay", "0s", "--drain-timeout", "0s"]);
    if launch.tool.is_some() {
        // Probes go by the clock, and would be counted as a part of the work.
        command.args(["--probe-interval", "off"]);
    }
    Ok(command)
}

/// The same command, run by `tool`.
fn under(tool: &[String], command: &Command) -> Command {
    let mut words = tool.iter();
    let mut wrapped = Command::new(words.next().map_or("env", String::as_str));
    wrapped
        .args(words)
        .arg(command.get_program())
        .args(command.get_args());
    wrapped
}

/// A port that is free now. Another process may take it before the server does, which then fails to start.
fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?)
}
