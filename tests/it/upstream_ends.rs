//! How an upstream's answer may end, and that only a whole one is OK.

use std::time::{Duration, Instant};

use tonic::{Code, Status};

use crate::support::{
    adapter::Adapter,
    bounds::checks_bounds,
    outcome::{check, fact, outcome},
    reply::Reply,
    requests::prompt,
    signal::Signal,
    vllm::Vllm,
    wire,
};

/// An adapter before an upstream that always answers so.
async fn before(reply: Reply) -> (Vllm, Adapter) {
    let vllm = Vllm::replying(reply).await;
    let adapter = Adapter::before(vllm.base_url()).start().await;
    (vllm, adapter)
}

/// The same, with idle connections that are soon closed.
async fn hasty_before(reply: Reply) -> (Vllm, Adapter) {
    let vllm = Vllm::replying(reply).await;
    let adapter = Adapter::before(vllm.base_url())
        .with(|config| config.upstream.idle_timeout = Duration::from_millis(200))
        .start()
        .await;
    (vllm, adapter)
}

/// The status of a unary call.
async fn unary(adapter: &Adapter) -> Status {
    let answered = adapter.client().generate(prompt("x")).await;
    answered.map_or_else(|status| status, |_answer| Status::new(Code::Ok, ""))
}

/// A stream that has begun, with one delta.
fn begun() -> Reply {
    Reply::stream().event(wire::first()).event(wire::text("a"))
}

/// A whole stream.
fn whole() -> Reply {
    begun()
        .event(wire::finish("stop"))
        .event(wire::usage())
        .done()
}

/// Rows B7, B8, B9, B10 and B11.
#[tokio::test]
async fn a_stream_that_is_cut_is_unavailable_and_partial_however_it_is_cut() {
    let rows = [
        ("FIN in a chunked body", begun().cut()),
        ("RST in a chunked body", begun().reset()),
        ("the end of a body without a length", begun().until_close()),
        ("a clean end without a finish", begun()),
        (
            "half an event and a clean end",
            begun().send("data: {\"id\":"),
        ),
        (
            "half an event and a FIN",
            begun().send("data: {\"id\":").cut(),
        ),
    ];
    for (row, reply) in rows {
        let (vllm, adapter) = before(reply).await;
        let streamed = adapter.stream(prompt("x")).await;
        let truncated = "UPSTREAM_STREAM_TRUNCATED";
        check(&streamed.status, Code::Unavailable, truncated, row);
        assert_eq!(
            fact(&streamed.status, "partial").as_deref(),
            Some("true"),
            "{row}"
        );
        assert_eq!(
            fact(&streamed.status, "deltas").as_deref(),
            Some("1"),
            "{row}"
        );
        assert_eq!(streamed.content(), "a", "{row}");
        // Never twice, once a delta has been sent.
        assert_eq!(vllm.n_requests(), 1, "{row}");
    }
}

/// Row B12.
#[tokio::test]
async fn a_stream_needs_both_its_finish_and_its_done() {
    let unfinished = serde_json::json!({"index": 1, "delta": {"content": "b"}});
    let rows = [
        ("[DONE] with an unfinished choice", begun().done()),
        (
            "a finish without [DONE]",
            begun().event(wire::finish("stop")),
        ),
        (
            "a second choice that is unfinished",
            begun()
                .event(wire::chunk_of(&[unfinished]))
                .event(wire::finish("stop"))
                .done(),
        ),
    ];
    for (row, reply) in rows {
        let (_vllm, adapter) = before(reply).await;
        let mut request = prompt("x");
        if row.contains("second") {
            request.n = Some(2);
        }
        let streamed = adapter.stream(request).await;
        let truncated = "UPSTREAM_STREAM_TRUNCATED";
        check(&streamed.status, Code::Unavailable, truncated, row);
    }
}

/// Row B13.
#[tokio::test]
async fn an_error_event_in_the_place_of_the_first_is_a_status_without_a_response() {
    let rows = [
        (400, Code::InvalidArgument, "INVALID_REQUEST"),
        (404, Code::NotFound, "MODEL_NOT_FOUND"),
        (500, Code::Internal, "UPSTREAM_INTERNAL"),
        (503, Code::Unavailable, "UPSTREAM_OVERLOADED"),
    ];
    for (code, told, reason) in rows {
        let kind = if code == 404 {
            "NotFoundError"
        } else {
            "BadRequestError"
        };
        let reply = Reply::stream().event(wire::error("m", kind, code)).done();
        let (_vllm, adapter) = before(reply).await;
        // The call itself fails: there are no response headers, so that a library may try again.
        let status = adapter
            .client()
            .stream_generate(prompt("x"))
            .await
            .unwrap_err();
        check(&status, told, reason, &code.to_string());
        assert_eq!(fact(&status, "partial"), None);
    }
}

