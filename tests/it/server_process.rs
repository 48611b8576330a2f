//! The binary: exit codes, signals, descriptors.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Output,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use tokio::{net::TcpListener, sync::OwnedMutexGuard};
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use vllm_grpc_adapter::proto::GenerateRequest;

use crate::support::{
    bounds::checks_bounds,
    process::{Process, binary},
    raw_h2::{self, DATA, INITIAL_WINDOW_SIZE, RawH2},
    soon,
};

const CHECK: &str = "/grpc.health.v1.Health/Check";
const WATCH: &str = "/grpc.health.v1.Health/Watch";

fn output(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = binary().args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn a_wrong_configuration_prints_every_fault_and_exits_64() {
    let mut command = binary();
    command
        .args(["--upstream", "http://a/v1,http://b/v1"])
        .env("OPENAI_API_KEY", "can\u{7}ary")
        .env("ADAPTER_ALLOW_EXTRA_BODY", "*,model")
        .env("ADAPTER_MAX_REQUEST_MEMORY", "1MiB");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    assert_eq!(output.stdout, b"");
    let faults = String::from_utf8(output.stderr).unwrap();
    let flags = faults.lines().filter_map(|it| it.split(':').next());
    let mut flags: Vec<_> = flags.collect();
    flags.sort_unstable();
    let expected = [
        "--allow-extra-body",
        "--allow-extra-body",
        "--max-request-memory",
        "--upstream",
        "--upstream-api-key",
    ];
    assert_eq!(flags, expected, "{faults}");
    assert!(!faults.contains("ary"), "{faults}");
}

#[test]
fn a_value_that_cannot_be_parsed_exits_64() {
    for (name, value, flag) in [
        ("ADAPTER_NO_REFLECTION", "maybe", "--no-reflection"),
        ("ADAPTER_LOG_JSON", "2", "--log-json"),
        ("ADAPTER_CONNECT_TIMEOUT", "2", "--connect-timeout"),
    ] {
        let output = binary().env(name, value).output().unwrap();
        assert_eq!(output.status.code(), Some(64));
        let fault = String::from_utf8(output.stderr).unwrap();
        assert!(fault.contains(flag) && fault.contains(value), "{fault}");
    }
}

#[tokio::test]
async fn a_switch_takes_its_value_from_its_variable() {
    for (value, is_json) in [
        ("true", true),
        ("1", true),
        ("false", false),
        ("off", false),
    ] {
        let process = Process::alone().variable("ADAPTER_LOG_JSON", value);
        let log = process.start().await.log();
        assert_eq!(log.starts_with('{'), is_json, "{value}: {log}");
    }
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
    let faulty = "ADAPTER_LISTEN=file\nADAPTER_DRAIN_DELAY=file\nADAPTER_DRAIN_TIMEOUT=file\n";
    let directory = directory("precedence", faulty);
    for (arguments, wrong) in [
        (&[][..], "environment"),
        (&["--listen=flag"], "flag"),
        (&["--listen=127.0.0.1:0"], "file"),
        (&["--listen=127.0.0.1:0", "--drain-delay=flag"], "flag"),
    ] {
        let mut command = binary();
        command
            .args(arguments)
            .current_dir(&directory)
            .env("ADAPTER_LISTEN", "environment")
            .env("ADAPTER_DRAIN_TIMEOUT", "1s");
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(64));
        let fault = String::from_utf8(output.stderr).unwrap();
        let wrong = format!("invalid value '{wrong}'");
        assert!(fault.contains(&wrong), "{arguments:?}: {fault}");
    }
}

#[test]
fn a_dotenv_file_that_cannot_be_read_exits_64_without_its_text() {
    for (test, text, why) in [
        (
            "faulty",
            "A=1\nOPENAI_API_KEY='canary\n".to_owned(),
            "line 2 ",
        ),
        ("nul", "OPENAI_API_KEY=canary\0\n".to_owned(), "NUL"),
        ("large", "CANARY=canary\n".repeat(20_000), "64 KiB"),
    ] {
        let mut command = binary();
        command.current_dir(directory(test, &text));
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(64));
        let fault = String::from_utf8(output.stderr).unwrap();
        assert!(fault.contains(".env: ") && fault.contains(why), "{fault}");
        assert!(!fault.contains("canary"), "{fault}");
    }
}

