//! The scripted upstream: an HTTP/1.1 server that answers what a test tells it to, and keeps what it was asked.
//!
//! Health checks (`GET /health`) and version requests (`GET /version`) are answered beside the script and not kept.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, Ordering},
    },
};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::Instant,
};
use url::Url;

use super::{
    reply::{Ending, Reply},
    soon,
};

/// A running upstream; dropping it closes its port and its connections.
pub(crate) struct Vllm {
    address: SocketAddr,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// The connection that it came on, from 0.
    pub(crate) connection: usize,
    pub(crate) method: String,
    pub(crate) path: String,
    /// Names in lower case, in the order in which they came.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
    /// When the last byte of it came.
    pub(crate) arrived: Instant,
}

/// What a new connection meets.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Welcome {
    /// Its requests are answered.
    Served,
    /// It is closed at once.
    Closed,
    /// It is reset at once.
    Reset,
}

type Script = Box<dyn Fn(&Request) -> Reply + Send + Sync>;

struct Shared {
    script: Script,
    welcome: Box<dyn Fn(usize) -> Welcome + Send + Sync>,
    health: AtomicU16,
    log: watch::Sender<Log>,
}

/// What happened so far.
#[derive(Debug, Default)]
struct Log {
    n_connections: usize,
    n_open_connections: usize,
    exchanges: Vec<Exchange>,
}

#[derive(Debug)]
struct Exchange {
    request: Request,
    /// When the peer closed the connection before the reply had ended.
    left: Option<Instant>,
    is_over: bool,
}

// === impl Vllm ===

impl Vllm {
    /// The same reply to every request.
    pub(crate) async fn replying(reply: Reply) -> Self {
        Self::choosing(move |_request| reply.clone()).await
    }

    /// A reply to each request, in the order in which they come; later ones get a status of 599.
    pub(crate) async fn replying_in_turn(replies: impl IntoIterator<Item = Reply>) -> Self {
        let replies: Mutex<VecDeque<Reply>> = Mutex::new(replies.into_iter().collect());
        Self::choosing(move |_request| {
            let next = replies.lock().unwrap().pop_front();
            next.unwrap_or_else(|| Reply::page(599, "the script has no further reply"))
        })
        .await
    }

    /// A reply that is chosen by the request.
    pub(crate) async fn choosing(
        script: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::welcoming(|_connection| Welcome::Served, script).await
    }

    /// The same, with what the `n`th connection meets before it asks anything.
    pub(crate) async fn welcoming(
        welcome: impl Fn(usize) -> Welcome + Send + Sync + 'static,
        script: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::serving(listener, welcome, script)
    }

    /// An upstream on an address that was another's before.
    pub(crate) async fn listening(
        address: SocketAddr,
        script: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        Self::serving(listener, |_connection| Welcome::Served, script)
    }

    fn serving(
        listener: TcpListener,
        welcome: impl Fn(usize) -> Welcome + Send + Sync + 'static,
        script: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            script: Box::new(script),
            welcome: Box::new(welcome),
            health: AtomicU16::new(200),
            log: watch::Sender::default(),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::clone(&shared)));
        Self {
            address,
            shared,
            _tasks: tasks,
        }
    }

    /// The base URL as the adapter takes it.
    pub(crate) fn base_url(&self) -> Url {
        Url::parse(&format!("http://{}/v1", self.address)).unwrap()
    }

    /// The status that `/health` has from now on.
    pub(crate) fn set_health(&self, status: u16) {
        self.shared.health.store(status, Ordering::Relaxed);
    }

    /// Connections that were ever accepted.
    pub(crate) fn n_connections(&self) -> usize {
        self.shared.log.borrow().n_connections
    }

    /// Requests that have arrived.
    pub(crate) fn n_requests(&self) -> usize {
        self.shared.log.borrow().exchanges.len()
    }

    /// Requests to that path that have arrived.
    pub(crate) fn n_requests_to(&self, path: &str) -> usize {
        let log = self.shared.log.borrow();
        let asked = |it: &&Exchange| it.request.path == path;
        log.exchanges.iter().filter(asked).count()
    }

    /// The `n`th request, from 0; waits until it has arrived.
    pub(crate) async fn request(&self, n: usize) -> Request {
        self.when("waiting for a request", move |log| {
            let exchange = log.exchanges.get(n)?;
            Some(exchange.request.clone())
        })
        .await
    }

    /// When the peer left the `n`th request, from 0, before its reply had ended; waits until it has.
    pub(crate) async fn left(&self, n: usize) -> Instant {
        self.when("waiting for the peer to leave", move |log| {
            log.exchanges.get(n)?.left
        })
        .await
    }

    /// Waits until the reply to the `n`th request, from 0, has been written to its end or given up.
    pub(crate) async fn is_over(&self, n: usize) {
        self.when("waiting for a reply to be over", move |log| {
            log.exchanges.get(n)?.is_over.then_some(())
        })
        .await;
    }

    /// Waits until no connection is open.
    pub(crate) async fn is_left_alone(&self) {
        self.when("waiting for every connection to close", |log| {
            (log.n_open_connections == 0).then_some(())
        })
        .await;
    }

    async fn when<T>(&self, what: &str, read: impl Fn(&Log) -> Option<T>) -> T {
        let mut log = self.shared.log.subscribe();
        let reached = soon(what, log.wait_for(|log| read(log).is_some())).await;
        read(&reached.unwrap()).unwrap()
    }
}

