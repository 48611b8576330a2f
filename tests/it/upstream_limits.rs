//! Upstreams that are silent, endless or odd.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tonic::{Code, Status, Streaming, transport::Endpoint};
use vllm_grpc_adapter::proto::{
    CompletionInput, GenerateRequest, StreamGenerateResponse,
    generation_service_client::GenerationServiceClient,
};

use crate::support::{
    adapter::{Adapter, Streamed},
    bounds::checks_bounds,
    fault_proxy::{Cut, FaultProxy, Link},
    outcome::{check, fact, outcome},
    reply::Reply,
    requests::prompt,
    signal::Meter,
    soon,
    vllm::Vllm,
    wire,
};

const LIMIT: Duration = Duration::from_millis(300);

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// How late a limit may be; while an upstream floods, which runs in this process, there is little else that runs.
const LATE: Duration = Duration::from_millis(100);
const LATE_IN_A_FLOOD: Duration = Duration::from_secs(1);

/// Holds that something ends at its limit: none of five times early, and the best of them no later than that.
async fn check_time(row: &str, most: Duration, once: impl AsyncFn()) {
    let mut late = Vec::new();
    for _ in 0..5 {
        let begun = Instant::now();
        once().await;
        let took = begun.elapsed();
        assert!(took >= LIMIT, "{row}: {took:?}");
        late.push(took - LIMIT);
        if !checks_bounds() || late.last() < Some(&most) {
            return;
        }
    }
    panic!("{row}: late by {late:?}");
}

pub(crate) fn begun() -> Reply {
    Reply::stream().event(wire::first()).event(wire::text("a"))
}

pub(crate) async fn streamed(reply: Reply) -> Streamed {
    let vllm = Vllm::replying(reply).await;
    let adapter = Adapter::before(vllm.base_url()).start().await;
    adapter.stream(prompt("x")).await
}

/// Holds that the rest of a stream comes, and ends with OK.
async fn check_rest(mut responses: Streaming<StreamGenerateResponse>) {
    while soon("an event", responses.message())
        .await
        .unwrap()
        .is_some()
    {}
}

pub(crate) async fn unary(adapter: &Adapter) -> Status {
    let answered = soon("an answer", adapter.client().generate(prompt("x"))).await;
    answered.map_or_else(|status| status, |_answer| Status::new(Code::Ok, ""))
}

/// The first event of an echo holds the whole prompt: 8,000 tokens with 20 log probabilities each, at the digits that
/// vLLM 0.32 prints, fit the default of `--max-event-bytes`.
#[tokio::test]
async fn an_echo_of_a_long_prompt_with_logprobs_is_one_event() {
    let top: serde_json::Map<String, Value> = (0..20)
        .map(|n| {
            (
                format!("a token, no. {n:02}"),
                json!(-12.345_678_329_467_773),
            )
        })
        .collect();
    let n_tokens = 8_000;
    let logprobs = json!({
        "tokens": vec!["token"; n_tokens],
        "token_logprobs": vec![-0.5; n_tokens],
        "text_offset": (0..n_tokens).map(|n| 5 * n).collect::<Vec<_>>(),
        "top_logprobs": vec![top; n_tokens],
    });
    let text = "token".repeat(n_tokens);
    let choice = json!({"index": 0, "text": text, "logprobs": logprobs, "finish_reason": "stop"});
    let event = wire::chunk_of(&[choice]);
    assert!(event.len() > 5 << 20);
    let vllm = Vllm::replying(Reply::stream().event(event).done()).await;
    let adapter = Adapter::before(vllm.base_url()).start().await;
    let completion = CompletionInput {
        text: text.clone(),
        ..CompletionInput::default()
    };
    let request = GenerateRequest {
        completion: Some(completion),
        echo: Some(true),
        logprobs: Some(true),
        top_logprobs: Some(20),
        ..GenerateRequest::default()
    };
    let streamed = adapter.stream(request).await;
    check(&streamed.status, Code::Ok, "", "echo");
    assert_eq!(streamed.content(), text);
}

