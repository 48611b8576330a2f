//! A TCP relay that does to its connections what a bad network does.
//!
//! Each direction has its own [`Link`]: how late, in what pieces and how fast bytes go, how often they pause, and after how
//! many of them they stop or the connection is cut. [`FaultProxy::strike`] changes all connections while they run.

use std::{net::SocketAddr, pin::pin, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};
use url::Url;

/// A running relay; dropping it closes its port and its connections.
pub(crate) struct FaultProxy {
    pub(crate) address: SocketAddr,
    fault: watch::Sender<Fault>,
    _tasks: JoinSet<()>,
}

/// One direction of a connection; the default passes everything on at once.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Link {
    latency: Duration,
    jitter: Duration,
    stalls: Option<(f64, Duration)>,
    piece: Option<usize>,
    bytes_per_second: Option<u32>,
    stall_after: Option<usize>,
    cut_after: Option<(usize, Cut)>,
}

/// How a connection is cut, on both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    Fin,
    Rst,
}

/// What befalls all connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Nothing passes, and nobody is told.
    BlackHole,
    /// Open connections are cut, and so is every new one.
    Cut(Cut),
}

// === impl Link ===

impl Link {
    /// Every byte comes so much later.
    pub(crate) fn latency(self, latency: Duration) -> Self {
        Self { latency, ..self }
    }

    /// Every read comes later by up to so much more, by chance, and still in order.
    pub(crate) fn jitter(self, jitter: Duration) -> Self {
        Self { jitter, ..self }
    }

    /// That share of the pieces, by chance, waits so long before it goes, and with it all that come after it.
    pub(crate) fn stalls(self, share: f64, time: Duration) -> Self {
        Self {
            stalls: Some((share, time)),
            ..self
        }
    }

    /// Bytes go in pieces of that size, each in a write of its own.
    pub(crate) fn pieces_of(self, n_bytes: usize) -> Self {
        Self {
            piece: Some(n_bytes),
            ..self
        }
    }

    pub(crate) fn bytes_per_second(self, n_bytes: u32) -> Self {
        Self {
            bytes_per_second: Some(n_bytes),
            ..self
        }
    }

    /// After so many bytes nothing more goes, and nothing ends.
    pub(crate) fn stall_after(self, n_bytes: usize) -> Self {
        Self {
            stall_after: Some(n_bytes),
            ..self
        }
    }

    /// After so many bytes both sides are cut.
    pub(crate) fn cut_after(self, n_bytes: usize, cut: Cut) -> Self {
        Self {
            cut_after: Some((n_bytes, cut)),
            ..self
        }
    }
}

// === impl FaultProxy ===

impl FaultProxy {
    /// A relay to `target`, with what each direction does.
    pub(crate) async fn before(target: SocketAddr, there: Link, back: Link) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let fault = watch::Sender::new(Fault::None);
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, target, (there, back), fault.subscribe()));
        Self {
            address,
            fault,
            _tasks: tasks,
        }
    }

    /// A relay to an upstream, by its base URL.
    pub(crate) async fn before_upstream(base_url: &Url, there: Link, back: Link) -> Self {
        let target = base_url.socket_addrs(|| None).unwrap()[0];
        Self::before(target, there, back).await
    }

    /// The base URL of the upstream behind it.
    pub(crate) fn base_url(&self) -> Url {
        Url::parse(&format!("http://{}/v1", self.address)).unwrap()
    }

    /// What befalls all connections from now on.
    pub(crate) fn strike(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }
}

async fn accept(
    listener: TcpListener,
    target: SocketAddr,
    links: (Link, Link),
    fault: watch::Receiver<Fault>,
) {
    let mut connections = JoinSet::new();
    loop {
        let (caller, _address) = listener.accept().await.unwrap();
        let fault = fault.clone();
        connections.spawn(async move {
            passable(&mut fault.clone()).await;
            let Ok(server) = TcpStream::connect(target).await else {
                return;
            };
            relay(caller, server, links, fault).await;
        });
    }
}

