//! What the upstream answers as HTTP: statuses, headers, framing.

use std::time::{Duration, Instant};

use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::support::{
    adapter::Adapter,
    outcome::{check, outcome},
    reply::Reply,
    requests::prompt,
    soon,
    vllm::Vllm,
    wire,
};

/// What a unary call and a stream are told by an upstream that always answers so.
async fn told(reply: Reply) -> [Status; 2] {
    let vllm = Vllm::replying(reply).await;
    let adapter = Adapter::before(vllm.base_url()).start().await;
    let answered = soon("an answer", adapter.client().generate(prompt("x"))).await;
    let unary = answered.map_or_else(|status| status, |_answer| Status::new(Code::Ok, ""));
    [unary, adapter.stream(prompt("x")).await.status]
}

/// The forms of an error's body; only the engine's own say what is wrong with the request.
fn bodies(status: u16) -> [(&'static str, Reply, bool); 8] {
    let object = wire::error("m", "BadRequestError", status);
    let flat =
        format!(r#"{{"object":"error","message":"m","type":"BadRequestError","code":{status}}}"#);
    let cut = Reply::raw().send(format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: 900\r\n\r\n{{\"error"
    ));
    let huge = format!(
        r#"{{"error":{{"message":"{}","code":{status}}}}}"#,
        "x".repeat(1 << 20)
    );
    [
        ("object", Reply::json(status, object), true),
        ("flat object", Reply::json(status, flat), true),
        ("string", Reply::json(status, r#"{"error":"no"}"#), false),
        ("detail", Reply::json(status, r#"{"detail":"no"}"#), false),
        ("page", Reply::page(status, "<html>no</html>"), false),
        ("nothing", Reply::json(status, ""), false),
        ("1 MiB", Reply::json(status, huge), false),
        ("cut", cut.cut(), false),
    ]
}

/// Row B18, where each status has one answer whatever its body says.
#[tokio::test]
async fn a_status_of_the_upstream_is_told_by_its_meaning_whatever_its_body() {
    use Code::{
        Aborted, DeadlineExceeded, FailedPrecondition, Internal, PermissionDenied,
        ResourceExhausted, Unavailable, Unimplemented,
    };
    let rows = [
        (401, Internal, "UPSTREAM_AUTH"),
        (402, Internal, "UPSTREAM_BILLING"),
        (403, Internal, "UPSTREAM_FORBIDDEN"),
        (405, Internal, "UPSTREAM_MISROUTED"),
        (406, Internal, "UPSTREAM_MISROUTED"),
        (408, Unavailable, "UPSTREAM_UNAVAILABLE"),
        (409, Aborted, "UPSTREAM_CONFLICT"),
        (412, FailedPrecondition, "UPSTREAM_PRECONDITION"),
        (413, ResourceExhausted, "REQUEST_TOO_LARGE"),
        (414, Internal, "UPSTREAM_PROTOCOL"),
        (415, Internal, "UPSTREAM_MISROUTED"),
        (421, Internal, "UPSTREAM_MISROUTED"),
        (425, Unavailable, "UPSTREAM_UNAVAILABLE"),
        (426, Internal, "UPSTREAM_MISROUTED"),
        (428, FailedPrecondition, "UPSTREAM_PRECONDITION"),
        (429, ResourceExhausted, "UPSTREAM_RATE_LIMITED"),
        (431, Internal, "UPSTREAM_PROTOCOL"),
        (451, PermissionDenied, "UPSTREAM_LEGAL"),
        (499, Unavailable, "UPSTREAM_RESET"),
        (500, Internal, "UPSTREAM_INTERNAL"),
        (501, Unimplemented, "UPSTREAM_UNIMPLEMENTED"),
        (502, Unavailable, "UPSTREAM_UNAVAILABLE"),
        (503, Unavailable, "UPSTREAM_OVERLOADED"),
        (504, DeadlineExceeded, "UPSTREAM_TIMEOUT"),
        (507, ResourceExhausted, "UPSTREAM_STORAGE"),
        (520, Unavailable, "UPSTREAM_UNAVAILABLE"),
        (524, DeadlineExceeded, "UPSTREAM_TIMEOUT"),
        (529, Unavailable, "UPSTREAM_UNAVAILABLE"),
        (598, DeadlineExceeded, "UPSTREAM_TIMEOUT"),
        (418, Internal, "UPSTREAM_HTTP"),
        (599, Internal, "UPSTREAM_HTTP"),
    ];
    for (status, code, reason) in rows {
        for (form, reply, _is_engine) in bodies(status) {
            for told in told(reply).await {
                check(&told, code, reason, &format!("{status} {form}"));
            }
        }
    }
}

/// Row B18, where the body decides.
#[tokio::test]
async fn only_the_engines_own_word_blames_the_request() {
    for (status, code, reason, foreign_code, foreign) in [
        (
            400,
            Code::InvalidArgument,
            "INVALID_REQUEST",
            Code::Internal,
            "UPSTREAM_PROTOCOL",
        ),
        (
            410,
            Code::NotFound,
            "MODEL_NOT_FOUND",
            Code::NotFound,
            "MODEL_NOT_FOUND",
        ),
        (
            422,
            Code::InvalidArgument,
            "INVALID_REQUEST",
            Code::InvalidArgument,
            "INVALID_REQUEST",
        ),
    ] {
        for (form, reply, is_engine) in bodies(status) {
            for told in told(reply).await {
                let row = format!("{status} {form}");
                if is_engine {
                    check(&told, code, reason, &row);
                } else {
                    check(&told, foreign_code, foreign, &row);
                }
            }
        }
    }
    let no_model = wire::error("no m", "NotFoundError", 404);
    for told in told(Reply::json(404, no_model)).await {
        check(
            &told,
            Code::NotFound,
            "MODEL_NOT_FOUND",
            "404 of the engine",
        );
    }
    for told in told(Reply::json(404, r#"{"detail":"Not Found"}"#)).await {
        check(
            &told,
            Code::Internal,
            "UPSTREAM_MISROUTED",
            "404 of a router",
        );
    }
}

/// Rows B19 and B25.
#[tokio::test]
async fn retry_after_becomes_a_bounded_delay() {
    let date = ("date", "Sun, 22 Nov 2026 17:00:00 GMT");
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    let rows: [(&[(&str, &str)], Option<Duration>); 13] = [
        (&[("retry-after", "5")], seconds(5)),
        (&[("retry-after", "0")], seconds(0)),
        (&[("retry-after", "61")], seconds(60)),
        (&[("retry-after", "1000000000000")], seconds(60)),
        (
            &[("retry-after", "99999999999999999999999999")],
            seconds(60),
        ),
        (
            &[("retry-after", "Sun, 22 Nov 2026 17:00:07 GMT"), date],
            seconds(7),
        ),
        (
            &[("retry-after", "Sun, 22 Nov 2026 18:00:00 GMT"), date],
            seconds(60),
        ),
        (
            &[("retry-after", "Sun, 22 Nov 2026 16:00:00 GMT"), date],
            seconds(0),
        ),
        (
            &[("retry-after", "Sun, 99 Nov 2026 17:00:07 GMT"), date],
            None,
        ),
        (&[("retry-after", "-1")], None),
        (&[("retry-after", "1e12")], None),
        (&[("retry-after", "soon")], None),
        (&[("retry-after", "5"), ("retry-after", "50")], None),
    ];
    for (headers, delay) in rows {
        // 429 has no delay of its own.
        let reply = headers
            .iter()
            .fold(Reply::json(429, "{}"), |reply, (name, value)| {
                reply.header(name, value)
            });
        for told in told(reply).await {
            check(
                &told,
                Code::ResourceExhausted,
                "UPSTREAM_RATE_LIMITED",
                "429",
            );
            let retry = told.get_error_details().retry_info().cloned();
            assert_eq!(
                retry.and_then(|retry| retry.retry_delay),
                delay,
                "{headers:?}"
            );
            let pushback = told.metadata().get("grpc-retry-pushback-ms");
            let pushback = pushback.map(|value| value.to_str().unwrap().to_owned());
            let millis = delay.map(|delay| delay.as_millis().to_string());
            assert_eq!(pushback, millis, "{headers:?}");
        }
    }
}

/// Row B25.
#[tokio::test]
async fn a_busy_upstream_asks_for_a_delay_though_it_names_none() {
    for body in [
        wire::error("The server is busy", "ServiceUnavailableError", 503),
        r#"{"error":"The model is currently scaling"}"#.to_owned(),
        r#"{"error":"Service Unavailable"}"#.to_owned(),
    ] {
        for told in told(Reply::json(503, body.clone())).await {
            check(&told, Code::Unavailable, "UPSTREAM_OVERLOADED", &body);
            let details = told.get_error_details();
            let delay = details.retry_info().unwrap().retry_delay.unwrap();
            assert!((500..=1500).contains(&delay.as_millis()), "{delay:?}");
            assert!(told.metadata().contains_key("grpc-retry-pushback-ms"));
        }
    }
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
            "100 for ever",
            "HTTP/1.1 100 Continue\r\n\r\n".repeat(10_000),
        ),
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
            "both framings",
            format!("{json}content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
        ),
        (
            "two lengths",
            format!("{json}content-length: 3\r\ncontent-length: 4\r\n\r\nabcd"),
        ),
        ("no length", format!("{json}content-length: -3\r\n\r\n")),
        (
            "a body that is too short",
            format!("{json}content-length: 9\r\n\r\n{{}}"),
        ),
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
            let (code, reason) = outcome(&told);
            let told = (code, reason.as_str());
            let may_be = [
                (Code::Internal, "UPSTREAM_PROTOCOL"),
                (Code::Unavailable, "UPSTREAM_RESET"),
                (Code::Unavailable, "UPSTREAM_STREAM_TRUNCATED"),
            ];
            assert!(may_be.contains(&told), "{row}: {told:?}");
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "{row}");
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
            assert!(took < Duration::from_secs(5), "{took:?}");
        }
    }
}
