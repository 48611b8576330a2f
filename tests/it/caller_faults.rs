//! Callers that leave, or whose time is over.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::task::JoinSet;
use tonic::Code;

use crate::support::{
    adapter::{Adapter, client_at},
    bounds::checks_bounds,
    fault_proxy::{Cut, Fault, FaultProxy, Link},
    process::Process,
    raw_h2::{self, DATA, END_HEADERS, END_STREAM, HEADERS, RawH2, Response},
    reply::Reply,
    requests::prompt,
    soon,
    vllm::Vllm,
    wire,
};

pub(crate) const GENERATE: &str = "/vllm_adapter.v1.GenerationService/Generate";
pub(crate) const STREAM: &str = "/vllm_adapter.v1.GenerationService/StreamGenerate";

pub(crate) const AT_ONCE: usize = 200;

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// What the upstream is doing when its caller leaves.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// Nothing: the call is queued, or in its prefill.
    Silent,
    /// It has sent its head.
    Head,
    /// It has sent an event.
    Idle,
    /// It sends an event every fifty milliseconds, 4,000 in a second for all calls together.
    Busy,
}

impl Moment {
    fn reply(self) -> Reply {
        let begun = Reply::stream().event(wire::first()).event(wire::text("a"));
        match self {
            Self::Silent => Reply::raw().fall_silent(),
            Self::Head => Reply::stream().fall_silent(),
            Self::Idle => begun.fall_silent(),
            Self::Busy => (0..1_000).fold(begun, |reply, _n| {
                reply.pause(millis(50)).event(wire::text("a"))
            }),
        }
    }
}

/// Calls that all run, each in a task of its own.
pub(crate) async fn calls(address: SocketAddr, is_stream: bool, n: usize) -> JoinSet<()> {
    let client = client_at(address).await;
    let mut calls = JoinSet::new();
    for _ in 0..n {
        let mut client = client.clone();
        calls.spawn(async move {
            if !is_stream {
                let _ = client.generate(prompt("x")).await;
            } else if let Ok(stream) = client.stream_generate(prompt("x")).await {
                let mut stream = stream.into_inner();
                while let Ok(Some(_event)) = stream.message().await {}
            }
        });
    }
    calls
}

/// How long after `left` the upstream learned of it, of each of its requests.
async fn delays(
    vllm: &Vllm,
    left: tokio::time::Instant,
    requests: std::ops::Range<usize>,
) -> Vec<Duration> {
    let mut delays = Vec::new();
    for n in requests {
        delays.push(vllm.left(n).await.saturating_duration_since(left));
    }
    delays.sort_unstable();
    delays
}

/// Checks the bounds in the best of three rounds. Time in which the machine did not let this thread run is not counted:
/// caller, adapter and upstream all run in it.
async fn check_leaving(moment: Moment, is_stream: bool, leave: Leave) {
    let mut rounds = Vec::new();
    for _ in 0..3 {
        let vllm = Vllm::replying(moment.reply()).await;
        let adapter = Adapter::before(vllm.base_url()).start().await;
        let proxy = FaultProxy::before(adapter.address, Link::default(), Link::default()).await;
        let mut calls = calls(proxy.address, is_stream, AT_ONCE).await;
        vllm.request(AT_ONCE - 1).await;
        // Until all have their head or event; those that are silent have nothing to wait for.
        tokio::time::sleep(millis(100)).await;
        let (left, waited) = (tokio::time::Instant::now(), time_not_run());
        match leave {
            Leave::Cancel => calls.abort_all(),
            Leave::Cut(cut) => proxy.strike(Fault::Cut(cut)),
        }
        let delays = delays(&vllm, left, 0..AT_ONCE).await;
        let waited = time_not_run() - waited;
        // Nothing was started again.
        assert_eq!(vllm.n_requests(), AT_ONCE, "{moment:?}");
        vllm.is_left_alone().await;
        let [percentile, most] =
            [AT_ONCE * 99 / 100 - 1, AT_ONCE - 1].map(|n| delays[n].saturating_sub(waited));
        if !checks_bounds() || (percentile <= millis(100) && most <= millis(500)) {
            return;
        }
        rounds.push((percentile, most, waited));
    }
    panic!("{moment:?} {leave:?}: {rounds:?}");
}

/// How long this thread could have run and was not let, since it began; zero where the kernel does not tell.
fn time_not_run() -> Duration {
    // <https://docs.kernel.org/scheduler/sched-stats.html>: time on the processor, time waiting for it, both in
    // nanoseconds.
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let waited = told
        .split_whitespace()
        .nth(1)
        .and_then(|field| field.parse().ok());
    Duration::from_nanos(waited.unwrap_or_default())
}

/// How all callers leave.
#[derive(Clone, Copy, Debug)]
enum Leave {
    /// Each cancels its call.
    Cancel,
    /// Their connection is lost.
    Cut(Cut),
}

