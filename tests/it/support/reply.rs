//! What the scripted upstream answers to a request, down to how its bytes leave.
//!
//! ```ignore
//! Reply::stream().event(HELLO).wait_for(&caller_is_ready).event(FINISH).done()
//! Reply::stream().event(HELLO).reset()
//! Reply::json(503, BUSY).header("retry-after", "5")
//! ```

use std::{io, time::Duration};

use bytes::Bytes;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::signal::{Meter, Signal};

/// One answer. It ends cleanly unless it says otherwise.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    framing: Framing,
    steps: Vec<Step>,
    ending: Ending,
    is_bytewise: bool,
}

/// How the body's end is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length,
    Chunked,
    UntilClose,
    /// No head is written either.
    Raw,
}

#[derive(Clone, Debug)]
enum Step {
    Send(Bytes),
    Flood(Bytes, Meter),
    End,
    WaitFor(Signal),
    Give(Signal),
    Pause(Duration),
}

/// What becomes of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The body is ended, and the connection waits for the next request.
    Clean,
    /// Nothing is added, and the connection waits for the next request.
    Open,
    /// The connection is closed with a FIN; the body is not ended.
    Cut,
    /// The same with an RST.
    Reset,
    /// A FIN is sent, and the connection is read on.
    HalfClosed,
    /// Nothing is sent any more.
    Silent,
}

// === impl Reply ===

impl Reply {
    /// An event stream in HTTP chunks, as vLLM sends it.
    pub(crate) fn stream() -> Self {
        Self::new(200, Framing::Chunked).header("content-type", "text/event-stream; charset=utf-8")
    }

    /// A body of JSON.
    pub(crate) fn json(status: u16, body: impl Into<Bytes>) -> Self {
        Self::whole(status, "application/json", body)
    }

    /// A page, as proxies send one.
    pub(crate) fn page(status: u16, body: impl Into<Bytes>) -> Self {
        Self::whole(status, "text/html", body)
    }

    /// A body of known length.
    pub(crate) fn whole(status: u16, content_type: &str, body: impl Into<Bytes>) -> Self {
        Self::new(status, Framing::Length)
            .header("content-type", content_type)
            .send(body)
    }

    /// Only the bytes that are sent, without a head.
    pub(crate) fn raw() -> Self {
        Self::new(0, Framing::Raw)
    }