/// Row B14.
#[tokio::test]
async fn an_error_event_amid_a_stream_ends_it_with_its_own_code() {
    let rows = [
        (400, Code::InvalidArgument, "INVALID_REQUEST"),
        (500, Code::Internal, "UPSTREAM_INTERNAL"),
        (503, Code::Unavailable, "UPSTREAM_OVERLOADED"),
        // A code that is no status counts as 500.
        (40_003, Code::Internal, "UPSTREAM_INTERNAL"),
    ];
    for (code, told, reason) in rows {
        let error = wire::error("m", "InternalServerError", code);
        let (_vllm, adapter) = before(begun().event(error).done()).await;
        let streamed = adapter.stream(prompt("x")).await;
        check(&streamed.status, told, reason, &code.to_string());
        assert_eq!(fact(&streamed.status, "partial").as_deref(), Some("true"));
        assert_eq!(streamed.content(), "a");
    }
}

/// Row B14: what may be an error in words that are not vLLM's is not passed over.
#[tokio::test]
async fn an_event_that_is_no_chunk_ends_its_stream() {
    let rows = [
        (
            r#"{"message":"m","code":500}"#,
            Code::Internal,
            "UPSTREAM_PROTOCOL",
        ),
        (
            r#"{"detail":[{"msg":"m"}]}"#,
            Code::Internal,
            "UPSTREAM_PROTOCOL",
        ),
        // The word of vLLM's router.
        (
            r#"{"detail":"Not Found"}"#,
            Code::Internal,
            "UPSTREAM_INTERNAL",
        ),
        ("{}", Code::Internal, "UPSTREAM_PROTOCOL"),
        (
            r#"{"id":"chatcmpl-1","choices":null}"#,
            Code::Internal,
            "UPSTREAM_PROTOCOL",
        ),
        (
            r#"{"choices":null,"usage":null}"#,
            Code::Internal,
            "UPSTREAM_PROTOCOL",
        ),
        (r#"{"usage":{"prompt_tokens":2}}"#, Code::Ok, ""),
        (r#"{"choices":[]}"#, Code::Ok, ""),
    ];
    for (event, code, reason) in rows {
        let end = |reply: Reply| reply.event(wire::finish("stop")).done();
        let (_vllm, adapter) = before(end(begun().event(event))).await;
        check(
            &adapter.stream(prompt("x")).await.status,
            code,
            reason,
            event,
        );
        let (_vllm, adapter) = before(end(Reply::stream().event(event))).await;
        check(
            &adapter.stream(prompt("x")).await.status,
            code,
            reason,
            event,
        );
    }
}

/// Row B15.
#[tokio::test]
async fn a_finish_that_is_no_success_is_an_error() {
    let rows = [
        ("abort", Code::Unavailable, "UPSTREAM_ABORTED"),
        ("error", Code::Internal, "UPSTREAM_INTERNAL"),
    ];
    for (word, code, reason) in rows {
        let reply = begun()
            .event(wire::finish(word))
            .event(wire::usage())
            .done();
        let (_vllm, adapter) = before(reply).await;
        let streamed = adapter.stream(prompt("x")).await;
        check(&streamed.status, code, reason, word);
        assert_eq!(streamed.n_finished(), 0, "{word}");

        let answer = wire::answer("a").replace("\"stop\"", &format!("\"{word}\""));
        let (_vllm, adapter) = before(Reply::json(200, answer)).await;
        check(&unary(&adapter).await, code, reason, word);
    }
}

/// Row B16.
#[tokio::test]
async fn an_error_with_status_200_is_the_error_that_it_tells_of() {
    let flat =
        r#"{"object":"error","message":"m","type":"BadRequestError","param":null,"code":400}"#;
    let rows = [
        (
            wire::error("m", "BadRequestError", 400),
            Code::InvalidArgument,
            "INVALID_REQUEST",
        ),
        (flat.to_owned(), Code::InvalidArgument, "INVALID_REQUEST"),
        (
            wire::error("m", "InternalServerError", 500),
            Code::Internal,
            "UPSTREAM_INTERNAL",
        ),
        (
            r#"{"error":"busy"}"#.to_owned(),
            Code::Internal,
            "UPSTREAM_INTERNAL",
        ),
        (
            r#"{"detail":"Not Found"}"#.to_owned(),
            Code::Internal,
            "UPSTREAM_PROTOCOL",
        ),
        ("[]".to_owned(), Code::Internal, "UPSTREAM_PROTOCOL"),
        ("7".to_owned(), Code::Internal, "UPSTREAM_PROTOCOL"),
    ];
    for (body, code, reason) in rows {
        let (_vllm, adapter) = before(Reply::json(200, body.clone())).await;
        check(&unary(&adapter).await, code, reason, &body);
        let streamed = adapter.stream(prompt("x")).await;
        check(&streamed.status, code, reason, &body);
    }
}

/// Row B17.
#[tokio::test]
async fn a_page_is_never_an_answer_and_never_echoed() {
    let page = format!("<html>CANARY{}</html>", "x".repeat(1 << 20));
    let rows = [
        (200, Code::Internal, "UPSTREAM_PROTOCOL"),
        (204, Code::Internal, "UPSTREAM_PROTOCOL"),
        (404, Code::Internal, "UPSTREAM_MISROUTED"),
        (502, Code::Unavailable, "UPSTREAM_UNAVAILABLE"),
        (503, Code::Unavailable, "UPSTREAM_OVERLOADED"),
    ];
    for (status, code, reason) in rows {
        let body = if status == 204 {
            String::new()
        } else {
            page.clone()
        };
        let (_vllm, adapter) = before(Reply::page(status, body)).await;
        let streamed = adapter.stream(prompt("x")).await;
        for told in [unary(&adapter).await, streamed.status] {
            check(&told, code, reason, &status.to_string());
            assert!(!format!("{told:?}").contains("CANARY"), "{told:?}");
        }
    }
}

/// Row B22.
#[tokio::test]
async fn a_stream_is_over_with_its_done_though_the_connection_stays_open() {
    let done = Signal::new();
    let (vllm, adapter) = hasty_before(whole().give(&done).fall_silent()).await;
    let mut times = Vec::new();
    for _ in 0..5 {
        let begun = Instant::now();
        let streamed = adapter.stream(prompt("x")).await;
        assert_eq!(outcome(&streamed.status).0, Code::Ok);
        times.push(begun.elapsed());
    }
    let best = times.iter().min().unwrap();
    if checks_bounds() {
        assert!(*best < Duration::from_millis(50), "{times:?}");
    }
    // Each had a connection of its own, since none was over; and none is kept.
    assert_eq!(vllm.n_connections(), 5);
    vllm.is_left_alone().await;
}

/// Row B23.
#[tokio::test]
async fn what_comes_after_done_is_ignored_and_its_connection_is_not_used_again() {
    let stray = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
    let rows = [
        ("events", whole().event(wire::text("b")).event("no JSON")),
        ("a second response", whole().end_body().send(stray)),
    ];
    for (row, reply) in rows {
        let (vllm, adapter) = hasty_before(reply).await;
        for n in 0..3 {
            let streamed = adapter.stream(prompt("x")).await;
            assert_eq!(outcome(&streamed.status).0, Code::Ok, "{row} {n}");
            assert_eq!(streamed.content(), "a", "{row} {n}");
            vllm.is_left_alone().await;
        }
        assert_eq!(vllm.n_connections(), 3, "{row}");
    }
}

/// Row B36; the recorded streams of a real vLLM show the rest.
#[tokio::test]
async fn odd_but_legal_chunks_are_taken() {
    let later_usage = wire::usage().replace("\"total_tokens\":5", "\"total_tokens\":7");
    let choice = |index: u32, delta: serde_json::Value, reason: Option<&str>| serde_json::json!({"index": index, "delta": delta, "finish_reason": reason, "new": [1]});
    let content = |text: &str| serde_json::json!({"content": text});
    let reply = Reply::stream()
        .event(wire::chunk_of(&[choice(1, content("b"), None)]))
        .event(wire::chunk_of(&[]))
        .event(wire::chunk_of(&[choice(0, serde_json::Value::Null, None)]))
        .event(wire::chunk_of(&[
            choice(0, content("a"), None),
            choice(1, content("b"), None),
        ]))
        .event(wire::chunk_of(&[choice(1, content(""), Some("stop"))]))
        .event(wire::chunk_of(&[choice(
            0,
            content("a"),
            Some("a new word"),
        )]))
        .event(wire::usage())
        .event(later_usage)
        .done();
    let (_vllm, adapter) = before(reply).await;
    let mut request = prompt("x");
    request.n = Some(2);
    let streamed = adapter.stream(request).await;
    assert_eq!(outcome(&streamed.status).0, Code::Ok, "{streamed:?}");
    let mut fold = vllm_grpc_adapter::Fold::new();
    streamed
        .events
        .into_iter()
        .for_each(|event| fold.push(event));
    let answer = fold.finish_response();
    let told: Vec<_> = answer
        .choices
        .iter()
        .map(|choice| {
            let content = choice.message.as_ref().unwrap().content.as_str();
            (content, choice.finish_reason_raw.as_str())
        })
        .collect();
    assert_eq!(told, [("aa", "a new word"), ("bb", "stop")]);
    assert_eq!(answer.usage.unwrap().total_tokens, Some(7));
}
