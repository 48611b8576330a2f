//! A simulated vLLM: the bytes of vLLM 0.32, written as uvicorn writes them, one `write` an event.
//!
//! One thread serves all connections, as the event loop of vLLM's API server does, and takes them in turn, so that a
//! step of the engine gives each stream its event. It knows nothing of HTTP beyond what the servers here send.

use std::{io, net::SocketAddr};

use bytes::{Buf, BytesMut};
use memchr::memmem;
use serde::Deserialize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{self, MissedTickBehavior},
};

use crate::{
    Result,
    plan::{Pace, Plan, TOKEN},
};

const MODEL: &str = "meta-llama/Llama-3.3-70B-Instruct";

const STREAM_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ndate: Sun, 22 Nov 2026 07:43:36 GMT\r\nserver: uvicorn\r\n\
    content-type: text/event-stream; charset=utf-8\r\nvary: Origin\r\ntransfer-encoding: chunked\r\n\r\n";

/// The part of a request body that says how to answer.
#[derive(Deserialize)]
struct Body<'a> {
    model: &'a str,
    #[serde(default)]
    stream: bool,
    max_tokens: Option<u32>,
}

/// A request as it came.
struct Request {
    /// As `POST /v1/chat/completions`.
    line: String,
    body: BytesMut,
}

/// Serves until the process is ended.
pub(crate) fn serve(listen: SocketAddr) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(listen).await?;
        let mut connections = JoinSet::new();
        loop {
            let (socket, _peer) = listener.accept().await?;
            socket.set_nodelay(true)?;
            connections.spawn(connection(socket));
            while connections.try_join_next().is_some() {}
        }
    })
}

/// Answers one request after the other, until the peer leaves.
async fn connection(mut socket: TcpStream) -> Result<()> {
    let mut received = BytesMut::new();
    while let Some(request) = read(&mut socket, &mut received).await? {
        if !request.line.starts_with("POST ") {
            write_json(&mut socket, &about(&request.line)).await?;
            continue;
        }
        let body: Body<'_> = serde_json::from_slice(&request.body)?;
        let plan = Plan {
            pace: body.model.parse()?,
            tokens: body.max_tokens.unwrap_or(16),
        };
        if body.stream {
            write_stream(&mut socket, plan).await?;
        } else {
            write_json(&mut socket, &answer()).await?;
        }
    }
    Ok(())
}

/// The next request; `None` where the peer has left.
async fn read(socket: &mut TcpStream, received: &mut BytesMut) -> io::Result<Option<Request>> {
    let head = loop {
        if let Some(end) = memmem::find(received, b"\r\n\r\n") {
            break received.split_to(end + 4);
        }
        if socket.read_buf(received).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&head).into_owned();
    let length = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok())
        .unwrap_or(0);
    while received.remaining() < length {
        if socket.read_buf(received).await? == 0 {
            return Ok(None);
        }
    }
    Ok(Some(Request {
        line: head.lines().next().unwrap_or_default().to_owned(),
        body: received.split_to(length),
    }))
}

/// Head and body in a `write` each, as uvicorn does.
async fn write_json(socket: &mut TcpStream, body: &str) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 200 OK\r\ndate: Sun, 22 Nov 2026 07:43:36 GMT\r\nserver: uvicorn\r\ncontent-length: {}\r\n\
         content-type: application/json\r\nvary: Origin\r\n\r\n",
        body.len()
    );
    socket.write_all(head.as_bytes()).await?;
    socket.write_all(body.as_bytes()).await
}

async fn write_stream(socket: &mut TcpStream, plan: Plan) -> io::Result<()> {
    socket.write_all(STREAM_HEAD).await?;
    socket
        .write_all(&event(&chunk(r#"[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"prompt_token_ids":null,"prompt_text":null"#)))
        .await?;
    write_tokens(socket, plan).await?;
    for data in [
        chunk(
            r#"[{"index":0,"delta":{},"logprobs":null,"finish_reason":"length","stop_reason":null,"token_ids":null}]"#,
        ),
        chunk(
            r#"[],"usage":{"prompt_tokens":15,"total_tokens":25,"completion_tokens":10},"system_fingerprint":"vllm-0.32.0-6581244e""#,
        ),
        "[DONE]".to_owned(),
    ] {
        socket.write_all(&event(&data)).await?;
    }
    socket.write_all(b"0\r\n\r\n").await
}

async fn write_tokens(socket: &mut TcpStream, plan: Plan) -> io::Result<()> {
    let Plan {
        pace: Pace { burst, pause },
        mut tokens,
    } = plan;
    let one = event(&chunk(&format!(
        r#"[{{"index":0,"delta":{{"content":"{TOKEN}"}},"logprobs":null,"finish_reason":null,"token_ids":null}}]"#
    )));
    let many = one.repeat(burst as usize);
    let mut clock = (!pause.is_zero()).then(|| time::interval(pause));
    if let Some(clock) = &mut clock {
        // A stream that fell behind does not catch up in a burst.
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        clock.tick().await;
    }
    while tokens > 0 {
        let now = burst.min(tokens);
        tokens -= now;
        let bytes = many.get(..one.len() * now as usize).unwrap_or(&many);
        socket.write_all(bytes).await?;
        match &mut clock {
            Some(clock) if tokens > 0 => drop(clock.tick().await),
            // The next stream's turn.
            Some(_) | None => tokio::task::yield_now().await,
        }
    }
    Ok(())
}

/// The JSON of a chunk, from the value of `choices` on.
fn chunk(choices: &str) -> String {
    format!(
        r#"{{"id":"chatcmpl-a7b2623542dd588f","object":"chat.completion.chunk","created":1795333419,"model":"{MODEL}","choices":{choices}}}"#
    )
}

/// An event, as one chunk of the transfer coding.
fn event(data: &str) -> Vec<u8> {
    let event = format!("data: {data}\n\n");
    format!("{:x}\r\n{event}\r\n", event.len()).into_bytes()
}

/// A whole answer.
fn answer() -> String {
    format!(
        r#"{{"id":"chatcmpl-881bb739eba17d0c","object":"chat.completion","created":1795333419,"model":"{MODEL}","choices":[{{"index":0,"message":{{"role":"assistant","content":"Hello! How can I help you today?","refusal":null,"annotations":null,"audio":null,"function_call":null,"reasoning":null}},"logprobs":null,"finish_reason":"stop","stop_reason":null,"token_ids":null,"routed_experts":null}}],"service_tier":null,"system_fingerprint":"vllm-0.32.0-6581244e","usage":{{"prompt_tokens":15,"total_tokens":25,"completion_tokens":10,"prompt_tokens_details":null,"completion_tokens_details":null}},"prompt_logprobs":null,"prompt_token_ids":null,"prompt_text":null,"kv_transfer_params":null,"ec_transfer_params":null,"metrics":null}}"#
    )
}

/// What servers ask beside generation.
fn about(line: &str) -> String {
    if line.contains("/version") {
        return r#"{"version":"0.32.0"}"#.to_owned();
    }
    if line.contains("/models") {
        return format!(
            r#"{{"object":"list","data":[{{"id":"{MODEL}","object":"model","created":1795333419,"owned_by":"vllm"}}]}}"#
        );
    }
    String::new()
}
