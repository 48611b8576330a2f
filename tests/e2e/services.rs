use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use vllm_grpc_adapter::proto::{
    ChatMessage, Conversation, DetokenizeRequest, EmbedRequest, ListModelsRequest, RerankRequest,
    Role, ScoreRequest, TokenIds, TokenizeRequest, TranscribeRequest,
    embedding_service_client::EmbeddingServiceClient, model_service_client::ModelServiceClient,
    ranking_service_client::RankingServiceClient,
    tokenization_service_client::TokenizationServiceClient,
    transcription_service_client::TranscriptionServiceClient,
};

use crate::support::{adapter::Adapter, vllm};

/// The reason and the first field of an error, and its code.
fn told(status: &Status) -> (Code, String, Option<String>) {
    let reason = status.get_details_error_info().expect("ErrorInfo").reason;
    let violations = status.get_details_bad_request();
    let violations = violations.map(|it| it.field_violations);
    let field = violations.unwrap_or_default().into_iter().next();
    (status.code(), reason, field.map(|it| it.field))
}

fn texts(texts: &[&str]) -> EmbedRequest {
    EmbedRequest {
        texts: texts.iter().map(|text| (*text).to_owned()).collect(),
        ..EmbedRequest::default()
    }
}

fn user(text: &str) -> ChatMessage {
    ChatMessage {
        role: Role::User.into(),
        content: text.to_owned(),
        ..ChatMessage::default()
    }
}

#[tokio::test]
#[ignore = "needs a vLLM: set ADAPTER_TEST_VLLM_EMBED"]
async fn every_input_is_embedded() {
    let vllm = vllm::embed();
    let adapter = Adapter::before(vllm.url()).await;
    let mut client = EmbeddingServiceClient::new(adapter.channel());
    let ids = |ids: &[i32]| TokenIds { ids: ids.to_vec() };
    let chat = |text| Conversation {
        messages: vec![user(text)],
    };
    let token_inputs = EmbedRequest {
        token_inputs: vec![ids(&[19, 275, 276]), ids(&[19])],
        ..EmbedRequest::default()
    };
    let conversations = EmbedRequest {
        conversations: vec![chat("Hello"), chat("Bye")],
        ..EmbedRequest::default()
    };
    for request in [
        texts(&["Hello world", "Paris"]),
        token_inputs,
        conversations,
    ] {
        let answer = client.embed(request.clone()).await.unwrap().into_inner();
        let lengths: Vec<_> = answer.embeddings.iter().map(|it| it.values.len()).collect();
        assert_eq!(lengths, [128, 128]);
        for embedding in &answer.embeddings {
            let norm: f32 = embedding.values.iter().map(|value| value * value).sum();
            assert!((norm - 1.0).abs() < 1e-3, "{norm}");
        }
        let shortened = EmbedRequest {
            dimensions: Some(16),
            ..request
        };
        let answer = client.embed(shortened).await.unwrap().into_inner();
        assert!(answer.embeddings.iter().all(|it| it.values.len() == 16));
    }
}

#[tokio::test]
#[ignore = "needs a vLLM: set ADAPTER_TEST_VLLM_EMBED"]
async fn what_an_embedding_model_refuses_is_told_by_its_field() {
    let vllm = vllm::embed();
    let adapter = Adapter::before(vllm.url()).await;
    let mut client = EmbeddingServiceClient::new(adapter.channel());
    let dimensions = EmbedRequest {
        dimensions: Some(9999),
        ..texts(&["x"])
    };
    let unknown = EmbedRequest {
        model: "nobody".to_owned(),
        ..texts(&["x"])
    };
    let long = "word ".repeat(3000);
    for (request, code, reason, field) in [
        (
            dimensions,
            Code::InvalidArgument,
            "INVALID_REQUEST",
            Some("dimensions"),
        ),
        (unknown, Code::NotFound, "MODEL_NOT_FOUND", None),
        (
            texts(&[&long]),
            Code::InvalidArgument,
            "CONTEXT_LENGTH_EXCEEDED",
            Some("texts"),
        ),
    ] {
        let status = client.embed(request).await.unwrap_err();
        let field = field.map(str::to_owned);
        assert_eq!(told(&status), (code, reason.to_owned(), field));
    }
}

