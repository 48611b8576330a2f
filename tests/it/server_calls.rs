//! What every call gets, whatever it asks for.

use tokio_stream::StreamExt;
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_reflection::pb::{v1, v1alpha};
use tonic_types::StatusExt;
use vllm_grpc_adapter::proto::{
    GenerateRequest,
    generation_service_client::GenerationServiceClient,
    health::{HealthListRequest, HealthListResponse},
};

use crate::support::{
    adapter::{Adapter, serve},
    raw_h2::{self, DATA, END_HEADERS, END_STREAM, HEADERS, RawH2, Response},
};

const GENERATE: &str = "/vllm_adapter.v1.GenerationService/Generate";
const CHECK: &str = "/grpc.health.v1.Health/Check";
const LIST: &str = "/grpc.health.v1.Health/List";

/// The response to one call, given as the bytes of its body.
async fn call(served: &Adapter, path: &str, more: &[(&str, &str)], body: &[u8]) -> Response {
    let mut caller = RawH2::open(served.address, &[]).await;
    let fields = raw_h2::call_fields(path, more);
    caller
        .write(&raw_h2::frame(HEADERS, END_HEADERS, 1, &fields))
        .await;
    caller
        .write(&raw_h2::frame(DATA, END_STREAM, 1, body))
        .await;
    caller.response(1).await
}

/// The health of a service, by its name.
async fn health(served: &Adapter, service: &str) -> Response {
    let service = service.to_owned();
    let request = raw_h2::message(&HealthCheckRequest { service });
    call(served, CHECK, &[], &request).await
}

#[tokio::test]
async fn health_knows_the_server_and_each_service() {
    let served = serve(|_| {}).await;
    for service in ["", "vllm_adapter.v1.GenerationService"] {
        let response = health(&served, service).await;
        assert_eq!(response.outcome().0, Code::Ok, "{service}");
        let health: HealthCheckResponse = prost::Message::decode(&response.body[5..]).unwrap();
        assert_eq!(health.status().as_str_name(), "SERVING", "{service}");
    }
    let unknown = health(&served, "no.such.Service").await;
    assert_eq!(unknown.outcome(), (Code::NotFound, "NOT_FOUND".to_owned()));
}

#[tokio::test]
async fn health_lists_the_server_and_each_service() {
    let served = serve(|_| {}).await;
    let request = raw_h2::message(&HealthListRequest {});
    let response = call(&served, LIST, &[], &request).await;
    assert_eq!(response.outcome().0, Code::Ok);
    let listed: HealthListResponse = prost::Message::decode(&response.body[5..]).unwrap();
    for service in ["", "vllm_adapter.v1.GenerationService"] {
        let health = listed.statuses[service].status().as_str_name();
        assert_eq!(health, "SERVING", "{service}");
    }
}

#[tokio::test]
async fn reflection_lists_the_services_to_clients_of_both_versions() {
    let served = serve(|_| {}).await;
    let v1 = v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(v1::server_reflection_request::MessageRequest::ListServices(
            String::new(),
        )),
    };
    for version in ["v1", "v1alpha"] {
        let path = format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo");
        // Both versions are the same on the wire.
        let response = call(&served, &path, &[], &raw_h2::message(&v1)).await;
        assert_eq!(response.outcome().0, Code::Ok, "{version}");
        let listed = String::from_utf8_lossy(&response.body);
        for service in ["vllm_adapter.v1.GenerationService", "grpc.health.v1.Health"] {
            assert!(listed.contains(service), "{version}: {listed}");
        }
    }
    let _ = v1alpha::ServerReflectionRequest::default();
}

#[tokio::test]
async fn reflection_can_be_switched_off() {
    let served = serve(|server| server.reflection = false).await;
    for version in ["v1", "v1alpha"] {
        let path = format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo");
        let response = call(&served, &path, &[], &[]).await;
        assert_eq!(
            response.outcome(),
            (Code::Unimplemented, "METHOD_UNKNOWN".to_owned())
        );
    }
}

#[tokio::test]
async fn an_unknown_method_is_unimplemented() {
    let served = serve(|_| {}).await;
    let unknown = [
        "/no.such.Service/Method",
        "/vllm_adapter.v1.GenerationService/NoSuchMethod",
        "/",
    ];
    for path in unknown {
        let response = call(&served, path, &[], &[0, 0, 0, 0, 0]).await;
        assert_eq!(response.http_status, "200", "{path}");
        let expected = (Code::Unimplemented, "METHOD_UNKNOWN".to_owned());
        assert_eq!(response.outcome(), expected, "{path}");
    }
}

#[tokio::test]
async fn the_callers_request_id_comes_back_with_every_answer() {
    let served = serve(|_| {}).await;
    let sent = [("x-request-id", "my-id")];
    let request = raw_h2::message(&HealthCheckRequest::default());
    let ok = call(&served, CHECK, &sent, &request).await;
    assert_eq!(ok.headers["x-request-id"], "my-id");

    let error = call(&served, "/no.such.Service/Method", &sent, &[]).await;
    assert_eq!(error.headers["x-request-id"], "my-id");
    let details = error.status().get_error_details();
    assert_eq!(details.request_info().unwrap().request_id, "my-id");
}

