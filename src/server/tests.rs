//! What the server does for calls of a service that hangs, floods and panics, over real sockets.

#[expect(
    dead_code,
    unreachable_pub,
    reason = "shared with the integration tests, which use all of it"
)]
#[path = "../../tests/it/support/raw_h2.rs"]
mod raw_h2;

use std::{net::SocketAddr, pin::Pin, time::Duration};

use tokio::{
    net::TcpListener,
    sync::mpsc,
    task::JoinSet,
    time::{self, Instant},
};
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{Code, Request, Response, Status};

use super::{Admission, Answers, Error, Services, run};
use crate::{
    config,
    proto::{
        ContentDelta, GenerateRequest, GenerateResponse, StreamGenerateResponse,
        generation_service_server::{GenerationService, GenerationServiceServer},
        stream_generate_response::Event,
    },
    service::call::Call,
};
use raw_h2::{CANCEL, DATA, HEADERS, INITIAL_WINDOW_SIZE, RST_STREAM, RawH2};

const GENERATE: &str = "/vllm_adapter.v1.GenerationService/Generate";
const STREAM_GENERATE: &str = "/vllm_adapter.v1.GenerationService/StreamGenerate";

/// Does what the prompt says, and tells when a call's parts are dropped.
#[derive(Debug)]
struct Scripted {
    dropped: mpsc::Sender<String>,
}

/// Stands for what a call holds: its upstream's connection above all.
struct Held {
    prompt: String,
    dropped: mpsc::Sender<String>,
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.dropped.try_send(self.prompt.clone());
    }
}

#[tonic::async_trait]
impl GenerationService for Scripted {
    type StreamGenerateStream =
        Pin<Box<dyn Stream<Item = Result<StreamGenerateResponse, Status>> + Send>>;

    async fn generate(
        &self,
        request: Request<GenerateRequest>,
    ) -> Result<Response<GenerateResponse>, Status> {
        let held = self.hold(request);
        match held.prompt.as_str() {
            "hang" => std::future::pending().await,
            "panic" => panic!("secret"),
            "huge" => Ok(Response::new(GenerateResponse {
                model: "a".repeat(8 << 20),
                ..GenerateResponse::default()
            })),
            "large" => Ok(Response::new(GenerateResponse {
                model: "a".repeat(2000),
                ..GenerateResponse::default()
            })),
            _ => Ok(Response::new(GenerateResponse::default())),
        }
    }

    async fn stream_generate(
        &self,
        request: Request<GenerateRequest>,
    ) -> Result<Response<Self::StreamGenerateStream>, Status> {
        let call = request.extensions().get::<Call>().unwrap().clone();
        let held = self.hold(request);
        let script = async_stream::stream! {
            call.responded(true);
            yield Ok(delta(1));
            // tonic sends what is made without a pause as one piece.
            tokio::task::yield_now().await;
            match held.prompt.as_str() {
                "hang" => std::future::pending().await,
                "panic" => panic!("secret"),
                "large" => yield Ok(delta(2000)),
                "flood" => loop {
                    yield Ok(delta(10_000));
                },
                _ => {}
            }
            drop(held);
        };
        Ok(Response::new(Box::pin(script)))
    }
}

impl Scripted {
    fn hold(&self, request: Request<GenerateRequest>) -> Held {
        Held {
            prompt: request.into_inner().prompt,
            dropped: self.dropped.clone(),
        }
    }
}

fn delta(size: usize) -> StreamGenerateResponse {
    StreamGenerateResponse {
        event: Some(Event::Content(ContentDelta {
            choice_index: 0,
            text: "a".repeat(size),
        })),
        ..StreamGenerateResponse::default()
    }
}

/// A server with that service.
struct Served {
    address: SocketAddr,
    stop: mpsc::Sender<()>,
    /// The prompts of the calls whose parts were dropped.
    dropped: mpsc::Receiver<String>,
    task: JoinSet<Result<(), Error>>,
}