    fn new(status: u16, framing: Framing) -> Self {
        Self {
            status,
            headers: Vec::new(),
            framing,
            steps: Vec::new(),
            ending: Ending::Clean,
            is_bytewise: false,
        }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Ends the body by closing the connection, as HTTP/1.0 does.
    pub(crate) fn until_close(self) -> Self {
        Self {
            framing: Framing::UntilClose,
            ..self
        }
    }

    /// Writes each byte by itself, those of the head and of the framing too.
    pub(crate) fn bytewise(self) -> Self {
        Self {
            is_bytewise: true,
            ..self
        }
    }

    /// A part of the body, in an HTTP chunk of its own.
    pub(crate) fn send(self, bytes: impl Into<Bytes>) -> Self {
        self.step(Step::Send(bytes.into()))
    }

    /// An event with this data.
    pub(crate) fn event(self, data: impl AsRef<str>) -> Self {
        self.send(format!("data: {}\n\n", data.as_ref()))
    }

    /// An event for each.
    pub(crate) fn events(self, all: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        all.into_iter().fold(self, Self::event)
    }

    /// A comment, which is no event.
    pub(crate) fn comment(self, text: &str) -> Self {
        self.send(format!(": {text}\n\n"))
    }

    /// The event that ends a stream of vLLM's.
    pub(crate) fn done(self) -> Self {
        self.event("[DONE]")
    }

    /// The same bytes over and over, until the peer leaves; `meter` counts what went out.
    pub(crate) fn flood(self, bytes: impl Into<Bytes>, meter: &Meter) -> Self {
        self.step(Step::Flood(bytes.into(), meter.clone()))
    }

    pub(crate) fn wait_for(self, signal: &Signal) -> Self {
        self.step(Step::WaitFor(signal.clone()))
    }

    /// Gives the signal when all before it has been written.
    pub(crate) fn give(self, signal: &Signal) -> Self {
        self.step(Step::Give(signal.clone()))
    }

    pub(crate) fn pause(self, time: Duration) -> Self {
        self.step(Step::Pause(time))
    }

    /// Ends the body here, whatever becomes of the connection.
    pub(crate) fn end_body(self) -> Self {
        self.step(Step::End)
    }

    /// Leaves the connection open after what was sent, which need not be an answer.
    pub(crate) fn stay_open(self) -> Self {
        self.ending(Ending::Open)
    }

    pub(crate) fn cut(self) -> Self {
        self.ending(Ending::Cut)
    }

    pub(crate) fn reset(self) -> Self {
        self.ending(Ending::Reset)
    }

    pub(crate) fn half_close(self) -> Self {
        self.ending(Ending::HalfClosed)
    }

    pub(crate) fn fall_silent(self) -> Self {
        self.ending(Ending::Silent)
    }

    fn step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    fn ending(self, ending: Ending) -> Self {
        Self { ending, ..self }
    }

    /// Writes it all, and tells what shall become of the connection.
    pub(super) async fn play(&self, socket: &mut (impl AsyncWrite + Unpin)) -> io::Result<Ending> {
        self.write(socket, &self.head()).await?;
        for step in &self.steps {
            match step {
                Step::Send(bytes) => self.write(socket, &self.framed(bytes)).await?,
                Step::Flood(bytes, meter) => {
                    let bytes = self.framed(bytes);
                    loop {
                        socket.write_all(&bytes).await?;
                        meter.add(bytes.len());
                    }
                }
                Step::End => self.write(socket, self.last_chunk()).await?,
                Step::WaitFor(signal) => signal.given_at_last().await,
                Step::Give(signal) => signal.give(),
                Step::Pause(time) => tokio::time::sleep(*time).await,
            }
        }
        match (self.ending, self.framing) {
            (Ending::Clean, Framing::UntilClose | Framing::Raw) => Ok(Ending::Cut),
            (Ending::Clean, Framing::Chunked | Framing::Length) => {
                if !self.steps.iter().any(|step| matches!(step, Step::End)) {
                    self.write(socket, self.last_chunk()).await?;
                }
                Ok(Ending::Clean)
            }
            (ending, _) => Ok(ending),
        }
    }

    async fn write(&self, socket: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
        if !self.is_bytewise {
            return socket.write_all(bytes).await;
        }
        for byte in bytes {
            socket.write_all(std::slice::from_ref(byte)).await?;
            // The reader runs on this thread too, and shall see each byte alone.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    fn head(&self) -> Vec<u8> {
        let framing = match self.framing {
            Framing::Raw => return Vec::new(),
            Framing::Length => format!("content-length: {}\r\n", self.n_body_bytes()),
            Framing::Chunked => "transfer-encoding: chunked\r\n".to_owned(),
            Framing::UntilClose => "connection: close\r\n".to_owned(),
        };
        let mut head = format!("HTTP/1.1 {} Scripted\r\n{framing}", self.status);
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        head.into_bytes()
    }

    fn n_body_bytes(&self) -> usize {
        let sent = self.steps.iter().map(|step| match step {
            Step::Send(bytes) => bytes.len(),
            _ => 0,
        });
        sent.sum()
    }

    fn framed(&self, bytes: &Bytes) -> Bytes {
        // An empty chunk would end the body.
        if self.framing != Framing::Chunked || bytes.is_empty() {
            return bytes.clone();
        }
        let size = format!("{:x}\r\n", bytes.len());
        [size.as_bytes(), bytes, b"\r\n"].concat().into()
    }

    fn last_chunk(&self) -> &'static [u8] {
        match self.framing {
            Framing::Chunked => b"0\r\n\r\n",
            Framing::Length | Framing::UntilClose | Framing::Raw => b"",
        }
    }
}
