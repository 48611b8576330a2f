//! Callers and upstreams whose process is killed.
//!
//! Each test runs itself again as the process that is killed, since only the kernel then closes its connections.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::net::TcpStream;
use tonic::Code;

use crate::{
    caller_faults::{AT_ONCE, calls},
    support::{
        adapter::Adapter,
        bounds::checks_bounds,
        outcome::{check, outcome},
        reply::Reply,
        requests::prompt,
        soon,
        twin::{self, Twin},
        vllm::{Vllm, closed_port},
        wire,
    },
};

fn begun() -> Reply {
    Reply::stream().event(wire::first()).event(wire::text("a"))
}

/// An upstream that holds its streams, or ends them, until it is killed.
async fn be_upstream(role: &str) {
    let (manner, address) = role.split_once(' ').unwrap();
    let reply = match manner {
        "hold" => begun().fall_silent(),
        _ => begun().event(wire::finish("stop")).done(),
    };
    let address: SocketAddr = address.parse().unwrap();
    let _vllm = Vllm::listening(address, move |_request| reply.clone()).await;
    std::future::pending().await
}

async fn is_there(address: SocketAddr) {
    soon("the process to listen", async {
        while TcpStream::connect(address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// Row B24; the three seconds until it is back are a third of one here.
#[tokio::test]
async fn an_upstream_that_is_killed_is_unavailable_at_once_and_back_at_once() {
    const NAME: &str =
        "killed_processes::an_upstream_that_is_killed_is_unavailable_at_once_and_back_at_once";
    if let Some(role) = twin::role() {
        return be_upstream(&role).await;
    }
    let url = closed_port().await;
    let address = url.socket_addrs(|| None).unwrap()[0];
    let upstream = Twin::start(NAME, &format!("hold {address}"));
    is_there(address).await;
    let adapter = Adapter::before(url).start().await;
    let mut client = adapter.client();
    let stream = client.stream_generate(prompt("x")).await.unwrap();
    let mut stream = stream.into_inner();
    while stream.message().await.unwrap().unwrap().event.is_none() {}

    let killed = Instant::now();
    upstream.kill().await;
    let status = loop {
        match soon("the end", stream.message()).await {
            Ok(event) => assert!(event.is_some()),
            Err(status) => break status,
        }
    };
    let took = killed.elapsed();
    let truncated = "UPSTREAM_STREAM_TRUNCATED";
    check(&status, Code::Unavailable, truncated, "in flight");
    if checks_bounds() {
        assert!(took < Duration::from_secs(1), "{took:?}");
    }
    let status = adapter.stream(prompt("x")).await.status;
    check(&status, Code::Unavailable, "UPSTREAM_CONNECT", "down");

    tokio::time::sleep(Duration::from_millis(300)).await;
    let _upstream = Twin::start(NAME, &format!("answer {address}"));
    is_there(address).await;
    let back = Instant::now();
    let streamed = adapter.stream(prompt("x")).await;
    assert_eq!(outcome(&streamed.status).0, Code::Ok);
    if checks_bounds() {
        assert!(back.elapsed() < Duration::from_secs(1));
    }
}

/// Row A4.
#[tokio::test]
async fn a_caller_that_is_killed_leaves_the_upstream_at_once() {
    const NAME: &str = "killed_processes::a_caller_that_is_killed_leaves_the_upstream_at_once";
    if let Some(address) = twin::role() {
        let _calls = calls(address.parse().unwrap(), true, AT_ONCE).await;
        return std::future::pending().await;
    }
    let vllm = Vllm::replying(begun().fall_silent()).await;
    let adapter = Adapter::before(vllm.base_url()).start().await;
    let caller = Twin::start(NAME, &adapter.address.to_string());
    vllm.request(AT_ONCE - 1).await;
    let killed = tokio::time::Instant::now();
    caller.kill().await;
    for n in 0..AT_ONCE {
        let took = vllm.left(n).await.saturating_duration_since(killed);
        if checks_bounds() {
            assert!(took < Duration::from_secs(1), "{n}: {took:?}");
        }
    }
    vllm.is_left_alone().await;
    assert_eq!(vllm.n_requests(), AT_ONCE);
}
