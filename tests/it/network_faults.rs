//! The network between caller and adapter, and the host's limits.

use std::{
    net::TcpListener,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use tonic::Code;

use crate::support::{
    adapter::{Adapter, client_at},
    fault_proxy::{FaultProxy, Link},
    process::Process,
    reply::Reply,
    requests::prompt,
    soon,
    vllm::Vllm,
    wire,
};

/// Rows C2 and C3, on the caller's side.
#[tokio::test]
async fn a_bad_network_before_the_caller_changes_nothing_but_time() {
    let words: Vec<String> = (0..50).map(|n| format!(" {n}")).collect();
    let reply = Reply::stream().event(wire::first());
    let reply = words
        .iter()
        .fold(reply, |reply, word| reply.event(wire::text(word)));
    let reply = reply
        .event(wire::finish("stop"))
        .event(wire::usage())
        .done();
    let vllm = Vllm::replying(reply).await;
    let adapter = Adapter::before(vllm.base_url()).start().await;
    let slow = Link::default().latency(Duration::from_millis(200));
    let bytes = Link::default().pieces_of(1);
    let narrow = Link::default().bytes_per_second(50_000).pieces_of(1000);
    let uneven = slow.jitter(Duration::from_millis(200));
    let stalling = Link::default()
        .pieces_of(10)
        .stalls(0.01, Duration::from_millis(300));
    for (row, link) in [
        ("latency", slow),
        ("jitter", uneven),
        ("stalls", stalling),
        ("single bytes", bytes),
        ("bandwidth", narrow),
    ] {
        let proxy = FaultProxy::before(adapter.address, link, link).await;
        let mut client = client_at(proxy.address).await;
        let stream = soon("a response", client.stream_generate(prompt("x")))
            .await
            .unwrap();
        let mut stream = stream.into_inner();
        let mut fold = vllm_grpc_adapter::Fold::new();
        while let Some(event) = soon("an event", stream.message()).await.unwrap() {
            fold.push(event);
        }
        let answer = fold.finish_response();
        let content = &answer.choices[0].message.as_ref().unwrap().content;
        assert_eq!(*content, words.concat(), "{row}");
    }
}

/// Row C5, by a limit on descriptors, which keeps sockets from being opened as a lack of ports does.
#[tokio::test]
async fn a_lack_of_sockets_for_the_upstream_is_unavailable_and_passes() {
    let vllm = Vllm::choosing(|request| {
        if request.json().to_string().contains("hold") {
            Reply::raw().fall_silent()
        } else {
            Reply::json(200, wire::answer("a"))
        }
    })
    .await;
    let process = Process::before(&vllm.base_url())
        .limit_descriptors(40)
        .start()
        .await;
    let client = process.client().await;
    let mut held = tokio::task::JoinSet::new();
    for _ in 0..60 {
        let mut client = client.clone();
        held.spawn(async move { client.generate(prompt("hold")).await });
    }
    // Those that find no descriptor fail at once, the others wait.
    let failed = soon("a call that fails", held.join_next())
        .await
        .unwrap()
        .unwrap();
    let status = failed.unwrap_err();
    crate::support::outcome::check(&status, Code::Unavailable, "UPSTREAM_CONNECT", "no socket");
    held.shutdown().await;
    vllm.is_left_alone().await;
    let mut client = client.clone();
    soon("a call afterwards", client.generate(prompt("x")))
        .await
        .unwrap();
}

/// Row C8.
#[tokio::test]
async fn proxies_and_key_logs_of_the_environment_are_ignored() {
    let vllm = Vllm::replying(Reply::json(200, wire::answer("a"))).await;
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    proxy.set_nonblocking(true).unwrap();
    let url = format!("http://{}", proxy.local_addr().unwrap());
    static N: AtomicUsize = AtomicUsize::new(0);
    let name = format!(
        "key-log-{}-{}",
        std::process::id(),
        N.fetch_add(1, Ordering::Relaxed)
    );
    let key_log = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let mut process =
        Process::before(&vllm.base_url()).variable("SSLKEYLOGFILE", key_log.to_str().unwrap());
    for name in [
        "HTTP_PROXY",
        "http_proxy",
        "HTTPS_PROXY",
        "https_proxy",
        "ALL_PROXY",
        "all_proxy",
    ] {
        process = process.variable(name, &url);
    }
    let process = process.variable("NO_PROXY", "").start().await;
    process.client().await.generate(prompt("x")).await.unwrap();
    assert_eq!(vllm.n_requests(), 1);
    assert!(proxy.accept().is_err());
    assert!(!key_log.exists());
}
