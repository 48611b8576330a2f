//! What `Embed` of 256 inputs costs, beside the same call by HTTP and JSON: bytes on the wire and CPU.
//!
//! ```text
//! cargo bench --bench embed              # some seconds, once it is built
//! cargo bench --bench embed -- --quick   # that it runs
//! ```
//!
//! A simulated vLLM answers 256 vectors of 1,024 dimensions, as numbers or in base64, as it is asked. Callers reach it
//! straight by HTTP, or through the adapter by gRPC. Bytes are counted by a relay at the caller's side, both ways; CPU
//! is that of the caller's thread, to floats in memory, and that of the adapter's process. What a real vLLM spends on
//! writing numbers, which is more than on base64, is not in the figures.

#![allow(
    clippy::allow_attributes,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::large_futures,
    reason = "a benchmark"
)]

use std::{
    fs,
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::Deserialize;
use tonic::transport::Endpoint;
use vllm_grpc_adapter::proto::{EmbedRequest, embedding_service_client::EmbeddingServiceClient};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const INPUTS: usize = 256;
const DIMENSIONS: usize = 1024;

/// What one way of asking took, a call.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    bytes: f64,
    caller: Duration,
    adapter: Duration,
}

#[derive(Deserialize)]
struct Answer<T> {
    data: Vec<Data<T>>,
}

#[derive(Deserialize)]
struct Data<T> {
    embedding: T,
}

fn main() -> Result<()> {
    let is_quick = std::env::args().any(|argument| argument == "--quick");
    let calls = if is_quick { 3 } else { 200 };
    let upstream = simulated_vllm()?;
    let adapter = Adapter::start(upstream)?;
    let rows = [
        ("HTTP, JSON numbers", http(upstream, "float", calls)?),
        ("HTTP, base64 in JSON", http(upstream, "base64", calls)?),
        ("gRPC through the adapter", grpc(&adapter, calls)?),
    ];
    println!("{INPUTS} inputs, {DIMENSIONS} dimensions, {calls} calls; a call:\n");
    println!("| way | KiB on the wire | ÷ gRPC | caller's CPU, µs | ÷ gRPC | adapter's CPU, µs |");
    println!("|---|---|---|---|---|---|");
    let [_, _, (_, grpc)] = rows;
    for (name, cost) in rows {
        println!(
            "| {name} | {:.0} | {:.2} | {} | {:.2} | {} |",
            cost.bytes / 1024.0,
            cost.bytes / grpc.bytes,
            cost.caller.as_micros(),
            cost.caller.as_secs_f64() / grpc.caller.as_secs_f64(),
            cost.adapter.as_micros(),
        );
    }
    let both = (grpc.caller + grpc.adapter).as_secs_f64();
    for (name, cost) in &rows[..2] {
        let ratio = cost.caller.as_secs_f64() / both;
        println!("\n{name}: {ratio:.2} of the CPU that caller and adapter take together by gRPC");
    }
    Ok(())
}

// === the ways of asking ===

/// Inputs as long as a sentence.
fn inputs() -> Vec<String> {
    let input = |n| format!("The quick brown fox number {n} jumps over the lazy dog.");
    (0..INPUTS).map(input).collect()
}

fn http(upstream: SocketAddr, encoding: &str, calls: u32) -> Result<Cost> {
    let (relay, bytes) = relay(upstream)?;
    let url = format!("http://{relay}/v1/embeddings");
    let encoding = encoding.to_owned();
    let measured = measured(calls, async move |calls| {
        // reqwest wants one, though nothing here is encrypted.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().build()?;
        for _ in 0..calls {
            let body = serde_json::json!({
                "model": "m", "input": inputs(), "encoding_format": encoding,
            });
            let request = client.post(&url).header("content-type", "application/json");
            let response = request.body(serde_json::to_vec(&body)?).send().await?;
            let vectors = vectors(&response.bytes().await?, &encoding)?;
            check(vectors.iter().map(Vec::len))?;
        }
        Ok(())
    });
    Ok(Cost {
        caller: measured? / calls,
        bytes: per_call(&bytes, calls),
        adapter: Duration::ZERO,
    })
}

