//! What a connection offers, and how much it takes.

use std::time::Duration;

use tokio::time;
use tonic_health::pb::HealthCheckRequest;

use tonic::Code;

use crate::support::{
    adapter::{Adapter, serve},
    bounds::checks_bounds,
    outcome::check,
    raw_h2::{
        self, ACK, DATA, GOAWAY, HEADERS, INITIAL_WINDOW_SIZE, MAX_CONCURRENT_STREAMS,
        MAX_HEADER_LIST_SIZE, PING, REFUSED_STREAM, RST_STREAM, RawH2, SETTINGS, WINDOW_UPDATE,
    },
    reply::Reply,
    requests::prompt,
    soon,
    vllm::Vllm,
    wire,
};

const CHECK: &str = "/grpc.health.v1.Health/Check";
const WATCH: &str = "/grpc.health.v1.Health/Watch";

#[tokio::test]
async fn the_settings_on_the_wire_are_the_safe_ones() {
    let served = serve(|_| {}).await;
    let mut caller = RawH2::open(served.address, &[]).await;
    let settings = caller.next_of(SETTINGS).await.unwrap().settings();
    assert!(
        settings.contains(&(MAX_CONCURRENT_STREAMS, 256)),
        "{settings:?}"
    );
    assert!(
        settings.contains(&(INITIAL_WINDOW_SIZE, 64 << 10)),
        "{settings:?}"
    );
    assert!(
        settings.contains(&(MAX_HEADER_LIST_SIZE, 16 << 10)),
        "{settings:?}"
    );
    let raised = caller.next_of(WINDOW_UPDATE).await.unwrap();
    let raised = u32::from_be_bytes(*raised.payload.first_chunk().unwrap());
    // The window that every connection begins with is 65,535 bytes.
    assert_eq!(raised + 65_535, 1 << 20);
}

#[tokio::test]
async fn a_stream_above_the_cap_is_refused() {
    let served = serve(|server| server.max_streams_per_connection = 2).await;
    let mut caller = RawH2::open(served.address, &[]).await;
    for stream in [1, 3, 5] {
        let watch = raw_h2::whole_call(stream, WATCH, &HealthCheckRequest::default());
        caller.write(&watch).await;
    }
    let refused = caller.next_of(RST_STREAM).await.unwrap();
    assert_eq!((refused.stream, refused.code()), (5, REFUSED_STREAM));
}

#[tokio::test]
async fn a_connection_above_the_cap_is_closed_and_others_go_on() {
    let served = serve(|server| server.max_connections = 1).await;
    let check = |stream| raw_h2::whole_call(stream, CHECK, &HealthCheckRequest::default());
    let mut first = RawH2::open(served.address, &[]).await;
    first.write(&check(1)).await;
    assert_eq!(first.response(1).await.outcome().0, tonic::Code::Ok);

    let mut second = RawH2::connect(served.address).await;
    assert_eq!(second.next().await, None);
    first.write(&check(3)).await;
    assert_eq!(first.response(3).await.outcome().0, tonic::Code::Ok);

    drop(first);
    // The server learns that the first has gone in its own time.
    loop {
        let mut third = RawH2::open(served.address, &[]).await;
        third.write(&check(1)).await;
        if third.next_of(DATA).await.is_some() {
            break;
        }
    }
}

#[tokio::test]
async fn a_caller_that_pings_all_the_time_is_welcome() {
    let served = serve(|_| {}).await;
    let mut caller = RawH2::open(served.address, &[]).await;
    for n in 0..200_u64 {
        caller
            .write(&raw_h2::frame(PING, 0, 0, &n.to_be_bytes()))
            .await;
        let pong = caller.next_of(PING).await.unwrap();
        assert_eq!((pong.flags, pong.payload), (ACK, n.to_be_bytes().to_vec()));
    }
    let check = raw_h2::whole_call(1, CHECK, &HealthCheckRequest::default());
    caller.write(&check).await;
    assert_eq!(caller.response(1).await.outcome().0, tonic::Code::Ok);
}

/// Row C7.
#[tokio::test]
async fn a_connection_above_the_cap_of_its_address_is_closed_and_others_go_on() {
    let served = serve(|server| server.max_connections_per_source = Some(2)).await;
    let check = raw_h2::whole_call(1, CHECK, &HealthCheckRequest::default());
    let mut served_ones = Vec::new();
    for source in [1, 1, 2] {
        let source = [127, 0, 0, source].into();
        let mut caller = RawH2::connect_from(source, served.address).await;
        caller.begin(&[]).await;
        caller.write(&check).await;
        assert_eq!(caller.response(1).await.outcome().0, tonic::Code::Ok);
        served_ones.push(caller);
    }
    let mut above = RawH2::connect(served.address).await;
    assert_eq!(above.next().await, None);

    served_ones.remove(0);
    // The server learns that the first has gone in its own time.
    loop {
        let mut next = RawH2::open(served.address, &[]).await;
        next.write(&check).await;
        if next.next_of(DATA).await.is_some() {
            break;
        }
    }
}