#[tokio::test]
async fn unknown_names_are_warned_of_without_their_values() {
    let directory = directory(
        "unknown-name",
        "ADAPTER_LSITEN=canary\nADAPTER_LOG_JSON=false\nELSE=canary\n",
    );
    let process = Process::alone()
        .directory(&directory)
        .variable("ADAPTER_CONECT_TIMEOUT", "canary")
        .variable("ADAPTER_SERVICE_HOST", "canary")
        .variable("ADAPTER_PORT_50051_TCP", "canary")
        .start()
        .await;
    let log = process.log();
    // The upstream, which is not there, is warned of too, sooner or later.
    let warned = log.lines().filter(|it| it.contains("unknown variable"));
    let warned: Vec<_> = warned.collect();
    assert_eq!(warned.len(), 2, "{log}");
    for name in ["ADAPTER_CONECT_TIMEOUT", "ADAPTER_LSITEN"] {
        assert!(warned.iter().any(|it| it.contains(name)), "{log}");
    }
    assert!(!log.contains("canary"), "{log}");
}

#[tokio::test]
async fn the_source_of_the_key_is_logged_and_the_key_is_not() {
    let directory = directory("key", "OPENAI_API_KEY=canary-file\n");
    let file = directory.join(".env").display().to_string();
    let alone = || Process::alone();
    let name = "OPENAI_API_KEY";
    for (process, source) in [
        (alone(), "none"),
        (alone().variable(name, " "), "none"),
        (alone().variable(name, "canary"), name),
        (alone().directory(&directory), &file),
        (alone().directory(&directory).variable(name, "canary"), name),
        (alone().directory(&directory).variable(name, ""), "none"),
        (
            alone()
                .directory(&directory)
                .flag("--upstream-api-key", "canary"),
            "--upstream-api-key",
        ),
    ] {
        let log = process.start().await.log();
        assert!(log.contains(&format!("key={source}")), "{source}: {log}");
        assert!(!log.contains("canary"), "{log}");
    }
}

