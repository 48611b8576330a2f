//! Scores, and documents in the order of their relevance.

use std::time::Duration;

use serde_json::json;
use tonic::{Code, transport::Channel};
use vllm_grpc_adapter::proto::{
    RerankRequest, ScoreRequest, ranking_service_client::RankingServiceClient,
};

use crate::support::{
    adapter::Adapter,
    recording::Recording,
    reply::Reply,
    told::{telling, told},
    vllm::Vllm,
};

async fn before(vllm: &Vllm) -> (Adapter, RankingServiceClient<Channel>) {
    let adapter = Adapter::before(vllm.base_url()).start().await;
    let client = RankingServiceClient::new(adapter.channel());
    (adapter, client)
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn score(queries: &[&str], documents: &[&str]) -> ScoreRequest {
    ScoreRequest {
        queries: owned(queries),
        documents: owned(documents),
        ..ScoreRequest::default()
    }
}

fn rerank(query: &str, documents: &[&str]) -> RerankRequest {
    RerankRequest {
        query: query.to_owned(),
        documents: owned(documents),
        ..RerankRequest::default()
    }
}

#[tokio::test]
async fn scores_are_those_that_the_upstream_wrote() {
    for (name, expected) in [
        (
            "score_emb",
            [0.052_727_669_477_462_77, 0.113_943_509_757_518_77],
        ),
        (
            "xenc_score",
            [0.482_768_565_416_336_06, 0.579_554_677_009_582_5],
        ),
    ] {
        let vllm = Vllm::replying(Recording::read(name).reply()).await;
        let (_adapter, mut client) = before(&vllm).await;
        let answer = client.score(score(&["q"], &["a", "b"])).await.unwrap();
        let answer = answer.into_inner();
        assert_eq!(answer.scores, expected, "{name}");
        assert!(answer.id.starts_with("score-"));
        assert!(answer.usage.unwrap().prompt_tokens.unwrap() > 0);
        let asked = vllm.request(0).await;
        assert_eq!(asked.path, "/score");
        assert_eq!(asked.json(), json!({"text_1": "q", "text_2": ["a", "b"]}));
    }
}

#[tokio::test]
async fn documents_come_in_the_order_of_their_relevance() {
    for (name, top_n, expected) in [
        ("rerank_emb", Some(1), &[(1, 0.113_943_509_757_518_77)][..]),
        (
            "rerank_emb_v2",
            None,
            &[(1, 0.113_943_509_757_518_77), (0, 0.052_727_669_477_462_77)],
        ),
    ] {
        let vllm = Vllm::replying(Recording::read(name).reply()).await;
        let (_adapter, mut client) = before(&vllm).await;
        let request = RerankRequest {
            top_n,
            ..rerank("q", &["a", "b"])
        };
        let answer = client.rerank(request).await.unwrap().into_inner();
        let results = answer.results.iter();
        let results: Vec<_> = results
            .map(|it| (it.index.unwrap(), it.relevance_score.unwrap()))
            .collect();
        assert_eq!(results, expected, "{name}");
        assert_eq!(answer.usage.unwrap().total_tokens, Some(9));
        assert_eq!(vllm.request(0).await.path, "/rerank");
    }
}

#[tokio::test]
async fn what_is_wrong_is_told_by_its_field() {
    let vllm = Vllm::replying(Reply::json(200, "{}")).await;
    let (_adapter, mut client) = before(&vllm).await;
    let invalid = |fields: &[&str]| telling(Code::InvalidArgument, "INVALID_REQUEST", fields);
    let mismatch = score(&["a", "b", "c"], &["x", "y"]);
    assert_eq!(told(client.score(mismatch).await), invalid(&["queries"]));
    let none = rerank("q", &[]);
    assert_eq!(told(client.rerank(none).await), invalid(&["documents"]));
    assert_eq!(vllm.n_requests(), 0);
    let limit = r#"{"error":{"message":"max_tokens_per_query (9000) must be less than max_model_len (2048).","type":"BadRequestError","param":null,"code":400}}"#;
    let not_found = r#"{"detail":"Not Found"}"#;
    for (reply, expected) in [
        (Reply::json(400, limit), invalid(&["max_tokens_per_query"])),
        (
            Recording::read("emb_err_model").reply(),
            telling(Code::NotFound, "MODEL_NOT_FOUND", &[]),
        ),
        (
            Reply::json(404, not_found),
            telling(Code::Unimplemented, "UPSTREAM_UNIMPLEMENTED", &[]),
        ),
        (
            Reply::json(200, r#"{"id":"score-1","model":"m","results":[]}"#),
            telling(Code::Unavailable, "UPSTREAM_STREAM_TRUNCATED", &[]),
        ),
    ] {
        let vllm = Vllm::replying(reply).await;
        let (_adapter, mut client) = before(&vllm).await;
        let answer = client.rerank(rerank("q", &["a"])).await;
        assert_eq!(told(answer), expected);
    }
}

/// Nothing of it was cut, so that a repeat would be of no use.
#[tokio::test]
async fn more_documents_than_were_asked_for_are_a_fault_of_the_upstream() {
    let vllm = Vllm::replying(Recording::read("rerank_emb_v2").reply()).await;
    let (_adapter, mut client) = before(&vllm).await;
    let request = RerankRequest {
        top_n: Some(1),
        ..rerank("q", &["a", "b"])
    };
    let expected = telling(Code::Internal, "UPSTREAM_PROTOCOL", &[]);
    assert_eq!(told(client.rerank(request).await), expected);
}

#[tokio::test]
async fn a_call_that_takes_too_long_ends_the_upstreams_request() {
    let vllm = Vllm::replying(Reply::raw().fall_silent()).await;
    let adapter = Adapter::before(vllm.base_url())
        .with(|config| config.limits.max_duration = Some(Duration::from_millis(300)))
        .start()
        .await;
    let mut client = RankingServiceClient::new(adapter.channel());
    let expected = telling(Code::DeadlineExceeded, "TOTAL_TIMEOUT", &[]);
    assert_eq!(told(client.score(score(&["q"], &["a"])).await), expected);
    vllm.left(0).await;
}
