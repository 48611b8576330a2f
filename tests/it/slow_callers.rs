//! Callers that read slowly or never, and messages that are too large.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tonic::Code;
use vllm_grpc_adapter::proto::stream_generate_response::Event;

use crate::{
    caller_faults::{GENERATE, STREAM, raw},
    support::{
        adapter::Adapter,
        bounds::{checks_bounds, scaled},
        outcome::{check, fact},
        process::Process,
        raw_h2::{
            self, DATA, END_STREAM, INITIAL_WINDOW_SIZE, MAX_CONCURRENT_STREAMS, REFUSED_STREAM,
            RST_STREAM, RawH2, SETTINGS,
        },
        reply::Reply,
        requests::prompt,
        signal::{Meter, Signal},
        soon,
        vllm::Vllm,
        wire,
    },
};

/// What is sent in a pause of row A11, on all streams together.
const N_TOKENS: usize = 50_000;

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A stream that never ends, of events that hold so many bytes of text.
fn flood(text: usize, meter: &Meter) -> Reply {
    let event = format!("data: {}\n\n", wire::text(&"x".repeat(text)));
    let n_events = 20_000_usize.div_ceil(event.len());
    Reply::stream().flood(event.repeat(n_events), meter)
}

/// Row A9.
#[tokio::test]
async fn a_caller_that_does_not_read_stops_the_upstream_and_is_cut_in_time() {
    let meter = Meter::new();
    let vllm = Vllm::replying(flood(10, &meter)).await;
    let adapter = Adapter::before(vllm.base_url())
        .with(|config| config.server.write_stall_timeout = Some(Duration::from_secs(2)))
        .start()
        .await;
    let begun = Instant::now();
    let mut caller = raw(adapter.address, STREAM, &[]).await;
    // What the kernel's buffers hold, beside the adapter's 256 KiB.
    let n_bytes = meter.stalled_for(millis(500)).await;
    assert!(n_bytes < 16 << 20, "{n_bytes}");
    let reset = caller.next_of(RST_STREAM).await.unwrap();
    assert_eq!(reset.stream, 1);
    vllm.left(0).await;
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(2), "{took:?}");
    if checks_bounds() {
        assert!(took < Duration::from_secs(6), "{took:?}");
    }
}

/// Bytes of memory for each of many streams that nobody reads, by what the upstream sends and the caller's windows.
async fn held(reply: Reply, meter: Option<&Meter>, window: u32) -> u64 {
    const N: u32 = 200;
    let vllm = Vllm::replying(reply).await;
    let process = Process::before(&vllm.base_url()).start().await;
    let before = process.resident_bytes();
    let mut caller = RawH2::open(process.address, &[(INITIAL_WINDOW_SIZE, window)]).await;
    if window > 65_535 {
        caller
            .write(&raw_h2::window_update(0, window - 65_535))
            .await;
    }
    for n in 0..N {
        let call = raw_h2::whole_call(2 * n + 1, STREAM, &prompt("x"));
        caller.write(&call).await;
    }
    vllm.request(N as usize - 1).await;
    if let Some(meter) = meter {
        meter.stalled_for(millis(1000)).await;
    }
    process.resident_bytes().saturating_sub(before) / u64::from(N)
}

/// Rows A9 and A10: what waits in a stream.
#[tokio::test]
#[ignore = "bounds of memory need a quiet machine: tests/faults.sh runs it"]
async fn streams_that_nobody_reads_are_held_in_little_memory() {
    const NONE: u32 = (1 << 31) - 1;
    let silent = Reply::stream().event(wire::first()).fall_silent();
    let idle = held(silent, None, 65_535).await;
    for (row, text, window) in [
        ("small events", 10, 65_535),
        ("events of 8 kB", 8_000, 65_535),
        ("events of 50 kB", 50_000, 65_535),
        ("events of 50 kB and a window of nothing", 50_000, 0),
        ("small events and no windows", 10, NONE),
        ("events of 8 kB and no windows", 8_000, NONE),
        ("events of 50 kB and no windows", 50_000, NONE),
    ] {
        let meter = Meter::new();
        let held = held(flood(text, &meter), Some(&meter), window).await;
        let more = held.saturating_sub(idle);
        eprintln!("{row}: {more} bytes a stream beside {idle} without events");
        assert!(
            more <= 256 << 10,
            "{row}: {more} beside {idle} without events"
        );
    }
}

