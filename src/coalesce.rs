//! A socket that reads together what comes in bytes.
//!
//! Each arrival wakes the program, whatever it brings: a peer, or a network, that passes each byte by itself costs many
//! times the CPU time of one that passes whole events. After some such reads in a row the socket is left alone for a
//! moment, in which more comes, as network cards coalesce interrupts.

use std::{
    io::{self, ErrorKind, IoSlice, Write as _},
    net,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep},
};

/// What is less is a part of something: a frame of HTTP/2 has as many bytes at least, an event of vLLM twenty times as
/// many.
const SMALL_BYTES: usize = 9;

/// So many small reads are no coincidence.
const MANY: u8 = 32;

/// How many small reads a larger one makes up for, so that a body's last chunk or the rest of an event counts for
/// nothing.
const MADE_UP: u8 = 2;

/// The time in which more may come. An event that comes in bytes takes as long by itself.
const PAUSE: Duration = Duration::from_millis(5);

/// A connected socket.
#[derive(Debug)]
pub(crate) struct Coalesced {
    state: State,
    /// Small reads that no larger one has made up for.
    n_small: u8,
    /// A pause has ended, and what comes next tells nothing of its pieces.
    is_reopened: bool,
    /// Made with the first pause.
    timer: Option<Pin<Box<Sleep>>>,
}

#[derive(Debug)]
enum State {
    Open(TcpStream),
    /// Out of the runtime's sight, which each byte would wake.
    Paused(net::TcpStream),
    /// The system did not give it to the runtime, or take it from there.
    Lost,
}

// === impl Coalesced ===

impl Coalesced {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self {
            state: State::Open(stream),
            n_small: 0,
            is_reopened: false,
            timer: None,
        }
    }

    /// Whether it ever came to a pause. From then on, a read that is pending does not mean that nothing has come.
    pub(crate) fn has_paused(&self) -> bool {
        self.timer.is_some()
    }

    /// The socket, when no pause is made.
    fn poll_open(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Pin<&mut TcpStream>>> {
        if let State::Paused(_) = self.state {
            if let Some(timer) = &mut self.timer {
                ready!(timer.as_mut().poll(context));
            }
            if let State::Paused(stream) = std::mem::replace(&mut self.state, State::Lost) {
                self.state = State::Open(TcpStream::from_std(stream)?);
                self.is_reopened = true;
            }
        }
        match &mut self.state {
            State::Open(stream) => Poll::Ready(Ok(Pin::new(stream))),
            State::Paused(_) | State::Lost => Poll::Ready(Err(ErrorKind::NotConnected.into())),
        }
    }

    /// What a write in a pause gives. Where there is no pause, or it must wait for its end, that is nothing.
    ///
    /// Who reads before it writes would otherwise find a pause at each write, for as long as single bytes come.
    fn write_in_pause(
        &self,
        write: impl FnOnce(&mut &net::TcpStream) -> io::Result<usize>,
    ) -> Option<io::Result<usize>> {
        let State::Paused(stream) = &self.state else {
            return None;
        };
        match write(&mut &*stream) {
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                None
            }
            written => Some(written),
        }
    }

    /// A read has brought so many bytes.
    fn has_read(&mut self, n_bytes: usize) -> io::Result<()> {
        let is_reopened = std::mem::take(&mut self.is_reopened);
        if !(1..SMALL_BYTES).contains(&n_bytes) {
            if !is_reopened {
                self.n_small = self.n_small.saturating_sub(MADE_UP);
            }
            return Ok(());
        }
        self.n_small = MANY.min(self.n_small + 1);
        if self.n_small == MANY {
            self.pause()?;
        }
        Ok(())
    }

    fn pause(&mut self) -> io::Result<()> {
        if let State::Open(stream) = std::mem::replace(&mut self.state, State::Lost) {
            self.state = State::Paused(stream.into_std()?);
        }
        let end = Instant::now() + PAUSE;
        match &mut self.timer {
            Some(timer) => timer.as_mut().reset(end),
            None => self.timer = Some(Box::pin(tokio::time::sleep_until(end))),
        }
        Ok(())
    }
}

impl AsyncRead for Coalesced {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let n_before = buffer.filled().len();
        ready!(ready!(this.poll_open(context))?.poll_read(context, buffer))?;
        Poll::Ready(this.has_read(buffer.filled().len() - n_before))
    }
}

