//! A plain adapter, as one would write it first: what to compare a careful one with.
//!
//! reqwest, eventsource-stream, a `serde_json::Value` for every chunk, and a task with a channel for every stream. It
//! checks nothing and maps no errors, so it does less than any real adapter must.

use std::net::SocketAddr;

use eventsource_stream::Eventsource;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tonic::{Request, Response, Status};
use vllm_grpc_adapter::proto::{
    ChatMessage, Choice, ChoiceFinished, ContentDelta, FinishReason, GenerateRequest,
    GenerateResponse, Role, StreamGenerateResponse, StreamStarted, Usage,
    generation_service_server::{GenerationService, GenerationServiceServer},
    stream_generate_response::Event,
};

use crate::Result;

/// Messages between the task that reads and the response that is sent.
const CHANNEL: usize = 32;

type Responses = ReceiverStream<std::result::Result<StreamGenerateResponse, Status>>;

struct Naive {
    client: reqwest::Client,
    url: String,
}

/// Serves until the process is ended.
pub(crate) fn serve(listen: SocketAddr, upstream: SocketAddr) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    // reqwest wants one, though nothing here is encrypted.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let service = Naive {
        client: reqwest::Client::builder().no_proxy().build()?,
        url: format!("http://{upstream}/v1/chat/completions"),
    };
    let server = tonic::transport::Server::builder()
        .add_service(GenerationServiceServer::new(service))
        .serve(listen);
    Ok(runtime.block_on(server)?)
}

#[tonic::async_trait]
impl GenerationService for Naive {
    type StreamGenerateStream = Responses;

    async fn generate(
        &self,
        request: Request<GenerateRequest>,
    ) -> std::result::Result<Response<GenerateResponse>, Status> {
        let body = self.post(request.into_inner(), false).await?.bytes().await;
        let answer: Value = serde_json::from_slice(&body.map_err(status)?).map_err(status)?;
        Ok(Response::new(response(&answer)))
    }

    async fn stream_generate(
        &self,
        request: Request<GenerateRequest>,
    ) -> std::result::Result<Response<Responses>, Status> {
        let body = self.post(request.into_inner(), true).await?;
        let (sender, receiver) = mpsc::channel(CHANNEL);
        #[expect(
            clippy::disallowed_methods,
            reason = "a task for each stream is what is to be measured"
        )]
        tokio::spawn(async move {
            let mut events = body.bytes_stream().eventsource();
            while let Some(event) = events.next().await {
                let Ok(event) = event else { return };
                if event.data == "[DONE]" {
                    return;
                }
                let chunk: Value = match serde_json::from_str(&event.data) {
                    Ok(chunk) => chunk,
                    Err(error) => return drop(sender.send(Err(status(error))).await),
                };
                for event in stream_events(&chunk) {
                    if sender.send(Ok(event)).await.is_err() {
                        return;
                    }
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

// === impl Naive ===

impl Naive {
    async fn post(
        &self,
        request: GenerateRequest,
        stream: bool,
    ) -> std::result::Result<reqwest::Response, Status> {
        let mut body = json!({
            "model": request.model,
            "messages": [{"role": "user", "content": request.prompt}],
            "max_tokens": request.max_tokens,
            "ignore_eos": request.ignore_eos,
        });
        if stream {
            body["stream"] = json!(true);
            body["stream_options"] = json!({"include_usage": true});
        }
        self.client
            .post(&self.url)
            .header("content-type", "application/json")
            .body(body.to_string())
            .send()
            .await
            .map_err(status)
    }
}

#[expect(clippy::disallowed_methods, reason = "what it says is never looked at")]
fn status(error: impl std::error::Error) -> Status {
    Status::internal(error.to_string())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn usage(value: &Value) -> Option<Usage> {
    let count = |name: &str| value.get(name)?.as_i64()?.try_into().ok();
    value.is_object().then(|| Usage {
        prompt_tokens: count("prompt_tokens"),
        completion_tokens: count("completion_tokens"),
        total_tokens: count("total_tokens"),
        ..Usage::default()
    })
}

fn finish_reason(value: &Value) -> FinishReason {
    match value.as_str() {
        Some("stop") => FinishReason::Stop,
        Some("length") => FinishReason::Length,
        _ => FinishReason::Unspecified,
    }
}

fn response(answer: &Value) -> GenerateResponse {
    let choice = |choice: &Value| Choice {
        index: Some(0),
        message: Some(ChatMessage {
            role: Role::Assistant.into(),
            content: text(&choice["message"]["content"]),
            ..ChatMessage::default()
        }),
        finish_reason: finish_reason(&choice["finish_reason"]).into(),
        finish_reason_raw: text(&choice["finish_reason"]),
        ..Choice::default()
    };
    GenerateResponse {
        id: text(&answer["id"]),
        model: text(&answer["model"]),
        choices: answer["choices"]
            .as_array()
            .map(|choices| choices.iter().map(choice).collect())
            .unwrap_or_default(),
        usage: usage(&answer["usage"]),
        ..GenerateResponse::default()
    }
}

fn stream_events(chunk: &Value) -> Vec<StreamGenerateResponse> {
    let mut events = Vec::new();
    let choice = &chunk["choices"][0];
    if choice["delta"]["role"].is_string() {
        events.push(Event::Started(StreamStarted {
            id: text(&chunk["id"]),
            model: text(&chunk["model"]),
            ..StreamStarted::default()
        }));
    }
    let content = text(&choice["delta"]["content"]);
    if !content.is_empty() {
        events.push(Event::Content(ContentDelta {
            choice_index: 0,
            text: content,
        }));
    }
    if choice["finish_reason"].is_string() {
        events.push(Event::Finished(ChoiceFinished {
            finish_reason: finish_reason(&choice["finish_reason"]).into(),
            finish_reason_raw: text(&choice["finish_reason"]),
            ..ChoiceFinished::default()
        }));
    }
    events.extend(usage(&chunk["usage"]).map(Event::Usage));
    let response = |event| StreamGenerateResponse {
        event: Some(event),
        ..StreamGenerateResponse::default()
    };
    events.into_iter().map(response).collect()
}