async fn serve(change: impl FnOnce(&mut config::Server)) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stops) = mpsc::channel(2);
    let (dropping, dropped) = mpsc::channel(16);
    let mut config = config();
    change(&mut config);
    let scripted = Scripted { dropped: dropping };
    let service =
        GenerationServiceServer::new(scripted).max_encoding_message_size(config.max_response_bytes);
    let services = Services::default()
        .add(service)
        .finish(false, tokio::sync::watch::channel(Default::default()).1)
        .unwrap();
    let mut task = JoinSet::new();
    let answers = Answers {
        routes: services.routes.clone(),
        access: Default::default(),
        admission: Admission::new(config.max_in_flight, config.max_request_memory),
        config,
        max_duration: None,
        tls: None,
        telemetry: std::sync::Arc::new(crate::telemetry::Telemetry::start(None).unwrap()),
    };
    let stops = ReceiverStream::new(stops);
    task.spawn(run(
        listener,
        None,
        services,
        std::sync::Arc::new(answers),
        stops,
    ));
    Served {
        address,
        stop,
        dropped,
        task,
    }
}

fn config() -> config::Server {
    config::Server {
        max_request_bytes: 1000,
        max_response_bytes: 100_000,
        max_request_memory: 1_000_000,
        pad_responses: None,
        max_connections: 10,
        max_connections_per_source: None,
        max_streams_per_connection: 10,
        max_in_flight: None,
        keepalive_interval: None,
        keepalive_timeout: Duration::from_secs(10),
        max_connection_idle: None,
        max_connection_age: None,
        max_connection_age_grace: None,
        write_stall_timeout: None,
        drain_delay: Duration::ZERO,
        drain_timeout: Duration::from_millis(200),
        reflection: false,
        tls: config::Tls::default(),
    }
}

impl Served {
    /// The next call whose parts were dropped.
    async fn next_dropped(&mut self) -> String {
        let dropped = time::timeout(Duration::from_secs(10), self.dropped.recv()).await;
        dropped.expect("nothing was dropped").unwrap()
    }

    async fn ended(&mut self) -> Result<(), Error> {
        let ended = time::timeout(Duration::from_secs(10), self.task.join_next()).await;
        ended.expect("the server does not end").unwrap().unwrap()
    }
}

fn call(stream: u32, path: &str, prompt: &str) -> Vec<u8> {
    let request = GenerateRequest {
        prompt: prompt.to_owned(),
        ..GenerateRequest::default()
    };
    raw_h2::whole_call(stream, path, &request)
}

#[track_caller]
fn check(response: &raw_h2::Response, code: Code, reason: &str) {
    assert_eq!(response.outcome(), (code, reason.to_owned()));
}

fn metadata(response: &raw_h2::Response, key: &str) -> Option<String> {
    use tonic_types::StatusExt;
    let details = response.status().get_error_details();
    details.error_info()?.metadata.get(key).cloned()
}

#[tokio::test]
async fn a_panic_ends_its_own_call_and_no_other() {
    let mut served = serve(|_| {}).await;
    let mut caller = RawH2::open(served.address, &[]).await;
    caller.write(&call(1, GENERATE, "panic")).await;
    let unary = caller.response(1).await;
    check(&unary, Code::Internal, "ADAPTER_PANIC");
    assert_eq!(unary.status().message(), "internal error");
    assert_eq!(served.next_dropped().await, "panic");

    caller.write(&call(3, STREAM_GENERATE, "panic")).await;
    let streamed = caller.response(3).await;
    check(&streamed, Code::Internal, "ADAPTER_PANIC");
    assert!(!streamed.body.is_empty());
    assert_eq!(metadata(&streamed, "partial").as_deref(), Some("true"));
    assert_eq!(served.next_dropped().await, "panic");

    caller.write(&call(5, GENERATE, "")).await;
    assert_eq!(caller.response(5).await.outcome().0, Code::Ok);
}

#[tokio::test]
async fn a_response_that_is_too_large_says_so() {
    let served = serve(|server| server.max_response_bytes = 1000).await;
    let mut caller = RawH2::open(served.address, &[]).await;
    for (stream, path) in [(1, GENERATE), (3, STREAM_GENERATE)] {
        caller.write(&call(stream, path, "large")).await;
        let response = caller.response(stream).await;
        check(&response, Code::ResourceExhausted, "RESPONSE_TOO_LARGE");
        assert_eq!(metadata(&response, "limit").as_deref(), Some("1000"));
    }
}