impl AsyncWrite for Coalesced {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Some(written) = self.write_in_pause(|stream| stream.write(bytes)) {
            return Poll::Ready(written);
        }
        ready!(self.get_mut().poll_open(context))?.poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(written) = self.write_in_pause(|stream| stream.write_vectored(slices)) {
            return Poll::Ready(written);
        }
        ready!(self.get_mut().poll_open(context))?.poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What was written is the system's.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.get_mut().poll_open(context))?.poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    /// A socket, and its peer.
    async fn connected() -> (Coalesced, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connected = TcpStream::connect(listener.local_addr().unwrap()).await;
        let peer = listener.accept().await.unwrap().0;
        peer.set_nodelay(true).unwrap();
        (Coalesced::new(connected.unwrap()), peer)
    }

    /// The peer sends pieces of these sizes, each when the last has been read.
    async fn pass(socket: &mut Coalesced, peer: &mut TcpStream, sizes: &[usize]) {
        let mut buffer = [0; 1024];
        for &size in sizes {
            peer.write_all(&vec![b'x'; size]).await.unwrap();
            assert_eq!(socket.read(&mut buffer).await.unwrap(), size);
        }
    }

    #[tokio::test]
    async fn single_bytes_are_read_together_once_they_are_many() {
        const N_BYTES: usize = 10_000;
        let (mut socket, mut peer) = connected().await;
        let send = async move {
            for _ in 0..N_BYTES {
                peer.write_all(b"x").await.unwrap();
                // The reader shall see each byte alone.
                tokio::task::yield_now().await;
            }
            drop(peer);
        };
        let read = async {
            let (mut n_bytes, mut n_reads) = (0, 0);
            loop {
                let n = socket.read(&mut [0; 1024]).await.unwrap();
                if n == 0 {
                    return (n_bytes, n_reads);
                }
                n_bytes += n;
                n_reads += 1;
            }
        };
        let ((), (n_bytes, n_reads)) = tokio::join!(send, read);
        assert_eq!(n_bytes, N_BYTES);
        assert!(socket.has_paused());
        assert!(n_reads < N_BYTES / 4, "{n_reads}");
    }

    #[tokio::test]
    async fn what_is_whole_never_pauses() {
        let (mut socket, mut peer) = connected().await;
        pass(&mut socket, &mut peer, &[SMALL_BYTES; 100]).await;
        for _ in 0..100 {
            // An event, and the end of its body.
            pass(&mut socket, &mut peer, &[250, 5]).await;
        }
        assert!(!socket.has_paused());
    }

    #[tokio::test]
    async fn a_pause_is_over_for_a_peer_that_sends_whole_events_again() {
        let (mut socket, mut peer) = connected().await;
        pass(&mut socket, &mut peer, &[1; MANY as usize]).await;
        assert!(matches!(socket.state, State::Paused(_)));
        pass(&mut socket, &mut peer, &[250; 10]).await;
        pass(&mut socket, &mut peer, &[1; 10]).await;
        assert!(matches!(socket.state, State::Open(_)));
    }

    /// As HTTP/2 is served: all that has come is read before anything is written.
    #[tokio::test]
    async fn what_is_written_goes_out_while_single_bytes_come() {
        let (mut socket, peer) = connected().await;
        let (mut answers, mut sender) = peer.into_split();
        let send = async {
            for _ in 0..200 {
                sender.write_all(b"x").await.unwrap();
                tokio::time::sleep(PAUSE / 3).await;
            }
            sender.shutdown().await.unwrap();
        };
        let mut n_written = 0;
        let serve = poll_fn(|context| {
            loop {
                let mut storage = [0; 64];
                let mut buffer = ReadBuf::new(&mut storage);
                let read = Pin::new(&mut socket).poll_read(context, &mut buffer);
                match read {
                    Poll::Ready(read) => {
                        read.unwrap();
                        if buffer.filled().is_empty() {
                            return Poll::Ready(());
                        }
                    }
                    Poll::Pending => break,
                }
            }
            if let Poll::Ready(written) = Pin::new(&mut socket).poll_write(context, b"y") {
                n_written += written.unwrap();
            }
            Poll::Pending
        });
        tokio::join!(send, serve);
        assert!(socket.has_paused());
        // One for each pause, and the machine may be busy.
        assert!(n_written > 60, "{n_written}");
        drop(socket);
        let mut answer = Vec::new();
        answers.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, vec![b'y'; n_written]);
    }
}