/// Row A10.
#[tokio::test]
async fn a_thousand_streams_on_a_connection_are_refused_above_the_cap() {
    let vllm = Vllm::replying(Reply::raw().fall_silent()).await;
    let adapter = Adapter::before(vllm.base_url()).start().await;
    let mut caller = RawH2::open(adapter.address, &[]).await;
    let settings = caller.next_of(SETTINGS).await.unwrap().settings();
    assert!(settings.contains(&(MAX_CONCURRENT_STREAMS, 256)));
    for n in 0..300 {
        caller
            .write(&raw_h2::whole_call(2 * n + 1, GENERATE, &prompt("x")))
            .await;
    }
    let mut refused = BTreeMap::new();
    while refused.len() < 300 - 256 {
        let reset = caller.next_of(RST_STREAM).await.unwrap();
        // What still comes on a stream that was refused gets a reset of another kind.
        refused.entry(reset.stream).or_insert(reset.code());
    }
    let expected = (256..300).map(|n| (2 * n + 1, REFUSED_STREAM));
    assert_eq!(refused, expected.collect());
    vllm.request(255).await;
    assert_eq!(vllm.n_requests(), 256);
}

/// Sends `n_tokens` events to each connection, each alone, evenly over the pause; gives the connections, still open.
async fn trickle(
    listener: TcpListener,
    n_streams: usize,
    n_tokens: usize,
    pause: Duration,
    sent: &Meter,
) -> Vec<TcpStream> {
    let mut streams = JoinSet::new();
    for _ in 0..n_streams {
        let (mut stream, _address) = listener.accept().await.unwrap();
        let sent = sent.clone();
        streams.spawn(async move {
            stream.set_nodelay(true).unwrap();
            let head =
                "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
            stream.write_all(head.as_bytes()).await.unwrap();
            let begun = Instant::now();
            let event = format!("data: {}\n\n", wire::text("a"));
            for n in 0..n_tokens {
                stream.write_all(event.as_bytes()).await.unwrap();
                sent.add(1);
                while begun.elapsed() < pause.mul_f64(n as f64 / n_tokens as f64) {
                    tokio::task::yield_now().await;
                }
                tokio::task::yield_now().await;
            }
            let end = format!("data: {}\n\ndata: [DONE]\n\n", wire::finish("stop"));
            stream.write_all(end.as_bytes()).await.unwrap();
            stream
        });
    }
    streams.join_all().await
}

/// The tokens and the events of each of some streams that one tonic client does not read in the pause.
async fn paused(n_streams: usize, n_tokens: usize, padding: Option<usize>) -> Vec<(usize, usize)> {
    let is_full = std::env::var_os("ADAPTER_TEST_FULL_LENGTH").is_some();
    let pause = Duration::from_secs(if is_full { 60 } else { scaled(6, 2) });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let adapter = Adapter::before(format!("http://{address}/v1").parse().unwrap())
        .with(|config| config.server.pad_responses = padding)
        .start()
        .await;
    let sent = Meter::new();
    let upstream = trickle(listener, n_streams, n_tokens / n_streams, pause, &sent);
    let callers = async {
        let mut streams = Vec::new();
        for _ in 0..n_streams {
            let stream = adapter.client().stream_generate(prompt("x")).await.unwrap();
            streams.push(stream.into_inner());
        }
        tokio::time::sleep(pause).await;
        sent.above(n_tokens as u64 / 5).await;
        // At once, since the unread streams may fill the window of the connection that they share.
        let mut reads = JoinSet::new();
        for mut stream in streams {
            reads.spawn(async move {
                let (mut n_tokens, mut n_events) = (0, 0);
                while let Some(event) = stream.message().await.unwrap() {
                    n_events += 1;
                    if let Some(Event::Content(delta)) = event.event {
                        n_tokens += delta.text.len();
                    }
                }
                (n_tokens, n_events)
            });
        }
        reads.join_all().await
    };
    tokio::join!(upstream, callers).1
}

