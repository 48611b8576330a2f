//! Many callers at once that send what takes much memory or time, while others want to be answered.

use std::{
    io::Write as _,
    net::SocketAddr,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::{
    io,
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{self, Instant},
};
use tonic::Status;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_types::StatusExt as _;
use url::Url;
use vllm_grpc_adapter::proto::{
    ChatMessage, CompletionInput, ContentPart, Conversation, EmbedRequest, GenerateRequest, Media,
    Role, TokenIds, content_part::Part, media::Source,
};

use crate::support::{
    bounds::{checks_bounds, scaled},
    process::Process,
    raw_h2::{self, DATA, RawH2},
    reply::Reply,
    requests::prompt,
    soon,
    vllm::Vllm,
    wire,
};

const GENERATE: &str = "/vllm_adapter.v1.GenerationService/Generate";
const EMBED: &str = "/vllm_adapter.v1.EmbeddingService/Embed";

/// What all requests together may hold by default.
const BUDGET: u64 = 512 << 20;

/// What the process may take beside the budget.
const REST: u64 = 100 << 20;

/// An upstream that reads its requests and never answers, so that they are held as long as they can be.
struct Silent {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

/// Asks for the server's health all the time.
struct Watch {
    process: Process,
    asking: JoinSet<()>,
    worst_micros: Arc<AtomicU64>,
    /// Memory that the process held before the attack.
    before: u64,
}

// === impl Silent ===

impl Silent {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                connections.spawn(async move { io::copy(&mut socket, &mut io::sink()).await });
            }
        });
        Self {
            address,
            _tasks: tasks,
        }
    }

    fn base_url(&self) -> Url {
        format!("http://{}/v1", self.address).parse().unwrap()
    }
}

// === impl Watch ===

impl Watch {
    async fn start(process: Process) -> Self {
        let mut health = HealthClient::new(process.channel().await);
        health.check(HealthCheckRequest::default()).await.unwrap();
        let worst_micros = Arc::new(AtomicU64::new(0));
        let mut asking = JoinSet::new();
        let seen = Arc::clone(&worst_micros);
        asking.spawn(async move {
            loop {
                let begun = Instant::now();
                // Ended by a failure, which `end` looks for.
                if health.check(HealthCheckRequest::default()).await.is_err() {
                    return;
                }
                let micros = begun.elapsed().as_micros().try_into().unwrap();
                seen.fetch_max(micros, Relaxed);
                time::sleep(Duration::from_millis(5)).await;
            }
        });
        let before = process.peak_bytes();
        Self {
            process,
            asking,
            worst_micros,
            before,
        }
    }

    /// Prints what the attack cost, and checks it.
    fn end(mut self, row: &str, ends: &[String]) -> Duration {
        let failed = self.asking.try_join_next();
        assert!(failed.is_none(), "{row}: health failed");
        let worst = Duration::from_micros(self.worst_micros.load(Relaxed));
        let grown = self.process.peak_bytes() - self.before;
        let mut counts = std::collections::BTreeMap::<_, usize>::new();
        for end in ends {
            *counts.entry(end).or_default() += 1;
        }
        eprintln!(
            "{row}: {} MiB more at the peak, the slowest health check took {worst:?}; {counts:?}",
            grown >> 20
        );
        if checks_bounds() {
            assert!(grown <= BUDGET + REST, "{row}: {grown} bytes");
        }
        worst
    }
}

/// Sends the same message in `n` calls, each after a pause, over connections of 25 calls each; returns how each ended.
async fn send(
    address: SocketAddr,
    path: &'static str,
    message: Bytes,
    n: usize,
    pause: Duration,
) -> Vec<String> {
    let mut calls = JoinSet::new();
    let mut framed = BytesMut::from(&[0][..]);
    framed.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    framed.extend(message);
    let framed = framed.freeze();
    for begun in (0..n).step_by(25) {
        let socket = TcpStream::connect(address).await.unwrap();
        let handshake = hyper::client::conn::http2::handshake::<_, _, Full<Bytes>>(
            TokioExecutor::new(),
            TokioIo::new(socket),
        );
        let (sender, connection) = handshake.await.unwrap();
        calls.spawn(async move {
            let _ = connection.await;
            None
        });
        for _ in begun..n.min(begun + 25) {
            let request = Request::post(format!("http://localhost{path}"))
                .header("content-type", "application/grpc")
                .header("te", "trailers")
                .header("grpc-timeout", "10S")
                .body(Full::new(framed.clone()))
                .unwrap();
            let mut sender = sender.clone();
            time::sleep(pause).await;
            calls.spawn(async move { Some(end(sender.send_request(request).await).await) });
        }
    }
    let ends = calls.join_all().await;
    ends.into_iter().flatten().collect()
}