/// Row B20.
#[tokio::test]
async fn an_upstream_that_never_answers_is_left_at_the_first_token_limit() {
    for (row, reply) in [
        ("nothing", Reply::raw().fall_silent()),
        ("a head alone", Reply::stream().fall_silent()),
        ("comments alone", {
            let pinging = |reply: Reply, _n| reply.comment("ping").pause(millis(50));
            (0..100).fold(Reply::stream(), pinging)
        }),
    ] {
        let vllm = Vllm::replying(reply).await;
        let adapter = Adapter::before(vllm.base_url())
            .with(|config| config.limits.first_token = Some(LIMIT))
            .start()
            .await;
        check_time(row, LATE, async || {
            let status = adapter.stream(prompt("x")).await.status;
            check(&status, Code::DeadlineExceeded, "FIRST_TOKEN_TIMEOUT", row);
        })
        .await;
        vllm.left(0).await;
    }
}

/// Row B20, with the caller's deadline as the earlier limit.
#[tokio::test]
async fn an_upstream_that_never_answers_is_left_at_the_callers_deadline() {
    let vllm = Vllm::replying(Reply::raw().fall_silent()).await;
    let adapter = Adapter::before(vllm.base_url())
        .with(|config| config.limits.first_token = Some(Duration::from_secs(60)))
        .start()
        .await;
    check_time("deadline", LATE, async || {
        let mut request = tonic::Request::new(prompt("x"));
        request.set_timeout(LIMIT);
        // tonic's client has the same deadline and may be the first to see it.
        let status = adapter.client().generate(request).await.unwrap_err();
        assert!([Code::DeadlineExceeded, Code::Cancelled].contains(&status.code()));
    })
    .await;
    vllm.left(0).await;
}

/// Rows B21 and C1.
#[tokio::test]
async fn an_upstream_that_falls_silent_is_left_at_the_idle_limit() {
    let pinging = |reply: Reply, _n| reply.comment("ping").pause(millis(50));
    let flood = Meter::new();
    for (row, reply) in [
        ("silence", begun().fall_silent()),
        ("half an event", begun().send("data: {").fall_silent()),
        ("comments", (0..100).fold(begun(), pinging)),
        (
            "a flood of comments",
            begun().flood(": ping\n\n".repeat(1000), &flood),
        ),
        (
            "a flood of empty lines",
            begun().flood("\n".repeat(10_000), &flood),
        ),
        (
            "a flood of other fields",
            begun().flood("id: 1\n\n".repeat(1000), &flood),
        ),
        (
            "a flood of empty data",
            begun().flood("data:\n\n".repeat(1000), &flood),
        ),
    ] {
        let vllm = Vllm::replying(reply).await;
        let adapter = Adapter::before(vllm.base_url())
            .with(|config| config.limits.token_idle = Some(LIMIT))
            .start()
            .await;
        let most = if row.contains("flood") {
            LATE_IN_A_FLOOD
        } else {
            LATE
        };
        check_time(row, most, async || {
            let status = adapter.stream(prompt("x")).await.status;
            check(&status, Code::Unavailable, "UPSTREAM_STALLED", row);
            let partial = fact(&status, "partial");
            assert_eq!(partial.as_deref(), Some("true"), "{row}");
        })
        .await;
        vllm.left(0).await;
    }
}

/// Row B21: prefill may be long, and vLLM sends the head before it.
#[tokio::test]
async fn the_silence_before_the_first_event_is_no_stall() {
    let late = Reply::stream()
        .comment("queued")
        .pause(3 * LIMIT)
        .event(wire::first());
    let late = late
        .event(wire::text("a"))
        .event(wire::finish("stop"))
        .done();
    let vllm = Vllm::replying(late).await;
    let adapter = Adapter::before(vllm.base_url())
        .with(|config| config.limits.token_idle = Some(LIMIT))
        .start()
        .await;
    let streamed = adapter.stream(prompt("x")).await;
    assert_eq!(outcome(&streamed.status).0, Code::Ok, "{streamed:?}");
}

