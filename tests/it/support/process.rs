//! The built binary as a process of its own, for tests that send signals or count what it holds.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::{Command as StdCommand, ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
    sync::{Mutex, OwnedMutexGuard, watch},
    task::JoinSet,
};
use tonic::transport::{Channel, Endpoint};
use url::Url;
use vllm_grpc_adapter::proto::generation_service_client::GenerationServiceClient;

use super::soon;

/// A running adapter; dropping it kills it.
pub(crate) struct Process {
    pub(crate) address: SocketAddr,
    child: Child,
    log: watch::Sender<String>,
    /// Held while a line is taken.
    reader: Arc<Mutex<()>>,
    _reading: JoinSet<()>,
}

/// An adapter to be started on a port of its own, with an empty environment.
pub(crate) struct Builder {
    command: Command,
}

// === impl Builder ===

impl Builder {
    pub(crate) fn flag(mut self, name: &str, value: &str) -> Self {
        self.command.arg(name).arg(value);
        self
    }

    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// In this working directory.
    pub(crate) fn directory(mut self, path: &Path) -> Self {
        self.command.current_dir(path);
        self
    }

    /// With so many descriptors at most.
    pub(crate) fn limit_descriptors(mut self, n: usize) -> Self {
        let started = self.command.as_std();
        let mut command = bare("/bin/sh");
        command
            .args(["-c", &format!("ulimit -n {n}; exec \"$0\" \"$@\"")])
            .arg(started.get_program())
            .args(started.get_args());
        self.command = command.into();
        self
    }

    /// Starts it, and waits until it says where it listens.
    pub(crate) async fn start(mut self) -> Process {
        let piped = self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.kill_on_drop(true).spawn().unwrap();
        let log = watch::Sender::new(String::new());
        let mut reading = JoinSet::new();
        let reader = Arc::new(Mutex::new(()));
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        reading.spawn(read(stdout, reader.clone(), log.clone()));
        reading.spawn(read(stderr, reader.clone(), log.clone()));
        let mut said = log.subscribe();
        let said = soon(
            "waiting for the adapter to listen",
            said.wait_for(|log| address(log).is_some()),
        );
        let address = address(&said.await.unwrap()).unwrap();
        Process {
            address,
            child,
            log,
            reader,
            _reading: reading,
        }
    }
}

// === impl Process ===

impl Process {
    /// An adapter before the upstream that has this base URL.
    pub(crate) fn before(base_url: &Url) -> Builder {
        // Tests count what the upstream is asked.
        Self::running(&["--upstream", base_url.as_str(), "--probe-interval", "off"])
    }

    /// An adapter with that configuration file.
    pub(crate) fn configured(file: &Path) -> Builder {
        Self::running(&["--config", file.to_str().unwrap()])
    }

    /// An adapter before an upstream that nobody listens for.
    pub(crate) fn alone() -> Builder {
        Self::running(&["--upstream", "http://127.0.0.1:1/v1"])
    }

    /// An adapter before the simulated vLLM that it holds itself.
    pub(crate) fn demo() -> Builder {
        Self::running(&["demo"])
    }

    fn running(arguments: &[&str]) -> Builder {
        let mut command = binary();
        command.args(arguments).args(["--listen", "127.0.0.1:0"]);
        Builder {
            command: command.into(),
        }
    }

    pub(crate) async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).unwrap();
        endpoint.connect().await.unwrap()
    }

    pub(crate) async fn client(&self) -> GenerationServiceClient<Channel> {
        GenerationServiceClient::new(self.channel().await)
    }

    pub(crate) fn send(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    pub(crate) async fn exit(&mut self) -> ExitStatus {
        let exit = soon("waiting for the adapter to exit", self.child.wait()).await;
        exit.unwrap()
    }

    /// Waits until it has written this.
    pub(crate) async fn says(&self, text: &str) {
        let mut log = self.log.subscribe();
        let said = log.wait_for(|log| log.contains(text));
        let _ = soon("waiting for the adapter to say something", said).await;
    }

    /// Stops reading what it writes, until the guard is dropped.
    pub(crate) async fn stop_reading(&self) -> OwnedMutexGuard<()> {
        self.reader.clone().lock_owned().await
    }

    /// All that it has written so far.
    pub(crate) fn log(&self) -> String {
        self.log.borrow().clone()
    }

    pub(crate) fn n_descriptors(&self) -> usize {
        let directory = format!("/proc/{}/fd", self.pid().as_raw_pid());
        fs::read_dir(directory).unwrap().count()
    }

    /// Memory that it holds, in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// The most memory that it ever held, in bytes.
    pub(crate) fn peak_bytes(&self) -> u64 {
        self.memory("VmHWM:")
    }

    /// CPU time that its threads have taken.
    pub(crate) fn cpu_time(&self) -> Duration {
        let directory = format!("/proc/{}/task", self.pid().as_raw_pid());
        let threads = fs::read_dir(directory).unwrap();
        let times = threads.map(|thread| {
            let times = fs::read_to_string(thread.unwrap().path().join("schedstat")).unwrap();
            let on_cpu = times.split_whitespace().next().unwrap();
            Duration::from_nanos(on_cpu.parse().unwrap())
        });
        times.sum()
    }

    fn memory(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid().as_raw_pid()));
        let status = status.unwrap();
        let mut lines = status.lines();
        let line = lines.find_map(|line| line.strip_prefix(name));
        let kilobytes: u64 = line
            .unwrap()
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .unwrap();
        kilobytes << 10
    }

    fn pid(&self) -> Pid {
        let id = self
            .child
            .id()
            .expect("the adapter has not been waited for");
        Pid::from_raw(id.try_into().unwrap()).unwrap()
    }
}

/// The built binary, with nothing of this process's environment, in a directory without a `.env` file.
pub(crate) fn binary() -> StdCommand {
    bare(env!("CARGO_BIN_EXE_vllm-grpc-adapter"))
}

fn bare(program: &str) -> StdCommand {
    let mut command = StdCommand::new(program);
    command
        .env_clear()
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .stdin(Stdio::null());
    command
}

/// Reads on as long as the process writes, so that it never waits for a reader.
async fn read(output: impl AsyncRead + Unpin, reader: Arc<Mutex<()>>, log: watch::Sender<String>) {
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let _reading = reader.lock().await;
        log.send_modify(|log| {
            log.push_str(&line);
            log.push('\n');
        });
    }
}

/// The address of the line that says where gRPC is served.
fn address(log: &str) -> Option<SocketAddr> {
    let says = |line: &&str| line.contains("serving gRPC") && !line.contains("serving gRPC-Web");
    let line = log.lines().find(says)?;
    let start = line.find("127.0.0.1:")?;
    let address = line[start..].split(|c: char| !c.is_ascii_digit() && !".:".contains(c));
    address.into_iter().next()?.parse().ok()
}
