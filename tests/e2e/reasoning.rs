use vllm_grpc_adapter::proto::{GenerateRequest, stream_generate_response::Event};

use crate::support::{adapter::Adapter, requests::prompt, streamed::Streamed, vllm};

const THOUGHT: &str = "\nTwo and two make four.\n";
const ANSWER: &str = "\n\nThe answer is 4.";

#[tokio::test]
#[ignore = "needs a vLLM: set ADAPTER_TEST_VLLM_REASON"]
async fn reasoning_and_answer_come_apart() {
    let vllm = vllm::reason();
    let adapter = Adapter::before(vllm.url()).await;
    let mut client = adapter.generation();
    let request = prompt("Think about 2+2.");
    let unary = client.generate(request.clone()).await.unwrap();
    let streamed = Streamed::read(&mut client, request).await.unwrap();
    let is_reasoning = |event: &Event| matches!(event, Event::Reasoning(_));
    assert!(streamed.events.iter().any(is_reasoning));
    for answer in [unary.into_inner(), streamed.answer] {
        let message = answer.choices[0].message.as_ref().unwrap();
        assert_eq!(message.reasoning, THOUGHT);
        assert_eq!(message.content, ANSWER);
        assert!(answer.usage.unwrap().reasoning_tokens() > 0);
    }
}

#[tokio::test]
#[ignore = "needs a vLLM: set ADAPTER_TEST_VLLM_REASON"]
async fn reasoning_that_is_not_wanted_does_not_come() {
    let vllm = vllm::reason();
    let adapter = Adapter::before(vllm.url()).await;
    let mut client = adapter.generation();
    let request = GenerateRequest {
        include_reasoning: Some(false),
        ..prompt("Think about 2+2.")
    };
    let unary = client.generate(request.clone()).await.unwrap();
    let streamed = Streamed::read(&mut client, request).await.unwrap();
    for answer in [unary.into_inner(), streamed.answer] {
        let message = answer.choices[0].message.as_ref().unwrap();
        assert_eq!(message.reasoning, "");
        assert_eq!(message.content, ANSWER);
    }
}

#[tokio::test]
#[ignore = "needs a vLLM: set ADAPTER_TEST_VLLM"]
async fn a_vllm_without_a_reasoning_parser_leaves_the_thought_in_the_text() {
    let vllm = vllm::chat().await;
    let adapter = Adapter::before(vllm.url()).await;
    let request = prompt("Think about 2+2.");
    let answer = adapter.generation().generate(request).await.unwrap();
    let message = answer.get_ref().choices[0].message.as_ref().unwrap();
    assert_eq!(message.reasoning, "");
    assert_eq!(message.content, format!("<think>{THOUGHT}</think>{ANSWER}"));
}
