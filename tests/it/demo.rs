//! The simulated vLLM speaks as the recorded one does, and answers through the adapter.

use std::convert::Infallible;

use rustix::process::Signal;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};
use tonic::Code;
use url::Url;
use vllm_grpc_adapter::{
    Fold, demo,
    proto::{FinishReason, GenerateRequest, Tool, Usage},
};

use crate::support::{
    adapter::Adapter,
    process::Process,
    recording::Recording,
    requests::{completion, prompt},
    soon,
};

/// Recordings that the script of the simulated vLLM repeats word for word, and errors.
const REPEATED: &[&str] = &[
    "chat",
    "chat_nomodel",
    "chat_stream_maxtokens",
    "chat_stream_usage",
    "cmpl",
    "cmpl_echo",
    "cmpl_empty_prompt",
    "cmpl_maxtokens0",
    "cmpl_stream",
    "cmpl_stream_usage",
    "err_cmpl_model",
    "err_image",
    "err_maxtokens_big",
    "err_maxtokens_neg",
    "err_model",
    "err_n0",
    "err_nomessages",
    "err_streamopts",
    "err_temperature_stream",
    "err_top_p",
    "err_toplogprobs",
    "err_type",
    "tool_choice_notools",
    "tool_named_unknown",
    "tool_text_answer",
];

/// A simulated vLLM; dropping it ends it.
struct Demo {
    base_url: Url,
    _task: JoinSet<Infallible>,
}

impl Demo {
    async fn start() -> Self {
        let upstream = demo::Upstream::bind().await.unwrap();
        let base_url = upstream.base_url();
        let mut task = JoinSet::new();
        task.spawn(upstream.run());
        Self {
            base_url,
            _task: task,
        }
    }

    /// Sends a request in these bytes, and gives the answer's status, content type and body.
    async fn ask(&self, request: &str) -> (u16, String, String) {
        let address = (
            self.base_url.host_str().unwrap(),
            self.base_url.port().unwrap(),
        );
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let read = soon("reading an answer", stream.read_to_string(&mut answer)).await;
        read.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
        let content_type = header("content-type: ").unwrap_or_default().to_owned();
        let body = match header("transfer-encoding: ") {
            Some(_chunked) => without_chunks(body),
            None => body.to_owned(),
        };
        (status, content_type, body)
    }

    async fn post(&self, path: &str, body: &str) -> (u16, String, String) {
        let n_bytes = body.len();
        self.ask(&format!(
            "POST {path} HTTP/1.1\r\nhost: demo\r\ncontent-type: application/json\r\ncontent-length: {n_bytes}\r\nconnection: close\r\n\r\n{body}"
        ))
        .await
    }

    async fn adapter(&self) -> Adapter {
        Adapter::before(self.base_url.clone()).start().await
    }
}

/// A chunked body, in which each event must be a chunk of its own.
fn without_chunks(mut rest: &str) -> String {
    let mut body = String::new();
    loop {
        let (size, chunk) = rest.split_once("\r\n").unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return body;
        }
        let event = &chunk[..size];
        assert_eq!(event.matches("data: ").count(), 1, "{event}");
        assert!(event.ends_with("\n\n"), "{event}");
        body.push_str(event);
        rest = &chunk[size + 2..];
    }
}

/// The text without what differs from answer to answer and from model to model.
fn masked(text: &str) -> String {
    let text = text
        .trim_end_matches('\n')
        .replace("\"tiny\"", "\"demo\"")
        .replace("tiny is not", "demo is not")
        .replace("aliases: tiny, tiny-alias", "aliases: demo");
    [
        ("\"id\":\"", '"'),
        ("\"created\":", ','),
        ("\"prompt_tokens\":", ','),
        ("\"total_tokens\":", ','),
        ("\"system_fingerprint\":\"", '"'),
    ]
    .into_iter()
    .fold(text, |text, (start, end)| without_values(&text, start, end))
}

/// The text without what stands between each `start` and the `end` after it.
fn without_values(text: &str, start: &str, end: char) -> String {
    let mut parts = text.split(start);
    let mut left = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        left.push_str(start);
        left.push_str(&part[part.find(end).unwrap()..]);
    }
    left
}

// === Alone ===

#[tokio::test]
async fn it_answers_as_the_recorded_vllm_did() {
    let demo = Demo::start().await;
    for name in REPEATED {
        let recording = Recording::read(name);
        let mut request = recording.request.clone().unwrap();
        if request.get("model").is_some_and(|model| model == "tiny") {
            request["model"] = demo::MODEL.into();
        }
        let path = match request.get("prompt") {
            None if !name.contains("cmpl") => "/v1/chat/completions",
            _ => "/v1/completions",
        };
        let (status, content_type, body) = demo.post(path, &request.to_string()).await;
        assert_eq!(status, recording.status, "{name}");
        assert_eq!(content_type, recording.content_type(), "{name}");
        let recorded = std::str::from_utf8(&recording.body).unwrap();
        assert_eq!(masked(&body), masked(recorded), "{name}");
    }
}

