//! The web port over HTTP/1.1, as a browser without HTTP/2 speaks to it.

use std::time::Duration;

use prost::Message as _;
use reqwest::{Response, StatusCode};
use tokio::net::TcpListener;
use tonic::Code;

use crate::support::{
    adapter::{Adapter, Builder},
    requests::prompt,
    soon,
};

const STREAM: &str = "/vllm_adapter.v1.GenerationService/StreamGenerate";

/// An adapter with a web port, and a vLLM that never answers.
async fn silent() -> (TcpListener, Builder) {
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", upstream.local_addr().unwrap());
    let adapter = Adapter::before(url.parse().unwrap());
    let adapter = adapter.with(|config| config.web.listen = Some(([127, 0, 0, 1], 0).into()));
    (upstream, adapter)
}

fn client() -> reqwest::Client {
    // Another test may have set it, to the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

async fn get(adapter: &Adapter, path: &str) -> Response {
    let request = client().get(format!("http://{}{path}", adapter.web.unwrap()));
    soon("getting a file", request.send()).await.unwrap()
}

async fn call(adapter: &Adapter, timeout: &str) -> reqwest::Result<Response> {
    let message = prompt("Hello!").encode_to_vec();
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let body = [&[0][..], &length, &message].concat();
    let request = client()
        .post(format!("http://{}{STREAM}", adapter.web.unwrap()))
        .header("content-type", "application/grpc-web+proto")
        .header("grpc-timeout", timeout)
        .body(body);
    soon("calling", request.send()).await
}

#[track_caller]
fn check(response: &Response, code: Code) {
    assert_eq!(response.status(), StatusCode::OK);
    let headers = response.headers();
    assert_eq!(headers["content-type"], "application/grpc-web+proto");
    assert_eq!(headers["grpc-status"], (code as i32).to_string().as_str());
    assert!(headers.contains_key("grpc-status-details-bin"));
    assert!(headers.contains_key("x-request-id"));
}

#[tokio::test]
async fn the_page_is_served_where_it_is_wanted() {
    let (_upstream, adapter) = silent().await;
    let adapter = adapter
        .with(|config| config.web.playground = true)
        .start()
        .await;
    let page = get(&adapter, "/").await;
    assert_eq!(page.status(), StatusCode::OK);
    let policy = page.headers()["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    assert_eq!(get(&adapter, "/app.js").await.status(), StatusCode::OK);
    assert_eq!(
        get(&adapter, "/other").await.status(),
        StatusCode::NOT_FOUND
    );
    let (_upstream, adapter) = silent().await;
    let adapter = adapter.start().await;
    assert_eq!(get(&adapter, "/").await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_deadline_holds_over_http_1() {
    let (_upstream, adapter) = silent().await;
    let adapter = adapter.start().await;
    let response = call(&adapter, "50m").await.unwrap();
    check(&response, Code::DeadlineExceeded);
    assert!(response.bytes().await.unwrap().is_empty());
}

#[tokio::test]
async fn the_drain_ends_a_call_over_http_1() {
    let (upstream, adapter) = silent().await;
    let adapter = adapter.with(|config| config.server.drain_timeout = Duration::ZERO);
    let adapter = adapter.start().await;
    let stop = async {
        let _request = upstream.accept().await.unwrap();
        adapter.stop().await;
        _request
    };
    let (response, _request) = tokio::join!(call(&adapter, "60S"), stop);
    check(&response.unwrap(), Code::Unavailable);
    adapter.ended().await.unwrap();
}
