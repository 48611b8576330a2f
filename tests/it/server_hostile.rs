//! Callers that send what no client sends, or nothing.

use std::{net::SocketAddr, time::Duration};

use tokio::time::Instant;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_request::MessageRequest,
};

use crate::support::{
    adapter::serve,
    bounds::checks_bounds,
    process::Process,
    raw_h2::{
        self, CANCEL, CONTINUATION, DATA, END_HEADERS, ENHANCE_YOUR_CALM, Frame, GOAWAY, HEADERS,
        PING, PREFACE, PRIORITY, PROTOCOL_ERROR, RST_STREAM, RawH2,
    },
};

const GENERATE: &str = "/vllm_adapter.v1.GenerationService/Generate";
const CHECK: &str = "/grpc.health.v1.Health/Check";
const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";

/// The limit, ten seconds, with time for a busy machine.
const LIMIT: Duration = Duration::from_secs(13);

/// How long the server bears a caller that sends `bytes` and no more.
async fn borne(address: SocketAddr, bytes: &[u8]) -> Duration {
    let start = Instant::now();
    let mut caller = RawH2::connect(address).await;
    caller.be_rude();
    caller.write(bytes).await;
    caller.rest().await;
    start.elapsed()
}

#[tokio::test]
async fn a_caller_that_does_not_begin_to_speak_is_closed() {
    let served = serve(|_| {}).await;
    let unacknowledged = [PREFACE, &raw_h2::settings(&[])].concat();
    let (silent, half, unacknowledged) = tokio::join!(
        borne(served.address, &[]),
        borne(served.address, &PREFACE[..12]),
        borne(served.address, &unacknowledged),
    );
    if checks_bounds() {
        assert!(silent < LIMIT, "silent: {silent:?}");
        assert!(half < LIMIT, "half a preface: {half:?}");
        assert!(
            unacknowledged < LIMIT,
            "no acknowledgement: {unacknowledged:?}"
        );
    }
}

#[tokio::test]
async fn http_1_is_closed_at_once() {
    let served = serve(|_| {}).await;
    let request = b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n";
    let borne = borne(served.address, request).await;
    if checks_bounds() {
        assert!(borne < Duration::from_secs(5), "{borne:?}");
    }
}

#[tokio::test]
async fn a_message_that_does_not_come_ends_its_call_in_time() {
    let served = serve(|_| {}).await;
    let mut caller = RawH2::open(served.address, &[]).await;
    let start = Instant::now();
    // Headers alone; half a prefix; half a message; a message without an end.
    let bodies: [&[u8]; 4] = [&[], &[0, 0], &[0, 0, 0, 0, 9, 1], &[0, 0, 0, 0, 0]];
    for (stream, body) in [1, 3, 5, 7].into_iter().zip(bodies) {
        caller.write(&raw_h2::call(stream, GENERATE)).await;
        caller.write(&raw_h2::frame(DATA, 0, stream, body)).await;
    }
    // Reflection may pause between messages, as grpcurl does.
    let list = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let list = raw_h2::frame(DATA, 0, 9, &raw_h2::message(&list));
    caller.write(&raw_h2::call(9, REFLECTION)).await;
    caller.write(&list).await;

    let mut ended = Vec::new();
    while ended.len() < 4 {
        let headers = caller.next_of(HEADERS).await.unwrap();
        let (_, fields) = caller.fields(&headers.payload);
        if let Some(status) = tonic::Status::from_header_map(&fields) {
            assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
            ended.push(headers.stream);
        }
    }
    ended.sort_unstable();
    assert_eq!(ended, [1, 3, 5, 7]);
    if checks_bounds() {
        assert!(start.elapsed() < LIMIT, "{:?}", start.elapsed());
    }
    caller.write(&list).await;
    assert_eq!(caller.next_of(DATA).await.unwrap().stream, 9);
}

