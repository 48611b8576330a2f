use vllm_grpc_adapter::proto::{
    ChatMessage, FinishReason, GenerateRequest, GenerateResponse, Role, ToolCall, ToolChoice,
    stream_generate_response::Event, tool_choice,
};

use crate::support::{
    adapter::Adapter,
    requests::{prompt, weather_tool},
    streamed::Streamed,
    vllm,
};

fn with_weather(text: &str) -> GenerateRequest {
    GenerateRequest {
        tools: vec![weather_tool()],
        ..prompt(text)
    }
}

fn calls(answer: &GenerateResponse) -> &[ToolCall] {
    &answer.choices[0].message.as_ref().unwrap().tool_calls
}

fn arguments(answer: &GenerateResponse) -> Vec<(&str, &str)> {
    let calls = calls(answer).iter();
    calls
        .map(|call| (call.name.as_str(), call.arguments.as_str()))
        .collect()
}

const PARIS: (&str, &str) = ("get_weather", r#"{"city": "Paris"}"#);
const TOKYO: (&str, &str) = ("get_weather", r#"{"city": "Tokyo"}"#);

#[tokio::test]
#[ignore = "needs a vLLM: set ADAPTER_TEST_VLLM"]
async fn two_calls_come_with_whole_arguments() {
    let vllm = vllm::chat().await;
    let adapter = Adapter::before(vllm.url()).await;
    let mut client = adapter.generation();
    let request = with_weather("Weather in Paris and Tokyo?");
    let unary = client.generate(request.clone()).await.unwrap();
    let streamed = Streamed::read(&mut client, request).await.unwrap();
    for answer in [unary.into_inner(), streamed.answer] {
        assert_eq!(arguments(&answer), [PARIS, TOKYO]);
        let [first, second] = calls(&answer) else {
            panic!("two calls")
        };
        assert!(!first.id.is_empty() && !second.id.is_empty() && first.id != second.id);
        assert_eq!(answer.choices[0].finish_reason(), FinishReason::ToolCalls);
    }
}

#[tokio::test]
#[ignore = "needs a vLLM: set ADAPTER_TEST_VLLM"]
async fn a_streamed_call_has_its_id_and_name_with_its_first_piece_alone() {
    let vllm = vllm::chat().await;
    let adapter = Adapter::before(vllm.url()).await;
    let request = with_weather("Weather in Paris and Tokyo?");
    let streamed = Streamed::read(&mut adapter.generation(), request).await;
    let mut seen = Vec::new();
    for event in streamed.unwrap().events {
        let Event::ToolCall(piece) = event else {
            continue;
        };
        let is_first = !seen.contains(&piece.tool_index);
        assert_eq!(!piece.id.is_empty(), is_first, "{piece:?}");
        assert_eq!(!piece.name.is_empty(), is_first, "{piece:?}");
        seen.push(piece.tool_index);
    }
    seen.dedup();
    assert_eq!(seen, [0, 1]);
}

#[tokio::test]
#[ignore = "needs a vLLM: set ADAPTER_TEST_VLLM"]
async fn a_named_function_is_called_and_finishes_with_stop() {
    let vllm = vllm::chat().await;
    let adapter = Adapter::before(vllm.url()).await;
    let mut client = adapter.generation();
    let request = GenerateRequest {
        tool_choice: Some(ToolChoice {
            choice: Some(tool_choice::Choice::FunctionName("get_weather".into())),
        }),
        ..with_weather("Weather in Paris?")
    };
    let unary = client.generate(request.clone()).await.unwrap();
    let streamed = Streamed::read(&mut client, request).await.unwrap();
    for answer in [unary.into_inner(), streamed.answer] {
        assert_eq!(arguments(&answer), [PARIS]);
        assert_eq!(answer.choices[0].finish_reason_raw, "stop");
    }
}

#[tokio::test]
#[ignore = "needs a vLLM: set ADAPTER_TEST_VLLM"]
async fn a_result_sent_back_is_answered() {
    let vllm = vllm::chat().await;
    let adapter = Adapter::before(vllm.url()).await;
    let mut client = adapter.generation();
    let question = "Weather in Paris?";
    let call = client.generate(with_weather(question)).await.unwrap();
    let answer = call.into_inner().choices.remove(0).message.unwrap();
    let result = ChatMessage {
        role: Role::Tool.into(),
        tool_call_id: answer.tool_calls[0].id.clone(),
        content: r#"{"celsius": 22}"#.into(),
        ..ChatMessage::default()
    };
    let ask = ChatMessage {
        role: Role::User.into(),
        content: question.into(),
        ..ChatMessage::default()
    };
    let request = GenerateRequest {
        prompt: String::new(),
        messages: vec![ask, answer, result],
        ..with_weather("")
    };
    let reply = client.generate(request).await.unwrap().into_inner();
    let content = &reply.choices[0].message.as_ref().unwrap().content;
    assert_eq!(content, "It is 22 degrees in Paris.");
}
