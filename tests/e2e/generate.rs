use vllm_grpc_adapter::proto::{
    CompletionInput, FinishReason, GenerateRequest, GenerateResponse, Usage,
};

use crate::support::{
    adapter::Adapter,
    requests::{completion, prompt},
    streamed::Streamed,
    vllm,
};

const HELLO: &str = "Hello! How can I help you today?";

fn counts(usage: Option<&Usage>) -> (i32, i32, i32) {
    let usage = usage.expect("vLLM says what was used");
    (
        usage.prompt_tokens(),
        usage.completion_tokens(),
        usage.total_tokens(),
    )
}

#[tokio::test]
#[ignore = "needs a vLLM: set ADAPTER_TEST_VLLM"]
async fn say_hello_answers_with_its_text_and_usage() {
    let vllm = vllm::chat().await;
    let adapter = Adapter::before(vllm.url()).await;
    let answer = adapter.generation().generate(prompt("Say hello.")).await;
    let answer = answer.unwrap().into_inner();
    assert_eq!(answer.model, "tiny");
    assert!(answer.id.starts_with("chatcmpl-"));
    assert_eq!(counts(answer.usage.as_ref()), (15, 10, 25));
    let [choice] = answer.choices.as_slice() else {
        panic!("one choice, not {}", answer.choices.len())
    };
    assert_eq!(choice.message.as_ref().unwrap().content, HELLO);
    assert_eq!(choice.finish_reason(), FinishReason::Stop);
    assert_eq!(choice.finish_reason_raw, "stop");
}

#[tokio::test]
#[ignore = "needs a vLLM: set ADAPTER_TEST_VLLM"]
async fn say_hello_streams_the_same_answer_in_several_events() {
    let vllm = vllm::chat().await;
    let adapter = Adapter::before(vllm.url()).await;
    let mut client = adapter.generation();
    let unary = client.generate(prompt("Say hello.")).await.unwrap();
    let unary = unary.into_inner();
    let streamed = Streamed::read(&mut client, prompt("Say hello.")).await;
    let streamed = streamed.unwrap();
    assert!(streamed.content_events() > 1, "{:?}", streamed.events);
    // What differs from call to call.
    let unary = GenerateResponse {
        id: streamed.answer.id.clone(),
        create_time: streamed.answer.create_time,
        ..unary
    };
    assert_eq!(streamed.answer, unary);
    assert_eq!(counts(streamed.answer.usage.as_ref()), (15, 10, 25));
}

#[tokio::test]
#[ignore = "needs a vLLM: set ADAPTER_TEST_VLLM"]
async fn a_count_to_one_hundred_streams_101_tokens() {
    let vllm = vllm::chat().await;
    let adapter = Adapter::before(vllm.url()).await;
    let request = GenerateRequest {
        return_token_ids: Some(true),
        ..prompt("Count to one hundred.")
    };
    let streamed = Streamed::read(&mut adapter.generation(), request).await;
    let answer = streamed.unwrap().answer;
    let numbers: Vec<String> = (1..=100).map(|number| number.to_string()).collect();
    let content = &answer.choices[0].message.as_ref().unwrap().content;
    assert_eq!(*content, numbers.join(" "));
    assert_eq!(answer.choices[0].token_ids.len(), 101);
    assert_eq!(answer.usage.unwrap().completion_tokens(), 101);
}

#[tokio::test]
#[ignore = "needs a vLLM: set ADAPTER_TEST_VLLM"]
async fn characters_of_several_tokens_arrive_whole() {
    let vllm = vllm::chat().await;
    let adapter = Adapter::before(vllm.url()).await;
    let mut client = adapter.generation();
    let text = "naïve café 日本語 🎉👩‍🚀 Привет end";
    let unary = client.generate(prompt("Write UTF-8.")).await.unwrap();
    let streamed = Streamed::read(&mut client, prompt("Write UTF-8.")).await;
    for answer in [unary.into_inner(), streamed.unwrap().answer] {
        assert_eq!(answer.choices[0].message.as_ref().unwrap().content, text);
    }
}

#[tokio::test]
#[ignore = "needs a vLLM: set ADAPTER_TEST_VLLM"]
async fn text_and_token_ids_are_completed_alike() {
    let vllm = vllm::chat().await;
    let adapter = Adapter::before(vllm.url()).await;
    let mut client = adapter.generation();
    let text = GenerateRequest {
        max_tokens: Some(4),
        ..completion("1 2 3")
    };
    let token_ids = GenerateRequest {
        completion: Some(CompletionInput {
            token_ids: vec![19, 277, 273],
            ..CompletionInput::default()
        }),
        ..text.clone()
    };
    for request in [text, token_ids] {
        let unary = client.generate(request.clone()).await.unwrap();
        let streamed = Streamed::read(&mut client, request).await.unwrap();
        for answer in [unary.into_inner(), streamed.answer] {
            let choice = &answer.choices[0];
            assert_eq!(choice.message.as_ref().unwrap().content, " 4 5 6 7");
            assert_eq!(choice.finish_reason(), FinishReason::Length);
        }
    }
}

#[tokio::test]
#[ignore = "needs a vLLM: set ADAPTER_TEST_VLLM"]
async fn every_choice_of_several_finishes() {
    let vllm = vllm::chat().await;
    let adapter = Adapter::before(vllm.url()).await;
    let request = GenerateRequest {
        n: Some(3),
        temperature: Some(1.0),
        seed: Some(1),
        max_tokens: Some(8),
        ..prompt("Write a person.")
    };
    let streamed = Streamed::read(&mut adapter.generation(), request).await;
    let answer = streamed.unwrap().answer;
    let indices: Vec<i32> = answer.choices.iter().map(|it| it.index()).collect();
    assert_eq!(indices, [0, 1, 2]);
    for choice in &answer.choices {
        assert!(!choice.message.as_ref().unwrap().content.is_empty());
        assert_ne!(choice.finish_reason(), FinishReason::Unspecified);
    }
}
