//! The client for the terminal: what it prints, and its exit codes.

use std::{
    fs,
    io::{Read, Write},
    net::SocketAddr,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::task;

use crate::support::{
    adapter::Adapter,
    process::{Process, binary},
    reply::Reply,
    vllm::Vllm,
};

/// A client of the adapter at that address.
fn ask(address: SocketAddr, arguments: &[&str]) -> Command {
    let mut command = binary();
    command.args(["ask", "--address", &address.to_string()]);
    command.args(arguments);
    command
}

/// The exit code, standard output and standard error.
async fn output(mut command: Command) -> (i32, String, String) {
    let output = task::spawn_blocking(move || command.output().unwrap());
    told(output.await.unwrap())
}

fn told(output: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let code = output.status.code().unwrap();
    (code, text(output.stdout), text(output.stderr))
}

/// A file of the tests, by its content.
fn file(name: &str, content: impl AsRef<[u8]>) -> String {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_answer_goes_to_standard_output() {
    let demo = Process::demo().start().await;
    let schema = r#"{"type":"object","properties":{"age":{"type":"integer"}}}"#;
    let schema = file("ask-schema.json", schema);
    let tools =
        r#"[{"type":"function","function":{"name":"f","parameters":{"properties":{"city":{}}}}}]"#;
    let tools = file("ask-tools.json", tools);
    for (arguments, code, stdout, stderr) in [
        (&["Count", "to", "3."][..], 0, "1 2 3\n", " tokens/s\n"),
        (
            &["Think about 2+2."],
            0,
            "2 + 2 = 4\n",
            "so 4 is the sum.\n\ndemo: ",
        ),
        (&["--max-tokens", "2", "Count to 3."], 2, "1 2\n", "cut off"),
        (
            &["--json-schema", &schema, "Who?"],
            0,
            "{\"age\":36}\n",
            "demo: ",
        ),
        (
            &["--tools", &tools, "Weather in Paris?"],
            0,
            "f({\"city\":\"Paris\"})\n",
            "demo: ",
        ),
    ] {
        let (exit, out, err) = output(ask(demo.address, arguments)).await;
        assert_eq!((exit, out.as_str()), (code, stdout), "{arguments:?}");
        assert!(err.contains(stderr) && !err.contains('\u{1b}'), "{err}");
    }
}

#[tokio::test]
async fn every_flag_is_in_the_request() {
    let vllm = Vllm::replying(
        Reply::stream()
            .event(r#"{"id":"c","choices":[{"index":0,"delta":{"content":"Yes."},"finish_reason":"stop"}]}"#)
            .done(),
    )
    .await;
    let adapter = Adapter::before(vllm.base_url()).start().await;
    let schema = file("ask-flags.json", r#"{"type":"object"}"#);
    let image = file("ask-flags.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR");
    let arguments = [
        "--model",
        "m",
        "--system",
        "Be short.",
        "--json-schema",
        &schema,
        "--image",
        &image,
        "--temperature",
        "0.5",
        "--max-tokens",
        "9",
        "What is it?",
    ];
    let (exit, out, err) = output(ask(adapter.address, &arguments)).await;
    assert_eq!((exit, out.as_str()), (0, "Yes.\n"), "{err}");
    let body: Value = vllm.request(0).await.json();
    assert_eq!(body["model"], "m");
    assert_eq!(body["messages"][0]["content"], "Be short.");
    assert_eq!(body["messages"][1]["content"][0]["text"], "What is it?");
    let url = body["messages"][1]["content"][1]["image_url"]["url"].as_str();
    assert!(url.unwrap().starts_with("data:image/png;base64,"), "{body}");
    assert_eq!(
        (&body["temperature"], &body["max_tokens"]),
        (&0.5.into(), &9.into())
    );
    assert_eq!(
        body["response_format"]["json_schema"]["schema"]["type"],
        "object"
    );
}

#[tokio::test]
async fn a_failure_has_its_exit_code_reason_and_hint() {
    let demo = Process::demo().start().await;
    let alone = Process::alone().start().await;
    let nobody = ([127, 0, 0, 1], 1).into();
    let schema = file("ask-bad-schema.json", r#"{"type"#);
    for (address, arguments, code, told) in [
        (
            nobody,
            &["x"][..],
            69,
            &[
                "no adapter answers at 127.0.0.1:1: Connection refused",
                "hint",
            ][..],
        ),
        (
            alone.address,
            &["x"],
            75,
            &["reason   UPSTREAM_CONNECT", "start `vllm serve`"],
        ),
        (
            demo.address,
            &["--model", "nope", "x"],
            64,
            &["\"nope\"", "MODEL_NOT_FOUND", "--model may be demo"],
        ),
        (
            demo.address,
            &["--json-schema", &schema, "x"],
            64,
            &["field    structured_output.json_schema", "INVALID_REQUEST"],
        ),
        (
            demo.address,
            &["--temperature", "-1", "x"],
            64,
            &["must be at least 0", "field    temperature"],
        ),
        (
            demo.address,
            &["--image", "no.png", "x"],
            64,
            &["--image: no.png: No such file"],
        ),
        (demo.address, &["--nope"], 64, &["--nope"]),
        (
            demo.address,
            &["Fail with 503."],
            75,
            &["UPSTREAM_OVERLOADED", "try again in"],
        ),
        (demo.address, &["Fail with 500."], 1, &["UPSTREAM_INTERNAL"]),
        (
            demo.address,
            &["Fail with abort."],
            75,
            &["UPSTREAM_ABORTED"],
        ),
    ] {
        let (exit, out, err) = output(ask(address, arguments)).await;
        assert_eq!(exit, code, "{arguments:?} {err}");
        assert!(told.iter().all(|told| err.contains(told)), "{err}");
        assert!(out.is_empty() || arguments == ["Fail with abort."], "{out}");
    }
}

#[tokio::test]
async fn a_script_gets_json() {
    let demo = Process::demo().start().await;
    let (exit, out, err) = output(ask(demo.address, &["--json", "Count to 3."])).await;
    let answer: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (exit, &answer["content"], err.as_str()),
        (0, &"1 2 3".into(), "")
    );
    let refused = output(ask(demo.address, &["--json", "--model", "nope", "x"]));
    let (exit, out, err) = refused.await;
    let answer: Value = serde_json::from_str(&out).unwrap();
    let reason = &answer["error"]["reason"];
    assert_eq!(
        (exit, reason, err.as_str()),
        (64, &"MODEL_NOT_FOUND".into(), "")
    );
}

#[tokio::test]
async fn standard_input_is_the_question() {
    let demo = Process::demo().start().await;
    let mut command = ask(demo.address, &[]);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"Count to 3.\n")
        .unwrap();
    let output = task::spawn_blocking(|| child.wait_with_output().unwrap());
    let (exit, out, err) = told(output.await.unwrap());
    assert_eq!((exit, out.as_str()), (0, "1 2 3\n"), "{err}");
}

#[tokio::test]
async fn ctrl_c_ends_the_call_and_the_program() {
    let demo = Process::demo().start().await;
    let mut command = ask(demo.address, &["Count to 1000."]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let pid = Pid::from_raw(child.id().try_into().unwrap()).unwrap();
    let output = task::spawn_blocking(move || {
        let mut first = [0];
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_exact(&mut first).unwrap();
        kill_process(pid, Signal::INT).unwrap();
        child.wait_with_output().unwrap()
    });
    let (exit, _out, err) = told(output.await.unwrap());
    assert_eq!((exit, err.ends_with("stopped\n")), (130, true), "{err}");
    demo.says("CALLER_CANCELLED").await;
}

/// `script` of util-linux gives the program a terminal.
#[tokio::test]
async fn a_terminal_gets_a_conversation() {
    let demo = Process::demo().start().await;
    let program = env!("CARGO_BIN_EXE_vllm-grpc-adapter");
    let line = format!("{program} ask --address {} --system Short.", demo.address);
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    command.env("TERM", "xterm").env_remove("NO_COLOR");
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin
        .write_all(b"Think about 1 + 2.\n\nFail with 503.\nCount to 3.\n\x04")
        .unwrap();
    let output = task::spawn_blocking(|| child.wait_with_output().unwrap());
    let (exit, out, _err) = told(output.await.unwrap());
    assert_eq!(exit, 0, "{out}");
    let texts = ["1 + 2 = 3\r\n", "UPSTREAM_OVERLOADED", "1 2 3\r\n"];
    let places = texts.map(|text| out.find(text).unwrap_or_else(|| panic!("{text}: {out}")));
    assert!(places.is_sorted(), "{out}");
    assert!(out.contains("\u{1b}[2m"), "{out}");
    drop(stdin);
}