/// Checks that a flood of so many frames ends its connection, and costs no more than a tenth of a second of CPU time and
/// two MiB. Those of them that come beyond the end were never read.
async fn check_flood(flood: impl Iterator<Item = Vec<u8>>) {
    let process = Process::alone().start().await;
    // For what the process takes once.
    let mut first = RawH2::open(process.address, &[]).await;
    let check = raw_h2::whole_call(1, CHECK, &HealthCheckRequest::default());
    first.write(&check).await;
    assert_eq!(first.response(1).await.outcome().0, Code::Ok);
    let (cpu_time, memory) = (process.cpu_time(), process.peak_bytes());
    let mut caller = RawH2::open(process.address, &[]).await;
    let flood: Vec<u8> = flood.flatten().collect();
    caller.write(&flood).await;
    let frames = caller.rest().await;
    let goaway = frames.iter().rfind(|frame| frame.kind == GOAWAY);
    assert_eq!(goaway.map(Frame::code), Some(ENHANCE_YOUR_CALM));
    let spent = process.cpu_time() - cpu_time;
    let grown = process.peak_bytes().saturating_sub(memory);
    if checks_bounds() {
        assert!(spent <= Duration::from_millis(100), "{spent:?}");
        assert!(grown <= 2 << 20, "{grown}");
    }
}

/// Row E1.
#[tokio::test]
async fn rapid_resets_end_the_connection() {
    let resets = (0..1_000).flat_map(|n| {
        let stream = 2 * n + 1;
        let reset = raw_h2::frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes());
        [raw_h2::call(stream, GENERATE), reset]
    });
    check_flood(resets).await;
}

#[tokio::test]
async fn a_burst_of_cancelled_calls_is_no_attack() {
    let served = serve(|_| {}).await;
    let mut caller = RawH2::open(served.address, &[]).await;
    let mut burst = Vec::new();
    for n in 0..60 {
        let stream = 2 * n + 1;
        burst.extend(raw_h2::call(stream, GENERATE));
        burst.extend(raw_h2::frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes()));
    }
    caller.write(&burst).await;
    let check = raw_h2::whole_call(201, CHECK, &HealthCheckRequest::default());
    caller.write(&check).await;
    assert_eq!(caller.response(201).await.outcome().0, Code::Ok);
}

/// Row E2.
#[tokio::test]
async fn a_flood_of_continuations_ends_the_connection() {
    let head = raw_h2::frame(HEADERS, 0, 1, &raw_h2::call_fields(GENERATE, &[]));
    for more in [&[][..], &raw_h2::fields(&[("a", "b")])] {
        let more = raw_h2::frame(CONTINUATION, 0, 1, more);
        let flood = std::iter::repeat_n(more, 2_000);
        check_flood(std::iter::once(head.clone()).chain(flood)).await;
    }
}

/// Row E3. A message without an end comes in pieces of one byte, which wait to be read.
#[tokio::test]
async fn a_flood_of_empty_or_tiny_data_ends_the_connection() {
    let head = raw_h2::call(1, GENERATE);
    for data in [&[][..], &[0]] {
        let more = raw_h2::frame(DATA, 0, 1, data);
        let flood = std::iter::repeat_n(more, 11_000);
        check_flood(std::iter::once(head.clone()).chain(flood)).await;
    }
}

#[tokio::test]
async fn too_many_header_fields_are_refused() {
    let served = serve(|_| {}).await;
    let mut caller = RawH2::open(served.address, &[]).await;
    let long = "x".repeat(15_000);
    let fields = raw_h2::call_fields(GENERATE, &[("a", &long), ("b", &long)]);
    let (first, second) = fields.split_at(16_000);
    caller.write(&raw_h2::frame(HEADERS, 0, 1, first)).await;
    let rest = raw_h2::frame(CONTINUATION, END_HEADERS, 1, second);
    caller.write(&rest).await;
    assert_eq!(caller.response(1).await.http_status, "431");
}

/// Header fields that stand for `n` times a value of 4,000 bytes, which the block holds once: the first puts it into the
/// table that both sides keep (RFC 7541, 6.2.1), and each byte that follows is one more of it (6.1).
fn hpack_bomb(n: usize) -> Vec<u8> {
    let mut block = raw_h2::call_fields(GENERATE, &[]);
    let mut literal = raw_h2::fields(&[("x", &"y".repeat(4_000))]);
    literal[0] = 0x40;
    block.extend(literal);
    block.extend(std::iter::repeat_n(0x80 | 62, n));
    block
}

