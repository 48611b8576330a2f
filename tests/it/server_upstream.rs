//! What the server ends, ends upstream too.

use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::support::{
    adapter::Adapter,
    raw_h2::{self, CANCEL, INITIAL_WINDOW_SIZE, RST_STREAM, RawH2},
    reply::Reply,
    requests::prompt,
    signal::Meter,
    vllm::Vllm,
};

const STREAM_GENERATE: &str = "/vllm_adapter.v1.GenerationService/StreamGenerate";

/// An event with a delta, as vLLM sends it.
const DELTA: &str = r#"{"id":"a","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":"word "},"finish_reason":null}]}"#;

/// The reason of a status, and a fact beside it.
fn told(status: &Status, fact: &str) -> (String, Option<String>) {
    let details = status.get_error_details();
    let error = details.error_info().unwrap();
    (error.reason.clone(), error.metadata.get(fact).cloned())
}

#[tokio::test]
async fn the_end_of_the_drain_closes_the_upstreams_request_of_a_stream() {
    let vllm = Vllm::replying(Reply::stream().event(DELTA).event(DELTA).fall_silent()).await;
    let adapter = Adapter::before(vllm.base_url())
        .with(|config| config.server.drain_timeout = Duration::from_millis(200))
        .start()
        .await;
    let mut client = adapter.client();
    let stream = client.stream_generate(prompt("Hello!")).await.unwrap();
    let mut stream = stream.into_inner();
    // The event that begins the stream, and both deltas.
    for _ in 0..3 {
        stream.message().await.unwrap().unwrap();
    }
    adapter.stop().await;
    let status = loop {
        match stream.message().await {
            Ok(Some(_merged)) => {}
            Ok(None) => panic!("a stream that was cut ended well"),
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    let deltas = Some("2".to_owned());
    assert_eq!(told(&status, "deltas"), ("DRAINING".to_owned(), deltas));
    vllm.left(0).await;
    adapter.ended().await.unwrap();
}

#[tokio::test]
async fn the_end_of_the_drain_closes_the_upstreams_request_of_a_unary_call() {
    let vllm = Vllm::replying(Reply::raw().fall_silent()).await;
    let adapter = Adapter::before(vllm.base_url())
        .with(|config| config.server.drain_timeout = Duration::from_millis(200))
        .start()
        .await;
    let mut client = adapter.client();
    let stop = async {
        vllm.request(0).await;
        adapter.stop().await;
    };
    let (answer, ()) = tokio::join!(client.generate(prompt("Hello!")), stop);
    let status = answer.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert_eq!(told(&status, "partial"), ("DRAINING".to_owned(), None));
    vllm.left(0).await;
    adapter.ended().await.unwrap();
}

#[tokio::test]
async fn a_caller_that_does_not_read_stops_the_upstream_and_is_cut() {
    let meter = Meter::new();
    let event = format!("data: {DELTA}\n\n");
    let vllm = Vllm::replying(Reply::stream().flood(event, &meter)).await;
    let adapter = Adapter::before(vllm.base_url())
        .with(|config| config.server.write_stall_timeout = Some(Duration::from_secs(2)))
        .start()
        .await;
    let mut caller = RawH2::open(adapter.address, &[(INITIAL_WINDOW_SIZE, 1000)]).await;
    let call = raw_h2::whole_call(1, STREAM_GENERATE, &prompt("Hello!"));
    caller.write(&call).await;
    meter.stalled_for(Duration::from_millis(500)).await;
    let cut = caller.next_of(RST_STREAM).await.unwrap();
    assert_eq!((cut.stream, cut.code()), (1, CANCEL));
    vllm.left(0).await;
}