#[tokio::test]
#[ignore = "needs a vLLM: set ADAPTER_TEST_VLLM_EMBED"]
async fn a_model_does_what_its_services_say_and_no_more() {
    let vllm = vllm::embed();
    let adapter = Adapter::before(vllm.url()).await;
    let mut client = ModelServiceClient::new(adapter.channel());
    let listed = client.list_models(ListModelsRequest {}).await.unwrap();
    let [model] = listed.into_inner().models.try_into().unwrap();
    assert_eq!(
        (&*model.id, model.max_model_len),
        ("tiny-embed", Some(2048))
    );
    assert!(model.root.is_empty(), "{}", model.root);
    let services = ["Embedding", "Ranking", "Tokenization"];
    let services = services.map(|name| format!("vllm_adapter.v1.{name}Service"));
    assert_eq!(model.services, services);
    let mut client = TranscriptionServiceClient::new(adapter.channel());
    let request = TranscribeRequest {
        audio: b"RIFF"[..].into(),
        ..TranscribeRequest::default()
    };
    let status = client.transcribe(request).await.unwrap_err();
    assert_eq!(told(&status).0, Code::Unimplemented);
}

#[tokio::test]
#[ignore = "needs a vLLM: set ADAPTER_TEST_VLLM_EMBED"]
async fn tokens_go_there_and_back() {
    let vllm = vllm::embed();
    let adapter = Adapter::before(vllm.url()).await;
    let mut client = TokenizationServiceClient::new(adapter.channel());
    let text = "Hello world";
    let request = TokenizeRequest {
        text: text.to_owned(),
        return_token_strings: Some(true),
        ..TokenizeRequest::default()
    };
    let tokens = client.tokenize(request).await.unwrap().into_inner();
    assert_eq!(tokens.token_strings.len(), tokens.token_ids.len());
    let request = DetokenizeRequest {
        token_ids: tokens.token_ids,
        ..DetokenizeRequest::default()
    };
    let back = client.detokenize(request).await.unwrap().into_inner();
    assert_eq!(back.text, text);
    let request = TokenizeRequest {
        messages: vec![user(text)],
        ..TokenizeRequest::default()
    };
    let chat = client.tokenize(request).await.unwrap().into_inner();
    assert!(chat.count > tokens.count, "{chat:?}");
}

#[tokio::test]
#[ignore = "needs a vLLM: set ADAPTER_TEST_VLLM_RERANK"]
async fn a_reranker_scores_and_orders_alike() {
    let vllm = vllm::rerank();
    let adapter = Adapter::before(vllm.url()).await;
    let mut client = RankingServiceClient::new(adapter.channel());
    let documents = ["Hello world", "Paris"].map(str::to_owned).to_vec();
    let request = ScoreRequest {
        queries: vec!["hello".to_owned()],
        documents: documents.clone(),
        ..ScoreRequest::default()
    };
    let scores = client.score(request).await.unwrap().into_inner().scores;
    let request = RerankRequest {
        query: "hello".to_owned(),
        documents,
        ..RerankRequest::default()
    };
    let results = client.rerank(request).await.unwrap().into_inner().results;
    let mut expected: Vec<_> = scores.iter().copied().zip(0..).collect();
    expected.sort_by(|one, other| other.0.total_cmp(&one.0));
    let results: Vec<_> = results
        .iter()
        .map(|it| (it.relevance_score.unwrap(), it.index.unwrap()))
        .collect();
    assert_eq!(results, expected);
    let mut client = EmbeddingServiceClient::new(adapter.channel());
    let status = client.embed(texts(&["x"])).await.unwrap_err();
    let reason = "UPSTREAM_UNIMPLEMENTED".to_owned();
    assert_eq!(told(&status), (Code::Unimplemented, reason, None));
}
