//! Classes, and what else a pooler makes: every input down, the recorded answers of a real vLLM up.

use serde_json::{Value, json};
use tonic::{Code, transport::Channel};
use vllm_grpc_adapter::proto::{
    ChatMessage, ClassifyRequest, Conversation, PoolRequest, Role, TokenIds,
    classification_service_client::ClassificationServiceClient,
    embedding_service_client::EmbeddingServiceClient,
};

use crate::support::{
    adapter::Adapter,
    recording::Recording,
    reply::Reply,
    told::{telling, told},
    vllm::Vllm,
};

async fn before(
    vllm: &Vllm,
) -> (
    Adapter,
    ClassificationServiceClient<Channel>,
    EmbeddingServiceClient<Channel>,
) {
    let adapter = Adapter::before(vllm.base_url()).start().await;
    let classifier = ClassificationServiceClient::new(adapter.channel());
    let pooler = EmbeddingServiceClient::new(adapter.channel());
    (adapter, classifier, pooler)
}

fn texts() -> ClassifyRequest {
    ClassifyRequest {
        texts: vec!["Hello world".to_owned(), "Paris".to_owned()],
        ..ClassifyRequest::default()
    }
}

fn raw() -> ClassifyRequest {
    let ids = |ids: &[i32]| TokenIds { ids: ids.to_vec() };
    ClassifyRequest {
        token_inputs: vec![ids(&[19, 275, 276]), ids(&[19])],
        use_activation: Some(false),
        ..ClassifyRequest::default()
    }
}

fn chats(n: usize) -> Vec<Conversation> {
    let turn = ChatMessage {
        role: Role::User.into(),
        content: "Hello".to_owned(),
        ..ChatMessage::default()
    };
    let messages = vec![turn];
    vec![Conversation { messages }; n]
}

fn chat() -> ClassifyRequest {
    ClassifyRequest {
        conversations: chats(1),
        ..ClassifyRequest::default()
    }
}

fn pooled(task: &str) -> PoolRequest {
    PoolRequest {
        texts: texts().texts,
        task: task.to_owned(),
        ..PoolRequest::default()
    }
}

/// The answer, and what was asked, of a recording.
fn recorded(name: &str) -> (Vec<Value>, Value) {
    let recording = Recording::read(name);
    let answer: Value = serde_json::from_slice(&recording.body).unwrap();
    let mut request = recording.request.unwrap();
    request.as_object_mut().unwrap().remove("model");
    (answer["data"].as_array().unwrap().clone(), request)
}

#[tokio::test]
async fn every_input_gets_the_class_that_a_real_vllm_gave() {
    for (name, request) in [
        ("classify_texts", texts()),
        ("classify_raw", raw()),
        ("classify_chat", chat()),
    ] {
        let vllm = Vllm::replying(Recording::read(name).reply()).await;
        let (_adapter, mut client, _) = before(&vllm).await;
        let answer = client.classify(request).await.unwrap().into_inner();
        let (data, request) = recorded(name);
        let classes = answer.classifications.iter().map(|it| {
            json!({
                "index": it.index, "label": it.label, "probs": it.probabilities,
                "num_classes": it.num_classes,
            })
        });
        assert_eq!(classes.collect::<Vec<_>>(), data, "{name}");
        assert_eq!(answer.model, "tiny-classify");
        assert!(answer.usage.unwrap().total_tokens.unwrap() > 0);
        let asked = vllm.request(0).await;
        assert_eq!((&*asked.path, asked.json()), ("/classify", request));
    }
}