/// A base URL where nobody listens.
pub(crate) async fn closed_port() -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    Url::parse(&format!("http://{address}/v1")).unwrap()
}

// === impl Request ===

impl Request {
    /// The first header of this name, in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(it, _value)| it == name)
            .map(|(_name, value)| value.as_str())
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("the adapter sends JSON")
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    for n in 0.. {
        let (stream, _address) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        shared.log.send_modify(|log| {
            log.n_connections += 1;
            log.n_open_connections += 1;
        });
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let welcome = (shared.welcome)(n);
            // A peer that leaves is told by the log, and is no fault of the script.
            let _ = converse(stream, n, welcome, &shared).await;
            shared.log.send_modify(|log| log.n_open_connections -= 1);
        });
    }
}

/// Answers the requests of one connection until either side closes it.
async fn converse(
    mut stream: TcpStream,
    connection: usize,
    welcome: Welcome,
    shared: &Shared,
) -> io::Result<()> {
    match welcome {
        Welcome::Served => {}
        Welcome::Closed => return Ok(()),
        Welcome::Reset => return stream.set_zero_linger(),
    }
    let mut unread = BytesMut::new();
    while let Some(request) = read_request(&mut stream, &mut unread, connection).await? {
        let ending = match request.path.as_str() {
            "/health" => {
                let status = shared.health.load(Ordering::Relaxed);
                Reply::json(status, "").play(&mut stream).await?
            }
            "/version" => {
                let version = Reply::json(200, r#"{"version":"0.32.0"}"#);
                version.play(&mut stream).await?
            }
            _ => exchange(&mut stream, &mut unread, request, shared).await?,
        };
        match ending {
            Ending::Clean | Ending::Open => {}
            Ending::Reset => return stream.set_zero_linger(),
            Ending::Cut | Ending::HalfClosed | Ending::Silent => return Ok(()),
        }
    }
    Ok(())
}

/// Plays the reply to one request, and notes whether the peer stays to hear it.
async fn exchange(
    stream: &mut TcpStream,
    unread: &mut BytesMut,
    request: Request,
    shared: &Shared,
) -> io::Result<Ending> {
    let reply = (shared.script)(&request);
    let mut n = 0;
    shared.log.send_modify(|log| {
        n = log.exchanges.len();
        log.exchanges.push(Exchange {
            request,
            left: None,
            is_over: false,
        });
    });
    let (mut read, mut write) = stream.split();
    let ending = tokio::select! {
        biased;
        () = peer_left(&mut read, unread) => Err(io::ErrorKind::ConnectionReset.into()),
        ending = reply.play(&mut write) => ending,
    };
    shared.log.send_modify(|log| {
        log.exchanges[n].is_over = true;
        log.exchanges[n].left = ending.is_err().then(Instant::now);
    });
    let ending = ending?;
    if ending == Ending::HalfClosed {
        write.shutdown().await?;
    }
    if matches!(ending, Ending::HalfClosed | Ending::Silent) {
        peer_left(&mut read, unread).await;
        let left = Instant::now();
        shared
            .log
            .send_modify(|log| log.exchanges[n].left = Some(left));
    }
    Ok(ending)
}

/// Ends when the peer has closed or reset the connection; what it sends until then is kept for the next request.
async fn peer_left(read: &mut (impl AsyncRead + Unpin), unread: &mut BytesMut) {
    while read.read_buf(unread).await.is_ok_and(|n_bytes| n_bytes > 0) {}
}

/// `None` when the peer closes the connection between two requests.
async fn read_request(
    stream: &mut TcpStream,
    unread: &mut BytesMut,
    connection: usize,
) -> io::Result<Option<Request>> {
    let n_head_bytes = loop {
        if let Some(end) = unread.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(unread).await? == 0 {
            return Ok(None);
        }
    };
    let head = unread.split_to(n_head_bytes);
    let mut request = parse_head(std::str::from_utf8(&head).unwrap());
    let n_body_bytes = request.header("content-length");
    let n_body_bytes = n_body_bytes.map_or(0, |length| length.parse().unwrap());
    while unread.len() < n_body_bytes {
        if stream.read_buf(unread).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    request.connection = connection;
    request.body = unread.split_to(n_body_bytes).freeze();
    request.arrived = Instant::now();
    Ok(Some(request))
}

fn parse_head(head: &str) -> Request {
    let mut lines = head.lines();
    let mut words = lines.next().unwrap().split(' ');
    let headers = lines.filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    });
    Request {
        connection: 0,
        method: words.next().unwrap().to_owned(),
        path: words.next().unwrap().to_owned(),
        headers: headers.collect(),
        body: Bytes::new(),
        arrived: Instant::now(),
    }
}
