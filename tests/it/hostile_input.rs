//! What callers and upstreams send to mislead, and what must never be seen.

use serde_json::json;
use tonic::Code;

use crate::{
    caller_faults::{GENERATE, STREAM, raw},
    support::{
        adapter::Adapter,
        outcome::{check, outcome},
        process::Process,
        raw_h2::{self, END_HEADERS, HEADERS, RawH2},
        reply::Reply,
        requests::prompt,
        soon,
        vllm::Vllm,
        wire,
    },
};

/// Row E9.
#[tokio::test]
async fn only_known_metadata_reaches_the_upstream() {
    let vllm = Vllm::replying(Reply::json(200, wire::answer("a"))).await;
    let adapter = Adapter::before(vllm.base_url()).start().await;
    let long = "y".repeat(8_000);
    let tracestate = "z".repeat(513);
    let sent = [
        ("authorization", "Bearer caller-key"),
        ("authorization", "Bearer other-key"),
        ("host", "evil.example"),
        ("x-forwarded-for", "10.0.0.1"),
        ("x-forwarded-host", "evil.example"),
        ("forwarded", "for=10.0.0.1"),
        ("cookie", "session=1"),
        ("content-length", "5"),
        ("grpc-status", "0"),
        ("grpc-previous-rpc-attempts", "3"),
        ("custom-bin", "!!! no base64 !!!"),
        ("x-request-id", &long),
        (
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ),
        ("tracestate", &tracestate),
    ];
    for skipped in ["content-length", ""] {
        let sent: Vec<_> = sent
            .into_iter()
            .filter(|(name, _)| *name != skipped)
            .collect();
        let response = raw(adapter.address, GENERATE, &sent)
            .await
            .response(1)
            .await;
        // A length that contradicts the message is refused before there is a call.
        if skipped.is_empty() {
            assert!(
                response.reset.is_some() || response.outcome().0 != Code::Ok,
                "{response:?}"
            );
            assert_eq!(vllm.n_requests(), 1);
        } else {
            assert_eq!(response.outcome().0, Code::Ok, "{response:?}");
        }
    }
    let request = vllm.request(0).await;
    let mut names: Vec<_> = request
        .headers
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    names.sort_unstable();
    let known = [
        "content-length",
        "content-type",
        "host",
        "traceparent",
        "user-agent",
        "x-request-id",
    ];
    assert_eq!(names, known);
    let url = vllm.base_url();
    let host = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap());
    assert_eq!(request.header("host"), Some(host.as_str()));
    // The caller's id, cut, and the suffix of the attempt.
    let (id, suffix) = request
        .header("x-request-id")
        .unwrap()
        .split_once('~')
        .unwrap();
    assert_eq!((id, suffix.len()), (&long[..128], 16));
}

/// Row E9.
#[tokio::test]
async fn metadata_that_would_break_a_line_never_reaches_the_upstream() {
    let vllm = Vllm::replying(Reply::json(200, wire::answer("a"))).await;
    let adapter = Adapter::before(vllm.base_url()).start().await;
    for value in ["a\r\nevil: 1", "a\nevil: 1", "a\0b"] {
        for name in ["x-request-id", "traceparent", "tracestate"] {
            let mut caller = RawH2::open(adapter.address, &[]).await;
            let fields = raw_h2::call_fields(GENERATE, &[(name, value)]);
            caller
                .write(&raw_h2::frame(HEADERS, END_HEADERS, 1, &fields))
                .await;
            let message = raw_h2::message(&prompt("x"));
            caller
                .write(&raw_h2::frame(
                    raw_h2::DATA,
                    raw_h2::END_STREAM,
                    1,
                    &message,
                ))
                .await;
            // A field that HTTP/2 does not allow is an error of the stream or of the connection.
            loop {
                match soon("an end", caller.next()).await {
                    None => break,
                    Some(frame)
                        if [raw_h2::RST_STREAM, raw_h2::GOAWAY, HEADERS].contains(&frame.kind) =>
                    {
                        break;
                    }
                    Some(_other) => {}
                }
            }
        }
    }
    for n in 0..vllm.n_requests() {
        let request = vllm.request(n).await;
        assert!(request.header("evil").is_none(), "{request:?}");
        let is_clean = |(_, value): &(String, String)| !value.contains(['\r', '\n', '\0']);
        assert!(request.headers.iter().all(is_clean), "{request:?}");
    }
}