/// Row A1, 200 at once.
#[tokio::test]
async fn cancelled_unary_calls_leave_the_upstream_at_once() {
    check_leaving(Moment::Silent, false, Leave::Cancel).await;
}

/// Row A1, one after another.
#[tokio::test]
async fn each_cancelled_unary_call_leaves_the_upstream_at_once() {
    let vllm = Vllm::replying(Moment::Silent.reply()).await;
    let adapter = Adapter::before(vllm.base_url()).start().await;
    let mut all = Vec::new();
    for n in 0..40 {
        let calls = calls(adapter.address, false, 1).await;
        vllm.request(n).await;
        let left = tokio::time::Instant::now();
        drop(calls);
        all.extend(delays(&vllm, left, n..n + 1).await);
    }
    all.sort_unstable();
    if checks_bounds() {
        assert!(all[37] <= millis(100) && all[39] <= millis(500), "{all:?}");
    }
}

/// Row A2.
#[tokio::test]
async fn streams_that_are_cancelled_before_their_first_event_leave_the_upstream_at_once() {
    check_leaving(Moment::Silent, true, Leave::Cancel).await;
    check_leaving(Moment::Head, true, Leave::Cancel).await;
}

/// Row A3.
#[tokio::test]
async fn streams_that_are_cancelled_amid_leave_the_upstream_at_once() {
    check_leaving(Moment::Idle, true, Leave::Cancel).await;
    check_leaving(Moment::Busy, true, Leave::Cancel).await;
}

/// Row A4; to the adapter, a killed client is a connection that ends or is reset.
#[tokio::test]
async fn streams_whose_connection_is_lost_leave_the_upstream_at_once() {
    check_leaving(Moment::Idle, true, Leave::Cut(Cut::Fin)).await;
    check_leaving(Moment::Busy, true, Leave::Cut(Cut::Rst)).await;
    check_leaving(Moment::Silent, false, Leave::Cut(Cut::Rst)).await;
}

/// Row A4, in descriptors, and row A1 in the log.
#[tokio::test]
async fn callers_that_are_gone_leave_no_descriptor_and_a_record_each() {
    let vllm = Vllm::replying(Moment::Busy.reply()).await;
    let process = Process::before(&vllm.base_url()).start().await;
    let before = process.n_descriptors();
    let calls = calls(process.address, true, AT_ONCE).await;
    vllm.request(AT_ONCE - 1).await;
    assert!(process.n_descriptors() >= before + AT_ONCE);
    drop(calls);
    vllm.is_left_alone().await;
    soon("the descriptors to be closed", async {
        while process.n_descriptors() > before {
            tokio::time::sleep(millis(10)).await;
        }
    })
    .await;
    soon("the records", async {
        while process.log().matches("CALLER_CANCELLED").count() < AT_ONCE {
            tokio::time::sleep(millis(10)).await;
        }
    })
    .await;
    assert_eq!(process.log().matches("CALLER_CANCELLED").count(), AT_ONCE);
}

/// Row A5.
#[tokio::test]
async fn a_caller_that_is_cut_off_without_a_word_is_found_by_keepalive() {
    for moment in [Moment::Silent, Moment::Idle, Moment::Busy] {
        let vllm = Vllm::replying(moment.reply()).await;
        let adapter = Adapter::before(vllm.base_url())
            .with(|config| {
                config.server.keepalive_interval = Some(Duration::from_secs(1));
                config.server.keepalive_timeout = Duration::from_secs(1);
            })
            .start()
            .await;
        let proxy = FaultProxy::before(adapter.address, Link::default(), Link::default()).await;
        let _calls = calls(proxy.address, true, 5).await;
        vllm.request(4).await;
        let cut = tokio::time::Instant::now();
        proxy.strike(Fault::BlackHole);
        let delays = delays(&vllm, cut, 0..5).await;
        // Interval, timeout, and one second.
        if checks_bounds() {
            assert!(delays[4] <= millis(3000), "{moment:?}: {delays:?}");
        }
    }
}

/// Calls with these headers, without a client that would have a deadline too.
pub(crate) async fn raw(address: SocketAddr, path: &str, more: &[(&str, &str)]) -> RawH2 {
    let mut caller = RawH2::open(address, &[]).await;
    let fields = raw_h2::call_fields(path, more);
    caller
        .write(&raw_h2::frame(HEADERS, END_HEADERS, 1, &fields))
        .await;
    let message = raw_h2::message(&prompt("x"));
    caller
        .write(&raw_h2::frame(DATA, END_STREAM, 1, &message))
        .await;
    caller
}

#[track_caller]
fn check_end(response: &Response, begun: Instant, deadline: Duration, row: &str) {
    let took = begun.elapsed();
    let expected = (Code::DeadlineExceeded, "DEADLINE".to_owned());
    assert_eq!(response.outcome(), expected, "{row}");
    assert!(took >= deadline, "{row}: {took:?}");
    if checks_bounds() {
        assert!(took < deadline + millis(1000), "{row}: {took:?}");
    }
}

