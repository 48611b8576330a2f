//! A caller that speaks HTTP/1.1: of the simulated vLLM itself, and of a proxy of bytes.
//!
//! It is as cheap as can be, so that it takes little from the server beside it: it searches what it reads for the
//! marks of a chunk and of the end, and takes nothing apart.

use std::net::SocketAddr;

use memchr::memmem::Finder;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    Result,
    plan::{MODEL, PROMPT},
};

/// In every content chunk, once, and in no other: [`TOKEN`](crate::plan::TOKEN) begins with a space.
pub(crate) const CONTENT_MARK: &[u8] = br#""delta":{"content":" "#;

/// What ends a body in chunked transfer coding.
const END: &[u8] = b"\r\n0\r\n\r\n";

/// Size of a read: what a socket holds when events queue.
const READ: usize = 64 * 1024;

/// One connection, used for one call at a time.
pub(crate) struct HttpClient {
    socket: TcpStream,
    mark: Finder<'static>,
    buffer: Vec<u8>,
}

// === impl HttpClient ===

impl HttpClient {
    pub(crate) async fn connect(address: SocketAddr) -> Result<Self> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        Ok(Self {
            socket,
            mark: Finder::new(CONTENT_MARK),
            buffer: vec![0; READ],
        })
    }

    pub(crate) async fn stream(&mut self, tokens: u32, mut seen: impl FnMut(u64)) -> Result<u64> {
        self.send(tokens, true).await?;
        let mut total = 0;
        // Bytes at the front of the buffer that may be the start of a mark, or of the end.
        let mut kept = 0;
        loop {
            let read = self.socket.read(&mut self.buffer[kept..]).await?;
            if read == 0 {
                return Err("the server closed the connection within a stream".into());
            }
            let filled = kept + read;
            let chunks = self.mark.find_iter(&self.buffer[..filled]).count() as u64;
            if chunks > 0 {
                seen(chunks);
                total += chunks;
            }
            if self.buffer[..filled].ends_with(END) {
                return Ok(total);
            }
            // One byte less than the mark, so that no mark is counted twice.
            kept = filled.min(CONTENT_MARK.len() - 1);
            self.buffer.copy_within(filled - kept..filled, 0);
        }
    }

    pub(crate) async fn unary(&mut self) -> Result<()> {
        self.send(1, false).await?;
        let mut filled = 0;
        loop {
            let read = self.socket.read(&mut self.buffer[filled..]).await?;
            filled += read;
            if read == 0 {
                return Err("the server closed the connection within an answer".into());
            }
            // The answer's own end, which no other place of it looks like.
            if self.buffer[..filled].ends_with(b"\"metrics\":null}") {
                return Ok(());
            }
        }
    }

    async fn send(&mut self, tokens: u32, stream: bool) -> Result<()> {
        let options = if stream {
            r#","stream":true,"stream_options":{"include_usage":true}"#
        } else {
            ""
        };
        let body = format!(
            r#"{{"model":"{MODEL}","messages":[{{"role":"user","content":"{PROMPT}"}}],"ignore_eos":true,"max_tokens":{tokens}{options}}}"#
        );
        let request = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: vllm\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        Ok(self.socket.write_all(request.as_bytes()).await?)
    }
}
