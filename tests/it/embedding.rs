//! Embeddings: every input down, vectors up, and all that goes wrong between.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use tonic::{Code, transport::Channel};
use vllm_grpc_adapter::proto::{
    ChatMessage, Conversation, EmbedRequest, Role, TokenIds,
    embedding_service_client::EmbeddingServiceClient,
};

use crate::support::{
    adapter::Adapter,
    process::Process,
    recording::Recording,
    reply::Reply,
    soon,
    told::{telling, told},
    vllm::Vllm,
};

fn client(channel: Channel) -> EmbeddingServiceClient<Channel> {
    EmbeddingServiceClient::new(channel).max_decoding_message_size(64 << 20)
}

async fn before(vllm: &Vllm) -> (Adapter, EmbeddingServiceClient<Channel>) {
    let adapter = Adapter::before(vllm.base_url()).start().await;
    let client = client(adapter.channel());
    (adapter, client)
}

fn texts(texts: &[&str]) -> EmbedRequest {
    EmbedRequest {
        texts: texts.iter().map(|text| (*text).to_owned()).collect(),
        ..EmbedRequest::default()
    }
}

fn conversation(text: &str) -> Conversation {
    Conversation {
        messages: vec![ChatMessage {
            role: Role::User.into(),
            content: text.to_owned(),
            ..ChatMessage::default()
        }],
    }
}