/// Row A17: a ping each ten seconds for ten minutes, as xai-sdk's channel sends them; sixty in six seconds
/// unless `ADAPTER_TEST_FULL_LENGTH` is set.
#[tokio::test]
async fn a_caller_that_pings_and_says_nothing_else_is_never_sent_away() {
    let is_full = std::env::var_os("ADAPTER_TEST_FULL_LENGTH").is_some();
    let interval = Duration::from_millis(if is_full { 10_000 } else { 100 });
    let served = serve(|_| {}).await;
    let watch = raw_h2::whole_call(1, WATCH, &HealthCheckRequest::default());
    let mut idle = RawH2::open(served.address, &[]).await;
    let mut watching = RawH2::open(served.address, &[]).await;
    watching.write(&watch).await;
    for n in 0..60_u64 {
        time::sleep(interval).await;
        for caller in [&mut idle, &mut watching] {
            let ping = raw_h2::frame(PING, 0, 0, &n.to_be_bytes());
            caller.write(&ping).await;
            loop {
                let frame = caller.next().await.unwrap();
                assert_ne!(frame.kind, GOAWAY, "{n}");
                if frame.kind == HEADERS {
                    caller.fields(&frame.payload);
                }
                if (frame.kind, frame.flags) == (PING, ACK) {
                    break;
                }
            }
        }
    }
    for (mut caller, stream) in [(idle, 1), (watching, 3)] {
        let check = raw_h2::whole_call(stream, CHECK, &HealthCheckRequest::default());
        caller.write(&check).await;
        assert_eq!(caller.response(stream).await.outcome().0, tonic::Code::Ok);
    }
}

#[tokio::test]
async fn a_caller_that_answers_no_ping_is_cut() {
    let served = serve(|server| {
        server.keepalive_interval = Some(Duration::from_millis(300));
        server.keepalive_timeout = Duration::from_millis(300);
    })
    .await;
    let mut caller = RawH2::open(served.address, &[]).await;
    let watch = raw_h2::whole_call(1, WATCH, &HealthCheckRequest::default());
    caller.write(&watch).await;
    caller.next_of(DATA).await.unwrap();
    caller.be_rude();
    let start = time::Instant::now();
    caller.rest().await;
    if checks_bounds() {
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "{:?}",
            start.elapsed()
        );
    }
}

#[tokio::test]
async fn a_caller_that_answers_pings_stays() {
    let served = serve(|server| {
        server.keepalive_interval = Some(Duration::from_millis(50));
        server.keepalive_timeout = Duration::from_secs(5);
    })
    .await;
    let mut caller = RawH2::open(served.address, &[]).await;
    for _ in 0..5 {
        let frame = caller.next_of(PING).await.unwrap();
        assert_ne!(frame.kind, GOAWAY);
    }
}

#[tokio::test]
async fn a_call_above_the_cap_of_calls_is_refused_at_once_and_others_go_on() {
    let vllm = Vllm::replying(Reply::stream().event(wire::first()).fall_silent()).await;
    let adapter = Adapter::before(vllm.base_url())
        .with(|config| config.server.max_in_flight = Some(2))
        .start()
        .await;
    let mut streams = Vec::new();
    for _ in 0..2 {
        let stream = adapter.client().stream_generate(prompt("x")).await;
        streams.push(stream.unwrap().into_inner());
    }
    let status = adapter.client().generate(prompt("x")).await.unwrap_err();
    check(&status, Code::ResourceExhausted, "OVERLOADED", "a third");
    let pushback = status.metadata().get("grpc-retry-pushback-ms").unwrap();
    let delay: u64 = pushback.to_str().unwrap().parse().unwrap();
    assert!((500..=1500).contains(&delay), "{delay}");
    assert_eq!(vllm.n_requests(), 2);
    // The place of a stream is free when it has ended.
    streams.pop();
    vllm.left(1).await;
    let stream = adapter.client().stream_generate(prompt("x")).await;
    stream.unwrap();
}

#[tokio::test]
async fn requests_above_the_budget_of_memory_are_refused_and_it_is_given_back() {
    let vllm = Vllm::choosing(|request| match request.body.len() > 200_000 {
        true => Reply::raw().fall_silent(),
        false => Reply::json(200, wire::answer("a")),
    })
    .await;
    let adapter = Adapter::before(vllm.base_url())
        .with(|config| config.server.max_request_memory = 1 << 20)
        .start()
        .await;
    let text = |n| prompt(&"x".repeat(n));
    let client = || adapter.client();
    let status = client().generate(text(1 << 20)).await.unwrap_err();
    let reason = "REQUEST_TOO_LARGE";
    check(&status, Code::ResourceExhausted, reason, "never fits");
    assert!(status.metadata().get("grpc-retry-pushback-ms").is_none());
    let mut waits = client();
    let holding = tokio::spawn(async move { waits.generate(text(210_000)).await });
    vllm.request(0).await;
    let status = client().generate(text(100_000)).await.unwrap_err();
    check(&status, Code::ResourceExhausted, "OVERLOADED", "not yet");
    assert!(status.metadata().get("grpc-retry-pushback-ms").is_some());
    assert_eq!(vllm.n_requests(), 1);
    holding.abort();
    vllm.left(0).await;
    let fits = async { while client().generate(text(100_000)).await.is_err() {} };
    soon("giving the memory back", fits).await;
    for _ in 0..20 {
        client().generate(text(190_000)).await.unwrap();
    }
}