/// Row A11. The pause is scaled down unless `ADAPTER_TEST_FULL_LENGTH` is set.
#[tokio::test]
async fn a_tonic_client_that_pauses_gets_all_tokens() {
    // h2 counts the small frames of a connection, not those of a stream.
    for (n_streams, n_tokens, padding) in [
        (1, 10_000, None),
        (1, N_TOKENS, Some(256)),
        (8, N_TOKENS, Some(256)),
        (250, N_TOKENS, Some(256)),
    ] {
        for (n_read, _) in paused(n_streams, n_tokens, padding).await {
            assert_eq!(n_read, n_tokens / n_streams, "{n_streams} streams");
        }
    }
}

/// Row A11: a client in Rust counts frames below 256 bytes, and h2 0.4.16 closes a connection with a hundred unread.
#[tokio::test]
async fn a_padded_response_is_no_frame_that_a_client_counts() {
    let tokens = (0..200).fold(Reply::stream().event(wire::first()), |reply, n| {
        reply.event(wire::text(&n.to_string())).pause(millis(1))
    });
    let tokens = tokens
        .event(wire::finish("stop"))
        .event(wire::usage())
        .done();
    for (path, reply, fewest) in [
        (STREAM, tokens, 50),
        (GENERATE, Reply::json(200, wire::answer("a")), 1),
    ] {
        let vllm = Vllm::replying(reply).await;
        let adapter = Adapter::before(vllm.base_url())
            .with(|config| config.server.pad_responses = Some(256))
            .start()
            .await;
        let mut caller = RawH2::open(adapter.address, &[(INITIAL_WINDOW_SIZE, 1 << 20)]).await;
        caller.write(&raw_h2::window_update(0, 1 << 20)).await;
        caller
            .write(&raw_h2::whole_call(1, path, &prompt("x")))
            .await;
        let mut lengths = Vec::new();
        loop {
            let frame = caller.next().await.unwrap();
            if frame.kind == DATA {
                lengths.push(frame.payload.len());
            }
            if frame.flags & END_STREAM != 0 && frame.stream == 1 {
                break;
            }
        }
        assert!(lengths.len() >= fewest, "{path}: {lengths:?}");
        assert!(
            lengths.iter().all(|length| *length >= 256),
            "{path}: {lengths:?}"
        );
    }
}

/// Row A11: who keeps up gets each token at once. The upstream sends the next when the last has been read.
#[tokio::test]
async fn a_caller_that_keeps_up_waits_for_no_merge() {
    let read: Vec<_> = (0..200).map(|_n| Signal::new()).collect();
    let reply = Reply::stream().event(wire::first());
    let reply = read.iter().fold(reply, |reply, read| {
        reply.event(wire::text("a")).wait_for(read)
    });
    let vllm = Vllm::replying(reply.event(wire::finish("stop")).done()).await;
    let adapter = Adapter::before(vllm.base_url()).start().await;
    let stream = adapter.client().stream_generate(prompt("x")).await.unwrap();
    let mut stream = stream.into_inner();
    let mut n_deltas = 0;
    while let Some(event) = soon("an event", stream.message()).await.unwrap() {
        if let Some(Event::Content(delta)) = event.event {
            assert_eq!(delta.text, "a");
            read[n_deltas].give();
            n_deltas += 1;
        }
    }
    assert_eq!(n_deltas, read.len());
}

/// Row A12.
#[tokio::test]
async fn a_request_above_its_limit_never_reaches_the_upstream() {
    let vllm = Vllm::replying(Reply::json(200, wire::answer("a"))).await;
    let adapter = Adapter::before(vllm.base_url())
        .with(|config| config.server.max_request_bytes = 4 << 20)
        .start()
        .await;
    let large = prompt(&"x".repeat(5 << 20));
    let status = adapter.client().generate(large.clone()).await.unwrap_err();
    check(
        &status,
        Code::ResourceExhausted,
        "REQUEST_TOO_LARGE",
        "unary",
    );
    assert_eq!(fact(&status, "limit").as_deref(), Some("4194304"));
    let status = adapter.stream(large).await.status;
    check(
        &status,
        Code::ResourceExhausted,
        "REQUEST_TOO_LARGE",
        "stream",
    );
    assert_eq!(vllm.n_connections(), 0);
}