/// Row B21: a caller who reads slowly makes no silence.
#[tokio::test]
async fn the_time_in_which_the_caller_does_not_read_is_no_stall() {
    let reply = (0..400).fold(begun(), |reply, _n| {
        reply.event(wire::text(&"x".repeat(50_000)))
    });
    let vllm = Vllm::replying(reply.event(wire::finish("stop")).done()).await;
    let adapter = Adapter::before(vllm.base_url())
        .with(|config| config.limits.token_idle = Some(LIMIT))
        .start()
        .await;
    let responses = adapter.client().stream_generate(prompt("x")).await.unwrap();
    // The windows between fill, and nothing moves.
    tokio::time::sleep(4 * LIMIT).await;
    check_rest(responses.into_inner()).await;
}

/// Row B21: the same where the upstream had nothing to send when the caller stopped, and then a large event.
#[tokio::test]
async fn an_event_that_came_while_the_caller_did_not_read_is_no_stall() {
    const WINDOW: u32 = 65_535;
    // Each more than one read of the socket, and small enough that the transport looks for more before it sends it.
    let event = wire::text(&"x".repeat(20_000));
    let reply = (0..30).fold(begun(), |reply, _n| reply.event(&event).pause(LIMIT / 60));
    let vllm = Vllm::replying(reply.event(wire::finish("stop")).done()).await;
    let adapter = Adapter::before(vllm.base_url())
        .with(|config| config.limits.token_idle = Some(LIMIT))
        .start()
        .await;
    let channel = Endpoint::from_shared(format!("http://{}", adapter.address))
        .unwrap()
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW);
    let mut client = GenerationServiceClient::new(channel.connect().await.unwrap());
    let responses = client.stream_generate(prompt("x")).await.unwrap();
    tokio::time::sleep(4 * LIMIT).await;
    check_rest(responses.into_inner()).await;
}

/// Row B27.
#[tokio::test]
async fn tool_calls_with_odd_indexes_are_bounded_and_keep_their_order() {
    let call = |index: serde_json::Value, id: &str| {
        let mut call = json!({"id": id, "type": "function",
            "function": {"name": id, "arguments": "{}"}});
        if !index.is_null() {
            call["index"] = index;
        }
        wire::chunk(&json!({"tool_calls": [call]}), None)
    };
    let whole = |events: Vec<String>| {
        let reply = Reply::stream().event(wire::first()).events(events);
        reply.event(wire::finish("tool_calls")).done()
    };
    let many = (0..200).map(|n| call(json!(n), &format!("t{n}"))).collect();
    let rows = [
        ("10⁹", whole(vec![call(json!(1_000_000_000), "a")])),
        ("negative", whole(vec![call(json!(-1), "a")])),
        ("huge", whole(vec![call(json!(u64::MAX), "a")])),
        ("missing", whole(vec![call(json!(null), "a")])),
        (
            "reordered",
            whole(vec![call(json!(1), "a"), call(json!(0), "b")]),
        ),
        ("too many", whole(many)),
    ];
    for (row, reply) in rows {
        let streamed = streamed(reply).await;
        let (code, reason) = outcome(&streamed.status);
        let is_told = code == Code::Ok || (code == Code::Internal && reason == "UPSTREAM_PROTOCOL");
        assert!(is_told, "{row}: {:?}", streamed.status);
        if ["missing", "reordered"].contains(&row) {
            assert_eq!(code, Code::Ok, "{row}");
        }
        if row == "too many" {
            assert_eq!(code, Code::Internal, "{row}");
        }
    }
}

/// Row B28.
#[tokio::test]
async fn text_is_the_same_wherever_the_network_cuts_it() {
    let parts = ["你好", "🦀🧵", "e\u{301}", "👩‍👩‍👧"];
    let reply = parts
        .iter()
        .fold(Reply::stream().event(wire::first()), |reply, part| {
            reply.event(wire::text(part))
        });
    let reply = reply.event(wire::finish("stop")).done();
    for bytewise in [false, true] {
        let reply = if bytewise {
            reply.clone().bytewise()
        } else {
            reply.clone()
        };
        let streamed = streamed(reply).await;
        assert_eq!(outcome(&streamed.status).0, Code::Ok);
        assert_eq!(streamed.content(), parts.concat());
    }
    let ends = ["\r\n", "\r", "\n"];
    for end in ends {
        let bytes = format!(
            "\u{feff}{}",
            [
                wire::first(),
                wire::text("你"),
                wire::finish("stop"),
                "[DONE]".to_owned()
            ]
            .map(|data| format!("data: {data}{end}{end}"))
            .concat()
        );
        let streamed = streamed(Reply::stream().send(bytes).bytewise()).await;
        assert_eq!(outcome(&streamed.status).0, Code::Ok, "{end:?}");
        assert_eq!(streamed.content(), "你", "{end:?}");
    }
}