/// The floats of an answer, as a caller who knows the format reads them.
fn vectors(body: &[u8], encoding: &str) -> Result<Vec<Vec<f32>>> {
    if encoding == "float" {
        let answer: Answer<Vec<f32>> = serde_json::from_slice(body)?;
        return Ok(answer.data.into_iter().map(|it| it.embedding).collect());
    }
    let answer: Answer<&str> = serde_json::from_slice(body)?;
    let floats = |data: Data<&str>| {
        let bytes = BASE64_STANDARD.decode(data.embedding)?;
        let (floats, _) = bytes.as_chunks();
        Ok(floats.iter().copied().map(f32::from_le_bytes).collect())
    };
    answer.data.into_iter().map(floats).collect()
}

fn grpc(adapter: &Adapter, calls: u32) -> Result<Cost> {
    let (relay, bytes) = relay(adapter.address)?;
    let before = cpu_of(adapter.child.id())?;
    let caller = measured(calls, async move |calls| {
        let channel = Endpoint::from_shared(format!("http://{relay}"))?;
        let client = EmbeddingServiceClient::new(channel.connect().await?);
        let mut client = client.max_decoding_message_size(64 << 20);
        for _ in 0..calls {
            let request = EmbedRequest {
                model: "m".to_owned(),
                texts: inputs(),
                ..EmbedRequest::default()
            };
            let answer = client.embed(request).await?.into_inner();
            check(answer.embeddings.iter().map(|it| it.values.len()))?;
        }
        Ok(())
    })?;
    Ok(Cost {
        caller: caller / calls,
        bytes: per_call(&bytes, calls),
        adapter: (cpu_of(adapter.child.id())? - before) / calls,
    })
}

fn check(lengths: impl ExactSizeIterator<Item = usize>) -> Result<()> {
    if lengths.len() == INPUTS && lengths.into_iter().all(|length| length == DIMENSIONS) {
        Ok(())
    } else {
        Err("an answer that is not whole".into())
    }
}

/// The CPU of a thread that does this and nothing else, connecting among it.
fn measured(
    calls: u32,
    work: impl AsyncFnOnce(u32) -> Result<()> + Send + 'static,
) -> Result<Duration> {
    let caller = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let before = schedstat("/proc/thread-self/schedstat")?;
        runtime.block_on(work(calls))?;
        Ok(schedstat("/proc/thread-self/schedstat")? - before)
    });
    caller.join().map_err(|_panic| "the caller panicked")?
}

/// Time on a CPU.
fn schedstat(path: &str) -> Result<Duration> {
    let text = fs::read_to_string(path)?;
    let nanoseconds = text.split(' ').next().unwrap_or_default().parse()?;
    Ok(Duration::from_nanos(nanoseconds))
}

fn cpu_of(process: u32) -> Result<Duration> {
    let mut sum = Duration::ZERO;
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        sum += schedstat(&thread?.path().join("schedstat").to_string_lossy())?;
    }
    Ok(sum)
}

#[expect(clippy::cast_precision_loss, reason = "a count of some megabytes")]
fn per_call(bytes: &AtomicU64, calls: u32) -> f64 {
    bytes.load(Ordering::Relaxed) as f64 / f64::from(calls)
}

// === the parts ===

/// The adapter as a process of its own.
struct Adapter {
    address: SocketAddr,
    child: Child,
}

impl Adapter {
    fn start(upstream: SocketAddr) -> Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let child = Command::new(env!("CARGO_BIN_EXE_vllm-grpc-adapter"))
            .env_clear()
            .args(["--listen", &address.to_string()])
            .args(["--upstream", &format!("http://{upstream}/v1")])
            .args(["--log", "warn"])
            .stdin(Stdio::null())
            .spawn()?;
        let adapter = Self { address, child };
        for _ in 0..200 {
            if TcpStream::connect(address).is_ok() {
                return Ok(adapter);
            }
            thread::sleep(Duration::from_millis(50));
        }
        Err("the adapter does not listen".into())
    }
}

