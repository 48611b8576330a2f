use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::support::{
    adapter::Adapter, requests::endless, server::Server, streamed::read_contents, vllm,
};

/// Runs a stream before a vLLM of its own, does the fault after the first tokens, and gives how the stream ends.
async fn end_of_stream(fault: impl FnOnce(&Server)) -> Option<Status> {
    let directory = vllm::given("ADAPTER_TEST_VLLM_DIR")?;
    let server = Server::start(&directory).await;
    let adapter = Adapter::with(server.vllm.url(), &[("ADAPTER_TOKEN_IDLE_TIMEOUT", "3s")]).await;
    let stream = adapter.generation().stream_generate(endless()).await;
    let mut stream = stream.unwrap().into_inner();
    read_contents(&mut stream, 3).await;
    fault(&server);
    loop {
        match stream.message().await {
            Ok(event) => assert!(event.is_some(), "the stream ended with OK"),
            Err(status) => return Some(status),
        }
    }
}

fn check(status: &Status, code: Code, reason: &str) {
    assert_eq!(status.code(), code, "{status:?}");
    let info = status.get_details_error_info().expect("ErrorInfo");
    assert_eq!(info.reason, reason, "{status:?}");
    assert_eq!(
        info.metadata.get("partial").map(String::as_str),
        Some("true")
    );
}

#[tokio::test]
async fn an_engine_that_dies_ends_the_stream_with_internal() {
    if let Some(status) = end_of_stream(Server::kill_engine).await {
        check(&status, Code::Internal, "UPSTREAM_INTERNAL");
    }
}

#[tokio::test]
async fn an_api_server_that_dies_ends_the_stream_with_unavailable() {
    if let Some(status) = end_of_stream(Server::kill_api_server).await {
        check(&status, Code::Unavailable, "UPSTREAM_STREAM_TRUNCATED");
    }
}

#[tokio::test]
async fn an_api_server_told_to_end_falls_silent_and_the_idle_limit_ends_the_stream() {
    let start = tokio::time::Instant::now();
    if let Some(status) = end_of_stream(Server::terminate_api_server).await {
        check(&status, Code::Unavailable, "UPSTREAM_STALLED");
        assert!(start.elapsed() > Duration::from_secs(3));
    }
}
