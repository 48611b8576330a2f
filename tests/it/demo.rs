//! The simulated vLLM answers through the adapter.

use std::{convert::Infallible, io, time::Duration};

use rustix::process::Signal;
use serde_json::Value;
use tokio::task::JoinSet;
use tonic::Code;
use vllm_grpc_adapter::{
    Fold, demo,
    proto::{
        ChatMessage, FinishReason, GenerateRequest, GenerateResponse, Role, StructuredOutput,
        TextChoices, Tool, structured_output::Constraint,
    },
};

use crate::support::{
    adapter::Adapter,
    process::Process,
    requests::{chat, completion, prompt},
};

/// A simulated vLLM that does not pause, and an adapter before it.
struct Demo {
    adapter: Adapter,
    _upstream: JoinSet<io::Result<Infallible>>,
}

// === impl Demo ===

impl Demo {
    async fn start() -> Self {
        let settings = fake_vllm::Settings {
            write_interval: Duration::ZERO,
            ..fake_vllm::Settings::default()
        };
        let any_port = ([127, 0, 0, 1], 0).into();
        let upstream = fake_vllm::Upstream::bind(any_port, settings).await.unwrap();
        let adapter = Adapter::before(upstream.base_url()).start().await;
        let mut task = JoinSet::new();
        task.spawn(upstream.run());
        Self {
            adapter,
            _upstream: task,
        }
    }

    /// The answer, which is the same unary and streamed.
    async fn answer(&self, request: GenerateRequest) -> GenerateResponse {
        let streamed = self.adapter.stream(request.clone()).await;
        assert_eq!(streamed.status.code(), Code::Ok, "{:?}", streamed.status);
        let mut fold = Fold::new();
        streamed.events.into_iter().for_each(|it| fold.push(it));
        let mut folded = fold.finish_response();
        let answer = self.adapter.client().generate(request).await;
        let mut answer = answer.unwrap().into_inner();
        for it in [&mut folded, &mut answer] {
            it.id.clear();
            it.create_time = None;
            let messages = it.choices.iter_mut().filter_map(|it| it.message.as_mut());
            let calls = messages.flat_map(|message| &mut message.tool_calls);
            calls.for_each(|call| call.id.clear());
        }
        assert_eq!(folded, answer);
        answer
    }

    /// The message of the one choice.
    async fn message(&self, request: GenerateRequest) -> ChatMessage {
        let mut answer = self.answer(request).await;
        answer.choices.remove(0).message.unwrap()
    }
}

fn weather(request: GenerateRequest) -> GenerateRequest {
    let schema = r#"{"type":"object","properties":{"city":{"type":"string"}}}"#;
    let tool = Tool {
        name: "get_weather".to_owned(),
        parameters_json: schema.to_owned(),
        ..Tool::default()
    };
    GenerateRequest {
        tools: vec![tool],
        ..request
    }
}

fn structured(constraint: Constraint) -> GenerateRequest {
    GenerateRequest {
        structured_output: Some(StructuredOutput {
            constraint: Some(constraint),
        }),
        ..prompt("Yes or no?")
    }
}

#[tokio::test]
async fn a_prompt_gets_its_content() {
    let demo = Demo::start().await;
    let schema = r#"{"type":"object","properties":{"city":{"type":"string"}}}"#;
    let choices = TextChoices {
        values: vec!["yes".to_owned(), "no".to_owned()],
    };
    let mut result = chat([
        (Role::User, "Weather in Paris?"),
        (Role::Assistant, "Let me see."),
        (Role::Tool, "Sunny."),
    ]);
    result.messages[2].tool_call_id = "call_1".to_owned();
    for (request, content) in [
        (prompt("Hello!"), "Hello! How can I help you today?"),
        (prompt("Count to ten."), "1 2 3 4 5 6 7 8 9 10"),
        (completion("Count to 3."), "1 2 3"),
        (
            structured(Constraint::JsonSchema(schema.to_owned())),
            r#"{"city":"Ada"}"#,
        ),
        (structured(Constraint::Choice(choices)), "yes"),
        (result, "The tool says: Sunny."),
    ] {
        assert_eq!(demo.message(request).await.content, content);
    }
}

