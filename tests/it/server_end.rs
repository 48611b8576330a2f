//! Connections and the server come to their end.

use std::time::Duration;

use tokio::{net::TcpStream, time::Instant};
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_reflection::pb::v1::ServerReflectionRequest;
use vllm_grpc_adapter::{config::Server, server::Error};

use crate::{
    caller_faults::STREAM,
    support::{
        adapter::{Adapter, serve},
        bounds::checks_bounds,
        raw_h2::{self, DATA, END_STREAM, GOAWAY, HEADERS, INITIAL_WINDOW_SIZE, RawH2},
        reply::Reply,
        requests::prompt,
        vllm::Vllm,
        wire,
    },
};

const CHECK: &str = "/grpc.health.v1.Health/Check";
const WATCH: &str = "/grpc.health.v1.Health/Watch";
/// A call that runs for as long as its caller keeps it open.
const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// An adapter before an upstream that sends one event of a stream and no more.
async fn before_silence(change: impl FnOnce(&mut Server)) -> (Adapter, Vllm) {
    let vllm = Vllm::replying(Reply::stream().event(wire::first()).fall_silent()).await;
    let adapter = Adapter::before(vllm.base_url()).with(|config| change(&mut config.server));
    (adapter.start().await, vllm)
}

/// A caller whose stream has begun.
async fn streaming(served: &Adapter) -> RawH2 {
    let mut caller = RawH2::open(served.address, &[]).await;
    let call = raw_h2::whole_call(1, STREAM, &prompt("x"));
    caller.write(&call).await;
    let headers = caller.next_of(HEADERS).await.unwrap();
    caller.fields(&headers.payload);
    caller.next_of(DATA).await.unwrap();
    caller
}

/// A caller with a call that runs: its first message has been answered.
async fn running(served: &Adapter) -> RawH2 {
    let mut caller = RawH2::open(served.address, &[]).await;
    caller.write(&raw_h2::call(1, REFLECTION)).await;
    let list = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(
            tonic_reflection::pb::v1::server_reflection_request::MessageRequest::ListServices(
                String::new(),
            ),
        ),
    };
    let list = raw_h2::frame(DATA, 0, 1, &raw_h2::message(&list));
    caller.write(&list).await;
    let headers = caller.next_of(HEADERS).await.unwrap();
    caller.fields(&headers.payload);
    caller.next_of(DATA).await.unwrap();
    caller
}

fn health(frame: &raw_h2::Frame) -> String {
    let response: HealthCheckResponse = prost::Message::decode(&frame.payload[5..]).unwrap();
    response.status().as_str_name().to_owned()
}

#[tokio::test]
async fn an_old_connection_is_told_to_go_and_its_calls_end_with_trailers() {
    let (served, _vllm) = before_silence(|server| {
        server.max_connection_age = Some(millis(500));
        server.max_connection_age_grace = Some(millis(500));
    })
    .await;
    let start = Instant::now();
    let mut caller = streaming(&served).await;
    caller.next_of(GOAWAY).await.unwrap();
    let told = start.elapsed();
    // Five hundred, a tenth less.
    assert!(told >= millis(450), "{told:?}");

    // The call goes on until the grace is over.
    let trailers = caller.next_of(HEADERS).await.unwrap();
    let graced = start.elapsed() - told;
    assert!(graced >= millis(400), "{graced:?}");
    assert_eq!(trailers.flags & END_STREAM, END_STREAM);
    let (_, trailers) = caller.fields(&trailers.payload);
    let ended = raw_h2::Response {
        trailers,
        ..raw_h2::Response::default()
    };
    let expected = (Code::Unavailable, "CONNECTION_AGED".to_owned());
    assert_eq!(ended.outcome(), expected);
    caller.rest().await;
}

#[tokio::test]
async fn an_old_connection_without_calls_closes_without_a_grace() {
    let served = serve(|server| server.max_connection_age = Some(millis(100))).await;
    let start = Instant::now();
    let mut caller = RawH2::open(served.address, &[]).await;
    let frames = caller.rest().await;
    assert!(frames.iter().any(|frame| frame.kind == GOAWAY));
    if checks_bounds() {
        assert!(start.elapsed() < Duration::from_secs(10));
    }
}

#[tokio::test]
async fn a_call_that_ends_within_the_grace_is_not_cut() {
    let served = serve(|server| {
        server.max_connection_age = Some(millis(100));
        server.max_connection_age_grace = None;
    })
    .await;
    let mut caller = running(&served).await;
    caller.next_of(GOAWAY).await.unwrap();
    caller.write(&raw_h2::frame(DATA, END_STREAM, 1, &[])).await;
    let trailers = caller.next_of(HEADERS).await.unwrap();
    let (_, trailers) = caller.fields(&trailers.payload);
    assert_eq!(trailers["grpc-status"], "0");
    caller.rest().await;
}

