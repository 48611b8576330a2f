//! The binary: exit codes, signals, descriptors.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::{Duration, Instant},
};

use tokio::net::TcpListener;
use tonic_health::pb::HealthCheckRequest;

use crate::support::raw_h2::{self, DATA, GOAWAY, INITIAL_WINDOW_SIZE, RawH2};

const CHECK: &str = "/grpc.health.v1.Health/Check";
const WATCH: &str = "/grpc.health.v1.Health/Watch";

/// The binary with nothing of this process's environment, in a directory without a `.env` file.
fn adapter(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vllm-grpc-adapter"));
    bare(command.args(arguments));
    command
}

fn bare(command: &mut Command) {
    command
        .env_clear()
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .stdin(Stdio::null());
}

fn output(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = adapter(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

/// A process that serves. It is killed when it is dropped.
struct Running {
    child: Child,
    address: SocketAddr,
}

impl Running {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let line = log
            .by_ref()
            .map(Result::unwrap)
            .find(|line| line.contains("address"))
            .expect("it does not serve");
        // Read on, so that the process never waits for its log to be read.
        std::thread::spawn(move || log.for_each(drop));
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        let address = line["address"].as_str().unwrap().parse().unwrap();
        Self { child, address }
    }

    fn serve(arguments: &[&str]) -> Self {
        let mut all = vec!["--listen", "127.0.0.1:0", "--log-json"];
        all.extend(arguments);
        Self::start(&mut adapter(&all))
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status();
        assert!(sent.unwrap().success());
    }

    async fn ended(&mut self) -> ExitStatus {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(30) {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it does not end");
    }

    /// CPU time so far, in hundredths of a second.
    fn cpu(&self) -> u64 {
        let path = format!("/proc/{}/stat", self.child.id());
        let stat = std::fs::read_to_string(path).unwrap();
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let fields: Vec<&str> = fields.split_whitespace().collect();
        // User and system time, the 14th and 15th field of all; the first two stand before the parenthesis.
        [11, 12]
            .map(|at| fields[at].parse::<u64>().unwrap())
            .iter()
            .sum()
    }
}

impl Running {
    /// Resident memory, in KiB.
    fn resident(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let size = line.unwrap().split_whitespace().nth(1).unwrap();
        size.parse().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_wrong_configuration_prints_every_fault_and_exits_64() {
    let faults = [
        "--listen",
        "nowhere",
        "--drain-timeout",
        "2",
        "--upstream",
        "ftp://a",
    ];
    let (code, stdout, stderr) = output(&faults);
    assert_eq!(code, Some(64));
    assert_eq!(stdout, "");
    for flag in ["--listen", "--drain-timeout", "--upstream"] {
        let told = stderr.lines().filter(|line| line.starts_with(flag));
        assert_eq!(told.count(), 1, "{flag}: {stderr}");
    }
    assert_eq!(stderr.lines().count(), 3, "{stderr}");
}

#[test]
fn a_flag_that_does_not_exist_exits_64() {
    let (code, stdout, stderr) = output(&["--no-such-flag"]);
    assert_eq!(code, Some(64));
    assert_eq!(stdout, "");
    assert!(stderr.contains("--no-such-flag"), "{stderr}");
}

#[test]
fn the_version_is_no_fault() {
    let (code, stdout, stderr) = output(&["--version"]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(stdout.contains(env!("CARGO_PKG_VERSION")), "{stdout}");
}

/// The flags are a contract with operators, so a change to them is one to this file.
#[test]
fn the_help_is_as_reviewed() {
    let (code, stdout, stderr) = output(&["--help"]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    let lines = |text: &'static str| text.lines().map(str::trim_end);
    let told: Vec<&str> = stdout.lines().map(str::trim_end).collect();
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/help.txt");
        std::fs::write(file, told.join("\n") + "\n").unwrap();
        return;
    }
    let reviewed: Vec<&str> = lines(include_str!("help.txt")).collect();
    assert_eq!(
        told, reviewed,
        "if this is meant, write it to tests/it/help.txt"
    );
}

/// A directory with a `.env` file of this text.
fn directory(test: &str, dotenv: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join(".env"), dotenv).unwrap();
    directory
}

#[test]
fn a_flag_goes_before_the_environment_and_that_before_the_dotenv_file() {
    let directory = directory(
        "precedence",
        "ADAPTER_LISTEN=file\nADAPTER_DRAIN_DELAY=file\n",
    );
    let mut command = adapter(&["--drain-timeout=flag"]);
    command
        .current_dir(directory)
        .env("ADAPTER_LISTEN", "environment")
        .env("ADAPTER_DRAIN_TIMEOUT", "environment");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    let faults = String::from_utf8(output.stderr).unwrap();
    let has = |start| faults.lines().any(|line| line.starts_with(start));
    assert!(has("--listen: \"environment\""), "{faults}");
    assert!(has("--drain-delay: \"file\""), "{faults}");
    assert!(has("--drain-timeout: \"flag\""), "{faults}");
}

#[test]
fn the_help_shows_no_key() {
    let directory = directory("help-without-key", "OPENAI_API_KEY=canary-file\n");
    for key in [None, Some("canary-environment")] {
        let mut command = adapter(&["--help"]);
        command.current_dir(&directory);
        if let Some(key) = key {
            command.env("OPENAI_API_KEY", key);
        }
        let output = command.output().unwrap();
        let help = String::from_utf8(output.stdout).unwrap();
        assert!(help.contains("OPENAI_API_KEY"), "{help}");
        assert!(!help.contains("canary"), "{help}");
    }
}

#[tokio::test]
async fn an_address_that_is_taken_is_one_clear_line_and_exits_1() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, stdout, stderr) = output(&["--listen", &address]);
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.contains(&address), "{stderr}");
}

#[tokio::test]
async fn each_stop_signal_drains_and_exits_0() {
    for signal in ["TERM", "INT"] {
        let drain = ["--drain-delay", "100ms", "--drain-timeout", "300ms"];
        let mut running = Running::serve(&drain);
        // Neither of them reads, so they have to be cut.
        let mut callers = Vec::new();
        for _ in 0..10 {
            let mut caller = RawH2::open(running.address, &[(INITIAL_WINDOW_SIZE, 0)]).await;
            for stream in [1, 3] {
                let watch = raw_h2::whole_call(stream, WATCH, &HealthCheckRequest::default());
                caller.write(&watch).await;
            }
            callers.push(caller);
        }
        running.signal(signal);
        assert_eq!(running.ended().await.code(), Some(0), "{signal}");
    }
}

#[tokio::test]
async fn a_second_signal_ends_at_once_and_exits_1() {
    let mut running = Running::serve(&["--drain-delay", "1h"]);
    let mut caller = RawH2::open(running.address, &[]).await;
    let watch = raw_h2::whole_call(1, WATCH, &HealthCheckRequest::default());
    caller.write(&watch).await;
    caller.next_of(DATA).await.unwrap();
    running.signal("TERM");
    // The first has arrived once health has changed.
    caller.next_of(DATA).await.unwrap();
    let start = Instant::now();
    running.signal("INT");
    assert_eq!(running.ended().await.code(), Some(1));
    assert!(start.elapsed() < Duration::from_secs(5));
    let frames = caller.rest().await;
    assert!(frames.iter().all(|frame| frame.kind != GOAWAY));
}

#[tokio::test]
async fn without_descriptors_it_waits_and_then_serves_again() {
    let serve = "ulimit -n 40; exec \"$0\" --listen 127.0.0.1:0 --log-json";
    let mut command = Command::new("/bin/sh");
    bare(command.args(["-c", serve, env!("CARGO_BIN_EXE_vllm-grpc-adapter")]));
    let running = Running::start(&mut command);
    let check = |stream| raw_h2::whole_call(stream, CHECK, &HealthCheckRequest::default());
    let mut first = RawH2::open(running.address, &[]).await;
    first.write(&check(1)).await;
    assert_eq!(first.response(1).await.outcome().0, tonic::Code::Ok);
    let mut waiting = Vec::new();
    for _ in 0..50 {
        waiting.push(RawH2::open(running.address, &[]).await);
    }
    // The last ones are in the kernel's queue, where they would spin a loop that accepts without a pause.
    let before = running.cpu();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let spent = running.cpu() - before;
    assert!(spent <= 40, "{spent} hundredths of a second in 2 seconds");
    first.write(&check(3)).await;
    assert_eq!(first.response(3).await.outcome().0, tonic::Code::Ok);

    let mut last = waiting.pop().unwrap();
    drop(waiting);
    last.write(&check(1)).await;
    assert_eq!(last.response(1).await.outcome().0, tonic::Code::Ok);
}

#[tokio::test]
async fn calls_that_never_send_a_message_take_little_memory() {
    let running = Running::serve(&[]);
    // One round for what the process takes once.
    hoard(running.address).await;
    let before = running.resident();
    for _ in 0..8 {
        hoard(running.address).await;
    }
    let grown = running.resident().saturating_sub(before);
    assert!(grown <= 10 << 10, "{grown} KiB");
}

/// Opens as many calls as the server takes, and many more, and leaves.
async fn hoard(address: SocketAddr) {
    let mut caller = RawH2::open(address, &[]).await;
    let mut calls = Vec::new();
    for n in 0..5000 {
        let path = "/vllm_adapter.v1.GenerationService/Generate";
        calls.extend(raw_h2::call(2 * n + 1, path));
    }
    caller.write(&calls).await;
    caller
        .write(&raw_h2::frame(raw_h2::PING, 0, 0, &[7; 8]))
        .await;
    // It refuses what is too much, answers the ping, or ends the connection.
    while let Some(frame) = caller.next().await {
        if frame.kind == raw_h2::PING && frame.payload == [7; 8] {
            break;
        }
    }
}