#[tokio::test]
async fn a_request_id_is_made_where_none_can_be_taken() {
    let served = serve(|_| {}).await;
    let request = raw_h2::message(&HealthCheckRequest::default());
    let long = "x".repeat(4096);
    let missing = call(&served, CHECK, &[], &request).await;
    assert_eq!(missing.headers["x-request-id"].len(), 32);
    let spaced = call(&served, CHECK, &[("x-request-id", "a b")], &request).await;
    assert_eq!(spaced.headers["x-request-id"].len(), 32);
    let cut = call(&served, CHECK, &[("x-request-id", &long)], &request).await;
    assert_eq!(cut.headers["x-request-id"].len(), 128);
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused_by_its_length_alone() {
    let served = serve(|server| server.max_request_bytes = 1000).await;
    let mut caller = RawH2::open(served.address, &[]).await;
    caller.write(&raw_h2::call(1, GENERATE)).await;
    // 4 GiB are announced, and none of them comes.
    let prefix = [0, 255, 255, 255, 255];
    caller.write(&raw_h2::frame(DATA, 0, 1, &prefix)).await;
    let response = caller.response(1).await;
    let expected = (Code::ResourceExhausted, "REQUEST_TOO_LARGE".to_owned());
    assert_eq!(response.outcome(), expected);
    let details = response.status().get_error_details();
    assert_eq!(details.error_info().unwrap().metadata["limit"], "1000");
}

#[tokio::test]
async fn a_large_message_within_the_limit_arrives() {
    let served = serve(|_| {}).await;
    let mut client = client(&served).await;
    let status = client.generate(prompt(20 << 20)).await.unwrap_err();
    // Refused by the service, which is what it reached.
    assert_ne!(status.code(), Code::ResourceExhausted, "{status:?}");
    let error = client.stream_generate(prompt(20 << 20)).await;
    let status = match error {
        Ok(stream) => stream.into_inner().next().await.unwrap().unwrap_err(),
        Err(status) => status,
    };
    assert_ne!(status.code(), Code::ResourceExhausted, "{status:?}");
}

async fn client(served: &Adapter) -> GenerationServiceClient<tonic::transport::Channel> {
    let address = format!("http://{}", served.address);
    let channel = tonic::transport::Endpoint::try_from(address).unwrap();
    GenerationServiceClient::new(channel.connect().await.unwrap())
}

fn prompt(size: usize) -> GenerateRequest {
    GenerateRequest {
        prompt: "a".repeat(size),
        ..GenerateRequest::default()
    }
}

#[tokio::test]
async fn a_request_that_cannot_be_read_gets_the_code_that_grpc_asks_for() {
    let served = serve(|_| {}).await;
    let malformed = "REQUEST_MALFORMED";
    let two = [0, 0, 0, 0, 0].repeat(2);
    let rows: [(&[u8], Code, &str); 8] = [
        // A message that is no protobuf.
        (&[0, 0, 0, 0, 2, 255, 255], Code::InvalidArgument, malformed),
        // A text field that is no UTF-8.
        (
            &[0, 0, 0, 0, 3, 0x12, 1, 255],
            Code::InvalidArgument,
            malformed,
        ),
        // A flag that does not exist.
        (&[7, 0, 0, 0, 0], Code::Internal, malformed),
        // Compressed, without saying how.
        (&[1, 0, 0, 0, 0], Code::Internal, malformed),
        // Half a message, half a prefix.
        (&[0, 0, 0, 0, 9, 1], Code::Internal, malformed),
        (&[0, 0], Code::Internal, malformed),
        // None, and two.
        (&[], Code::Unimplemented, "REQUEST_CARDINALITY"),
        (&two, Code::Unimplemented, "REQUEST_CARDINALITY"),
    ];
    for (body, code, reason) in rows {
        let response = call(&served, GENERATE, &[], body).await;
        assert_eq!(response.outcome(), (code, reason.to_owned()), "{body:?}");
    }
}

/// Row E7: prompts gain little by compression, and a message that is small on the wire may be large.
#[tokio::test]
async fn a_compressed_message_is_unimplemented() {
    let served = serve(|_| {}).await;
    for encoding in ["gzip", "deflate", "zstd", "br"] {
        let encoding = [("grpc-encoding", encoding)];
        let response = call(&served, GENERATE, &encoding, &[1, 0, 0, 0, 0]).await;
        let expected = (Code::Unimplemented, "COMPRESSION_UNSUPPORTED".to_owned());
        assert_eq!(response.outcome(), expected, "{encoding:?}");
        assert_eq!(response.headers["grpc-accept-encoding"], "identity");
    }
}

#[tokio::test]
async fn what_is_not_grpc_is_told_in_http() {
    let served = serve(|_| {}).await;
    let rows = [
        ("POST", "text/html", "415"),
        ("POST", "application/grpc-web+proto", "415"),
        ("GET", "application/grpc", "405"),
        ("CONNECT", "application/grpc", "405"),
        ("POST", "application/grpc+proto", "200"),
        ("POST", "application/grpc;charset=utf-8", "200"),
    ];
    for (method, content_type, expected) in rows {
        let mut caller = RawH2::open(served.address, &[]).await;
        let mut fields = vec![(":method", method), (":authority", "localhost")];
        if method != "CONNECT" {
            fields.extend([(":scheme", "http"), (":path", GENERATE)]);
        }
        fields.push(("content-type", content_type));
        let fields = raw_h2::fields(&fields);
        let headers = raw_h2::frame(HEADERS, END_HEADERS | END_STREAM, 1, &fields);
        caller.write(&headers).await;
        let response = caller.response(1).await;
        assert_eq!(response.http_status, expected, "{method} {content_type}");
    }
}