#[tokio::test]
async fn a_pooler_gives_a_vector_an_input_or_one_a_token() {
    let chat = PoolRequest {
        conversations: chats(1),
        ..PoolRequest::default()
    };
    for (name, request) in [
        ("pool_whole", pooled("")),
        ("pool_tokens", pooled("token_classify")),
        ("pool_tokens_chat", chat),
    ] {
        let vllm = Vllm::replying(Recording::read(name).reply()).await;
        let (_adapter, _, mut client) = before(&vllm).await;
        let answer = client.pool(request).await.unwrap().into_inner();
        let (data, request) = recorded(name);
        assert_eq!(answer.outputs.len(), data.len(), "{name}");
        for (output, data) in answer.outputs.iter().zip(data) {
            let rows = output.token_vectors.iter().map(|it| json!(it.values));
            let rows: Vec<Value> = match &*output.values {
                [] => rows.collect(),
                values => values.iter().map(|it| json!(it)).collect(),
            };
            assert_eq!(json!(rows), data["data"], "{name}");
        }
        let asked = vllm.request(0).await;
        assert_eq!((&*asked.path, asked.json()), ("/pooling", request));
    }
}

/// As of a model that gives each token one number.
#[tokio::test]
async fn outputs_of_a_pooler_may_differ_in_length() {
    let answer = r#"{"data":[{"index":1,"data":[1]},{"index":0,"data":[2,3]}]}"#;
    let vllm = Vllm::replying(Reply::json(200, answer)).await;
    let (_adapter, _, mut client) = before(&vllm).await;
    let answer = client.pool(pooled("")).await.unwrap().into_inner();
    let values = answer.outputs.into_iter().map(|it| it.values);
    assert_eq!(values.collect::<Vec<_>>(), [vec![2.0, 3.0], vec![1.0]]);
}

#[tokio::test]
async fn what_is_wrong_is_told_by_its_field() {
    let invalid = |fields: &[&str]| telling(Code::InvalidArgument, "INVALID_REQUEST", fields);
    let vllm = Vllm::replying(Recording::read("pool_err_task").reply()).await;
    let (_adapter, mut classifier, mut pooler) = before(&vllm).await;
    let wrong = pooler.pool(pooled("embed")).await;
    assert_eq!(told(wrong), invalid(&["task"]));
    let several = ClassifyRequest {
        conversations: chats(2),
        ..ClassifyRequest::default()
    };
    let several = classifier.classify(several).await;
    assert_eq!(told(several), invalid(&["conversations"]));
    let none = classifier.classify(ClassifyRequest::default()).await;
    let inputs = ["texts", "token_inputs", "conversations"];
    assert_eq!(told(none), invalid(&inputs));
    assert_eq!(vllm.n_requests(), 1);
    for (name, expected) in [
        (
            "classify_err_model",
            telling(Code::NotFound, "MODEL_NOT_FOUND", &[]),
        ),
        (
            "classify_on_tokens",
            telling(Code::Unimplemented, "UPSTREAM_UNIMPLEMENTED", &[]),
        ),
    ] {
        let vllm = Vllm::replying(Recording::read(name).reply()).await;
        let (_adapter, mut client, _) = before(&vllm).await;
        assert_eq!(told(client.classify(texts()).await), expected, "{name}");
    }
}

#[tokio::test]
async fn an_answer_that_is_not_whole_is_an_error() {
    let one = r#"{"index":0,"label":"a","probs":[0.5,0.5]}"#;
    let protocol = telling(Code::Internal, "UPSTREAM_PROTOCOL", &[]);
    let truncated = telling(Code::Unavailable, "UPSTREAM_STREAM_TRUNCATED", &[]);
    for (more, expected) in [
        ("", &truncated),
        (r#",{"index":1,"probs":[1]}"#, &protocol),
        (r#",{"index":1,"probs":[]}"#, &protocol),
        (r#",{"index":1,"probs":[0.5,null]}"#, &protocol),
        (r#",{"index":0,"probs":[0.5,0.5]}"#, &protocol),
    ] {
        let reply = Reply::json(200, format!(r#"{{"data":[{one}{more}]}}"#));
        let vllm = Vllm::replying(reply).await;
        let (_adapter, mut client, _) = before(&vllm).await;
        assert_eq!(&told(client.classify(texts()).await), expected, "{more}");
    }
}