#[tokio::test]
async fn what_runs_when_the_drain_is_over_is_dropped_and_told() {
    let mut served = serve(|_| {}).await;
    let mut caller = RawH2::open(served.address, &[]).await;
    let mut other = RawH2::open(served.address, &[]).await;
    caller.write(&call(1, GENERATE, "hang")).await;
    other.write(&call(1, STREAM_GENERATE, "hang")).await;
    other.next_of(DATA).await.unwrap();
    served.stop.send(()).await.unwrap();

    let unary = caller.response(1).await;
    check(&unary, Code::Unavailable, "DRAINING");
    assert_eq!(metadata(&unary, "partial"), None);
    // The response's headers were read above, before its first message.
    let streamed = other.response(1).await;
    check(&streamed, Code::Unavailable, "DRAINING");
    assert_eq!(metadata(&streamed, "partial").as_deref(), Some("true"));
    assert_eq!(served.next_dropped().await, "hang");
    assert_eq!(served.next_dropped().await, "hang");
    served.ended().await.unwrap();
}

#[tokio::test]
async fn a_caller_that_leaves_drops_its_calls() {
    let mut served = serve(|_| {}).await;
    let mut caller = RawH2::open(served.address, &[]).await;
    caller.write(&call(1, GENERATE, "hang")).await;
    caller.write(&call(3, STREAM_GENERATE, "hang")).await;
    caller.next_of(DATA).await.unwrap();
    let reset = raw_h2::frame(RST_STREAM, 0, 3, &CANCEL.to_be_bytes());
    caller.write(&reset).await;
    assert_eq!(served.next_dropped().await, "hang");
    drop(caller);
    assert_eq!(served.next_dropped().await, "hang");
}

#[tokio::test]
async fn a_caller_that_does_not_read_is_cut() {
    let limit = Duration::from_millis(500);
    let mut served = serve(|server| server.write_stall_timeout = Some(limit)).await;
    let window = (INITIAL_WINDOW_SIZE, 100_000);
    let mut caller = RawH2::open(served.address, &[window]).await;
    let start = Instant::now();
    caller.write(&call(1, STREAM_GENERATE, "flood")).await;
    let cut = caller.next_of(RST_STREAM).await.unwrap();
    assert_eq!((cut.stream, cut.code()), (1, CANCEL));
    assert!(start.elapsed() >= limit);
    assert_eq!(served.next_dropped().await, "flood");

    // The connection itself goes on.
    caller.write(&call(3, GENERATE, "")).await;
    caller.next_of(HEADERS).await.unwrap();
}

/// hyper gives h2 a whole piece at once, and the call must not have ended by then.
#[tokio::test]
async fn a_caller_that_does_not_read_a_large_answer_is_cut() {
    let limit = Duration::from_millis(500);
    let served = serve(|server| {
        server.write_stall_timeout = Some(limit);
        server.max_response_bytes = 16 << 20;
    })
    .await;
    let mut caller = RawH2::open(served.address, &[]).await;
    caller.write(&call(1, GENERATE, "huge")).await;
    let cut = caller.next_of(RST_STREAM).await.unwrap();
    assert_eq!((cut.stream, cut.code()), (1, CANCEL));
}

#[tokio::test]
async fn a_caller_that_reads_slowly_is_not_cut() {
    let limit = Duration::from_millis(500);
    let served = serve(|server| server.write_stall_timeout = Some(limit)).await;
    let mut caller = RawH2::open(served.address, &[(INITIAL_WINDOW_SIZE, 1)]).await;
    caller.write(&call(1, STREAM_GENERATE, "flood")).await;
    let start = Instant::now();
    while start.elapsed() < 3 * limit {
        // Less than the limit, and more than one piece of the response.
        time::sleep(limit / 10).await;
        caller.write(&raw_h2::window_update(1, 40_000)).await;
        caller.write(&raw_h2::window_update(0, 40_000)).await;
    }
    caller
        .write(&raw_h2::frame(raw_h2::PING, 0, 0, &[9; 8]))
        .await;
    loop {
        let frame = caller.next().await.unwrap();
        assert_ne!(frame.kind, RST_STREAM);
        if frame.kind == raw_h2::PING {
            break;
        }
    }
}

#[tokio::test]
async fn a_caller_that_waits_for_the_upstream_is_not_cut() {
    let limit = Duration::from_millis(100);
    let mut served = serve(|server| server.write_stall_timeout = Some(limit)).await;
    let mut caller = RawH2::open(served.address, &[]).await;
    caller.write(&call(1, STREAM_GENERATE, "hang")).await;
    caller.next_of(DATA).await.unwrap();
    time::timeout(5 * limit, caller.next_of(RST_STREAM))
        .await
        .unwrap_err();
    assert!(served.dropped.try_recv().is_err());
}
