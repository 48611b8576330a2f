//! The models of an upstream, and what it can do with them.

use tonic::{Code, transport::Channel};
use tonic_types::StatusExt;
use vllm_grpc_adapter::proto::{
    GetModelRequest, ListModelsRequest, model_service_client::ModelServiceClient,
};

use crate::support::{
    adapter::Adapter,
    recording::Recording,
    reply::Reply,
    requests::prompt,
    told::{telling, told},
    vllm::{Vllm, closed_port},
};

const NOT_FOUND: &str = r#"{"detail":"Not Found"}"#;
const NOT_ALLOWED: &str = r#"{"detail":"Method Not Allowed"}"#;

/// An upstream that lists what was recorded, and has those routes beside.
async fn vllm(routes: &'static [&'static str]) -> Vllm {
    Vllm::choosing(move |request| match request.path.as_str() {
        "/v1/models" => Recording::read("models").reply(),
        path if routes.contains(&path) => Reply::json(405, NOT_ALLOWED),
        _ => Reply::json(404, NOT_FOUND),
    })
    .await
}

async fn before(vllm: &Vllm) -> (Adapter, ModelServiceClient<Channel>) {
    let adapter = Adapter::before(vllm.base_url()).start().await;
    let client = ModelServiceClient::new(adapter.channel());
    (adapter, client)
}

fn model(id: &str) -> GetModelRequest {
    GetModelRequest {
        model: id.to_owned(),
    }
}

#[tokio::test]
async fn the_models_are_listed_with_what_serves_them() {
    let vllm = vllm(&["/v1/chat/completions"]).await;
    let (_adapter, mut client) = before(&vllm).await;
    for _ in 0..2 {
        let listed = client.list_models(ListModelsRequest {}).await.unwrap();
        let [tiny, alias] = listed.into_inner().models.try_into().unwrap();
        assert_eq!((&*tiny.id, &*alias.id), ("tiny", "tiny-alias"));
        assert_eq!(tiny.owned_by, "vllm");
        assert_eq!(tiny.max_model_len, Some(2048));
        assert_eq!(tiny.create_time.unwrap().seconds, 1_795_333_417);
        // It was a path.
        assert_eq!((&*tiny.root, &*tiny.parent), ("", ""));
        assert_eq!(tiny.upstream_version, "0.32.0");
        let services = [
            "vllm_adapter.v1.GenerationService",
            "vllm_adapter.v1.TokenizationService",
        ];
        assert_eq!(tiny.services, services);
    }
    // The second time, the list alone was asked for.
    assert_eq!(vllm.n_requests(), 7);
}

#[tokio::test]
async fn services_are_not_told_where_the_routes_do_not_tell_them() {
    let all = &[
        "/v1/chat/completions",
        "/classify",
        "/v1/embeddings",
        "/score",
        "/v1/audio/transcriptions",
    ];
    for routes in [&all[..], &[]] {
        let vllm = vllm(routes).await;
        let (_adapter, mut client) = before(&vllm).await;
        let listed = client.list_models(ListModelsRequest {}).await.unwrap();
        let models = listed.into_inner().models;
        assert!(models.iter().all(|model| model.services.is_empty()));
    }
}

#[tokio::test]
async fn a_model_is_given_by_its_id_or_as_the_default() {
    let vllm = vllm(&[]).await;
    let (_adapter, mut client) = before(&vllm).await;
    for (id, expected) in [("tiny-alias", "tiny-alias"), ("", "tiny")] {
        let given = client.get_model(model(id)).await.unwrap().into_inner();
        assert_eq!(given.model.unwrap().id, expected);
    }
    let adapter = Adapter::before(vllm.base_url())
        .with(|config| config.policy.default_model = Some("tiny-alias".to_owned()))
        .start()
        .await;
    let mut client = ModelServiceClient::new(adapter.channel());
    let given = client.get_model(model("")).await.unwrap().into_inner();
    assert_eq!(given.model.unwrap().id, "tiny-alias");
}

#[tokio::test]
async fn an_unknown_model_is_not_found() {
    let vllm = vllm(&[]).await;
    let (_adapter, mut client) = before(&vllm).await;
    let status = client.get_model(model("nobody")).await.unwrap_err();
    let resource = status.get_details_resource_info().unwrap();
    assert_eq!(resource.resource_name, "nobody");
    assert!(!status.message().contains("tiny"), "{status:?}");
    let expected = telling(Code::NotFound, "MODEL_NOT_FOUND", &[]);
    assert_eq!(told(Err::<(), _>(status)), expected);
}

#[tokio::test]
async fn a_generation_that_the_model_cannot_do_differs_from_a_wrong_url() {
    let unimplemented = telling(Code::Unimplemented, "UPSTREAM_UNIMPLEMENTED", &[]);
    let misrouted = telling(Code::Internal, "UPSTREAM_MISROUTED", &[]);
    let rows: [(&'static [&'static str], _); 4] = [
        (&["/v1/embeddings"], &unimplemented),
        (&["/v1/audio/transcriptions"], &unimplemented),
        // Beside the base URL, so that this may be wrong.
        (&["/score"], &misrouted),
        (&[], &misrouted),
    ];
    for (routes, expected) in rows {
        let vllm = vllm(routes).await;
        let adapter = Adapter::before(vllm.base_url()).start().await;
        let generated = adapter.client().generate(prompt("x")).await;
        assert_eq!(told(generated), *expected, "{routes:?}");
        let streamed = adapter.client().stream_generate(prompt("x")).await;
        assert_eq!(told(streamed), *expected, "{routes:?}");
    }
}

#[tokio::test]
async fn an_upstream_that_lists_none_is_told() {
    for (reply, expected) in [
        (
            Reply::json(404, NOT_FOUND),
            telling(Code::Internal, "UPSTREAM_MISROUTED", &[]),
        ),
        (
            Reply::json(401, r#"{"error":"Unauthorized"}"#),
            telling(Code::Internal, "UPSTREAM_AUTH", &[]),
        ),
        (
            Reply::json(200, "[]"),
            telling(Code::Internal, "UPSTREAM_PROTOCOL", &[]),
        ),
    ] {
        let vllm = Vllm::replying(reply).await;
        let (_adapter, mut client) = before(&vllm).await;
        let listed = client.list_models(ListModelsRequest {}).await;
        assert_eq!(told(listed), expected);
    }
    let adapter = Adapter::before(closed_port().await).start().await;
    let mut client = ModelServiceClient::new(adapter.channel());
    let listed = client.list_models(ListModelsRequest {}).await;
    let expected = telling(Code::Unavailable, "UPSTREAM_CONNECT", &[]);
    assert_eq!(told(listed), expected);
}