/// Row B28.
#[tokio::test]
async fn text_that_is_not_utf_8_is_refused_and_never_mended() {
    let mut event = format!("data: {}\n\n", wire::text("ab")).into_bytes();
    let at = event.windows(2).position(|bytes| bytes == b"ab").unwrap();
    event[at] = 0xff;
    let streamed = streamed(begun().send(event).done()).await;
    check(
        &streamed.status,
        Code::Internal,
        "UPSTREAM_PROTOCOL",
        "event",
    );
    assert_eq!(streamed.content(), "a");

    let mut body = wire::answer("ab").into_bytes();
    let at = body
        .windows(4)
        .position(|bytes| bytes == b"\"ab\"")
        .unwrap();
    body[at + 1] = 0xff;
    let vllm = Vllm::replying(Reply::json(200, body)).await;
    let adapter = Adapter::before(vllm.base_url()).start().await;
    check(
        &unary(&adapter).await,
        Code::Internal,
        "UPSTREAM_PROTOCOL",
        "body",
    );
}

/// Rows C2 and C3, on the upstream's side, and B8 by a proxy.
#[tokio::test]
async fn a_bad_network_before_the_upstream_changes_nothing_but_time() {
    let reply = (0..50).fold(begun(), |reply, n| {
        reply.event(wire::text(&format!(" {n}")))
    });
    let reply = reply
        .event(wire::finish("stop"))
        .event(wire::usage())
        .done();
    let vllm = Vllm::replying(reply).await;
    let slow = Link::default().latency(millis(100));
    let rows = [
        ("nothing", Link::default(), Link::default()),
        ("latency", slow, slow),
        ("jitter", slow.jitter(millis(100)), slow.jitter(millis(100))),
        (
            "stalls",
            Link::default(),
            Link::default().pieces_of(20).stalls(0.01, millis(300)),
        ),
        (
            "bandwidth",
            Link::default(),
            Link::default().bytes_per_second(50_000),
        ),
        (
            "single bytes",
            Link::default().pieces_of(1),
            Link::default().pieces_of(1),
        ),
    ];
    let mut contents = Vec::new();
    for (row, there, back) in rows {
        let proxy = FaultProxy::before_upstream(&vllm.base_url(), there, back).await;
        let adapter = Adapter::before(proxy.base_url()).start().await;
        let streamed = adapter.stream(prompt("x")).await;
        assert_eq!(outcome(&streamed.status).0, Code::Ok, "{row}");
        contents.push(streamed.content());
    }
    contents.dedup();
    assert_eq!(contents.len(), 1, "{contents:?}");
    for cut in [Cut::Fin, Cut::Rst] {
        let back = Link::default().cut_after(900, cut);
        let proxy = FaultProxy::before_upstream(&vllm.base_url(), Link::default(), back).await;
        let adapter = Adapter::before(proxy.base_url()).start().await;
        let status = adapter.stream(prompt("x")).await.status;
        check(
            &status,
            Code::Unavailable,
            "UPSTREAM_STREAM_TRUNCATED",
            "cut",
        );
    }
    let back = Link::default().stall_after(900);
    let proxy = FaultProxy::before_upstream(&vllm.base_url(), Link::default(), back).await;
    let adapter = Adapter::before(proxy.base_url())
        .with(|config| config.limits.token_idle = Some(LIMIT))
        .start()
        .await;
    let status = adapter.stream(prompt("x")).await.status;
    check(&status, Code::Unavailable, "UPSTREAM_STALLED", "stall");
}