/// Sends a block of header fields on each of 50 streams, in as many frames as it takes, as far as the server reads on.
/// Gives the answers of HTTP, and whether the connection was ended.
async fn send_headers(address: SocketAddr, block: &[u8]) -> (Vec<String>, bool) {
    const N: u32 = 50;
    let mut caller = RawH2::open(address, &[]).await;
    let mut statuses = Vec::new();
    let mut pieces = Vec::new();
    for n in 0..N {
        let mut rest = block.chunks(16_384).peekable();
        let mut kind = HEADERS;
        while let Some(piece) = rest.next() {
            let flags = if rest.peek().is_none() {
                END_HEADERS
            } else {
                0
            };
            pieces.extend(raw_h2::frame(kind, flags, 2 * n + 1, piece));
            kind = CONTINUATION;
        }
    }
    caller.write(&pieces).await;
    while statuses.len() < N as usize {
        let Some(frame) = caller.next().await else {
            return (statuses, true);
        };
        match frame.kind {
            GOAWAY => return (statuses, true),
            HEADERS => statuses.push(caller.fields(&frame.payload).0),
            RST_STREAM => statuses.push("reset".to_owned()),
            _ => {}
        }
    }
    (statuses, false)
}

/// Row E5.
#[tokio::test]
async fn headers_that_are_too_large_are_refused_in_little_memory() {
    let process = Process::alone().start().await;
    let long = |n: usize| raw_h2::call_fields(GENERATE, &[("x", &"y".repeat(n))]);
    let tiny = vec![("a", "b"); 10_000];
    // A round for what the process takes once.
    send_headers(process.address, &long(20_000)).await;
    for (row, block, ends_connection) in [
        ("20 KB", long(20_000), false),
        (
            "ten thousand fields",
            raw_h2::call_fields(GENERATE, &tiny),
            true,
        ),
        ("1 MB", long(1_000_000), true),
        ("a bomb of 4 MB", hpack_bomb(1_000), true),
        ("a bomb of 60 MB", hpack_bomb(15_000), true),
    ] {
        let before = process.peak_bytes();
        let (statuses, is_ended) = send_headers(process.address, &block).await;
        let grown = process.peak_bytes().saturating_sub(before);
        eprintln!("{row}: {grown} bytes");
        assert!(
            statuses
                .iter()
                .all(|status| status == "431" || status == "reset"),
            "{row}"
        );
        assert_eq!(is_ended, ends_connection, "{row}");
        if checks_bounds() {
            assert!(grown <= 1 << 20, "{row}: {grown}");
        }
    }
    let mut caller = RawH2::open(process.address, &[]).await;
    let check = raw_h2::whole_call(1, CHECK, &HealthCheckRequest::default());
    caller.write(&check).await;
    assert_eq!(caller.response(1).await.outcome().0, Code::Ok);
}

#[tokio::test]
async fn a_flood_of_pings_and_settings_harms_nobody() {
    let process = Process::alone().start().await;
    let mut caller = RawH2::open(process.address, &[]).await;
    let mut memory = 0;
    for n in 0..20_000_u64 {
        if n == 1_000 {
            memory = process.peak_bytes();
        }
        caller
            .write(&raw_h2::frame(PING, 0, 0, &n.to_be_bytes()))
            .await;
        caller.write(&raw_h2::settings(&[])).await;
        caller
            .write(&raw_h2::frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 7]))
            .await;
        caller.next_of(PING).await.unwrap();
    }
    let check = raw_h2::whole_call(1, CHECK, &HealthCheckRequest::default());
    caller.write(&check).await;
    assert_eq!(caller.response(1).await.outcome().0, Code::Ok);
    let grown = process.peak_bytes().saturating_sub(memory);
    if checks_bounds() {
        assert!(grown <= 2 << 20, "{grown}");
    }
    // Nothing is no update of a window.
    caller.write(&raw_h2::window_update(0, 0)).await;
    let goaway = caller.next_of(GOAWAY).await.unwrap();
    assert_eq!(goaway.code(), PROTOCOL_ERROR);
}