/// How a call ended: its reason, or its code.
async fn end(response: hyper::Result<http::Response<hyper::body::Incoming>>) -> String {
    let response = match response {
        Ok(response) => response,
        Err(error) => return format!("{error:?}"),
    };
    let status = match Status::from_header_map(response.headers()) {
        Some(status) => status,
        None => {
            let body = response.into_body().collect().await.unwrap();
            Status::from_header_map(body.trailers().unwrap()).unwrap()
        }
    };
    let details = status.get_error_details();
    let info = details.error_info();
    info.map_or_else(|| format!("{:?}", status.code()), |it| it.reason.clone())
}

/// Messages of some 8 MiB, each of what takes much memory in its own way.
fn large_messages() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    const SIZE: usize = 8 << 20;
    let generate = |change: &dyn Fn(&mut GenerateRequest)| {
        let mut request = GenerateRequest::default();
        change(&mut request);
        request.encode_to_vec()
    };
    let embed = |change: &dyn Fn(&mut EmbedRequest)| {
        let mut request = EmbedRequest::default();
        change(&mut request);
        request.encode_to_vec()
    };
    let turn = |content: &str| ChatMessage {
        role: Role::User.into(),
        content: content.to_owned(),
        ..ChatMessage::default()
    };
    let picture = Media {
        source: Some(Source::Data(
            [b"\x89PNG\r\n\x1a\n".to_vec(), vec![7; SIZE]]
                .concat()
                .into(),
        )),
        ..Media::default()
    };
    let picture = ChatMessage {
        role: Role::User.into(),
        parts: vec![ContentPart {
            part: Some(Part::Image(picture)),
            ..ContentPart::default()
        }],
        ..ChatMessage::default()
    };
    // As many as the size of the message allows.
    let n_messages = SIZE / 16;
    let tiny = vec![ChatMessage::default(); n_messages];
    let chats = vec![
        Conversation {
            messages: vec![turn("1234567890"); 4096]
        };
        n_messages / 4096
    ];
    let ids = TokenIds {
        ids: vec![100; SIZE],
    };
    vec![
        (
            "text",
            GENERATE,
            generate(&|it| it.prompt = "x".repeat(SIZE)),
        ),
        (
            "controls",
            GENERATE,
            generate(&|it| it.prompt = "\u{1}".repeat(SIZE)),
        ),
        (
            "quotes",
            GENERATE,
            generate(&|it| it.prompt = "\"".repeat(SIZE)),
        ),
        (
            "a picture",
            GENERATE,
            generate(&|it| it.messages = vec![picture.clone()]),
        ),
        (
            "empty turns",
            GENERATE,
            generate(&|it| {
                it.messages.clone_from(&tiny);
                it.user = "x".repeat(SIZE - 2 * n_messages);
            }),
        ),
        (
            "token ids",
            GENERATE,
            generate(&|it| {
                it.completion = Some(CompletionInput {
                    token_ids: ids.ids.clone(),
                    ..CompletionInput::default()
                });
            }),
        ),
        (
            "texts",
            EMBED,
            embed(&|it| it.texts = vec!["x".to_owned(); SIZE / 3]),
        ),
        (
            "empty texts",
            EMBED,
            embed(&|it| it.texts = vec![String::new(); SIZE / 2]),
        ),
        (
            "chats",
            EMBED,
            embed(&|it| it.conversations.clone_from(&chats)),
        ),
        (
            "many token ids",
            EMBED,
            embed(&|it| it.token_inputs = vec![ids.clone()]),
        ),
    ]
}

/// Row E21.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "it measures, and takes minutes: tests/faults.sh"]
async fn two_hundred_large_messages_keep_within_the_budget() {
    let silent = Silent::start().await;
    for (row, path, message) in large_messages() {
        let message = Bytes::from(message);
        // At once most are refused before they are whole; one by one they fill the budget.
        for (n, pause) in [(200, 0), (50, 100)] {
            let process = Process::before(&silent.base_url()).start().await;
            let watch = Watch::start(process).await;
            let (address, pause) = (watch.process.address, Duration::from_millis(pause));
            let ends = send(address, path, message.clone(), n, pause).await;
            watch.end(&format!("{n} calls, {row}"), &ends);
            assert_eq!(ends.len(), n, "{row}");
        }
    }
}

