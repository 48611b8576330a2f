//! The least that a gRPC server before an HTTP/1.1 upstream can do: tonic, and the upstream's socket read in bulk.
//!
//! It passes every event on unread, as the text of a content delta, so it shows what is left when translation costs
//! nothing. It trusts its upstream: one chunk of the transfer coding is one event, a pooled connection is alive.

use std::{
    cell::RefCell,
    collections::VecDeque,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use memchr::memmem;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf},
    net::TcpStream,
};
use tokio_stream::Stream;
use tonic::{Request, Response, Status};
use vllm_grpc_adapter::proto::{
    ChatMessage, Choice, ContentDelta, GenerateRequest, GenerateResponse, StreamGenerateResponse,
    generation_service_server::{GenerationService, GenerationServiceServer},
    stream_generate_response::Event,
};

use crate::Result;

/// Bytes read at once; lent to a stream for the time of one read, so that an idle stream holds none.
const READ: usize = 64 * 1024;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ]);
}

struct Bulk {
    upstream: SocketAddr,
    pool: Arc<Pool>,
}

/// Idle connections to the upstream.
#[derive(Default)]
struct Pool(Mutex<Vec<TcpStream>>);

/// A streamed answer as responses.
struct Responses {
    /// `None` once it is read.
    answer: Option<Answer>,
    pool: Arc<Pool>,
    /// Read, and not yet sent.
    texts: VecDeque<String>,
}

/// An answer that is being read.
struct Answer {
    socket: TcpStream,
    /// What was read and is no whole chunk yet.
    rest: Vec<u8>,
    has_head: bool,
    has_ended: bool,
}

/// Serves until the process is ended.
pub(crate) fn serve(listen: SocketAddr, upstream: SocketAddr) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let service = Bulk {
        upstream,
        pool: Arc::default(),
    };
    let server = tonic::transport::Server::builder()
        .add_service(GenerationServiceServer::new(service))
        .serve(listen);
    Ok(runtime.block_on(server)?)
}

#[tonic::async_trait]
impl GenerationService for Bulk {
    type StreamGenerateStream = Responses;

    async fn generate(
        &self,
        request: Request<GenerateRequest>,
    ) -> std::result::Result<Response<GenerateResponse>, Status> {
        let mut answer = self.post(&request.into_inner(), "").await?;
        let content = answer.body().await?;
        self.pool.put(answer.socket);
        Ok(Response::new(GenerateResponse {
            choices: vec![Choice {
                message: Some(ChatMessage {
                    content,
                    ..ChatMessage::default()
                }),
                ..Choice::default()
            }],
            ..GenerateResponse::default()
        }))
    }

    async fn stream_generate(
        &self,
        request: Request<GenerateRequest>,
    ) -> std::result::Result<Response<Responses>, Status> {
        let options = r#","stream":true,"stream_options":{"include_usage":true}"#;
        Ok(Response::new(Responses {
            answer: Some(self.post(&request.into_inner(), options).await?),
            pool: Arc::clone(&self.pool),
            texts: VecDeque::new(),
        }))
    }
}

impl Stream for Responses {
    type Item = std::result::Result<StreamGenerateResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if let Some(text) = this.texts.pop_front() {
                return Poll::Ready(Some(Ok(response(text))));
            }
            let Some(answer) = &mut this.answer else {
                return Poll::Ready(None);
            };
            ready!(answer.poll_events(context, &mut this.texts))?;
            if let Some(answer) = this.answer.take_if(|answer| answer.has_ended) {
                this.pool.put(answer.socket);
            }
        }
    }
}

// === impl Bulk ===

impl Bulk {
    async fn post(&self, request: &GenerateRequest, options: &str) -> io::Result<Answer> {
        let body = format!(
            r#"{{"model":"{}","messages":[{{"role":"user","content":"{}"}}],"ignore_eos":true,"max_tokens":{}{options}}}"#,
            request.model,
            request.prompt,
            request.max_tokens(),
        );
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n",
            self.upstream,
            body.len()
        );
        let mut socket = match self.pool.take() {
            Some(socket) => socket,
            None => connect(self.upstream).await?,
        };
        socket.write_all((head + &body).as_bytes()).await?;
        Ok(Answer {
            socket,
            rest: Vec::new(),
            has_head: false,
            has_ended: false,
        })
    }
}

