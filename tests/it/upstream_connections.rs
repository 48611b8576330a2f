//! Connections to the upstream: those that cannot be had, and those that are lost.

use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use tokio::{net::TcpStream, task::JoinSet};
use tonic::{Code, Status};
use url::Url;

use crate::support::{
    adapter::Adapter,
    bounds::{checks_bounds, scaled},
    outcome::{check, outcome},
    reply::Reply,
    requests::prompt,
    signal::Signal,
    soon,
    vllm::{Vllm, Welcome, closed_port},
    wire,
};

async fn status(adapter: &Adapter) -> Status {
    let answered = adapter.client().generate(prompt("x")).await;
    answered.map_or_else(|status| status, |_answer| Status::new(Code::Ok, ""))
}

fn ok() -> Reply {
    Reply::json(200, wire::answer("a"))
}

fn stream() -> Reply {
    Reply::stream()
        .event(wire::first())
        .event(wire::text("a"))
        .event(wire::finish("stop"))
        .done()
}

/// A listener that takes no further connection: the kernel drops what would open one.
async fn black_hole() -> (Socket, Vec<TcpStream>, Url) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any: std::net::SocketAddr = ([127, 0, 0, 1], 0).into();
    socket.bind(&any.into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let mut queued = Vec::new();
    loop {
        let opened = TcpStream::connect(address);
        match tokio::time::timeout(Duration::from_millis(300), opened).await {
            Ok(stream) => queued.push(stream.unwrap()),
            Err(_elapsed) => break,
        }
    }
    (
        socket,
        queued,
        format!("http://{address}/v1").parse().unwrap(),
    )
}

/// Row B1.
#[tokio::test]
async fn an_upstream_that_cannot_be_reached_is_unavailable_in_time() {
    let (_socket, _queued, black_hole) = black_hole().await;
    let rows = [
        ("refused", closed_port().await, "UPSTREAM_CONNECT"),
        ("no answer", black_hole, "UPSTREAM_CONNECT"),
        (
            "no such host",
            "http://no-such-host.invalid/v1".parse().unwrap(),
            "UPSTREAM_DNS",
        ),
    ];
    for (row, url, reason) in rows {
        let limit = Duration::from_millis(500);
        let adapter = Adapter::before(url)
            .with(|config| config.upstream.connect_timeout = limit)
            .start()
            .await;
        let begun = Instant::now();
        let told = status(&adapter).await;
        // A resolver that does not answer at all is cut by the same limit, and is no answer either.
        let (code, told_reason) = outcome(&told);
        assert_eq!(code, Code::Unavailable, "{row}: {told:?}");
        let is_slow_resolver = row == "no such host" && begun.elapsed() >= limit;
        assert!(told_reason == reason || is_slow_resolver, "{row}: {told:?}");
        let took = begun.elapsed();
        if checks_bounds() {
            assert!(took < 2 * limit + Duration::from_secs(1), "{row}: {took:?}");
        }
    }
}

/// Rows B1 and B4.
#[tokio::test]
async fn a_fresh_connection_that_is_lost_before_the_answer_is_not_tried_again() {
    let welcomes = [
        ("FIN at once", Welcome::Closed),
        ("RST at once", Welcome::Reset),
    ];
    for (row, welcome) in welcomes {
        let vllm = Vllm::welcoming(move |_n| welcome, |_request| ok()).await;
        let adapter = Adapter::before(vllm.base_url()).start().await;
        check(
            &status(&adapter).await,
            Code::Unavailable,
            "UPSTREAM_RESET",
            row,
        );
        assert_eq!(vllm.n_connections(), 1, "{row}");
    }
    for (row, reply) in [
        ("FIN after the request", Reply::raw().cut()),
        ("RST after the request", Reply::raw().reset()),
    ] {
        let vllm = Vllm::replying(reply).await;
        let adapter = Adapter::before(vllm.base_url()).start().await;
        check(
            &status(&adapter).await,
            Code::Unavailable,
            "UPSTREAM_RESET",
            row,
        );
        assert_eq!(vllm.n_requests(), 1, "{row}");
    }
}