#[test]
fn the_help_shows_no_key() {
    let directory = directory("help-without-key", "OPENAI_API_KEY=canary-file\n");
    for key in [None, Some("canary-environment")] {
        let mut command = binary();
        command.arg("--help").current_dir(&directory);
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
    for signal in [Signal::TERM, Signal::INT, Signal::QUIT] {
        let process = Process::alone().flag("--drain-delay", "100ms");
        let mut running = process.flag("--drain-timeout", "300ms").start().await;
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
        running.send(signal);
        assert_eq!(running.exit().await.code(), Some(0), "{signal:?}");
    }
}

#[tokio::test]
async fn other_signals_are_logged_and_ignored() {
    let mut running = Process::alone().flag("--drain-delay", "0s").start().await;
    for (signal, name) in [
        (Signal::HUP, "SIGHUP"),
        (Signal::USR1, "SIGUSR1"),
        (Signal::USR2, "SIGUSR2"),
    ] {
        running.send(signal);
        running.says(name).await;
    }
    let mut caller = RawH2::open(running.address, &[]).await;
    let check = raw_h2::whole_call(1, CHECK, &HealthCheckRequest::default());
    caller.write(&check).await;
    assert_eq!(caller.response(1).await.outcome().0, Code::Ok);
    drop(caller);
    running.send(Signal::TERM);
    assert_eq!(running.exit().await.code(), Some(0));
}

/// An adapter whose log nobody reads, after more calls than the pipe and the waiting lines have room for.
async fn unread() -> (Process, OwnedMutexGuard<()>) {
    let quick = Process::alone().flag("--drain-delay", "0s");
    let running = quick.flag("--log", "trace").start().await;
    let unread = running.stop_reading().await;
    let mut client = running.client().await;
    for _ in 0..2000 {
        let call = client.generate(GenerateRequest::default());
        let refused = soon("calling while nobody reads the log", call).await;
        assert!(refused.is_err());
    }
    let mut caller = RawH2::open(running.address, &[]).await;
    let check = raw_h2::whole_call(1, CHECK, &HealthCheckRequest::default());
    caller.write(&check).await;
    assert_eq!(caller.response(1).await.outcome().0, Code::Ok);
    (running, unread)
}

#[tokio::test]
async fn a_log_that_nobody_reads_holds_up_neither_calls_nor_the_end() {
    let (mut running, _unread) = unread().await;
    running.send(Signal::TERM);
    assert_eq!(running.exit().await.code(), Some(0));
}

#[tokio::test]
async fn lines_that_were_dropped_are_counted_once_the_log_is_read_again() {
    let (running, unread) = unread().await;
    drop(unread);
    running.says("lines of the log were dropped").await;
    // The report is written after what had waited. Each call has a line of its own.
    let log = running.log();
    let n_written = log.matches("\"Generate\"").count();
    let (_before, count) = log.rsplit_once("lines_dropped=").unwrap();
    let n_dropped: usize = count.split_whitespace().next().unwrap().parse().unwrap();
    assert!(n_written < 2000, "{n_written}");
    assert!(n_dropped >= 2000 - n_written, "{n_dropped} {n_written}");
}

#[tokio::test]
async fn a_second_signal_ends_at_once_and_exits_1() {
    let mut running = Process::alone().flag("--drain-delay", "1h").start().await;
    let mut caller = RawH2::open(running.address, &[]).await;
    let watch = raw_h2::whole_call(1, WATCH, &HealthCheckRequest::default());
    caller.write(&watch).await;
    caller.next_of(DATA).await.unwrap();
    running.send(Signal::TERM);
    // The first has arrived once health has changed.
    caller.next_of(DATA).await.unwrap();
    // One that reads nothing does not hold up the others.
    let mut deaf = RawH2::open(running.address, &[(INITIAL_WINDOW_SIZE, 0)]).await;
    deaf.write(&watch).await;
    let start = Instant::now();
    running.send(Signal::INT);
    let told = caller.response(1).await.outcome();
    assert_eq!(told, (Code::Unavailable, "DRAINING".to_owned()));
    assert_eq!(running.exit().await.code(), Some(1));
    let took = start.elapsed();
    if checks_bounds() {
        assert!(took < Duration::from_secs(1), "{took:?}");
    }
}

#[tokio::test]
async fn without_descriptors_it_waits_and_then_serves_again() {
    let running = Process::alone().limit_descriptors(40).start().await;
    let check = |stream| raw_h2::whole_call(stream, CHECK, &HealthCheckRequest::default());
    let mut first = RawH2::open(running.address, &[]).await;
    first.write(&check(1)).await;
    assert_eq!(first.response(1).await.outcome().0, Code::Ok);
    let mut waiting = Vec::new();
    for _ in 0..50 {
        waiting.push(RawH2::open(running.address, &[]).await);
    }
    // The last ones are in the kernel's queue, where they would spin a loop that accepts without a pause.
    let before = running.cpu_time();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let spent = running.cpu_time() - before;
    if checks_bounds() {
        assert!(
            spent <= Duration::from_millis(200),
            "{spent:?} in 2 seconds"
        );
    }
    first.write(&check(3)).await;
    assert_eq!(first.response(3).await.outcome().0, Code::Ok);

    let mut last = waiting.pop().unwrap();
    let freed = Instant::now();
    drop(waiting);
    last.write(&check(1)).await;
    assert_eq!(last.response(1).await.outcome().0, Code::Ok);
    let took = freed.elapsed();
    if checks_bounds() {
        assert!(took <= Duration::from_secs(1), "{took:?}");
    }
}

#[tokio::test]
#[ignore = "bounds of memory need a quiet machine: tests/faults.sh runs it"]
async fn calls_that_never_send_a_message_take_little_memory() {
    let running = Process::alone().start().await;
    // One round for what the process takes once.
    hoard(running.address).await;
    let before = running.resident_bytes();
    for _ in 0..8 {
        hoard(running.address).await;
    }
    let grown = running.resident_bytes().saturating_sub(before);
    assert!(grown <= 10 << 20, "{grown}");
}

/// Opens as many calls as the server takes, and many more, and leaves.
async fn hoard(address: SocketAddr) {
    let mut caller = RawH2::open(address, &[]).await;
    let mut calls = Vec::new();
    for n in 0..50_000 {
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