async fn relay(
    mut caller: TcpStream,
    mut server: TcpStream,
    (there, back): (Link, Link),
    fault: watch::Receiver<Fault>,
) {
    caller.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let mut faults = fault.clone();
    let cut = {
        let (from_caller, to_caller) = caller.split();
        let (from_server, to_server) = server.split();
        let mut there = pin!(pass(from_caller, to_server, there, fault.clone()));
        let mut back = pin!(pass(from_server, to_caller, back, fault));
        let both = async {
            let ended = tokio::select! {
                cut = &mut there => (cut, true),
                cut = &mut back => (cut, false),
            };
            match ended {
                (Some(cut), _) => cut,
                (None, true) => back.await.unwrap_or(Cut::Fin),
                (None, false) => there.await.unwrap_or(Cut::Fin),
            }
        };
        tokio::select! {
            cut = both => cut,
            cut = struck(&mut faults) => cut,
        }
    };
    if cut == Cut::Rst {
        // A connection that its other side has closed already needs no reset.
        let _ = caller.set_zero_linger();
        let _ = server.set_zero_linger();
    }
}

/// One direction, until its sender has closed (`None`) or it is cut.
async fn pass(
    from: impl AsyncRead + Unpin,
    to: impl AsyncWrite + Unpin,
    link: Link,
    fault: watch::Receiver<Fault>,
) -> Option<Cut> {
    let (sender, receiver) = mpsc::channel(1024);
    let read = async {
        read(from, link, sender).await;
        // What was read is still to be written.
        std::future::pending().await
    };
    tokio::select! {
        cut = write(to, link, receiver, fault) => cut,
        () = read => None,
    }
}

async fn read(
    mut from: impl AsyncRead + Unpin,
    link: Link,
    sender: mpsc::Sender<(Instant, Vec<u8>)>,
) {
    let mut chance = fastrand::Rng::with_seed(1);
    let mut buffer = vec![0; 16 << 10];
    while let Ok(n @ 1..) = from.read(&mut buffer).await {
        let late = link.latency + link.jitter.mul_f64(chance.f64());
        let piece = (Instant::now() + late, buffer[..n].to_vec());
        if sender.send(piece).await.is_err() {
            return;
        }
    }
}

async fn write(
    mut to: impl AsyncWrite + Unpin,
    link: Link,
    mut receiver: mpsc::Receiver<(Instant, Vec<u8>)>,
    mut fault: watch::Receiver<Fault>,
) -> Option<Cut> {
    let mut chance = fastrand::Rng::with_seed(2);
    let mut n_passed = 0;
    while let Some((due, bytes)) = receiver.recv().await {
        sleep_until(due).await;
        for piece in bytes.chunks(link.piece.unwrap_or(usize::MAX)) {
            if let Some((share, time)) = link.stalls
                && chance.f64() < share
            {
                sleep(time).await;
            }
            passable(&mut fault).await;
            let end = [link.stall_after, link.cut_after.map(|(after, _)| after)];
            let end = end.into_iter().flatten().min().unwrap_or(usize::MAX);
            let piece = &piece[..piece.len().min(end - n_passed)];
            if to.write_all(piece).await.is_err() {
                return None;
            }
            n_passed += piece.len();
            if n_passed == end {
                let (after, cut) = link.cut_after.unwrap_or((usize::MAX, Cut::Fin));
                if after == end {
                    return Some(cut);
                }
                std::future::pending::<()>().await;
            }
            if let Some(rate) = link.bytes_per_second {
                sleep(Duration::from_secs_f64(
                    piece.len() as f64 / f64::from(rate),
                ))
                .await;
            } else if link.piece.is_some() {
                // The reader runs on this thread too, and shall see each piece alone.
                tokio::task::yield_now().await;
            }
        }
    }
    let _ = to.shutdown().await;
    None
}

async fn passable(fault: &mut watch::Receiver<Fault>) {
    if fault
        .wait_for(|now| *now != Fault::BlackHole)
        .await
        .is_err()
    {
        std::future::pending().await
    }
}

async fn struck(fault: &mut watch::Receiver<Fault>) -> Cut {
    match fault.wait_for(|now| matches!(now, Fault::Cut(_))).await {
        Ok(now) => match *now {
            Fault::Cut(cut) => cut,
            Fault::None | Fault::BlackHole => Cut::Fin,
        },
        Err(_proxy_is_gone) => Cut::Fin,
    }
}
