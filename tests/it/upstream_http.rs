//! What the upstream answers as HTTP beside its statuses: encodings, framing, redirects.

use std::time::{Duration, Instant};

use tonic::{Code, Status};

use crate::support::{
    adapter::Adapter,
    bounds::checks_bounds,
    outcome::{check, outcome},
    reply::Reply,
    requests::prompt,
    soon,
    vllm::Vllm,
    wire,
};

/// What a unary call and a stream are told by an upstream that always answers so.
pub(crate) async fn told(reply: Reply) -> [Status; 2] {
    let vllm = Vllm::replying(reply).await;
    let adapter = Adapter::before(vllm.base_url()).start().await;
    let answered = soon("an answer", adapter.client().generate(prompt("x"))).await;
    let unary = answered.map_or_else(|status| status, |_answer| Status::new(Code::Ok, ""));
    [unary, adapter.stream(prompt("x")).await.status]
}

/// Row B31.
#[tokio::test]
async fn a_compressed_answer_is_refused_and_never_unpacked() {
    for encoding in ["gzip", "br", "GZIP", "identity, gzip"] {
        let head = |reply: Reply| reply.header("content-encoding", encoding);
        for reply in [
            head(Reply::json(200, wire::answer("a"))),
            head(Reply::stream().event(wire::first())),
        ] {
            for told in told(reply).await {
                check(&told, Code::Internal, "UPSTREAM_PROTOCOL", encoding);
            }
        }
    }
    let identity = Reply::json(200, wire::answer("a")).header("content-encoding", "identity");
    assert_eq!(outcome(&told(identity).await[0]).0, Code::Ok);
}

/// Row B33.
#[tokio::test]
async fn malformed_http_ends_in_an_error_and_never_hangs() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n";
    let json = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    let chunked = format!("{head}transfer-encoding: chunked\r\n\r\n");
    let many = |n: usize| -> String { (0..n).map(|n| format!("h{n}: x\r\n")).collect() };
    let rows = [
        ("no HTTP", "hello\r\n\r\n".to_owned()),
        ("another version", "HTTP/9.9 200 OK\r\n\r\n".to_owned()),
        ("no status", "HTTP/1.1 two OK\r\n\r\n".to_owned()),
        (
            "101",
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"
                .to_owned(),
        ),
        ("101 headers", format!("{json}{}\r\n", many(101))),
        (
            "a header of 500 kB",
            format!("{json}x: {}\r\n\r\n", "y".repeat(500_000)),
        ),
        (
            "a folded header",
            format!("{json}x: a\r\n b\r\ncontent-length: 2\r\n\r\n{{}}"),
        ),
        (
            "two lengths",
            format!("{json}content-length: 3\r\ncontent-length: 4\r\n\r\nabcd"),
        ),
        ("no length", format!("{json}content-length: -3\r\n\r\n")),
        ("a negative chunk", format!("{chunked}-5\r\nhello\r\n")),
        (
            "a chunk without end",
            format!("{chunked}ffffffffffffffffff\r\nhello\r\n"),
        ),
        ("a chunk of no size", format!("{chunked}zz\r\nhello\r\n")),
        (
            "chunk extensions",
            format!("{chunked}1;{}\r\n", "x".repeat(200_000)),
        ),
        ("a NUL", format!("{json}x: a\0b\r\n\r\n")),
        (
            "trailers without end",
            format!("{chunked}0\r\n{}", many(100_000)),
        ),
    ];
    for (row, bytes) in rows {
        let begun = Instant::now();
        for told in told(Reply::raw().send(bytes).cut()).await {
            check(&told, Code::Internal, "UPSTREAM_PROTOCOL", row);
        }
        if checks_bounds() {
            assert!(begun.elapsed() < Duration::from_secs(5), "{row}");
        }
    }
}

/// Row B33.
#[tokio::test]
async fn a_body_that_is_shorter_than_its_length_is_cut_off() {
    for (row, content_type, nth) in [
        ("unary", "application/json", 0),
        ("a stream", "text/event-stream", 1),
    ] {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\n");
        let reply = Reply::raw().send(format!("{head}content-length: 9\r\n\r\n{{}}"));
        let told = &told(reply.cut()).await[nth];
        check(told, Code::Unavailable, "UPSTREAM_STREAM_TRUNCATED", row);
    }
}

/// Row B33: hyper skips every head of this kind, so that it is the end of the connection that ends the call.
#[tokio::test]
async fn heads_without_an_answer_are_cut_off() {
    let heads = "HTTP/1.1 100 Continue\r\n\r\n".repeat(10_000);
    for told in told(Reply::raw().send(heads).cut()).await {
        let truncated = "UPSTREAM_STREAM_TRUNCATED";
        check(&told, Code::Unavailable, truncated, "100 for ever");
    }
}

/// Row B34.
#[tokio::test]
async fn a_redirect_is_never_followed() {
    let target = Vllm::replying(Reply::json(200, wire::answer("stolen"))).await;
    let locations = [
        target
            .base_url()
            .join("/v1/chat/completions")
            .unwrap()
            .to_string(),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "/v1/elsewhere".to_owned(),
    ];
    for status in [300, 301, 302, 303, 304, 307, 308] {
        for location in &locations {
            let reply = Reply::json(status, "").header("location", location);
            let vllm = Vllm::replying(reply).await;
            let adapter = Adapter::before(vllm.base_url()).start().await;
            let streamed = adapter.stream(prompt("x")).await;
            check(
                &streamed.status,
                Code::Internal,
                "UPSTREAM_REDIRECT",
                location,
            );
            assert!(!format!("{:?}", streamed.status).contains("169.254"));
            assert_eq!(vllm.n_requests(), 1);
        }
    }
    assert_eq!(target.n_connections(), 0);
}

/// Row B35.
#[tokio::test]
async fn an_answer_while_the_request_is_still_being_sent_is_heard() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let rows = [
        (413, Code::ResourceExhausted, "REQUEST_TOO_LARGE"),
        (401, Code::Internal, "UPSTREAM_AUTH"),
    ];
    for (status, code, reason) in rows {
        for closes in [false, true] {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let adapter = Adapter::before(format!("http://{address}/v1").parse().unwrap())
                .start()
                .await;
            let upstream = async {
                let (mut stream, _address) = listener.accept().await.unwrap();
                // Some of the request, and then never more.
                let mut head = [0; 512];
                stream.read_exact(&mut head).await.unwrap();
                let reply = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n");
                stream.write_all(reply.as_bytes()).await.unwrap();
                if closes {
                    stream.shutdown().await.unwrap();
                }
                (stream, Instant::now())
            };
            let mut client = adapter.client();
            // More than all buffers between hold.
            let call = client.generate(prompt(&"x".repeat(24 << 20)));
            let ((_stream, replied), answered) = tokio::join!(upstream, call);
            check(
                &answered.unwrap_err(),
                code,
                reason,
                &format!("{status} {closes}"),
            );
            let took = replied.elapsed();
            if checks_bounds() {
                assert!(took < Duration::from_secs(1), "{took:?}");
            }
        }
    }
}
