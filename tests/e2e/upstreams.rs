use std::{fs, path::Path, time::Duration};

use tokio::task::JoinSet;
use tonic::{Code, Status, transport::Channel};
use tonic_types::StatusExt as _;
use vllm_grpc_adapter::proto::{
    EmbedRequest, GenerateRequest, ListModelsRequest,
    embedding_service_client::EmbeddingServiceClient,
    generation_service_client::GenerationServiceClient, model_service_client::ModelServiceClient,
    stream_generate_response::Event,
};

use crate::support::{
    adapter::{Adapter, free_port},
    requests::{endless, prompt},
    server::{Server, turn},
    vllm, within,
};

const N_STREAMS: usize = 50;
const PATIENCE: Duration = Duration::from_secs(300);

/// An adapter before two replicas of one model, and one of another.
async fn adapter(chat: [u16; 2], embed: u16) -> Adapter {
    let [one, other] = chat;
    let text = format!(
        r#"
        [[upstream]]
        name = "chat"
        urls = ["http://127.0.0.1:{one}/v1", "http://127.0.0.1:{other}/v1"]
        aliases = {{ talk = "tiny" }}
        [[upstream]]
        name = "embed"
        urls = ["http://127.0.0.1:{embed}/v1"]
        "#
    );
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("upstreams.toml");
    fs::write(&file, text).unwrap();
    Adapter::start(&[("ADAPTER_CONFIG", file.to_str().unwrap())]).await
}

fn hello() -> GenerateRequest {
    prompt("Say hello.")
}

/// Each model is served by its own upstream, through one port.
async fn check_models(adapter: &Adapter) {
    for model in ["tiny", "talk"] {
        let model = model.to_owned();
        let request = GenerateRequest { model, ..hello() };
        let answer = adapter.generation().generate(request).await.unwrap();
        let answer = answer.into_inner();
        let text = &answer.choices[0].message.as_ref().unwrap().content;
        assert_eq!(text, "Hello! How can I help you today?");
    }
    let request = EmbedRequest {
        model: "tiny-embed".to_owned(),
        texts: vec!["Hello world".to_owned()],
        ..EmbedRequest::default()
    };
    let mut client = EmbeddingServiceClient::new(adapter.channel());
    let embedded = client.embed(request).await.unwrap();
    assert_eq!(embedded.into_inner().embeddings.len(), 1);
    let mut client = ModelServiceClient::new(adapter.channel());
    let listed = client.list_models(ListModelsRequest {}).await.unwrap();
    let models = listed.into_inner().models;
    let models = models.iter().map(|it| (&*it.id, &*it.upstream));
    let expected = [
        ("tiny", "chat"),
        ("tiny-alias", "chat"),
        ("tiny-embed", "embed"),
    ];
    assert_eq!(models.collect::<Vec<_>>(), expected);
    let unknown = prompt_of("nobody");
    let status = adapter.generation().generate(unknown).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound, "{status:?}");
}

fn prompt_of(model: &str) -> GenerateRequest {
    let model = model.to_owned();
    GenerateRequest { model, ..hello() }
}

/// How a stream ends, and whether any text came before.
type End = (Result<(), Status>, bool);

async fn streamed(mut client: GenerationServiceClient<Channel>, request: GenerateRequest) -> End {
    let mut has_text = false;
    let ended = async {
        let mut stream = client.stream_generate(request).await?.into_inner();
        while let Some(response) = stream.message().await? {
            has_text |= matches!(response.event, Some(Event::Content(_)));
        }
        Ok(())
    };
    let ended = ended.await;
    (ended, has_text)
}

/// Streams that the two servers hold: some run, and the others wait for their turn.
async fn held(servers: [&Server; 2], adapter: &Adapter) -> JoinSet<End> {
    let mut streams = JoinSet::new();
    for _ in 0..N_STREAMS {
        let request = GenerateRequest {
            max_tokens: Some(1000),
            ..endless()
        };
        streams.spawn(streamed(adapter.generation(), request));
    }
    within(PATIENCE, "all streams are held", || async {
        n_held(servers[0]).await + n_held(servers[1]).await == N_STREAMS
    })
    .await;
    assert!(streams.try_join_next().is_none(), "none has ended");
    streams
}

async fn n_held(server: &Server) -> usize {
    (server.vllm.running().await + server.vllm.waiting().await) as usize
}

/// No call fails that the killed server had not received.
async fn check_further_calls(adapter: &Adapter) {
    let mut calls = JoinSet::new();
    for _ in 0..20 {
        let mut client = adapter.generation();
        calls.spawn(async move { client.generate(hello()).await });
    }
    for answer in calls.join_all().await {
        let answer = answer.unwrap();
        let n_attempts = answer.metadata().get("adapter-attempts").unwrap();
        assert!(["1", "2"].contains(&n_attempts.to_str().unwrap()));
    }
}

fn check_ends(ends: Vec<End>, n_lost: usize) {
    let (good, bad): (Vec<_>, Vec<_>) = ends.into_iter().partition(|(end, _)| end.is_ok());
    assert_eq!((good.len(), bad.len()), (N_STREAMS - n_lost, n_lost));
    assert!(good.iter().all(|(_, has_text)| *has_text));
    for (end, has_text) in bad {
        let status = end.unwrap_err();
        let reason = status.get_details_error_info().unwrap().reason;
        // One in the queue may have got no event yet.
        let is_reset = !has_text && reason == "UPSTREAM_RESET";
        let is_cut = reason == "UPSTREAM_STREAM_TRUNCATED";
        assert!(is_reset || is_cut, "{status:?}");
        assert_eq!(status.code(), Code::Unavailable);
    }
}

/// The one that came back is found by the probes, and has its share of the calls again.
async fn check_share(adapter: &Adapter, back: &Server, other: &Server) {
    within(PATIENCE, "the replica is used", || async {
        adapter.generation().generate(hello()).await.unwrap();
        back.vllm.n_finished().await > 0
    })
    .await;
    let (n_back, n_other) = (back.vllm.n_finished().await, other.vllm.n_finished().await);
    for _ in 0..40 {
        adapter.generation().generate(hello()).await.unwrap();
    }
    let n_back = back.vllm.n_finished().await - n_back;
    let n_other = other.vllm.n_finished().await - n_other;
    assert_eq!(n_back + n_other, 40);
    assert!((8..=32).contains(&n_back), "{n_back}");
}

#[tokio::test]
#[ignore = "needs a vLLM: set ADAPTER_TEST_VLLM_DIR"]
async fn a_replica_that_is_killed_under_streams_ends_those_alone_and_comes_back() {
    let directory = vllm::given("ADAPTER_TEST_VLLM_DIR");
    let _turn = turn().await;
    let (chat, embed) = ([free_port(), free_port()], free_port());
    let (mut dies, lives, _embed) = tokio::join!(
        Server::start(&directory, "chat", chat[0]),
        Server::start(&directory, "chat", chat[1]),
        Server::start(&directory, "embed", embed),
    );
    let adapter = adapter(chat, embed).await;
    check_models(&adapter).await;
    let streams = held([&dies, &lives], &adapter).await;
    let n_dying = n_held(&dies).await;
    assert!((10..=40).contains(&n_dying), "{n_dying}");
    dies.kill().await;
    check_further_calls(&adapter).await;
    check_ends(streams.join_all().await, n_dying);
    let back = Server::start(&directory, "chat", chat[0]).await;
    check_share(&adapter, &back, &lives).await;
}