/// The vectors of a recorded answer, from its JSON.
fn recorded(name: &str) -> Vec<Vec<f32>> {
    let body: Value = serde_json::from_slice(&Recording::read(name).body).unwrap();
    let vector = |data: &Value| match &data["embedding"] {
        Value::String(text) => {
            let bytes = BASE64_STANDARD.decode(text).unwrap();
            let floats = bytes.chunks_exact(4);
            floats
                .map(|it| f32::from_le_bytes(it.try_into().unwrap()))
                .collect()
        }
        numbers => serde_json::from_value(numbers.clone()).unwrap(),
    };
    body["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(vector)
        .collect()
}

#[tokio::test]
async fn what_a_real_vllm_sent_comes_as_floats() {
    for (name, n_inputs) in [
        ("emb_base64", 1),
        ("emb_float", 1),
        ("emb_dimensions", 1),
        ("emb_messages", 1),
        ("emb_tokens_batch", 2),
    ] {
        let vllm = Vllm::replying(Recording::read(name).reply()).await;
        let (_adapter, mut client) = before(&vllm).await;
        let answer = client.embed(texts(&vec!["x"; n_inputs])).await.unwrap();
        let answer = answer.into_inner();
        let values: Vec<_> = answer.embeddings.into_iter().map(|it| it.values).collect();
        assert_eq!(values, recorded(name), "{name}");
        assert_eq!(answer.model, "tiny-embed");
        assert!(answer.id.starts_with("embd-"));
        assert!(answer.usage.unwrap().prompt_tokens.unwrap() > 0);
        assert!(answer.create_time.unwrap().seconds > 0);
    }
}

#[tokio::test]
async fn base64_and_numbers_are_the_same_to_the_last_bit() {
    assert_eq!(recorded("emb_base64"), recorded("emb_float"));
}

#[tokio::test]
async fn every_input_goes_out_as_vllm_takes_it() {
    let body = json!({"encoding_format": "base64", "endianness": "little"});
    let token_inputs = EmbedRequest {
        token_inputs: vec![TokenIds { ids: vec![1, 2] }],
        ..EmbedRequest::default()
    };
    let chat = EmbedRequest {
        conversations: vec![conversation("a")],
        ..EmbedRequest::default()
    };
    for (request, name, value) in [
        (texts(&["a"]), "input", json!(["a"])),
        (token_inputs, "input", json!([[1, 2]])),
        (chat, "messages", json!([{"role": "user", "content": "a"}])),
    ] {
        let vllm = Vllm::replying(Recording::read("emb_base64").reply()).await;
        let (_adapter, mut client) = before(&vllm).await;
        client.embed(request).await.unwrap();
        let asked = vllm.request(0).await;
        assert_eq!((&*asked.method, &*asked.path), ("POST", "/v1/embeddings"));
        let mut expected = body.clone();
        expected[name] = value;
        assert_eq!(asked.json(), expected);
    }
}

#[tokio::test]
async fn a_model_that_embeds_each_token_is_asked_for_numbers() {
    // As vLLM 0.33 refuses base64 for such a model, by the definition of its `TokenEmbeddingRequest`.
    let refusal = r#"{"error":{"message":"1 validation error:\n  {'type': 'literal_error', 'loc': 'body.encoding_format', 'msg': \"Input should be 'float'\", 'input': 'base64'}","type":"Bad Request","param":"body.encoding_format","code":400}}"#;
    let answer = r#"{"id":"embd-1","object":"list","created":1,"model":"m","data":[{"index":0,"object":"embedding","embedding":[[0.5,1],[2,-1]]}],"usage":{"prompt_tokens":2,"total_tokens":2}}"#;
    let vllm = Vllm::replying_in_turn([Reply::json(400, refusal), Reply::json(200, answer)]).await;
    let (_adapter, mut client) = before(&vllm).await;
    let answer = client.embed(texts(&["a"])).await.unwrap().into_inner();
    let [embedding] = &*answer.embeddings else {
        panic!("one embedding");
    };
    let vectors: Vec<_> = embedding
        .token_vectors
        .iter()
        .map(|it| &*it.values)
        .collect();
    assert_eq!(vectors, [&[0.5, 1.0][..], &[2.0, -1.0]]);
    assert!(embedding.values.is_empty());
    let asked = vllm.request(1).await.json();
    assert_eq!(asked, json!({"input": ["a"], "encoding_format": "float"}));
}

#[tokio::test]
async fn what_a_real_vllm_refuses_names_the_field() {
    use Code::{InvalidArgument, NotFound, Unimplemented};
    let dimensions = EmbedRequest {
        dimensions: Some(99_999),
        ..texts(&["x"])
    };
    for (name, request, expected) in [
        (
            "emb_err_dims",
            dimensions,
            telling(InvalidArgument, "INVALID_REQUEST", &["dimensions"]),
        ),
        (
            "emb_err_model",
            texts(&["x"]),
            telling(NotFound, "MODEL_NOT_FOUND", &[]),
        ),
        (
            "embeddings_on_generate",
            texts(&["x"]),
            telling(Unimplemented, "UPSTREAM_UNIMPLEMENTED", &[]),
        ),
    ] {
        let vllm = Vllm::replying(Recording::read(name).reply()).await;
        let (_adapter, mut client) = before(&vllm).await;
        assert_eq!(told(client.embed(request).await), expected, "{name}");
    }
}

#[tokio::test]
async fn an_input_over_the_context_names_the_input() {
    let body = r#"{"error":{"message":"This model's maximum context length is 8 tokens. However, your prompt contains at least 9 input tokens.","type":"BadRequestError","param":"input_tokens","code":400}}"#;
    let vllm = Vllm::replying(Reply::json(400, body)).await;
    let (_adapter, mut client) = before(&vllm).await;
    let expected = telling(Code::InvalidArgument, "CONTEXT_LENGTH_EXCEEDED", &["texts"]);
    assert_eq!(told(client.embed(texts(&["x"])).await), expected);
}

#[tokio::test]
async fn what_the_adapter_can_know_is_not_asked() {
    let vllm = Vllm::replying(Reply::json(200, "{}")).await;
    let (_adapter, mut client) = before(&vllm).await;
    let inputs = ["texts", "token_inputs", "conversations"];
    let media = |url: &str| {
        use vllm_grpc_adapter::proto::{ContentPart, Media, content_part::Part, media::Source};
        let mut chat = conversation("");
        let image = Media {
            source: Some(Source::Url(url.to_owned())),
            ..Media::default()
        };
        chat.messages[0].parts = vec![ContentPart {
            part: Some(Part::Image(image)),
            ..ContentPart::default()
        }];
        EmbedRequest {
            conversations: vec![chat],
            ..EmbedRequest::default()
        }
    };
    let image = "conversations[0].messages[0].parts[0].image.url";
    for (request, fields) in [
        (texts(&[]), &inputs[..]),
        (media("https://elsewhere.example/x.png"), &[image]),
    ] {
        let expected = telling(Code::InvalidArgument, "INVALID_REQUEST", fields);
        assert_eq!(told(client.embed(request).await), expected);
    }
    assert_eq!(vllm.n_requests(), 0);
}

#[tokio::test]
async fn an_answer_that_is_not_whole_is_an_error() {
    let data = |data: &str| Reply::json(200, format!(r#"{{"data":[{data}]}}"#));
    let one = r#"{"index":0,"embedding":"AAAAPw=="}"#;
    let protocol = telling(Code::Internal, "UPSTREAM_PROTOCOL", &[]);
    let truncated = telling(Code::Unavailable, "UPSTREAM_STREAM_TRUNCATED", &[]);
    let internal = telling(Code::Internal, "UPSTREAM_INTERNAL", &[]);
    for (reply, expected) in [
        (data(one), &truncated),
        (data(&format!("{one},{one}")), &protocol),
        (data(r#"{"index":0,"embedding":"AAAA"}"#), &protocol),
        (Reply::json(200, "{}"), &protocol),
        (Reply::page(200, "<html>"), &protocol),
        (Reply::stream().send(r#"{"data":"#).cut(), &protocol),
        (
            Reply::stream()
                .header("content-type", "application/json")
                .send(r#"{"data":"#)
                .cut(),
            &protocol,
        ),
        (
            Reply::json(
                200,
                r#"{"error":{"message":"m","type":"t","param":null,"code":500}}"#,
            ),
            &internal,
        ),
    ] {
        let vllm = Vllm::replying(reply.clone()).await;
        let (_adapter, mut client) = before(&vllm).await;
        assert_eq!(
            &told(client.embed(texts(&["a", "b"])).await),
            expected,
            "{reply:?}"
        );
    }
}

#[tokio::test]
async fn a_call_that_takes_too_long_ends_the_upstreams_request() {
    let vllm = Vllm::replying(Reply::raw().fall_silent()).await;
    let adapter = Adapter::before(vllm.base_url())
        .with(|config| config.limits.max_duration = Some(Duration::from_millis(300)))
        .start()
        .await;
    let mut client = client(adapter.channel());
    let expected = telling(Code::DeadlineExceeded, "TOTAL_TIMEOUT", &[]);
    assert_eq!(told(client.embed(texts(&["a"])).await), expected);
    vllm.left(0).await;
}

#[tokio::test]
async fn a_caller_that_leaves_ends_the_upstreams_request() {
    let vllm = Vllm::replying(Reply::raw().fall_silent()).await;
    let (_adapter, mut client) = before(&vllm).await;
    {
        let mut call = std::pin::pin!(client.embed(texts(&["a"])));
        tokio::select! {
            answer = &mut call => panic!("{answer:?}"),
            _asked = vllm.request(0) => {}
        }
    }
    vllm.left(0).await;
}

/// The answer for 2,048 inputs of 4,096 dimensions: 32 MiB of floats, 43 MiB of base64.
fn big_answer() -> (usize, String) {
    let vector: Vec<u8> = (0_u16..4096)
        .flat_map(|value| f32::from(value).to_le_bytes())
        .collect();
    let vector = BASE64_STANDARD.encode(vector);
    let data = (0..2048)
        .map(|index| format!(r#"{{"index":{index},"object":"embedding","embedding":"{vector}"}}"#));
    let data: Vec<String> = data.collect();
    (
        2048,
        format!(
            r#"{{"id":"embd-1","model":"m","data":[{}]}}"#,
            data.join(",")
        ),
    )
}

#[tokio::test]
#[ignore = "bounds of memory need a quiet machine: tests/faults.sh runs it"]
async fn a_big_answer_takes_at_most_twice_its_size() {
    let (n_inputs, body) = big_answer();
    let n_body_bytes = body.len() as u64;
    let vllm = Vllm::replying(Reply::json(200, body)).await;
    let process = Process::before(&vllm.base_url())
        .flag("--max-body-bytes", "64MiB")
        .flag("--max-response-bytes", "64MiB")
        .start()
        .await;
    let before = process.peak_bytes();
    let mut client = client(process.channel().await);
    let request = texts(&vec!["x"; n_inputs]);
    let answer = soon("embedding", client.embed(request)).await.unwrap();
    let embeddings = answer.into_inner().embeddings;
    assert_eq!(embeddings.len(), n_inputs);
    assert!(embeddings.iter().all(|it| it.values.len() == 4096));
    assert_eq!(embeddings[2047].values[4095].to_bits(), 4095_f32.to_bits());
    let taken = process.peak_bytes().saturating_sub(before);
    assert!(
        taken <= 2 * n_body_bytes,
        "{taken} bytes for {n_body_bytes}"
    );
}

#[tokio::test]
async fn an_answer_over_a_limit_is_told_with_the_limit() {
    let (n_inputs, body) = big_answer();
    let vllm = Vllm::replying(Reply::json(200, body)).await;
    let request = texts(&vec!["x"; n_inputs]);
    for (max_body, max_response, expected) in [
        (
            32 << 20,
            64 << 20,
            telling(Code::ResourceExhausted, "RESPONSE_TOO_LARGE", &[]),
        ),
        (
            64 << 20,
            32 << 20,
            telling(Code::ResourceExhausted, "RESPONSE_TOO_LARGE", &[]),
        ),
    ] {
        let adapter = Adapter::before(vllm.base_url())
            .with(|config| {
                config.upstream.max_body_bytes = max_body;
                config.server.max_response_bytes = max_response;
            })
            .start()
            .await;
        let mut client = client(adapter.channel());
        let status = soon("embedding", client.embed(request.clone())).await;
        let message = status.as_ref().unwrap_err().message().to_owned();
        assert_eq!(told(status), expected, "{message}");
        assert!(message.contains("33554432"), "{message}");
    }
}
