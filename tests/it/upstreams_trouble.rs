//! Replicas in trouble: silent, down, full of work, resting, and back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{net::TcpListener, task::JoinSet};
use tonic::Code;
use tonic_types::StatusExt as _;
use url::Url;
use vllm_grpc_adapter::proto::{ListModelsRequest, model_service_client::ModelServiceClient};

use crate::{
    support::{
        adapter::Adapter,
        reply::Reply,
        soon,
        vllm::{Vllm, closed_port},
        wire,
    },
    upstreams::{
        PROBE, address, answer, ask, before, generate, n_generations, named, replica, with,
    },
};

/// Its connections are opened, and nothing is ever answered.
async fn silent() -> (TcpListener, Url) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    (listener, url.parse().unwrap())
}

/// The first generations get this reply, and the later ones an answer.
async fn replica_after(n_bad: usize, bad: Reply) -> Vllm {
    let n_left = AtomicUsize::new(n_bad);
    Vllm::choosing(move |request| {
        let is_bad = request.path.ends_with("/completions")
            && n_left
                .fetch_update(Relaxed, Relaxed, |n| n.checked_sub(1))
                .is_ok();
        match is_bad {
            true => bad.clone(),
            false => answer("m", &request.path),
        }
    })
    .await
}

async fn succeed(adapter: &Adapter, n_calls: usize) {
    let mut client = adapter.client();
    for n in 0..n_calls {
        let answer = generate(&mut client, ask("m")).await;
        assert!(answer.is_ok(), "call {n}: {answer:?}");
    }
}

#[tokio::test]
async fn a_replica_that_never_answers_is_left_after_three_streams() {
    let (_listener, url) = silent().await;
    let good = Vllm::choosing(|_| {
        let events = [wire::first(), wire::finish("stop")];
        Reply::stream().events(events).done()
    })
    .await;
    let adapter = before(vec![named("u", vec![url, good.base_url()])])
        .with(|config| {
            // As long as a probe waits, so that one has failed when it is out.
            config.limits.first_token = Some(Duration::from_secs(3));
            config.upstream.probe_interval = Some(PROBE);
        })
        .start()
        .await;
    let mut n_late = 0;
    while n_late < 3 {
        let status = adapter.stream(ask("")).await.status;
        if status.code() != Code::Ok {
            assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
            n_late += 1;
        }
        // Three probes may have failed before three streams met it.
        if good.n_requests_to("/v1/chat/completions") > 100 {
            break;
        }
    }
    for _ in 0..50 {
        assert_eq!(adapter.stream(ask("")).await.status.code(), Code::Ok);
    }
}

#[tokio::test]
async fn a_replica_that_asks_for_a_rest_gets_it() {
    for status in [429, 503] {
        let busy = Reply::json(status, "{}").header("retry-after", "60");
        let (rests, other) = (replica_after(1, busy).await, replica("m").await);
        let urls = vec![rests.base_url(), other.base_url()];
        // A good probe does not end it.
        let adapter = before(vec![named("u", urls)])
            .with(|config| config.upstream.probe_interval = Some(PROBE))
            .start()
            .await;
        while n_generations(&rests) == 0 {
            succeed(&adapter, 1).await;
        }
        succeed(&adapter, 50).await;
        assert_eq!(n_generations(&rests), 1, "{status}");
    }
}

#[tokio::test]
async fn sessions_of_a_replica_that_rests_go_to_the_others_and_come_back() {
    let busy = Reply::json(503, "{}").header("retry-after", "1");
    let replicas = [replica_after(1, busy).await, replica("m").await];
    let urls = replicas.iter().map(Vllm::base_url).collect();
    let adapter = before(vec![named("u", urls)]).start().await;
    let mut client = adapter.client();
    // A session whose replica rests after this first call.
    let mut n = 0;
    let session = loop {
        let session = format!("session {n}");
        let request = with(ask("m"), "adapter-session", &session);
        generate(&mut client, request).await.unwrap();
        if n_generations(&replicas[0]) == 1 {
            break session;
        }
        n += 1;
    };
    let back = async {
        while n_generations(&replicas[0]) == 1 {
            let request = with(ask("m"), "adapter-session", &session);
            generate(&mut client, request).await.unwrap();
        }
    };
    soon("waiting for the session to come back", back).await;
    let n_other = n_generations(&replicas[1]);
    for _ in 0..20 {
        let request = with(ask("m"), "adapter-session", &session);
        generate(&mut client, request).await.unwrap();
    }
    assert_eq!(n_generations(&replicas[1]), n_other);
}