#[tokio::test]
async fn its_other_routes_answer_as_vllms_do() {
    let demo = Demo::start().await;
    for (request, status, body) in [
        ("GET /health", 200, ""),
        ("GET /version", 200, r#"{"version":"0.32.0"}"#),
        ("GET /v1/nope", 404, r#"{"detail":"Not Found"}"#),
        ("POST /v1/embeddings", 404, r#"{"detail":"Not Found"}"#),
        ("POST /v1/models", 405, r#"{"detail":"Method Not Allowed"}"#),
        (
            "GET /v1/chat/completions",
            405,
            r#"{"detail":"Method Not Allowed"}"#,
        ),
        (
            "POST /v1/completions",
            400,
            r#"{"error":{"message":"1 validation error:\n  Unsupported Media Type: Only 'application/json' is allowed","type":"Bad Request","param":null,"code":400}}"#,
        ),
    ] {
        let request = format!("{request} HTTP/1.1\r\nhost: demo\r\nconnection: close\r\n\r\n");
        let answer = demo.ask(&request).await;
        assert_eq!((answer.0, answer.2.as_str()), (status, body), "{request}");
    }
    let models = "GET /v1/models HTTP/1.1\r\nhost: demo\r\nconnection: close\r\n\r\n";
    let models: Value = serde_json::from_str(&demo.ask(models).await.2).unwrap();
    assert_eq!(models["data"][0]["id"], demo::MODEL);
}

#[tokio::test]
async fn a_malformed_body_is_refused_as_vllm_refuses_it() {
    let demo = Demo::start().await;
    for body in [
        "",
        "{",
        "[]",
        "null",
        r#"{"messages":[]}"#,
        r#"{"messages":[1]}"#,
        r#"{"messages":"x"}"#,
        r#"{"messages":[{"role":1,"content":{}}]}"#,
        r#"{"messages":[{"role":"user","content":"x"}],"n":1000000000000}"#,
        r#"{"messages":[{"role":"user","content":"x"}],"tools":[]}"#,
        r#"{"messages":[{"role":"user","content":"x"}],"stop":[""]}"#,
        r#"{"messages":[{"role":"user","content":"x"}],"structured_outputs":{"regex":"a"}}"#,
    ] {
        let (status, _, answer) = demo.post("/v1/chat/completions", body).await;
        assert_eq!(status, 400, "{body}: {answer}");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["error"]["code"], 400, "{body}");
    }
}

// === Through the adapter ===

#[tokio::test]
async fn generate_and_stream_generate_say_the_same() {
    let demo = Demo::start().await;
    let adapter = demo.adapter().await;
    let asked = |change: fn(&mut GenerateRequest)| {
        let mut request = prompt("Say hello.");
        change(&mut request);
        request
    };
    for request in [
        asked(|_| {}),
        asked(|request| request.max_tokens = Some(3)),
        asked(|request| request.stop = vec!["you".to_owned()]),
        asked(|request| request.n = Some(3)),
        asked(|request| (request.logprobs, request.top_logprobs) = (Some(true), Some(2))),
        prompt("Think about 2+2."),
        completion("1 2 3"),
    ] {
        let streamed = adapter.stream(request.clone()).await;
        assert_eq!(streamed.status.code(), Code::Ok, "{:?}", streamed.status);
        let mut fold = Fold::new();
        streamed.events.into_iter().for_each(|it| fold.push(it));
        let mut folded = fold.finish_response();
        let answer = adapter.client().generate(request).await.unwrap();
        let mut answer = answer.into_inner();
        for it in [&mut folded, &mut answer] {
            it.id.clear();
            it.create_time = None;
        }
        assert_eq!(folded, answer);
    }
}

#[tokio::test]
async fn a_newcomer_gets_text_and_its_usage() {
    let demo = Demo::start().await;
    let adapter = demo.adapter().await;
    let answer = adapter.client().generate(prompt("Hello!")).await.unwrap();
    let answer = answer.into_inner();
    let choice = &answer.choices[0];
    assert_eq!(
        choice.message.as_ref().unwrap().content,
        "Hello! How can I help you today?"
    );
    assert_eq!(choice.finish_reason(), FinishReason::Stop);
    assert_eq!(answer.model, demo::MODEL);
    let Some(Usage {
        completion_tokens, ..
    }) = answer.usage
    else {
        panic!("no usage");
    };
    assert_eq!(completion_tokens, Some(10));
}

#[tokio::test]
async fn a_tool_is_called_through_the_adapter() {
    let demo = Demo::start().await;
    let request = GenerateRequest {
        tools: vec![Tool {
            name: "get_weather".to_owned(),
            parameters_json: r#"{"type":"object","properties":{"city":{"type":"string"}}}"#
                .to_owned(),
            ..Tool::default()
        }],
        ..prompt("Weather in Paris?")
    };
    let adapter = demo.adapter().await;
    let answer = adapter.client().generate(request).await.unwrap();
    let choice = answer.into_inner().choices.remove(0);
    assert_eq!(choice.finish_reason(), FinishReason::ToolCalls);
    let call = &choice.message.unwrap().tool_calls[0];
    assert_eq!(
        (call.name.as_str(), call.arguments.as_str()),
        ("get_weather", r#"{"city":"Paris"}"#)
    );
}

#[tokio::test]
async fn bad_input_gets_its_status_through_the_adapter() {
    let demo = Demo::start().await;
    let adapter = demo.adapter().await;
    for (request, code) in [
        (
            GenerateRequest {
                model: "nope".to_owned(),
                ..prompt("x")
            },
            Code::NotFound,
        ),
        (
            GenerateRequest {
                max_tokens: Some(100_000),
                ..prompt("x")
            },
            Code::InvalidArgument,
        ),
        (prompt(&"word ".repeat(3000)), Code::InvalidArgument),
    ] {
        let answer = adapter.client().generate(request.clone()).await;
        assert_eq!(answer.unwrap_err().code(), code);
        assert_eq!(adapter.stream(request).await.status.code(), code);
    }
}

#[tokio::test]
async fn the_binary_says_how_to_call_its_demo_and_ends_with_it() {
    let mut process = Process::demo().flag("--drain-delay", "0s").start().await;
    process.says(&demo::grpcurl_lines(process.address)).await;
    let mut client = process.client().await;
    let answer = client.generate(prompt("Hello!")).await.unwrap();
    assert_eq!(answer.into_inner().model, demo::MODEL);
    process.send(Signal::TERM);
    assert!(process.exit().await.success());
}