/// Row B4: vLLM sends nothing of a unary answer before it is whole, so that a connection that is lost late has been worked
/// for, and no library may repeat that unasked. A stream that is lost before its head has not begun.
#[tokio::test]
async fn a_unary_call_that_is_lost_late_must_not_be_repeated_unasked() {
    let late = Duration::from_millis(700);
    for (row, reply, is_stream, pushback) in [
        ("early", Reply::raw().cut(), false, None),
        ("late", Reply::raw().pause(late).cut(), false, Some("-1")),
        (
            "late RST",
            Reply::raw().pause(late).reset(),
            false,
            Some("-1"),
        ),
        ("a late stream", Reply::raw().pause(late).cut(), true, None),
    ] {
        let vllm = Vllm::replying(reply).await;
        let adapter = Adapter::before(vllm.base_url()).start().await;
        let told = if is_stream {
            adapter.stream(prompt("x")).await.status
        } else {
            status(&adapter).await
        };
        check(&told, Code::Unavailable, "UPSTREAM_RESET", row);
        let told = told.metadata().get("grpc-retry-pushback-ms");
        assert_eq!(told.map(|value| value.to_str().unwrap()), pushback, "{row}");
        assert_eq!(vllm.n_requests(), 1, "{row}");
    }
}

/// Row B3.
#[tokio::test]
async fn a_used_connection_that_is_lost_before_the_answer_is_replaced_once() {
    for (row, lost) in [("FIN", Reply::raw().cut()), ("RST", Reply::raw().reset())] {
        let vllm = Vllm::replying_in_turn([ok(), lost, ok()]).await;
        let adapter = Adapter::before(vllm.base_url()).start().await;
        for _ in 0..2 {
            assert_eq!(outcome(&status(&adapter).await).0, Code::Ok, "{row}");
        }
        // The first call, and the second one twice.
        assert_eq!((vllm.n_requests(), vllm.n_connections()), (3, 2), "{row}");
        let connections = [vllm.request(1).await, vllm.request(2).await].map(|it| it.connection);
        assert_eq!(connections, [0, 1], "{row}");
    }
}

/// Row B3: what counts is the time since the request, however old its connection is.
#[tokio::test]
async fn a_used_connection_that_has_been_open_for_long_is_replaced_as_well() {
    let vllm = Vllm::replying_in_turn([ok(), Reply::raw().cut(), ok()]).await;
    let adapter = Adapter::before(vllm.base_url()).start().await;
    assert_eq!(outcome(&status(&adapter).await).0, Code::Ok);
    // Older than a loss may be that is found at once.
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(outcome(&status(&adapter).await).0, Code::Ok);
    let connections = [vllm.request(1).await, vllm.request(2).await].map(|it| it.connection);
    assert_eq!(connections, [0, 1]);
}

/// Row B3: the request itself may be what broke it.
#[tokio::test]
async fn a_used_connection_whose_replacement_is_lost_too_is_given_up() {
    let vllm = Vllm::replying_in_turn([ok(), Reply::raw().cut(), Reply::raw().cut(), ok()]).await;
    let adapter = Adapter::before(vllm.base_url()).start().await;
    assert_eq!(outcome(&status(&adapter).await).0, Code::Ok);
    check(
        &status(&adapter).await,
        Code::Unavailable,
        "UPSTREAM_RESET",
        "twice",
    );
    assert_eq!(vllm.n_requests(), 3);
}

/// Row B3: the upstream has begun to answer, so that it has worked for the request.
#[tokio::test]
async fn a_used_connection_that_is_lost_within_the_answers_head_is_not_replaced() {
    let half = Reply::raw().send("HTTP/1.1 200 OK\r\ncontent-ty").cut();
    let vllm = Vllm::replying_in_turn([ok(), half, ok()]).await;
    let adapter = Adapter::before(vllm.base_url()).start().await;
    assert_eq!(outcome(&status(&adapter).await).0, Code::Ok);
    let told = status(&adapter).await;
    check(
        &told,
        Code::Unavailable,
        "UPSTREAM_STREAM_TRUNCATED",
        "half a head",
    );
    assert_eq!(told.metadata().get("grpc-retry-pushback-ms").unwrap(), "-1");
    assert_eq!(vllm.n_requests(), 2);
}

