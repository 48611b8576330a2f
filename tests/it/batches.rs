//! Several chats in one call.

use serde_json::json;
use tonic::Code;
use vllm_grpc_adapter::proto::{Conversation, GenerateRequest, Role};

use crate::support::{
    adapter::Adapter,
    recording::Recording,
    reply::Reply,
    requests::chat,
    told::{telling, told},
    vllm::Vllm,
};

fn batch(texts: &[&'static str]) -> GenerateRequest {
    let conversation = |text: &&'static str| Conversation {
        messages: chat([(Role::User, *text)]).messages,
    };
    GenerateRequest {
        conversations: texts.iter().map(conversation).collect(),
        ..GenerateRequest::default()
    }
}

#[tokio::test]
async fn chats_go_to_the_route_of_batches() {
    let vllm = Vllm::replying(Recording::read("chat_batch").reply()).await;
    let adapter = Adapter::before(vllm.base_url()).start().await;
    let answer = adapter.client().generate(batch(&["a", "b"])).await.unwrap();
    let choices = answer.into_inner().choices;
    let prompts: Vec<_> = choices.iter().map(|choice| choice.prompt_index).collect();
    assert_eq!(prompts, [Some(0), Some(1)]);
    let sent = vllm.request(0).await;
    assert_eq!(sent.path, "/v1/chat/completions/batch");
    let turn = |text: &str| json!([{"role": "user", "content": text}]);
    assert_eq!(sent.json()["messages"], json!([turn("a"), turn("b")]));
}

#[tokio::test]
async fn what_fails_for_several_chats_is_told() {
    let whole = Recording::read("chat_batch").reply();
    let wrong_turn = r#"{"error":{"message":"m","type":"BadRequestError","param":"body.messages.1.0.content","code":400}}"#;
    for (reply, texts, expected) in [
        (
            Reply::json(404, r#"{"detail":"Not Found"}"#),
            &["a", "b"][..],
            telling(Code::Unimplemented, "UPSTREAM_UNIMPLEMENTED", &[]),
        ),
        (
            Reply::json(400, wrong_turn),
            &["a", "b"],
            telling(
                Code::InvalidArgument,
                "INVALID_REQUEST",
                &["conversations[1]"],
            ),
        ),
        // A choice is missing, and one is too many.
        (
            whole.clone(),
            &["a", "b", "c"],
            telling(Code::Unavailable, "UPSTREAM_STREAM_TRUNCATED", &[]),
        ),
        (
            whole,
            &["a"],
            telling(Code::Internal, "UPSTREAM_PROTOCOL", &[]),
        ),
    ] {
        let vllm = Vllm::replying(reply).await;
        let adapter = Adapter::before(vllm.base_url()).start().await;
        let answer = adapter.client().generate(batch(texts)).await;
        assert_eq!(told(answer), expected);
    }
}