#[tokio::test]
async fn while_it_stops_health_says_so_and_new_callers_are_still_served() {
    let served = serve(|server| server.drain_delay = millis(1500)).await;
    let address = served.address;
    let mut watcher = RawH2::open(address, &[]).await;
    let watch = raw_h2::whole_call(1, WATCH, &HealthCheckRequest::default());
    watcher.write(&watch).await;
    let headers = watcher.next_of(HEADERS).await.unwrap();
    watcher.fields(&headers.payload);
    assert_eq!(health(&watcher.next_of(DATA).await.unwrap()), "SERVING");

    served.stop().await;
    assert_eq!(health(&watcher.next_of(DATA).await.unwrap()), "NOT_SERVING");
    let mut late = RawH2::open(address, &[]).await;
    let check = raw_h2::whole_call(1, CHECK, &HealthCheckRequest::default());
    late.write(&check).await;
    assert_eq!(health(&late.next_of(DATA).await.unwrap()), "NOT_SERVING");

    // Then the watch ends, the connections close, and so does the server.
    let trailers = watcher.next_of(HEADERS).await.unwrap();
    let (_, trailers) = watcher.fields(&trailers.payload);
    assert_eq!(trailers["grpc-status"], "14");
    let frames = late.rest().await;
    assert!(frames.iter().any(|frame| frame.kind == GOAWAY));
    watcher.rest().await;
    served.ended().await.unwrap();
    TcpStream::connect(address).await.unwrap_err();
}

#[tokio::test]
async fn an_idle_reflection_stream_ends_when_the_drain_begins() {
    let served = serve(|_| {}).await;
    let mut caller = running(&served).await;
    served.stop().await;
    let ended = caller.response(1).await;
    let expected = (Code::Unavailable, "DRAINING".to_owned());
    assert_eq!(ended.outcome(), expected);
    // As gRPC's libraries do when they get trailers.
    caller.write(&raw_h2::frame(DATA, END_STREAM, 1, &[])).await;
    caller.rest().await;
    served.ended().await.unwrap();
}

#[tokio::test]
async fn a_connection_without_calls_is_told_to_go_after_its_idle_time() {
    let served = serve(|server| server.max_connection_idle = Some(millis(300))).await;
    let mut busy = running(&served).await;
    let mut idle = RawH2::open(served.address, &[]).await;
    let frames = idle.rest().await;
    assert!(frames.iter().any(|frame| frame.kind == GOAWAY));
    // A call that runs, however quiet, keeps its connection.
    busy.write(&raw_h2::frame(raw_h2::PING, 0, 0, &[9; 8]))
        .await;
    let frame = busy.next().await.unwrap();
    assert_eq!(frame.kind, raw_h2::PING);
}

#[tokio::test]
async fn a_call_that_outlives_the_drain_is_ended_with_a_reason() {
    let (served, _vllm) = before_silence(|server| server.drain_timeout = millis(300)).await;
    let mut caller = streaming(&served).await;
    served.stop().await;
    let ended = caller.response(1).await;
    // Its headers came before, so these are its trailers.
    let expected = (Code::Unavailable, "DRAINING".to_owned());
    assert_eq!(ended.outcome(), expected);
    caller.rest().await;
    served.ended().await.unwrap();
}

#[tokio::test]
async fn a_watch_of_a_service_that_is_not_there_stays_open_until_the_end() {
    let served = serve(|_| {}).await;
    let mut watcher = RawH2::open(served.address, &[]).await;
    let unknown = HealthCheckRequest {
        service: "no.such.Service".to_owned(),
    };
    watcher.write(&raw_h2::whole_call(1, WATCH, &unknown)).await;
    let headers = watcher.next_of(HEADERS).await.unwrap();
    watcher.fields(&headers.payload);
    let first = watcher.next_of(DATA).await.unwrap();
    assert_eq!(health(&first), "SERVICE_UNKNOWN");

    // What changes is the health of others, so that the next is the end.
    served.stop().await;
    let frames = watcher.rest().await;
    assert!(frames.iter().all(|frame| frame.kind != DATA));
    let trailers = frames.iter().find(|frame| frame.kind == HEADERS).unwrap();
    let (_, trailers) = watcher.fields(&trailers.payload);
    assert_eq!(trailers["grpc-status"], "14");
    served.ended().await.unwrap();
}

#[tokio::test]
async fn a_caller_that_reads_nothing_does_not_hold_up_the_end() {
    let served = serve(|server| server.drain_timeout = millis(200)).await;
    let mut deaf = RawH2::open(served.address, &[(INITIAL_WINDOW_SIZE, 0)]).await;
    deaf.be_rude();
    let watch = raw_h2::whole_call(1, WATCH, &HealthCheckRequest::default());
    deaf.write(&watch).await;
    deaf.write(&raw_h2::call(3, REFLECTION)).await;
    deaf.next_of(HEADERS).await.unwrap();
    let mut silent = RawH2::connect(served.address).await;
    silent.write(raw_h2::PREFACE).await;

    let start = Instant::now();
    served.stop().await;
    served.ended().await.unwrap();
    let took = start.elapsed();
    if checks_bounds() {
        assert!(took < millis(200) + Duration::from_secs(3), "{took:?}");
    }
}

#[tokio::test]
async fn a_second_stop_ends_everything_at_once() {
    let (served, _vllm) = before_silence(|_| {}).await;
    let mut caller = streaming(&served).await;
    served.stop().await;
    caller.next_of(GOAWAY).await.unwrap();
    served.stop().await;
    assert!(matches!(served.ended().await, Err(Error::Interrupted)));
    caller.rest().await;
}

#[tokio::test]
async fn a_second_stop_cuts_the_delay_short() {
    let served = serve(|server| server.drain_delay = Duration::from_secs(3600)).await;
    served.stop().await;
    served.stop().await;
    assert!(matches!(served.ended().await, Err(Error::Interrupted)));
}