#[tokio::test]
async fn an_answer_ends_where_it_is_told() {
    let demo = Demo::start().await;
    let counted = |change: fn(&mut GenerateRequest)| {
        let mut request = prompt("Count to 5.");
        change(&mut request);
        request
    };
    for (request, content, reason, tokens) in [
        (counted(|_| {}), "1 2 3 4 5", FinishReason::Stop, 6),
        (
            counted(|it| it.max_tokens = Some(2)),
            "1 2",
            FinishReason::Length,
            2,
        ),
        (
            counted(|it| it.stop = vec!["3".to_owned()]),
            "1 2 ",
            FinishReason::Stop,
            4,
        ),
        (
            counted(|it| it.n = Some(2)),
            "1 2 3 4 5",
            FinishReason::Stop,
            12,
        ),
    ] {
        let answer = demo.answer(request.clone()).await;
        assert_eq!(answer.choices.len(), request.n.unwrap_or(1) as usize);
        for choice in answer.choices {
            assert_eq!(choice.finish_reason(), reason);
            assert_eq!(choice.message.unwrap().content, content);
        }
        assert_eq!(answer.usage.unwrap().completion_tokens, Some(tokens));
    }
}

#[tokio::test]
async fn a_tool_is_called_for_each_city() {
    let demo = Demo::start().await;
    for (question, cities) in [
        ("Weather in Paris?", &["Paris"][..]),
        ("Weather in Paris and Tokyo?", &["Paris", "Tokyo"]),
        ("Say hello.", &[]),
    ] {
        let message = demo.message(weather(prompt(question))).await;
        let calls = message.tool_calls.iter();
        let calls: Vec<_> = calls.map(|it| (&*it.name, it.arguments.clone())).collect();
        let expected = cities.iter().map(|city| format!(r#"{{"city":"{city}"}}"#));
        let expected: Vec<_> = expected.map(|it| ("get_weather", it)).collect();
        assert_eq!(calls, expected, "{question}");
    }
}

#[tokio::test]
async fn reasoning_comes_before_content() {
    let demo = Demo::start().await;
    let thought = demo.message(prompt("Think about 2+2.")).await;
    assert_eq!(thought.reasoning, "Together they make 4.");
    assert_eq!(thought.content, "The answer is 4.");
    let off = GenerateRequest {
        chat_template_kwargs_json: r#"{"enable_thinking":false}"#.to_owned(),
        ..prompt("Think about 2+2.")
    };
    assert_eq!(demo.message(off).await.reasoning, "");
    let left_out = GenerateRequest {
        include_reasoning: Some(false),
        ..prompt("Think about 2+2.")
    };
    assert_eq!(demo.message(left_out).await.reasoning, "");
}

#[tokio::test]
async fn bad_input_and_failures_get_their_status() {
    let demo = Demo::start().await;
    let unknown = GenerateRequest {
        model: "nope".to_owned(),
        ..prompt("x")
    };
    for (request, code) in [
        (unknown, Code::NotFound),
        (prompt(&"word ".repeat(120_000)), Code::InvalidArgument),
        (prompt("Fail with 400: no"), Code::InvalidArgument),
        (prompt("Fail with 503."), Code::Unavailable),
        (prompt("Fail with abort."), Code::Unavailable),
    ] {
        let streamed = demo.adapter.stream(request.clone()).await;
        assert_eq!(streamed.status.code(), code, "{:?}", streamed.status);
        let unary = demo.adapter.client().generate(request).await;
        assert_eq!(unary.unwrap_err().code(), code);
    }
}

#[tokio::test]
async fn the_binary_prints_lines_that_work_and_ends_at_once() {
    let mut process = Process::demo().start().await;
    let lines = demo::grpcurl_lines(process.address);
    process.says(&lines).await;
    let mut client = process.client().await;
    for line in lines.lines() {
        let request = line.split('\'').nth(1).unwrap();
        let request: Value = serde_json::from_str(request).unwrap();
        let question = prompt(request["prompt"].as_str().unwrap());
        let question = match request.get("tools") {
            Some(_) => weather(question),
            None => question,
        };
        let answer = client.generate(question).await.unwrap().into_inner();
        assert_eq!(answer.model, fake_vllm::MODEL, "{line}");
    }
    process.send(Signal::INT);
    assert!(process.exit().await.success());
}
