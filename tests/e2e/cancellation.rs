use std::time::Duration;

use tonic::{Code, Request};

use crate::support::{
    adapter::Adapter,
    requests::endless,
    streamed::read_contents,
    vllm::{self, Vllm},
    within,
};

/// How long vLLM may take to notice that a caller has left.
const AT_ONCE: Duration = Duration::from_secs(1);
/// How long it may take to begin.
const TO_BEGIN: Duration = Duration::from_secs(30);
/// `--max-num-seqs` of `tests/vllm/vllm.sh`.
const RUNNING_AT_ONCE: u32 = 16;

/// Waits until so many requests run, and so many wait.
async fn until(vllm: &Vllm, limit: Duration, running: u32, waiting: u32) {
    let what = format!("{running} requests run and {waiting} wait");
    let is_so = || async { vllm.running().await == running && vllm.waiting().await == waiting };
    within(limit, &what, is_so).await;
}

#[tokio::test]
#[ignore = "needs a vLLM: set ADAPTER_TEST_VLLM"]
async fn a_caller_that_leaves_a_stream_stops_the_generation() {
    let vllm = vllm::chat_alone().await;
    let adapter = Adapter::before(vllm.url()).await;
    let stream = adapter.generation().stream_generate(endless()).await;
    let mut stream = stream.unwrap().into_inner();
    read_contents(&mut stream, 3).await;
    until(&vllm, TO_BEGIN, 1, 0).await;
    drop(stream);
    until(&vllm, AT_ONCE, 0, 0).await;
}

#[tokio::test]
#[ignore = "needs a vLLM: set ADAPTER_TEST_VLLM"]
async fn a_caller_that_leaves_a_unary_call_stops_the_generation() {
    let vllm = vllm::chat_alone().await;
    let adapter = Adapter::before(vllm.url()).await;
    let mut client = adapter.generation();
    tokio::select! {
        answer = client.generate(endless()) => panic!("ended before: {answer:?}"),
        () = until(&vllm, TO_BEGIN, 1, 0) => {}
    }
    until(&vllm, AT_ONCE, 0, 0).await;
}

#[tokio::test]
#[ignore = "needs a vLLM: set ADAPTER_TEST_VLLM"]
async fn a_caller_that_leaves_the_queue_takes_its_request_along() {
    let vllm = vllm::chat_alone().await;
    let adapter = Adapter::before(vllm.url()).await;
    let mut client = adapter.generation();
    let mut running = Vec::new();
    for _ in 0..RUNNING_AT_ONCE {
        running.push(client.stream_generate(endless()).await.unwrap());
    }
    tokio::select! {
        stream = client.stream_generate(endless()) => panic!("began before: {stream:?}"),
        () = until(&vllm, TO_BEGIN, RUNNING_AT_ONCE, 1) => {}
    }
    until(&vllm, AT_ONCE, RUNNING_AT_ONCE, 0).await;
    drop(running);
    until(&vllm, AT_ONCE, 0, 0).await;
}

#[tokio::test]
#[ignore = "needs a vLLM: set ADAPTER_TEST_VLLM"]
async fn a_deadline_that_passes_stops_the_generation() {
    let vllm = vllm::chat_alone().await;
    let adapter = Adapter::before(vllm.url()).await;
    let mut request = Request::new(endless());
    request.set_timeout(Duration::from_secs(1));
    let stream = adapter.generation().stream_generate(request).await;
    let mut stream = stream.unwrap().into_inner();
    let end = loop {
        match stream.message().await {
            Ok(event) => assert!(event.is_some(), "ended before the deadline"),
            Err(status) => break status,
        }
    };
    assert_eq!(end.code(), Code::DeadlineExceeded, "{end:?}");
    until(&vllm, AT_ONCE, 0, 0).await;
}