/// Row A13.
#[tokio::test]
async fn a_response_above_its_limit_is_told_by_the_server() {
    let limit = 1 << 20;
    let large = wire::answer(&"x".repeat(2 << 20));
    let vllm = Vllm::replying(Reply::json(200, large)).await;
    let adapter = Adapter::before(vllm.base_url())
        .with(|config| config.server.max_response_bytes = limit)
        .start()
        .await;
    let status = adapter.client().generate(prompt("x")).await.unwrap_err();
    check(
        &status,
        Code::ResourceExhausted,
        "RESPONSE_TOO_LARGE",
        "unary",
    );
    assert_eq!(fact(&status, "limit"), Some(limit.to_string()));

    let reply = Reply::stream()
        .event(wire::first())
        .event(wire::text(&"x".repeat(900_000)));
    let vllm = Vllm::replying(reply.fall_silent()).await;
    let adapter = Adapter::before(vllm.base_url())
        .with(|config| config.server.max_response_bytes = 100_000)
        .start()
        .await;
    let streamed = adapter.stream(prompt("x")).await;
    check(
        &streamed.status,
        Code::ResourceExhausted,
        "RESPONSE_TOO_LARGE",
        "stream",
    );
    vllm.left(0).await;
}

/// Row A14, in memory; `server_hostile` shows its time.
#[tokio::test]
#[ignore = "bounds of memory need a quiet machine: tests/faults.sh runs it"]
async fn streams_that_send_headers_alone_cost_little_memory_and_give_it_back() {
    let vllm = Vllm::replying(Reply::raw()).await;
    let process = Process::before(&vllm.base_url()).start().await;
    let mut after_first = 0;
    let before = process.resident_bytes();
    for round in 0..8 {
        let mut caller = RawH2::open(process.address, &[]).await;
        let calls = (0..50_000).flat_map(|n| raw_h2::call(2 * n + 1, GENERATE));
        caller.write(&calls.collect::<Vec<u8>>()).await;
        // Those above the cap are refused, or the connection is ended for them.
        let _refused = caller.next_of(RST_STREAM).await;
        let grown = process.resident_bytes().saturating_sub(before);
        assert!(grown <= 10 << 20, "round {round}: {grown}");
        drop(caller);
        soon("the connection to be closed", async {
            while process.n_descriptors() > 16 {
                tokio::time::sleep(millis(10)).await;
            }
        })
        .await;
        if round == 0 {
            after_first = process.resident_bytes();
        }
    }
    let kept = process.resident_bytes().saturating_sub(after_first);
    assert!(kept <= 4 << 20, "{kept}");
    assert_eq!(vllm.n_connections(), 0);
}

/// Row A18.
#[tokio::test]
async fn connections_that_come_and_go_leave_nothing() {
    let vllm = Vllm::replying(Reply::raw()).await;
    let process = Process::before(&vllm.base_url()).start().await;
    let (descriptors, memory) = (process.n_descriptors(), process.resident_bytes());
    let (begun, cpu_time) = (Instant::now(), process.cpu_time());
    for n in 0..3_000 {
        let stream = tokio::net::TcpStream::connect(process.address)
            .await
            .unwrap();
        if n % 2 == 0 {
            stream.set_zero_linger().unwrap();
        }
        drop(stream);
    }
    soon("the descriptors to be closed", async {
        while process.n_descriptors() > descriptors {
            tokio::time::sleep(millis(10)).await;
        }
    })
    .await;
    let (took, spent) = (begun.elapsed(), process.cpu_time() - cpu_time);
    let grown = process.resident_bytes().saturating_sub(memory);
    if checks_bounds() {
        assert!(spent <= took, "{spent:?} in {took:?}");
        assert!(grown <= 6 << 20, "{grown}");
    }
}