/// Row E21.
#[tokio::test(flavor = "multi_thread")]
async fn small_messages_of_many_elements_keep_within_the_budget() {
    let silent = Silent::start().await;
    let turns = GenerateRequest {
        messages: vec![ChatMessage::default(); 8192],
        ..GenerateRequest::default()
    };
    let process = Process::before(&silent.base_url()).start().await;
    let watch = Watch::start(process).await;
    let message: Bytes = turns.encode_to_vec().into();
    let (n, at_once) = (scaled(2000, 200), Duration::ZERO);
    let ends = send(watch.process.address, GENERATE, message, n, at_once).await;
    watch.end("calls of 16 KB", &ends);
}

/// 32 MiB of nothing, in 31 KB.
fn bomb() -> Vec<u8> {
    let mut gzip = Command::new("gzip")
        .args(["-9", "-c"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = gzip.stdin.take().unwrap();
    let writing = std::thread::spawn(move || stdin.write_all(&[0x1a, 0].repeat(16 << 20)).unwrap());
    let output = gzip.wait_with_output().unwrap();
    writing.join().unwrap();
    output.stdout
}

/// Row E7.
#[tokio::test(flavor = "multi_thread")]
async fn compressed_messages_are_never_unpacked_however_many_come() {
    let bomb = bomb();
    for n in [20, 200] {
        let watch = Watch::start(Process::alone().start().await).await;
        let mut callers = JoinSet::new();
        for _ in 0..n {
            let address = watch.process.address;
            let mut message = vec![1];
            message.extend(u32::try_from(bomb.len()).unwrap().to_be_bytes());
            message.extend(&bomb);
            callers.spawn(async move {
                let mut caller = RawH2::open(address, &[]).await;
                let fields = raw_h2::call_fields(GENERATE, &[("grpc-encoding", "gzip")]);
                let head = raw_h2::frame(raw_h2::HEADERS, raw_h2::END_HEADERS, 1, &fields);
                caller.write(&head).await;
                for piece in message.chunks(16_384) {
                    caller.write(&raw_h2::frame(DATA, 0, 1, piece)).await;
                }
                let (code, reason) = caller.response(1).await.outcome();
                assert_eq!(code, tonic::Code::Unimplemented);
                reason
            });
        }
        let ends = callers.join_all().await;
        let row = format!("{n} calls of {} bytes of gzip", bomb.len());
        watch.end(&row, &ends);
        assert!(ends.iter().all(|end| end == "COMPRESSION_UNSUPPORTED"));
    }
}

/// Row E22.
#[tokio::test(flavor = "multi_thread")]
async fn lengths_that_are_only_announced_cost_others_nothing() {
    let vllm = Vllm::replying(Reply::json(200, wire::answer("a"))).await;
    let watch = Watch::start(Process::before(&vllm.base_url()).start().await).await;
    let mut caller = RawH2::open(watch.process.address, &[]).await;
    for n in 0..250 {
        let stream = 2 * n + 1;
        let prefix = [&[0][..], &(32_u32 << 20).to_be_bytes()].concat();
        caller.write(&raw_h2::call(stream, GENERATE)).await;
        caller.write(&raw_h2::frame(DATA, 0, stream, &prefix)).await;
    }
    let mut client = watch.process.client().await;
    for _ in 0..20 {
        let answered = client.generate(prompt(&"x".repeat(1 << 20)));
        soon("another caller's call", answered).await.unwrap();
    }
    watch.end("250 lengths of 32 MiB", &[]);
}

/// Row E23.
#[tokio::test(flavor = "multi_thread")]
async fn a_health_check_does_not_wait_for_large_messages() {
    let vllm = Vllm::replying(Reply::json(200, wire::answer("a"))).await;
    let watch = Watch::start(Process::before(&vllm.base_url()).start().await).await;
    let message: Bytes = prompt(&"x".repeat(1 << 20)).encode_to_vec().into();
    let mut ends = Vec::new();
    for _ in 0..scaled(5, 1) {
        let (address, at_once) = (watch.process.address, Duration::ZERO);
        ends.extend(send(address, GENERATE, message.clone(), 64, at_once).await);
    }
    let worst = watch.end("64 callers of 1 MiB", &ends);
    if checks_bounds() {
        assert!(worst <= Duration::from_millis(100), "{worst:?}");
    }
}