/// Row E16: the caller's key, the operator's key and the prompt are looked for in all that is written and told.
#[tokio::test]
async fn no_secret_and_no_prompt_is_ever_written() {
    const OPERATOR: &str = "sk-OPERATORCANARY";
    const CALLER: &str = "sk-CALLERCANARY";
    const PROMPT: &str = "PROMPTCANARY";
    const ANSWER: &str = "ANSWERCANARY";
    let echo = wire::error(
        &format!("bad key {OPERATOR}, Bearer {CALLER}"),
        "BadRequestError",
        400,
    );
    let input = json!({"error": {"message": format!("1 validation error:\n  {{'type': 'x', 'loc': ('body', 'n'), 'msg': 'bad', 'input': '{PROMPT}'}}"),
        "type": "BadRequestError", "param": "n", "code": 400}});
    let begun = || {
        Reply::stream()
            .event(wire::first())
            .event(wire::text(ANSWER))
    };
    let replies = [
        Reply::json(200, wire::answer(ANSWER)),
        begun().event(wire::finish("stop")).done(),
        begun().cut(),
        begun().event(echo.clone()).done(),
        begun().event(format!("{{\"{ANSWER}\":")),
        Reply::json(400, echo),
        Reply::json(400, input.to_string()),
        Reply::json(401, format!(r#"{{"error":"{OPERATOR}"}}"#)),
        Reply::json(500, wire::error(PROMPT, "InternalServerError", 500)),
        Reply::page(502, ANSWER),
        Reply::raw().send(format!("{ANSWER}\r\n\r\n")).cut(),
        Reply::raw()
            .send(format!(
                "HTTP/1.1 200 OK\r\ncontent-type: {ANSWER}\0\r\n\r\n"
            ))
            .cut(),
        Reply::raw().reset(),
        Reply::json(302, "").header("location", &format!("http://{ANSWER}/")),
    ];
    let n_replies = replies.len();
    // Each for a unary call and for a stream.
    let vllm =
        Vllm::replying_in_turn(replies.into_iter().flat_map(|reply| [reply.clone(), reply])).await;
    let process = Process::before(&vllm.base_url())
        .variable("OPENAI_API_KEY", OPERATOR)
        .flag("--log", "trace")
        .start()
        .await;
    let bearer = format!("Bearer {CALLER}");
    let sent = [("authorization", bearer.as_str())];
    let mut told = String::new();
    for _ in 0..n_replies {
        for path in [GENERATE, STREAM] {
            let mut caller = RawH2::open(process.address, &[]).await;
            let fields = raw_h2::call_fields(path, &sent);
            caller
                .write(&raw_h2::frame(HEADERS, END_HEADERS, 1, &fields))
                .await;
            let message = raw_h2::message(&prompt(PROMPT));
            caller
                .write(&raw_h2::frame(
                    raw_h2::DATA,
                    raw_h2::END_STREAM,
                    1,
                    &message,
                ))
                .await;
            let response = caller.response(1).await;
            let status = response.status();
            // The answer itself is for the caller; what the status tells is not the place for it.
            told += &format!("{status:?} {}\n", String::from_utf8_lossy(status.details()));
        }
    }
    assert_eq!(
        vllm.request(0).await.header("authorization"),
        Some(&*format!("Bearer {OPERATOR}"))
    );
    let written = process.log();
    // hyper's and h2's own lines are there, so that the search means something.
    assert!(
        written.contains("TRACE") && written.contains("h2"),
        "{written}"
    );
    for canary in ["OPERATORCANARY", "CALLERCANARY", PROMPT, ANSWER] {
        let found = written.lines().find(|line| line.contains(canary));
        assert_eq!(found, None, "{canary} is written");
        let found = told.lines().find(|line| line.contains(canary));
        assert_eq!(found, None, "{canary} is told");
    }
}

/// Row E19.
#[tokio::test]
async fn an_upstreams_text_is_cut_made_printable_and_redacted() {
    let text = |text: &str| wire::error(text, "BadRequestError", 400);
    let rows = [
        ("1 MB", text(&"x".repeat(1 << 20))),
        ("60 kB", text(&"x".repeat(60_000))),
        ("12 kB", text(&"é".repeat(6_000))),
        ("percent", text(&"%".repeat(6_000))),
        ("binary", text("\u{1}\u{7f}\u{1b}[31mred\u{0}")),
        ("lines", text("a\nb\r\nc\u{2028}d")),
        ("a page", text(&"<html>no</html>".repeat(100))),
        (
            "secrets",
            text("sk-CANARY at http://user:CANARY@host/ Bearer CANARY 0x7f00CANARY"),
        ),
        (
            "not UTF-8",
            "{\"error\":{\"message\":\"\\udfff\",\"code\":400}}".to_owned(),
        ),
    ];
    for (row, body) in rows {
        let vllm = Vllm::replying(Reply::json(400, body)).await;
        let adapter = Adapter::before(vllm.base_url()).start().await;
        let response = raw(adapter.address, GENERATE, &[]).await.response(1).await;
        let status = response.status();
        // A body beyond 64 KiB, or that cannot be read, is not the engine's word.
        let (code, reason) = outcome(&status);
        let is_engine = !["1 MB", "not UTF-8"].contains(&row);
        let expected = if is_engine {
            (Code::InvalidArgument, "INVALID_REQUEST".to_owned())
        } else {
            (Code::Internal, "UPSTREAM_PROTOCOL".to_owned())
        };
        assert_eq!((code, reason), expected, "{row}");
        let n_bytes: usize = response
            .headers
            .iter()
            .chain(&response.trailers)
            .map(|(name, value)| name.as_str().len() + value.len())
            .sum();
        assert!(n_bytes <= 4096, "{row}: {n_bytes}");
        let message = response.headers.get("grpc-message").unwrap();
        assert!(message.len() <= 1024, "{row}: {}", message.len());
        assert!(
            !status.message().chars().any(char::is_control),
            "{row}: {status:?}"
        );
        assert!(!status.message().contains("CANARY"), "{row}: {status:?}");
    }
}

/// Row E19: C-core gives up a status whose trailers are long, and then its code is lost.
#[tokio::test]
async fn a_long_text_costs_no_code_amid_a_stream_either() {
    let error = wire::error(&"é".repeat(60_000), "BadRequestError", 400);
    let reply = Reply::stream()
        .event(wire::first())
        .event(wire::text("a"))
        .event(error);
    let vllm = Vllm::replying(reply.done()).await;
    let adapter = Adapter::before(vllm.base_url()).start().await;
    let streamed = adapter.stream(prompt("x")).await;
    check(
        &streamed.status,
        Code::InvalidArgument,
        "INVALID_REQUEST",
        "stream",
    );
    assert!(streamed.status.details().len() <= 3072);
}
