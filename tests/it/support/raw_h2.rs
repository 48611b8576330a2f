//! HTTP/2 by hand: frames as a caller would not send them, and what the server really answers.
//!
//! It checks nothing and keeps no windows; a test says each frame. The frames are those of
//! <https://www.rfc-editor.org/rfc/rfc9113#section-6>.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time,
};

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;

pub const MAX_CONCURRENT_STREAMS: u16 = 3;
pub const INITIAL_WINDOW_SIZE: u16 = 4;
pub const MAX_HEADER_LIST_SIZE: u16 = 6;

pub const PROTOCOL_ERROR: u32 = 1;
pub const REFUSED_STREAM: u32 = 7;
pub const CANCEL: u32 = 8;
pub const ENHANCE_YOUR_CALM: u32 = 11;

/// Longer than any limit that a test waits for; a test that reaches it has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection, from the caller's side.
pub struct RawH2 {
    stream: TcpStream,
    inbound: Vec<u8>,
    headers: httlib_hpack::Decoder<'static>,
    /// Whether settings and pings of the server are acknowledged.
    is_polite: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// All that came on one stream.
#[derive(Debug, Default)]
pub struct Response {
    pub http_status: String,
    pub headers: http::HeaderMap,
    pub body: Vec<u8>,
    /// Empty where the headers were all.
    pub trailers: http::HeaderMap,
    /// The code of the reset that ended it, if one did.
    pub reset: Option<u32>,
}

/// The bytes of a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Settings, by their numbers.
pub fn settings(values: &[(u16, u32)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (name, value) in values {
        payload.extend(name.to_be_bytes());
        payload.extend(value.to_be_bytes());
    }
    frame(SETTINGS, 0, 0, &payload)
}

/// Raises the window of a stream, or of the connection where `stream` is 0.
pub fn window_update(stream: u32, by: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &by.to_be_bytes())
}

/// Header fields in HPACK, each as a literal without indexing and without Huffman coding (RFC 7541, 6.2.2).
pub fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            length(text.len(), &mut block);
            block.extend(text.as_bytes());
        }
    }
    block
}

/// A length as an HPACK integer of seven bits (RFC 7541, 5.1).
fn length(mut length: usize, block: &mut Vec<u8>) {
    if length < 127 {
        block.push(u8::try_from(length).unwrap());
        return;
    }
    block.push(127);
    length -= 127;
    while length >= 128 {
        block.push(u8::try_from(length % 128 + 128).unwrap());
        length /= 128;
    }
    block.push(u8::try_from(length).unwrap());
}

/// The header fields of a gRPC call.
pub fn call_fields<'a>(path: &'a str, more: &[(&'a str, &'a str)]) -> Vec<u8> {
    let mut all = vec![
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    all.extend(more);
    fields(&all)
}

/// The HEADERS frame of a gRPC call.
pub fn call(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &call_fields(path, &[]))
}

/// A gRPC message: flag, length, bytes.
pub fn message(message: &impl prost::Message) -> Vec<u8> {
    let bytes = message.encode_to_vec();
    let mut framed = vec![0];
    framed.extend(u32::try_from(bytes.len()).unwrap().to_be_bytes());
    framed.extend(bytes);
    framed
}

/// A whole call with one message, as frames.
pub fn whole_call(stream: u32, path: &str, request: &impl prost::Message) -> Vec<u8> {
    let mut bytes = call(stream, path);
    for (n, piece) in message(request).chunks(16_384).enumerate() {
        assert!(
            n < 4,
            "the server's window of a stream takes no more at once"
        );
        bytes.extend(frame(DATA, 0, stream, piece));
    }
    bytes.extend(frame(DATA, END_STREAM, stream, &[]));
    bytes
}

// === impl RawH2 ===

impl RawH2 {
    /// Only the TCP connection.
    pub async fn connect(address: SocketAddr) -> Self {
        Self::connect_from([127, 0, 0, 1].into(), address).await
    }

