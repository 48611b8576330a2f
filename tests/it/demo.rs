//! The simulated vLLM answers through the adapter.

use std::{convert::Infallible, io, time::Duration};

use rustix::process::Signal;
use serde_json::Value;
use tokio::{process::Command, task::JoinSet};
use tonic::Code;
use vllm_grpc_adapter::{
    Fold, demo,
    proto::{
        ChatMessage, CompletionInput, Conversation, DetokenizeRequest, EmbedRequest, FinishReason,
        GenerateRequest, GenerateResponse, ListModelsRequest, RerankRequest, Role,
        StructuredOutput, TextChoices, TokenizeRequest, Tool,
        embedding_service_client::EmbeddingServiceClient, model_service_client::ModelServiceClient,
        ranking_service_client::RankingServiceClient, structured_output::Constraint,
        tokenization_service_client::TokenizationServiceClient,
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
            r#"{"city":"London"}"#,
        ),
        (structured(Constraint::Choice(choices)), "yes"),
        (result, "The tool says: Sunny."),
    ] {
        assert_eq!(demo.message(request).await.content, content);
    }
}

#[tokio::test]
async fn each_of_several_inputs_gets_its_answer() {
    let demo = Demo::start().await;
    let seen = |answer: GenerateResponse| -> Vec<_> {
        let choices = answer.choices.into_iter();
        choices
            .map(|choice| (choice.prompt_index, choice.message.unwrap().content))
            .collect()
    };
    let count = |prompt, text: &str| (Some(prompt), text.to_owned());
    let texts = GenerateRequest {
        completion: Some(CompletionInput {
            texts: vec!["Count to 3.".to_owned(), "Count to 5.".to_owned()],
            ..CompletionInput::default()
        }),
        n: Some(2),
        ..GenerateRequest::default()
    };
    let (three, five) = (count(0, "1 2 3"), count(1, "1 2 3 4 5"));
    let expected = [three.clone(), three.clone(), five.clone(), five.clone()];
    assert_eq!(seen(demo.answer(texts).await), expected);

    let conversation = |text| Conversation {
        messages: chat([(Role::User, text)]).messages,
    };
    let chats = GenerateRequest {
        conversations: vec![conversation("Count to 3."), conversation("Count to 5.")],
        ..GenerateRequest::default()
    };
    let answer = demo.adapter.client().generate(chats).await.unwrap();
    assert_eq!(seen(answer.into_inner()), [three, five]);
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
    assert!(thought.reasoning.starts_with("The numbers are 2 and 2."));
    assert_eq!(thought.content, "2 + 2 = 4");
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
    let program = env!("CARGO_BIN_EXE_vllm-grpc-adapter");
    let lines = demo::lines(program, process.address);
    for line in &lines {
        process.says(line).await;
    }
    let [_haiku, sum, weather, person, rerank] = &lines;
    for (line, told) in [
        (sum, "17 + 25 = 42\n"),
        (
            weather,
            "get_weather({\"city\":\"Paris\",\"unit\":\"celsius\"})\nget_weather({\"city\":\"Tokyo\",\"unit\":\"celsius\"})\n",
        ),
        (
            person,
            "{\"born\":\"1815-12-10\",\"city\":\"London\",\"name\":\"Ada Lovelace\"}\n",
        ),
    ] {
        let mut shell = Command::new("/bin/sh");
        shell
            .args(["-c", line])
            .current_dir(env!("CARGO_MANIFEST_DIR"));
        let output = shell.kill_on_drop(true).output().await.unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), told, "{output:?}");
        assert!(output.status.success());
    }
    let request: Value = serde_json::from_str(rerank.split('\'').nth(1).unwrap()).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let request = RerankRequest {
        query: text(&request["query"]),
        documents: request["documents"]
            .as_array()
            .unwrap()
            .iter()
            .map(text)
            .collect(),
        ..RerankRequest::default()
    };
    let mut client = RankingServiceClient::new(process.channel().await);
    let answer = client.rerank(request).await.unwrap().into_inner();
    assert_eq!(answer.results[0].index, Some(1), "{answer:?}");
    process.send(Signal::INT);
    assert!(process.exit().await.success());
}

#[tokio::test]
async fn every_service_that_is_listed_answers() {
    let demo = Demo::start().await;
    let channel = demo.adapter.channel();
    let mut models = ModelServiceClient::new(channel.clone());
    let models = models.list_models(ListModelsRequest {}).await.unwrap();
    let [model] = models.into_inner().models.try_into().unwrap();
    // One model has the routes of all, which tells nothing of it.
    assert_eq!(
        (model.id.as_str(), model.services),
        (fake_vllm::MODEL, vec![])
    );
    let mut embedding = EmbeddingServiceClient::new(channel.clone());
    let texts = ["a", "b"].map(str::to_owned).to_vec();
    let request = EmbedRequest {
        texts,
        dimensions: Some(8),
        ..EmbedRequest::default()
    };
    let vectors = embedding
        .embed(request)
        .await
        .unwrap()
        .into_inner()
        .embeddings;
    assert_eq!(
        vectors.iter().map(|it| it.values.len()).collect::<Vec<_>>(),
        [8, 8]
    );
    let mut tokenization = TokenizationServiceClient::new(channel);
    let request = TokenizeRequest {
        text: "Hello world".to_owned(),
        ..TokenizeRequest::default()
    };
    let tokens = tokenization.tokenize(request).await.unwrap().into_inner();
    let request = DetokenizeRequest {
        token_ids: tokens.token_ids,
        ..DetokenizeRequest::default()
    };
    let text = tokenization
        .detokenize(request)
        .await
        .unwrap()
        .into_inner()
        .text;
    assert_eq!(text, "Hello world");
}