#[tokio::test]
async fn a_replica_whose_health_is_bad_is_left_until_it_is_good() {
    let (bad, good) = (replica("m").await, replica("m").await);
    bad.set_health(503);
    let urls = vec![bad.base_url(), good.base_url()];
    let adapter = before(vec![named("u", urls)])
        .with(|config| config.upstream.probe_interval = Some(PROBE))
        .start()
        .await;
    // Fifty calls in a row go elsewhere by chance once in 2^50 times.
    let left = async {
        let mut in_a_row = 0;
        while in_a_row < 50 {
            let n_before = n_generations(&bad);
            succeed(&adapter, 1).await;
            in_a_row = if n_generations(&bad) == n_before {
                in_a_row + 1
            } else {
                0
            };
        }
    };
    soon("waiting for the replica to be left", left).await;
    bad.set_health(200);
    let n_before = n_generations(&bad);
    let back = async {
        while n_generations(&bad) == n_before {
            succeed(&adapter, 1).await;
        }
    };
    soon("waiting for the replica to be back", back).await;
}

#[tokio::test]
async fn while_no_replica_can_be_reached_each_is_tried_before_the_fallback() {
    let (alive, small) = (replica("m").await, replica("small").await);
    let urls = vec![closed_port().await, closed_port().await, alive.base_url()];
    let mut chat = named("chat", urls);
    chat.models = vec!["m".to_owned()];
    chat.fallback = Some("small".to_owned());
    let mut other = named("other", vec![small.base_url()]);
    other.models = vec!["small".to_owned()];
    let adapter = before(vec![chat, other]).start().await;
    succeed(&adapter, 50).await;
    assert_eq!((n_generations(&alive), n_generations(&small)), (50, 0));
    // With the last one gone, the fallback has them all.
    drop(alive);
    succeed(&adapter, 10).await;
    assert_eq!(n_generations(&small), 10);
}

#[tokio::test]
async fn refused_work_is_repeated_for_a_part_of_the_calls() {
    let full = Vllm::replying(Reply::json(429, "{}")).await;
    let good = replica("m").await;
    let urls = vec![full.base_url(), good.base_url()];
    let adapter = before(vec![named("u", urls)]).start().await;
    let (mut n_ok, mut client) = (0, adapter.client());
    for _ in 0..400 {
        match generate(&mut client, ask("m")).await {
            Ok(_) => n_ok += 1,
            Err(status) => assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}"),
        }
    }
    assert_eq!(n_ok, n_generations(&good));
    let n_repeats = full.n_requests() + n_ok - 400;
    // Of about two hundred; a slow machine takes several times of ten seconds, each with three.
    assert!((3..140).contains(&n_repeats), "{n_repeats}");
}

#[tokio::test]
async fn a_model_is_found_beside_upstreams_that_cannot_be_asked() {
    let (_listener, url) = silent().await;
    let good = replica("m").await;
    let list = vec![
        named("silent", vec![url]),
        named("down", vec![closed_port().await]),
        named("good", vec![good.base_url()]),
    ];
    let adapter = before(list).start().await;
    succeed(&adapter, 1).await;
    // It may be a model of one that could not be asked.
    let status = generate(&mut adapter.client(), ask("other"))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    let reason = status.get_details_error_info().unwrap().reason;
    assert_eq!(reason, "UPSTREAM_CONNECT");
    let mut client = ModelServiceClient::new(adapter.channel());
    let listed = client.list_models(ListModelsRequest {});
    let listed = soon("waiting for the list", listed)
        .await
        .unwrap()
        .into_inner();
    let models: Vec<_> = listed.models.iter().map(|it| &*it.id).collect();
    assert_eq!(models, ["m"]);
}

#[tokio::test]
async fn of_a_replica_that_comes_and_goes_only_what_it_received_is_lost() {
    let steady = replica("m").await;
    let comes_and_goes = closed_port().await;
    let urls = vec![comes_and_goes.clone(), steady.base_url()];
    let adapter = before(vec![named("u", urls)])
        .with(|config| config.upstream.probe_interval = Some(PROBE))
        .start()
        .await;
    let is_over = Arc::new(AtomicBool::new(false));
    let mut callers = JoinSet::new();
    for _ in 0..8 {
        let (mut client, is_over) = (adapter.client(), Arc::clone(&is_over));
        callers.spawn(async move {
            let mut lost = Vec::new();
            while !is_over.load(Relaxed) {
                lost.extend(generate(&mut client, ask("m")).await.err());
            }
            lost
        });
    }
    let address = address(&comes_and_goes);
    for _ in 0..20 {
        // The one before is dropped by its tasks, which takes a moment.
        let is_free = async {
            while TcpListener::bind(address).await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        soon("waiting for the port to be free", is_free).await;
        let there = Vllm::listening(address, |it| answer("m", &it.path)).await;
        there.request(10).await;
    }
    is_over.store(true, Relaxed);
    let lost = callers.join_all().await.into_iter().flatten();
    for status in lost {
        let reason = status.get_details_error_info().unwrap().reason;
        let was_received = ["UPSTREAM_RESET", "UPSTREAM_STREAM_TRUNCATED"].contains(&&*reason);
        assert!(was_received, "{status:?}");
    }
}