/// Calls that come when the upstream closes its idle connections: from before it to after it.
async fn call_around_the_close(numbers: impl Iterator<Item = u64>) {
    let idle = Duration::from_millis(50);
    let closing = ok().pause(idle).cut();
    let vllm = Vllm::choosing(move |_request| closing.clone()).await;
    let adapter = Adapter::before(vllm.base_url())
        .with(|config| config.upstream.idle_timeout = Duration::from_millis(48))
        .start()
        .await;
    for n in numbers {
        let spacing = idle - Duration::from_millis(6) + Duration::from_micros(n * 97 % 12_000);
        tokio::time::sleep(spacing).await;
        let told = outcome(&status(&adapter).await);
        assert_eq!(told.0, Code::Ok, "{n}: {told:?}");
    }
}

/// Row B5, with 50 ms in place of five seconds.
#[tokio::test]
async fn idle_connections_that_the_upstream_closes_cost_no_call() {
    let n_calls = scaled(1_000, 200);
    let mut callers = JoinSet::new();
    for first in 0..4 {
        callers.spawn(call_around_the_close((first..n_calls).step_by(4)));
    }
    callers.join_all().await;
}

/// Row B6.
#[tokio::test]
async fn a_head_without_an_event_fails_the_call_before_any_response() {
    for (row, reply) in [
        ("FIN", Reply::stream().cut()),
        ("RST", Reply::stream().reset()),
        ("clean", Reply::stream()),
        ("comments alone", Reply::stream().comment("ping")),
    ] {
        let vllm = Vllm::replying(reply).await;
        let adapter = Adapter::before(vllm.base_url()).start().await;
        let status = adapter
            .client()
            .stream_generate(prompt("x"))
            .await
            .unwrap_err();
        check(&status, Code::Unavailable, "UPSTREAM_STREAM_TRUNCATED", row);
        assert_eq!(vllm.n_requests(), 1, "{row}");
    }
}

/// Row B24, as the caller sees it: connections are reset, the port is closed, and later there is a listener again.
#[tokio::test]
async fn calls_go_on_when_an_upstream_that_was_killed_is_back() {
    let begun = Signal::new();
    let reply = Reply::stream().event(wire::first()).event(wire::text("a"));
    let vllm = Vllm::replying(reply.give(&begun).fall_silent()).await;
    let url = vllm.base_url();
    let adapter = Adapter::before(url.clone()).start().await;
    let in_flight = adapter.stream(prompt("x"));
    let kill = async {
        begun.given().await;
        drop(vllm);
        Instant::now()
    };
    let (streamed, killed) = tokio::join!(in_flight, kill);
    let truncated = "UPSTREAM_STREAM_TRUNCATED";
    check(&streamed.status, Code::Unavailable, truncated, "in flight");
    if checks_bounds() {
        assert!(killed.elapsed() < Duration::from_secs(1));
    }
    check(
        &status(&adapter).await,
        Code::Unavailable,
        "UPSTREAM_CONNECT",
        "down",
    );

    let back = Vllm::listening(url.socket_addrs(|| None).unwrap()[0], |_request| stream()).await;
    let begun = Instant::now();
    let streamed = soon("a call after the restart", adapter.stream(prompt("x"))).await;
    assert_eq!(outcome(&streamed.status).0, Code::Ok);
    if checks_bounds() {
        assert!(begun.elapsed() < Duration::from_secs(1));
    }
    assert_eq!(back.n_requests(), 1);
}

#[tokio::test]
async fn a_stream_that_ended_leaves_its_connection_to_a_later_call() {
    let vllm = Vllm::replying(stream()).await;
    let adapter = Adapter::before(vllm.base_url()).start().await;
    let reused = async {
        for n_calls in 1.. {
            let streamed = adapter.stream(prompt("x")).await;
            assert_eq!(outcome(&streamed.status).0, Code::Ok);
            // The end of a body follows its `[DONE]`, and may come after the next call.
            vllm.is_over(n_calls - 1).await;
            if vllm.n_connections() < n_calls {
                break;
            }
        }
    };
    soon("a connection that two streams use", reused).await;
}

#[tokio::test]
async fn heads_before_the_answer_are_skipped() {
    let body = wire::answer("a");
    let answer = format!(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n\
         HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    for reply in [
        Reply::raw().send(answer.clone()),
        Reply::raw().send(answer).bytewise(),
    ] {
        let vllm = Vllm::replying(reply).await;
        let adapter = Adapter::before(vllm.base_url()).start().await;
        assert_eq!(outcome(&status(&adapter).await).0, Code::Ok);
    }
}