impl Drop for Adapter {
    fn drop(&mut self) {
        // It is of no use any more, however it ends.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Passes bytes on, both ways, and counts them.
fn relay(to: SocketAddr) -> Result<(SocketAddr, Arc<AtomicU64>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let bytes = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&bytes);
    thread::spawn(move || {
        for caller in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(to) else {
                continue;
            };
            for (from, to) in [(&caller, &server), (&server, &caller)] {
                if let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) {
                    let counted = Arc::clone(&counted);
                    thread::spawn(move || pass_on(from, to, &counted));
                }
            }
        }
    });
    Ok((address, bytes))
}

fn pass_on(mut from: TcpStream, mut to: TcpStream, counted: &AtomicU64) {
    // Without it a small piece waits for the acknowledgement of the one before.
    let _ = to.set_nodelay(true);
    let mut buffer = vec![0; 256 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        counted.fetch_add(length as u64, Ordering::Relaxed);
        if buffer
            .get(..length)
            .is_none_or(|bytes| to.write_all(bytes).is_err())
        {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// Answers each POST with the vectors, in the encoding that its body asks for.
fn simulated_vllm() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let answers = Arc::new([answer("float"), answer("base64")]);
    thread::spawn(move || {
        for caller in listener.incoming().flatten() {
            let answers = Arc::clone(&answers);
            thread::spawn(move || answer_all(caller, &answers));
        }
    });
    Ok(address)
}

fn answer_all(mut caller: TcpStream, [float, base64]: &[Vec<u8>; 2]) {
    let version = response(br#"{"version":"0.32.0"}"#);
    let mut unread = Vec::new();
    let mut buffer = vec![0; 256 * 1024];
    while let Ok(length @ 1..) = caller.read(&mut buffer) {
        unread.extend_from_slice(buffer.get(..length).unwrap_or_default());
        let Some(request) = whole_request(&unread) else {
            continue;
        };
        let answer = if request.starts_with("GET ") {
            &version
        } else if request.contains(r#""encoding_format":"base64""#) {
            base64
        } else {
            float
        };
        if caller.write_all(answer).is_err() {
            return;
        }
        unread.clear();
    }
}

/// The bytes as text, once a whole request is there. Callers send one at a time.
fn whole_request(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let lower = head.to_ascii_lowercase();
    let length = lower
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.unwrap_or("0").parse().ok()?;
    (body.len() >= length).then_some(text)
}

/// An answer as vLLM 0.32 writes it; a number has all digits of the double.
fn answer(encoding: &str) -> Vec<u8> {
    let data = (0..INPUTS).map(|index| {
        let floats = (0..DIMENSIONS).map(|_| fastrand::f32() * 0.4 - 0.2);
        let embedding = if encoding == "float" {
            let numbers: Vec<_> = floats.map(|it| f64::from(it).to_string()).collect();
            format!("[{}]", numbers.join(","))
        } else {
            let bytes: Vec<u8> = floats.flat_map(f32::to_le_bytes).collect();
            format!("\"{}\"", BASE64_STANDARD.encode(bytes))
        };
        format!(r#"{{"index":{index},"object":"embedding","embedding":{embedding}}}"#)
    });
    let data: Vec<String> = data.collect();
    let usage = r#"{"prompt_tokens":3328,"total_tokens":3328,"completion_tokens":0,"prompt_tokens_details":null}"#;
    let body = format!(
        r#"{{"id":"embd-1","object":"list","created":1,"model":"m","data":[{}],"usage":{usage}}}"#,
        data.join(",")
    );
    response(body.as_bytes())
}

fn response(body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\ncontent-type: application/json\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}