    /// The same from another address of this machine.
    pub async fn connect_from(source: IpAddr, address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((source, 0).into()).unwrap();
        let stream = socket.connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            inbound: Vec::new(),
            headers: httlib_hpack::Decoder::default(),
            is_polite: true,
        }
    }

    /// With the preface, and a caller's settings.
    pub async fn open(address: SocketAddr, values: &[(u16, u32)]) -> Self {
        let mut connection = Self::connect(address).await;
        connection.begin(values).await;
        connection
    }

    /// The preface, and a caller's settings.
    pub async fn begin(&mut self, values: &[(u16, u32)]) {
        self.write(PREFACE).await;
        self.write(&settings(values)).await;
    }

    /// Acknowledges nothing from now on.
    pub fn be_rude(&mut self) {
        self.is_polite = false;
    }

    /// Writes, as far as the server still reads.
    pub async fn write(&mut self, bytes: &[u8]) {
        // A server that closes is told by what it sent, and then by its silence.
        let _ = self.stream.write_all(bytes).await;
    }

    /// The next frame; `None` once the server has closed the connection.
    pub async fn next(&mut self) -> Option<Frame> {
        time::timeout(PATIENCE, self.read())
            .await
            .expect("the server sent nothing more and did not close")
    }

    /// The next frame of a kind, passing over others.
    pub async fn next_of(&mut self, kind: u8) -> Option<Frame> {
        loop {
            let frame = self.next().await?;
            if frame.kind == kind {
                return Some(frame);
            }
        }
    }

    /// Reads until the server closes; what came, GOAWAY among it.
    pub async fn rest(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next().await {
            frames.push(frame);
        }
        frames
    }

    /// All of a stream until its end, passing over other streams.
    pub async fn response(&mut self, stream: u32) -> Response {
        let mut response = Response::default();
        while let Some(frame) = self.next().await {
            let fields = (frame.kind == HEADERS).then(|| self.fields(&frame.payload));
            if frame.stream != stream {
                continue;
            }
            match (frame.kind, fields) {
                (DATA, _) => response.body.extend(&frame.payload),
                (HEADERS, Some((status, fields))) if response.http_status.is_empty() => {
                    (response.http_status, response.headers) = (status, fields);
                }
                (HEADERS, Some((_, fields))) => response.trailers = fields,
                (RST_STREAM, _) => {
                    response.reset = Some(frame.code());
                    return response;
                }
                _ => continue,
            }
            if frame.flags & END_STREAM != 0 {
                return response;
            }
        }
        panic!("the connection was closed without an end of stream {stream}: {response:?}");
    }

    /// The `:status` of a HEADERS frame, and its fields. Each must come by here, in order, since HPACK has a memory.
    pub fn fields(&mut self, block: &[u8]) -> (String, http::HeaderMap) {
        let mut decoded = Vec::new();
        self.headers
            .decode(&mut block.to_vec(), &mut decoded)
            .unwrap();
        let mut status = String::new();
        let mut fields = http::HeaderMap::new();
        for (name, value, _flags) in decoded {
            if name == b":status" {
                status = String::from_utf8(value).unwrap();
                continue;
            }
            let name = http::HeaderName::from_bytes(&name).unwrap();
            fields.append(name, http::HeaderValue::from_bytes(&value).unwrap());
        }
        (status, fields)
    }

    async fn read(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.take() {
                if self.is_polite {
                    self.acknowledge(&frame).await;
                }
                return Some(frame);
            }
            match self.stream.read_buf(&mut self.inbound).await {
                Ok(n) if n > 0 => {}
                // A reset is an end too: it comes where the server closes before it has read everything.
                Ok(_) | Err(_) => return None,
            }
        }
    }

    fn take(&mut self) -> Option<Frame> {
        let [high, middle, low, kind, flags, stream @ ..] = *self.inbound.first_chunk::<9>()?;
        let end = 9 + u32::from_be_bytes([0, high, middle, low]) as usize;
        let payload = self.inbound.get(9..end)?.to_vec();
        self.inbound.drain(..end);
        Some(Frame {
            kind,
            flags,
            stream: u32::from_be_bytes(stream),
            payload,
        })
    }

    async fn acknowledge(&mut self, received: &Frame) {
        match received.kind {
            SETTINGS if received.flags & ACK == 0 => {
                self.write(&frame(SETTINGS, ACK, 0, &[])).await
            }
            PING if received.flags & ACK == 0 => {
                self.write(&frame(PING, ACK, 0, &received.payload)).await;
            }
            _ => {}
        }
    }
}

// === impl Frame ===

impl Frame {
    /// The error code of a frame that resets a stream or says that the server goes.
    pub fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(*self.payload[at..].first_chunk().unwrap())
    }

    /// The values of a SETTINGS frame.
    pub fn settings(&self) -> Vec<(u16, u32)> {
        let values = self.payload.chunks_exact(6);
        values
            .map(|value| {
                let name = u16::from_be_bytes(*value.first_chunk().unwrap());
                (name, u32::from_be_bytes(*value.last_chunk().unwrap()))
            })
            .collect()
    }
}

// === impl Response ===

impl Response {
    /// The status that ended it, wherever it stood.
    pub fn status(&self) -> tonic::Status {
        let trailers = tonic::Status::from_header_map(&self.trailers);
        trailers
            .or_else(|| tonic::Status::from_header_map(&self.headers))
            .unwrap_or_else(|| panic!("no status in {self:?}"))
    }

    /// The status's code, and the reason that its details give.
    pub fn outcome(&self) -> (tonic::Code, String) {
        use tonic_types::StatusExt;
        let status = self.status();
        let details = status.get_error_details();
        let reason = details
            .error_info()
            .map(|error| error.reason.clone())
            .unwrap_or_default();
        (status.code(), reason)
    }
}