// === impl Pool ===

impl Pool {
    fn take(&self) -> Option<TcpStream> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn put(&self, socket: TcpStream) {
        let mut sockets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sockets.push(socket);
    }
}

// === impl Answer ===

impl Answer {
    /// Takes what has arrived apart; pending where that is nothing.
    fn poll_events(
        &mut self,
        context: &mut Context<'_>,
        texts: &mut VecDeque<String>,
    ) -> Poll<io::Result<()>> {
        BUFFER.with_borrow_mut(|buffer| {
            let mut buffer = ReadBuf::new(buffer);
            // tokio takes a read that fills less than the buffer for the last one, and saves the one that would fail.
            ready!(Pin::new(&mut self.socket).poll_read(context, &mut buffer))?;
            Poll::Ready(self.take_apart(buffer.filled(), texts))
        })
    }

    fn take_apart(&mut self, read: &[u8], texts: &mut VecDeque<String>) -> io::Result<()> {
        if read.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if self.rest.is_empty() {
            let used = self.split(read, texts)?;
            self.rest.extend_from_slice(&read[used..]);
            return Ok(());
        }
        let mut whole = std::mem::take(&mut self.rest);
        whole.extend_from_slice(read);
        let used = self.split(&whole, texts)?;
        self.rest = whole.split_off(used);
        Ok(())
    }

    /// Takes whole chunks off the front, and returns their length with all that frames them.
    fn split(&mut self, bytes: &[u8], texts: &mut VecDeque<String>) -> io::Result<usize> {
        let mut at = 0;
        if !self.has_head {
            let Some(end) = memmem::find(bytes, b"\r\n\r\n") else {
                return Ok(0);
            };
            at = end + 4;
            self.has_head = true;
        }
        while let Some((head, length)) = chunk_head(&bytes[at..])? {
            let start = at + head;
            let Some(chunk) = bytes.get(start..start + length + 2) else {
                break;
            };
            at = start + length + 2;
            if length == 0 {
                self.has_ended = true;
                break;
            }
            let event = std::str::from_utf8(&chunk[..length]).map_err(io::Error::other)?;
            texts.push_back(event.to_owned());
        }
        Ok(at)
    }

    /// A body with a length.
    async fn body(&mut self) -> io::Result<String> {
        let mut bytes = Vec::with_capacity(1024);
        loop {
            if self.socket.read_buf(&mut bytes).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let Some(end) = memmem::find(&bytes, b"\r\n\r\n") else {
                continue;
            };
            let head = String::from_utf8_lossy(&bytes[..end]);
            let length: usize = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .and_then(|length| length.parse().ok())
                .ok_or_else(|| io::Error::other("no length"))?;
            if let Some(body) = bytes.get(end + 4..end + 4 + length) {
                return String::from_utf8(body.to_vec()).map_err(io::Error::other);
            }
        }
    }
}

async fn connect(upstream: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpStream::connect(upstream).await?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

/// The length of a chunk's head and of the chunk; `None` where the head is not whole.
fn chunk_head(bytes: &[u8]) -> io::Result<Option<(usize, usize)>> {
    let mut length = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        match char::from(byte).to_digit(16) {
            Some(digit) => length = length * 16 + digit as usize,
            None if byte == b'\r' => return Ok((bytes.len() > at + 1).then_some((at + 2, length))),
            None => return Err(io::Error::other("no chunk")),
        }
    }
    Ok(None)
}

fn response(text: String) -> StreamGenerateResponse {
    StreamGenerateResponse {
        event: Some(Event::Content(ContentDelta {
            choice_index: 0,
            text,
        })),
        ..StreamGenerateResponse::default()
    }
}