/// Rows A6 and A7: the best of several is within 50 ms, and none is early.
#[tokio::test]
async fn the_server_itself_ends_a_call_at_its_deadline() {
    let deadline = millis(300);
    for (moment, path) in [
        (Moment::Silent, GENERATE),
        (Moment::Silent, STREAM),
        (Moment::Head, STREAM),
        (Moment::Idle, STREAM),
        (Moment::Busy, STREAM),
    ] {
        let row = format!("{moment:?} {path}");
        let vllm = Vllm::replying(moment.reply()).await;
        let adapter = Adapter::before(vllm.base_url()).start().await;
        let mut best = Duration::MAX;
        for n in 0..3 {
            let begun = Instant::now();
            let mut caller = raw(adapter.address, path, &[("grpc-timeout", "300m")]).await;
            let response = caller.response(1).await;
            best = best.min(begun.elapsed());
            check_end(&response, begun, deadline, &row);
            let is_partial = matches!(moment, Moment::Idle | Moment::Busy);
            let details = tonic_types::StatusExt::get_error_details(&response.status());
            let facts = &details.error_info().unwrap().metadata;
            assert_eq!(facts.contains_key("partial"), is_partial, "{row}");
            vllm.left(n).await;
        }
        if checks_bounds() {
            assert!(best < deadline + millis(50), "{row}: {best:?}");
        }
    }
}

/// Row A7, where the caller does not read either.
#[tokio::test]
async fn a_deadline_frees_the_upstream_though_the_caller_does_not_read() {
    let meter = crate::support::signal::Meter::new();
    let event = format!("data: {}\n\n", wire::text(&"x".repeat(1000)));
    let reply = Reply::stream()
        .event(wire::first())
        .flood(event.repeat(10), &meter);
    let vllm = Vllm::replying(reply).await;
    let adapter = Adapter::before(vllm.base_url()).start().await;
    let begun = Instant::now();
    // The windows of 64 KiB are never raised.
    let _caller = raw(adapter.address, STREAM, &[("grpc-timeout", "1500m")]).await;
    meter.stalled_for(millis(200)).await;
    vllm.left(0).await;
    let took = begun.elapsed();
    if checks_bounds() {
        assert!(took < Duration::from_secs(4), "{took:?}");
    }
}

/// Row A8.
#[tokio::test]
async fn a_deadline_that_is_over_or_malformed_starts_nothing() {
    let vllm = Vllm::replying(Reply::json(200, wire::answer("a"))).await;
    let adapter = Adapter::before(vllm.base_url()).start().await;
    let over = (Code::DeadlineExceeded, "DEADLINE");
    let malformed = (Code::Internal, "MALFORMED_TIMEOUT");
    let rows: [(&[&str], (Code, &str)); 10] = [
        (&["0n"], over),
        (&["0H"], over),
        (&["123456789S"], malformed),
        (&["5"], malformed),
        (&[""], malformed),
        (&["-5S"], malformed),
        (&["5s"], malformed),
        (&["5 S"], malformed),
        (&["soon"], malformed),
        (&["5S", "5S"], malformed),
    ];
    for (values, (code, reason)) in rows {
        let more: Vec<_> = values
            .iter()
            .map(|value| ("grpc-timeout", *value))
            .collect();
        for path in [GENERATE, STREAM] {
            let response = raw(adapter.address, path, &more).await.response(1).await;
            assert_eq!(
                response.outcome(),
                (code, reason.to_owned()),
                "{values:?} {path}"
            );
        }
    }
    assert_eq!(vllm.n_connections(), 0);
    let far = raw(adapter.address, GENERATE, &[("grpc-timeout", "99999999H")]).await;
    let mut far = far;
    assert_eq!(far.response(1).await.outcome().0, Code::Ok);
}

/// Row A6: the deadline counts from the request's head, so that an upload that trickles in does not outlast it.
#[tokio::test]
async fn a_deadline_bounds_the_upload_too() {
    let vllm = Vllm::replying(Reply::json(200, wire::answer("a"))).await;
    let adapter = Adapter::before(vllm.base_url())
        .with(|config| config.limits.max_duration = Some(Duration::from_secs(1)))
        .start()
        .await;
    let message = raw_h2::message(&prompt(&"x".repeat(1000)));
    for (metadata, reason) in [
        (&[("grpc-timeout", "300m")][..], "DEADLINE"),
        (&[], "TOTAL_TIMEOUT"),
    ] {
        let mut caller = RawH2::open(adapter.address, &[]).await;
        let fields = raw_h2::call_fields(STREAM, metadata);
        let head = raw_h2::frame(HEADERS, END_HEADERS, 1, &fields);
        caller.write(&head).await;
        caller
            .write(&raw_h2::frame(DATA, 0, 1, &message[..10]))
            .await;
        let outcome = caller.response(1).await.outcome();
        assert_eq!(outcome, (Code::DeadlineExceeded, reason.to_owned()));
    }
    assert_eq!(vllm.n_connections(), 0);
}
