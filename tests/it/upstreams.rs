//! Several upstreams: which of them a call goes to, and what becomes of it where a replica fails.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::task::JoinSet;
use tonic::{Code, Request, transport::Channel};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use url::Url;
use vllm_grpc_adapter::{
    config::{CallerRules, NamedUpstream, Source, UpstreamTls, Upstreams},
    proto::{
        GenerateRequest, GenerateResponse, GetModelRequest, ListModelsRequest,
        generation_service_client::GenerationServiceClient,
        model_service_client::ModelServiceClient,
    },
};

use crate::support::{
    adapter::{Adapter, Builder},
    reply::Reply,
    signal::Signal,
    soon,
    vllm::{Vllm, closed_port},
    wire,
};

pub(crate) const PROBE: Duration = Duration::from_millis(50);

/// A replica that lists the model, and answers each generation.
pub(crate) async fn replica(model: &'static str) -> Vllm {
    Vllm::choosing(move |request| answer(model, &request.path)).await
}

pub(crate) fn answer(model: &str, path: &str) -> Reply {
    match path {
        "/v1/models" => {
            let list = serde_json::json!({"object": "list", "data": [{"id": model}]});
            Reply::json(200, list.to_string())
        }
        "/v1/chat/completions" => Reply::json(200, completion(model)),
        _ => Reply::json(404, r#"{"detail":"Not Found"}"#),
    }
}

pub(crate) fn completion(model: &str) -> String {
    let choice = serde_json::json!({
        "index": 0, "finish_reason": "stop",
        "message": {"role": "assistant", "content": "a"},
    });
    serde_json::json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": model,
        "choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    })
    .to_string()
}

pub(crate) fn named(name: &str, urls: Vec<Url>) -> NamedUpstream {
    NamedUpstream {
        name: name.to_owned(),
        urls,
        models: Vec::new(),
        aliases: BTreeMap::new(),
        fallback: None,
        api_key: None,
        all_addresses: false,
        max_in_flight: None,
        tls: UpstreamTls::default(),
        fingerprint: 0,
    }
}

pub(crate) fn before(list: Vec<NamedUpstream>) -> Builder {
    allowing(list, &[])
}

fn allowing(list: Vec<NamedUpstream>, origins: &[&Url]) -> Builder {
    let origin = |url: &&Url| url.origin().ascii_serialization();
    let upstreams = Upstreams {
        list,
        origins: origins.iter().map(origin).collect::<BTreeSet<_>>(),
        ..Upstreams::default()
    };
    let source = Source("/no/such/file".into(), CallerRules::default());
    Adapter::before(Url::parse("http://127.0.0.1:1/v1").unwrap())
        .with(|config| config.upstreams = Some((upstreams, source)))
}

pub(crate) fn ask(model: &str) -> Request<GenerateRequest> {
    Request::new(GenerateRequest {
        prompt: "a".to_owned(),
        model: model.to_owned(),
        ..GenerateRequest::default()
    })
}

pub(crate) fn with(
    mut request: Request<GenerateRequest>,
    name: &'static str,
    value: &str,
) -> Request<GenerateRequest> {
    request.metadata_mut().insert(name, value.parse().unwrap());
    request
}

pub(crate) async fn generate(
    client: &mut GenerationServiceClient<Channel>,
    request: Request<GenerateRequest>,
) -> Result<GenerateResponse, tonic::Status> {
    let answer = soon("waiting for an answer", client.generate(request)).await;
    answer.map(tonic::Response::into_inner)
}

pub(crate) fn n_generations(vllm: &Vllm) -> usize {
    vllm.n_requests_to("/v1/chat/completions")
}

#[tokio::test]
async fn a_model_an_alias_or_a_name_leads_to_its_upstream() {
    let (chat, small) = (replica("org/chat").await, replica("small").await);
    let mut first = named("first", vec![chat.base_url()]);
    first.models = vec!["org/chat".to_owned()];
    first
        .aliases
        .insert("chat".to_owned(), "org/chat".to_owned());
    let adapter = before(vec![first, named("second", vec![small.base_url()])])
        .start()
        .await;
    let mut client = adapter.client();
    for (model, served) in [
        ("org/chat", "org/chat"),
        ("chat", "org/chat"),
        ("small", "small"),
    ] {
        let answer = generate(&mut client, ask(model)).await.unwrap();
        assert_eq!(answer.model, served, "{model}");
    }
    let sent = chat.request(1).await.json();
    assert_eq!(sent["model"], "org/chat");
    let by_name = with(ask("anything"), "adapter-upstream", "second");
    assert_eq!(generate(&mut client, by_name).await.unwrap().model, "small");
    for (request, code) in [
        (ask("nobody"), Code::NotFound),
        (ask(""), Code::InvalidArgument),
        (
            with(ask("chat"), "adapter-upstream", "third"),
            Code::NotFound,
        ),
        (
            with(ask("chat"), "adapter-session", &"s".repeat(129)),
            Code::InvalidArgument,
        ),
        (
            with(ask("chat"), "adapter-upstream-key", "k"),
            Code::InvalidArgument,
        ),
    ] {
        let status = generate(&mut client, request).await.unwrap_err();
        assert_eq!(status.code(), code, "{status:?}");
    }
    let status = generate(&mut client, ask("")).await.unwrap_err();
    assert!(
        status.message().contains("chat, org/chat, small"),
        "{status:?}"
    );
}

#[tokio::test]
async fn the_models_of_all_upstreams_are_listed_and_one_that_is_down_is_left_out() {
    let (chat, small) = (replica("org/chat").await, replica("small").await);
    let mut first = named("first", vec![chat.base_url()]);
    first
        .aliases
        .insert("chat".to_owned(), "org/chat".to_owned());
    let down = named("down", vec![closed_port().await]);
    let list = vec![first, down, named("second", vec![small.base_url()])];
    let adapter = before(list).start().await;
    let mut client = ModelServiceClient::new(adapter.channel());
    let listed = client.list_models(ListModelsRequest {}).await.unwrap();
    let [one, other] = listed.into_inner().models.try_into().unwrap();
    assert_eq!((&*one.id, &*one.upstream), ("org/chat", "first"));
    assert_eq!(one.aliases, ["chat"]);
    assert_eq!(one.upstream_version, "0.32.0");
    assert_eq!((&*other.id, &*other.upstream), ("small", "second"));
    let model = "chat".to_owned();
    let given = client.get_model(GetModelRequest { model }).await.unwrap();
    assert_eq!(given.into_inner().model.unwrap().id, "org/chat");
}

#[tokio::test]
async fn a_caller_may_choose_an_allowed_origin_with_a_key_of_its_own() {
    let (own, foreign) = (replica("own").await, replica("foreign").await);
    let mut upstream = named("own", vec![own.base_url()]);
    upstream.api_key = Some("operator-key".into());
    let url = foreign.base_url();
    let adapter = allowing(vec![upstream], &[&url]).start().await;
    let mut client = adapter.client();
    let asked = with(ask("x"), "adapter-upstream-url", url.as_str());
    assert_eq!(generate(&mut client, asked).await.unwrap().model, "foreign");
    assert_eq!(foreign.request(0).await.header("authorization"), None);
    let asked = with(ask("x"), "adapter-upstream-url", url.as_str());
    let asked = with(asked, "adapter-upstream-key", "caller-key");
    generate(&mut client, asked).await.unwrap();
    let key = foreign.request(1).await;
    assert_eq!(key.header("authorization"), Some("Bearer caller-key"));
    // Its own upstream gets the operator's key.
    generate(&mut client, ask("own")).await.unwrap();
    let key = own.request(0).await;
    assert_eq!(key.header("authorization"), Some("Bearer operator-key"));
    let (n, url) = (own.n_connections(), own.base_url());
    let refused = with(ask("x"), "adapter-upstream-url", url.as_str());
    let status = generate(&mut client, refused).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert_eq!(own.n_connections(), n);
}

#[tokio::test]
async fn a_redirect_of_an_upstream_that_a_caller_chose_leads_nowhere() {
    let hidden = replica("hidden").await;
    for status in [301, 302, 303, 307, 308] {
        let target = hidden.base_url().join("/v1/chat/completions").unwrap();
        let redirect = Reply::json(status, "{}").header("location", target.as_str());
        let foreign = Vllm::replying(redirect).await;
        let (own, url) = (replica("own").await, foreign.base_url());
        let list = vec![named("own", vec![own.base_url()])];
        let adapter = allowing(list, &[&url]).start().await;
        let asked = with(ask("x"), "adapter-upstream-url", url.as_str());
        let asked = with(asked, "adapter-upstream-key", "caller-key");
        let failed = generate(&mut adapter.client(), asked).await.unwrap_err();
        assert_eq!(failed.code(), Code::Internal, "{failed:?}");
        let list = Request::new(ListModelsRequest {});
        let mut client = ModelServiceClient::with_interceptor(
            adapter.channel(),
            move |mut request: Request<()>| {
                let url = url.as_str().parse().unwrap();
                request.metadata_mut().insert("adapter-upstream-url", url);
                Ok(request)
            },
        );
        let failed = client.list_models(list).await.unwrap_err();
        assert_eq!(failed.code(), Code::Internal, "{failed:?}");
    }
    assert_eq!(hidden.n_connections(), 0);
}

#[tokio::test]
async fn equal_replicas_share_the_calls_and_a_session_keeps_its_own() {
    let replicas = [replica("m").await, replica("m").await, replica("m").await];
    let urls = replicas.iter().map(Vllm::base_url).collect();
    let adapter = before(vec![named("u", urls)]).start().await;
    let mut client = adapter.client();
    for _ in 0..300 {
        generate(&mut client, ask("m")).await.unwrap();
    }
    let n: Vec<_> = replicas.iter().map(n_generations).collect();
    assert!(n.iter().all(|&n| n > 50), "{n:?}");
    let mut asked = BTreeSet::new();
    for _ in 0..1000 {
        let before: Vec<_> = replicas.iter().map(n_generations).collect();
        let request = with(ask("m"), "adapter-session", "conversation");
        generate(&mut client, request).await.unwrap();
        let changed = |&at: &usize| n_generations(&replicas[at]) > before[at];
        asked.extend((0..3).filter(changed));
    }
    assert_eq!(asked.len(), 1, "{asked:?}");
}

#[tokio::test]
async fn streams_lean_away_from_a_slow_replica_and_a_session_leaves_it() {
    let finish = Signal::new();
    let held = finish.clone();
    let slow = Vllm::choosing(move |_| {
        let events = [wire::first(), wire::text("a")];
        let begun = Reply::stream().events(events).wait_for(&held);
        begun.event(wire::finish("stop")).done()
    })
    .await;
    let quick = Vllm::choosing(|_| {
        let events = [wire::first(), wire::text("a"), wire::finish("stop")];
        Reply::stream().events(events).done()
    })
    .await;
    let urls = vec![slow.base_url(), quick.base_url()];
    let adapter = before(vec![named("u", urls)]).start().await;
    let mut open = Vec::new();
    for n in 0..60 {
        let session = if n % 2 == 0 { "a" } else { "b" };
        let request = match n < 30 {
            true => ask(""),
            false => with(ask(""), "adapter-session", session),
        };
        let mut stream = adapter
            .client()
            .stream_generate(request)
            .await
            .unwrap()
            .into_inner();
        // Those of the quick one end here.
        if slow.n_requests() == open.len() {
            while stream.message().await.unwrap().is_some() {}
        } else {
            open.push(stream);
        }
    }
    let n_slow = slow.n_requests();
    assert!(n_slow < 25, "{n_slow}");
    assert_eq!(n_slow + quick.n_requests(), 60);
    finish.give();
    for mut stream in open {
        while stream.message().await.unwrap().is_some() {}
    }
}

#[tokio::test]
async fn no_call_fails_that_no_replica_had_received() {
    let dead = closed_port().await;
    let alive = replica("m").await;
    let adapter = before(vec![named("u", vec![dead.clone(), alive.base_url()])])
        .with(|config| config.upstream.probe_interval = Some(PROBE))
        .start()
        .await;
    let mut calls = JoinSet::new();
    for _ in 0..100 {
        let mut client = adapter.client();
        calls.spawn(async move { client.generate(ask("m")).await });
    }
    let answers = soon("waiting for all", calls.join_all()).await;
    assert!(answers.iter().all(Result::is_ok));
    let n_attempts: Vec<u32> = answers
        .into_iter()
        .map(|answer| attempts(&answer.unwrap()))
        .collect();
    assert!(
        n_attempts.iter().all(|n| (1..=2).contains(n)),
        "{n_attempts:?}"
    );
    // Back, it takes its share again.
    let back = Vllm::listening(address(&dead), |request| answer("m", &request.path)).await;
    let mut client = adapter.client();
    let again = async {
        while n_generations(&back) == 0 {
            client.generate(ask("m")).await.unwrap();
        }
    };
    soon("waiting for the replica to be used again", again).await;
}

fn attempts(answer: &tonic::Response<GenerateResponse>) -> u32 {
    let value = answer.metadata().get("adapter-attempts").unwrap();
    value.to_str().unwrap().parse().unwrap()
}

pub(crate) fn address(url: &Url) -> std::net::SocketAddr {
    url.socket_addrs(|| None).unwrap()[0]
}

#[tokio::test]
async fn a_refusal_of_work_is_repeated_elsewhere_and_a_lost_or_failed_one_is_not() {
    for (reply, is_repeated) in [
        (Reply::json(503, "{}").header("retry-after", "7"), true),
        (Reply::json(502, "{}"), true),
        (Reply::json(429, "{}"), true),
        (Reply::json(500, "{}"), false),
        (Reply::raw().reset(), false),
        (Reply::stream().event(wire::first()).cut(), false),
    ] {
        let bad = Vllm::replying(reply.clone()).await;
        let good = Vllm::choosing(|_| {
            let events = [wire::first(), wire::finish("stop")];
            Reply::stream().events(events).done()
        })
        .await;
        let urls = vec![bad.base_url(), good.base_url()];
        let adapter = before(vec![named("u", urls)]).start().await;
        let mut last = Code::Ok;
        while bad.n_requests() == 0 {
            last = adapter.stream(ask("")).await.status.code();
        }
        assert_eq!(last == Code::Ok, is_repeated, "{reply:?}");
        assert_eq!(bad.n_requests(), 1);
        if last == Code::Ok {
            // It rests for its time, or has had one failure of three.
            assert!(good.n_requests() >= 1);
        }
    }
}

#[tokio::test]
async fn the_fallback_is_taken_where_no_replica_can_be_reached() {
    let small = replica("small").await;
    let mut chat = named("chat", vec![closed_port().await, closed_port().await]);
    chat.models = vec!["chat".to_owned()];
    chat.fallback = Some("small".to_owned());
    let mut other = named("other", vec![small.base_url()]);
    other.models = vec!["small".to_owned()];
    let adapter = before(vec![chat, other]).start().await;
    let answer = generate(&mut adapter.client(), ask("chat")).await.unwrap();
    assert_eq!(answer.model, "small");
    assert_eq!(small.request(0).await.json()["model"], "small");
}

#[tokio::test]
async fn a_full_upstream_refuses_further_calls() {
    let finish = Signal::new();
    let held = finish.clone();
    let vllm = Vllm::choosing(move |_| {
        let begun = Reply::stream().event(wire::first()).wait_for(&held);
        begun.event(wire::finish("stop")).done()
    })
    .await;
    let mut upstream = named("u", vec![vllm.base_url()]);
    upstream.max_in_flight = Some(1);
    let adapter = before(vec![upstream]).start().await;
    let first = adapter.client().stream_generate(ask("")).await.unwrap();
    let refused = adapter.stream(ask("")).await.status;
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    finish.give();
    let mut first = first.into_inner();
    while first.message().await.unwrap().is_some() {}
    drop(first);
    assert_eq!(adapter.stream(ask("")).await.status.code(), Code::Ok);
}

#[tokio::test]
async fn health_says_which_upstreams_answer() {
    let up = replica("m").await;
    let list = vec![
        named("up", vec![up.base_url(), closed_port().await]),
        named("down", vec![closed_port().await]),
    ];
    let adapter = before(list)
        .with(|config| config.upstream.probe_interval = Some(PROBE))
        .start()
        .await;
    let mut client = HealthClient::new(adapter.channel());
    let request = |name: &str| HealthCheckRequest {
        service: name.to_owned(),
    };
    let mut watch = client
        .watch(request("upstream/up"))
        .await
        .unwrap()
        .into_inner();
    let serving = ServingStatus::Serving as i32;
    let ready = async { while watch.message().await.unwrap().unwrap().status != serving {} };
    soon("waiting for the upstream to be ready", ready).await;
    for (name, status) in [
        ("", ServingStatus::Serving),
        ("upstream", ServingStatus::NotServing),
        ("upstream/down", ServingStatus::NotServing),
        ("upstream/up", ServingStatus::Serving),
    ] {
        let health = client.check(request(name)).await.unwrap().into_inner();
        assert_eq!(health.status, status as i32, "{name}");
    }
    up.set_health(503);
    let not_ready = async { while watch.message().await.unwrap().unwrap().status == serving {} };
    soon("waiting for the upstream to be down", not_ready).await;
}

#[tokio::test]
async fn every_address_of_a_host_is_a_replica() {
    let vllm = replica("m").await;
    let mut url = vllm.base_url();
    url.set_host(Some("localhost")).unwrap();
    let mut upstream = named("u", vec![url]);
    upstream.all_addresses = true;
    let adapter = before(vec![upstream])
        .with(|config| config.upstream.probe_interval = Some(PROBE))
        .start()
        .await;
    let mut health = HealthClient::new(adapter.channel());
    let service = "upstream/u".to_owned();
    let mut watch = health
        .watch(HealthCheckRequest { service })
        .await
        .unwrap()
        .into_inner();
    let serving = ServingStatus::Serving as i32;
    let ready = async { while watch.message().await.unwrap().unwrap().status != serving {} };
    soon("waiting for the upstream to be ready", ready).await;
    for _ in 0..20 {
        generate(&mut adapter.client(), ask("m")).await.unwrap();
    }
    let host = vllm.request(0).await.header("host").unwrap().to_owned();
    assert!(host.starts_with("localhost:"), "{host}");
}

#[tokio::test]
async fn a_stream_is_never_moved_after_its_first_event() {
    let bad = Vllm::choosing(|_| {
        Reply::stream()
            .event(wire::first())
            .event(wire::text("a"))
            .cut()
    })
    .await;
    let good = replica("m").await;
    let urls = vec![bad.base_url(), good.base_url()];
    let adapter = before(vec![named("u", urls)]).start().await;
    while bad.n_requests() == 0 {
        let request = with(
            ask(""),
            "adapter-session",
            &format!("{}", bad.n_requests() + good.n_requests()),
        );
        let n_good = good.n_requests();
        let streamed = adapter.stream(request).await;
        if bad.n_requests() == 1 {
            assert_eq!(streamed.status.code(), Code::Unavailable);
            assert_eq!(good.n_requests(), n_good);
        }
    }
}

#[tokio::test]
async fn a_replica_that_dies_under_streams_ends_those_alone() {
    let finish = Signal::new();
    let held = finish.clone();
    let script = move |_: &_| {
        let begun = Reply::stream().event(wire::first()).wait_for(&held);
        begun.event(wire::finish("stop")).done()
    };
    let (dies, lives) = (
        Vllm::choosing(script.clone()).await,
        Vllm::choosing(script).await,
    );
    let urls = vec![dies.base_url(), lives.base_url()];
    let adapter = before(vec![named("u", urls)]).start().await;
    let mut streams = Vec::new();
    for _ in 0..50 {
        let begun = adapter.client().stream_generate(ask("")).await;
        streams.push(begun.unwrap().into_inner());
    }
    let (n_dying, n_living) = (dies.n_requests(), lives.n_requests());
    assert!(n_dying > 0 && n_dying + n_living == 50);
    drop(dies);
    finish.give();
    let mut n_ok = 0;
    for mut stream in streams {
        let end = loop {
            match soon("waiting for an end", stream.message()).await {
                Ok(Some(_)) => {}
                Ok(None) => break Code::Ok,
                Err(status) => break status.code(),
            }
        };
        n_ok += usize::from(end == Code::Ok);
        assert!(matches!(end, Code::Ok | Code::Unavailable), "{end:?}");
    }
    assert_eq!(n_ok, n_living);
    for _ in 0..50 {
        assert_eq!(adapter.stream(ask("")).await.status.code(), Code::Ok);
    }
}
