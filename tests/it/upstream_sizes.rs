//! Upstreams that send too much, or what is costly to read.

use std::time::{Duration, Instant};

use tonic::Code;

use crate::{
    support::{
        adapter::Adapter,
        bounds::checks_bounds,
        outcome::{check, outcome},
        process::Process,
        reply::Reply,
        requests::prompt,
        signal::Meter,
        soon,
        vllm::Vllm,
        wire,
    },
    upstream_limits::{begun, streamed, unary},
};

/// Rows B29 and E12.
#[tokio::test]
async fn an_event_above_its_limit_ends_the_stream_and_one_below_is_read() {
    let event = wire::text(&"x".repeat(900_000));
    let streamed_whole = streamed(begun().event(event).event(wire::finish("stop")).done()).await;
    assert_eq!(outcome(&streamed_whole.status).0, Code::Ok);
    assert_eq!(streamed_whole.content().len(), 900_001);

    let flood = Meter::new();
    let line = Reply::stream().event(wire::first()).send("data: ");
    for (row, reply) in [
        (
            "an event of 16 MB",
            begun().event(wire::text(&"x".repeat(16 << 20))),
        ),
        (
            "a line without an end",
            line.clone().flood("x".repeat(1 << 16), &flood),
        ),
        (
            "lines without an end",
            line.flood("x\ndata: ".repeat(1 << 13), &flood),
        ),
        (
            "a comment without an end",
            begun().send(":").flood("x".repeat(1 << 16), &flood),
        ),
    ] {
        let streamed = streamed(reply).await;
        check(
            &streamed.status,
            Code::Internal,
            "UPSTREAM_EVENT_TOO_LARGE",
            row,
        );
    }
}

/// Rows B29 and B30: what is refused is not held.
#[tokio::test]
async fn a_large_event_and_an_endless_body_cost_little_memory() {
    let flood = Meter::new();
    let endless = |head: &str| {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {head}\r\n\r\n");
        Reply::raw().send(head).flood("x".repeat(1 << 16), &flood)
    };
    let rows = [
        // Three times the limit of an event, and twice that of a body, with what the process itself takes.
        (
            "event",
            endless("text/event-stream"),
            3 << 20,
            "UPSTREAM_EVENT_TOO_LARGE",
        ),
        (
            "body",
            endless("application/json"),
            64 << 20,
            "UPSTREAM_EVENT_TOO_LARGE",
        ),
        (
            "1 GiB",
            endless("application/json\r\ncontent-length: 1073741824"),
            1 << 20,
            "UPSTREAM_EVENT_TOO_LARGE",
        ),
    ];
    for (row, reply, most, reason) in rows {
        let vllm = Vllm::replying(reply).await;
        let process = Process::before(&vllm.base_url()).start().await;
        let mut client = process.client().await;
        let before = process.peak_bytes();
        let status = if row == "event" {
            client.stream_generate(prompt("x")).await.unwrap_err()
        } else {
            soon("a refusal", client.generate(prompt("x")))
                .await
                .unwrap_err()
        };
        check(&status, Code::Internal, reason, row);
        let grown = process.peak_bytes().saturating_sub(before);
        // The first call also brings the program's own pages into memory.
        if checks_bounds() {
            assert!(grown < most + (12 << 20), "{row}: {grown}");
        }
        vllm.left(0).await;
    }
}

/// Row E12.
#[tokio::test]
async fn a_million_tiny_events_and_lines_take_linear_time() {
    let tiny = "data: {}\n\n".repeat(100_000);
    let rows = [
        ("tiny events", begun().send(tiny.repeat(10))),
        ("empty lines", begun().send("\n".repeat(1_000_000))),
        ("carriage returns", begun().send("\r".repeat(1_000_000))),
        ("lines without data", begun().send("data\n".repeat(200_000))),
        (
            "fields without data",
            begun().send("event: a\n\n".repeat(100_000)),
        ),
    ];
    for (row, reply) in rows {
        let begun = Instant::now();
        let streamed = streamed(reply.event(wire::finish("stop")).done()).await;
        let took = begun.elapsed();
        // A megabyte or ten; what is quadratic would take minutes.
        if checks_bounds() {
            assert!(took < Duration::from_secs(15), "{row}: {took:?}");
        }
        let (code, reason) = outcome(&streamed.status);
        assert!(
            code == Code::Ok || reason == "UPSTREAM_PROTOCOL",
            "{row}: {:?}",
            streamed.status
        );
    }
}

/// Row E13.
#[tokio::test]
async fn hostile_json_is_refused_or_skipped() {
    let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    let beside = |name: &str, value: &str| {
        wire::answer("a").replacen('{', &format!("{{\"{name}\":{value},"), 1)
    };
    let rows = [
        ("depth beside", beside("x", &deep(100_000))),
        ("depth instead", deep(100_000)),
        (
            "width",
            beside("x", &format!("[{}0]", "0,".repeat(4_000_000))),
        ),
        ("digits", beside("x", &"9".repeat(1_000_000))),
        (
            "digits in created",
            wire::answer("a").replace(
                "\"created\":1",
                &format!("\"created\":{}", "9".repeat(1000)),
            ),
        ),
        ("an exponent", beside("x", "1e999999999")),
        ("names twice", beside("model", "\"other\"")),
        (
            "a lone surrogate",
            wire::answer("a").replace("\"a\"", r#""\ud800""#),
        ),
        ("a lone surrogate beside", beside("x", r#""\ud800""#)),
        ("trailing", format!("{}x", wire::answer("a"))),
    ];
    for (row, body) in rows {
        let vllm = Vllm::replying(Reply::json(200, body)).await;
        let adapter = Adapter::before(vllm.base_url()).start().await;
        let (code, reason) = outcome(&unary(&adapter).await);
        let is_told = code == Code::Ok || (code == Code::Internal && reason == "UPSTREAM_PROTOCOL");
        assert!(is_told, "{row}: {code:?} {reason}");
        if row.starts_with("width") || row.starts_with("digits") && row.ends_with("digits") {
            assert_eq!(code, Code::Ok, "{row}");
        }
    }
    for (row, event) in [
        ("depth", deep(100_000)),
        (
            "a lone surrogate",
            wire::text("b").replace("\"b\"", r#""\ud800""#),
        ),
        ("a number", "7".to_owned()),
    ] {
        let streamed = streamed(begun().event(event).done()).await;
        check(&streamed.status, Code::Internal, "UPSTREAM_PROTOCOL", row);
    }
}

/// Row E13, in memory: 32 MB of zeros are read without being kept.
#[tokio::test]
#[ignore = "bounds of memory need a quiet machine: tests/faults.sh runs it"]
async fn a_wide_body_costs_no_more_than_four_times_its_size() {
    let zeros = "0,".repeat(14 << 20);
    let body = wire::answer("a").replacen('{', &format!("{{\"x\":[{zeros}0],"), 1);
    let size = body.len() as u64;
    let vllm = Vllm::replying(Reply::json(200, body)).await;
    let process = Process::before(&vllm.base_url()).start().await;
    let before = process.peak_bytes();
    process.client().await.generate(prompt("x")).await.unwrap();
    let grown = process.peak_bytes().saturating_sub(before);
    assert!(grown < 4 * size, "{grown} for {size}");
}
