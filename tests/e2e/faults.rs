use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::support::{
    adapter::{Adapter, free_port},
    requests::endless,
    server::{Server, turn},
    streamed::read_contents,
    vllm,
};

/// Runs a stream before a vLLM of its own, does the fault after the first tokens, and gives how the stream ends.
async fn end_of_stream(fault: impl FnOnce(&Server)) -> Status {
    let directory = vllm::given("ADAPTER_TEST_VLLM_DIR");
    let _turn = turn().await;
    let server = Server::start(&directory, "chat", free_port()).await;
    let adapter = Adapter::with(server.vllm.url(), &[("ADAPTER_TOKEN_IDLE_TIMEOUT", "3s")]).await;
    let stream = adapter.generation().stream_generate(endless()).await;
    let mut stream = stream.unwrap().into_inner();
    read_contents(&mut stream, 3).await;
    fault(&server);
    loop {
        match stream.message().await {
            Ok(event) => assert!(event.is_some(), "the stream ended with OK"),
            Err(status) => return status,
        }
    }
}

/// Checks the code, the reason, and that the caller is told of the text that it has.
fn check(status: &Status, ends: &[(Code, &str)]) {
    let info = status.get_details_error_info().expect("ErrorInfo");
    let end = (status.code(), info.reason.as_str());
    assert!(ends.contains(&end), "{status:?}");
    let partial = info.metadata.get("partial").map(String::as_str);
    assert_eq!(partial, Some("true"), "{status:?}");
}

#[tokio::test]
#[ignore = "needs a vLLM: set ADAPTER_TEST_VLLM_DIR"]
async fn an_engine_that_dies_ends_the_stream_with_internal() {
    let status = end_of_stream(Server::kill_engine).await;
    check(&status, &[(Code::Internal, "UPSTREAM_INTERNAL")]);
}

#[tokio::test]
#[ignore = "needs a vLLM: set ADAPTER_TEST_VLLM_DIR"]
async fn an_api_server_that_dies_ends_the_stream_with_unavailable() {
    let status = end_of_stream(Server::kill_api_server).await;
    check(&status, &[(Code::Unavailable, "UPSTREAM_STREAM_TRUNCATED")]);
}

#[tokio::test]
#[ignore = "needs a vLLM: set ADAPTER_TEST_VLLM_DIR"]
async fn an_engine_that_hangs_leaves_silence_that_the_idle_limit_ends() {
    let status = end_of_stream(Server::stop_engine).await;
    check(&status, &[(Code::Unavailable, "UPSTREAM_STALLED")]);
}

/// The parts of vLLM 0.32 race when it shuts down: the stream falls silent, or is aborted, or has an error event.
#[tokio::test]
#[ignore = "needs a vLLM: set ADAPTER_TEST_VLLM_DIR"]
async fn an_api_server_told_to_end_never_ends_the_stream_with_ok() {
    let status = end_of_stream(Server::terminate_api_server).await;
    let ends = [
        (Code::Unavailable, "UPSTREAM_STALLED"),
        (Code::Unavailable, "UPSTREAM_ABORTED"),
        (Code::Internal, "UPSTREAM_INTERNAL"),
    ];
    check(&status, &ends);
}
