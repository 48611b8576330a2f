//! Texts to tokens, and back.

use std::time::Duration;

use serde_json::json;
use tonic::{Code, transport::Channel};
use vllm_grpc_adapter::proto::{
    ChatMessage, DetokenizeRequest, Role, TokenizeRequest,
    tokenization_service_client::TokenizationServiceClient,
};

use crate::support::{
    adapter::Adapter,
    recording::Recording,
    reply::Reply,
    told::{telling, told},
    vllm::Vllm,
};

async fn before(vllm: &Vllm) -> (Adapter, TokenizationServiceClient<Channel>) {
    let adapter = Adapter::before(vllm.base_url()).start().await;
    let client = TokenizationServiceClient::new(adapter.channel());
    (adapter, client)
}

fn text(text: &str) -> TokenizeRequest {
    TokenizeRequest {
        text: text.to_owned(),
        ..TokenizeRequest::default()
    }
}

#[tokio::test]
async fn a_text_and_a_chat_become_tokens() {
    let chat = TokenizeRequest {
        messages: vec![ChatMessage {
            role: Role::User.into(),
            content: "Say hello.".to_owned(),
            ..ChatMessage::default()
        }],
        ..TokenizeRequest::default()
    };
    let messages = json!([{"role": "user", "content": "Say hello."}]);
    for (name, request, body, count, first) in [
        ("tokenize_embed", text("a"), json!({"prompt": "a"}), 6, 445),
        ("tokenize_chat", chat, json!({"messages": messages}), 15, 1),
    ] {
        let vllm = Vllm::replying(Recording::read(name).reply()).await;
        let (_adapter, mut client) = before(&vllm).await;
        let answer = client.tokenize(request).await.unwrap().into_inner();
        assert_eq!((answer.count, answer.token_ids[0]), (Some(count), first));
        assert_eq!(answer.token_ids.len(), usize::try_from(count).unwrap());
        assert_eq!(answer.max_model_len, Some(2048));
        assert!(answer.token_strings.is_empty());
        let asked = vllm.request(0).await;
        // Beside `/v1`.
        assert_eq!((&*asked.method, &*asked.path), ("POST", "/tokenize"));
        assert_eq!(asked.json(), body);
    }
}

#[tokio::test]
async fn the_texts_of_tokens_come_when_asked_for() {
    let body = r#"{"count":2,"max_model_len":8,"tokens":[1,2],"token_strs":["a","Ġb"]}"#;
    let vllm = Vllm::replying(Reply::json(200, body)).await;
    let (_adapter, mut client) = before(&vllm).await;
    let request = TokenizeRequest {
        return_token_strings: Some(true),
        ..text("a b")
    };
    let answer = client.tokenize(request).await.unwrap().into_inner();
    assert_eq!(answer.token_strings, ["a", "Ġb"]);
    assert_eq!(
        vllm.request(0).await.json()["return_token_strs"],
        json!(true)
    );
}

#[tokio::test]
async fn tokens_become_a_text() {
    let vllm = Vllm::replying(Reply::json(200, r#"{"prompt":"Hello wörld"}"#)).await;
    let (_adapter, mut client) = before(&vllm).await;
    let request = DetokenizeRequest {
        model: "m".to_owned(),
        token_ids: vec![0, 7],
    };
    let answer = client.detokenize(request).await.unwrap().into_inner();
    assert_eq!(answer.text, "Hello wörld");
    let asked = vllm.request(0).await;
    assert_eq!(asked.path, "/detokenize");
    assert_eq!(asked.json(), json!({"model": "m", "tokens": [0, 7]}));
}

#[tokio::test]
async fn what_is_wrong_is_told_by_its_field() {
    let vllm = Vllm::replying(Reply::json(200, "{}")).await;
    let (_adapter, mut client) = before(&vllm).await;
    let invalid = |fields: &[&str]| telling(Code::InvalidArgument, "INVALID_REQUEST", fields);
    let none = DetokenizeRequest {
        token_ids: vec![-1],
        ..DetokenizeRequest::default()
    };
    let none = client.detokenize(none).await;
    assert_eq!(told(none), invalid(&["token_ids[0]"]));
    assert_eq!(vllm.n_requests(), 0);
    let out_of_range = r#"{"error":{"message":"1 validation error","type":"Bad Request","param":"body.tokens.0","code":400}}"#;
    let no_model = Recording::read("emb_err_model").reply();
    for (reply, expected) in [
        (Reply::json(400, out_of_range), invalid(&["token_ids"])),
        (no_model, telling(Code::NotFound, "MODEL_NOT_FOUND", &[])),
        (
            Reply::json(200, r#"{"count":1,"tokens":[1]}"#),
            telling(Code::Internal, "UPSTREAM_PROTOCOL", &[]),
        ),
    ] {
        let vllm = Vllm::replying(reply).await;
        let (_adapter, mut client) = before(&vllm).await;
        let request = DetokenizeRequest {
            model: String::new(),
            token_ids: vec![1],
        };
        assert_eq!(told(client.detokenize(request).await), expected);
    }
}

#[tokio::test]
async fn a_call_that_takes_too_long_ends_the_upstreams_request() {
    let vllm = Vllm::replying(Reply::raw().fall_silent()).await;
    let adapter = Adapter::before(vllm.base_url())
        .with(|config| config.limits.max_duration = Some(Duration::from_millis(300)))
        .start()
        .await;
    let mut client = TokenizationServiceClient::new(adapter.channel());
    let expected = telling(Code::DeadlineExceeded, "TOTAL_TIMEOUT", &[]);
    assert_eq!(told(client.tokenize(text("a")).await), expected);
    vllm.left(0).await;
}
