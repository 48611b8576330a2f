//! One server under load: what its callers do, and what is read of it while they do it.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    runtime::{Builder, Runtime},
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    Result,
    client::{Client, Clients},
    figure::median,
    measure::Effort,
    plan::{ENDLESS, Pace},
    server::{Kind, Launch, Server},
};

/// Connections of the gRPC callers. One would serve them all, at the price of one lock.
const CONNECTIONS: usize = 8;
/// From one new stream to the next, so that neither steps nor handshakes fall together.
const OPENING: Duration = Duration::from_micros(500);
/// The longest that all streams may take to get their first content.
const OPENED: Duration = Duration::from_secs(60);

/// What callers have got so far.
#[derive(Debug, Default)]
struct Tally {
    /// Content chunks, or unary calls.
    chunks: AtomicU64,
    /// Streams that have got content.
    started: AtomicU64,
}

/// A fresh server with a fresh simulated vLLM behind it.
pub(crate) struct Bench {
    kind: Kind,
    /// `None` for [`Kind::Direct`]. Dropped first, since it depends on the simulated vLLM.
    server: Option<Server>,
    vllms: Vec<Server>,
    pace: Pace,
}

/// Streams or calls that go on until dropped.
type Callers = JoinSet<Result<()>>;

/// What a window of load gave.
pub(crate) struct Load {
    /// The server's CPU in microseconds a chunk or call; `None` without a server.
    pub(crate) cpu: Option<f64>,
    /// Chunks or calls a second.
    pub(crate) rate: Option<f64>,
    /// The server's resident bytes at the end of the window; `None` without a server.
    pub(crate) memory: Option<f64>,
}

// === impl Bench ===

impl Bench {
    pub(crate) fn start(kind: Kind, launch: &Launch, pace: Pace) -> Result<Self> {
        let vllms = Server::vllms(pace, launch)?;
        let server = Server::start(kind, &vllms, launch)?;
        Ok(Self {
            kind,
            server,
            vllms,
            pace,
        })
    }

    async fn connect(&self, connections: usize) -> Result<Clients> {
        let address = match &self.server {
            Some(server) => server.address(),
            None => self.vllm()?,
        };
        Clients::connect(self.kind, address, connections).await
    }

    /// The address of the first simulated vLLM.
    fn vllm(&self) -> Result<SocketAddr> {
        Ok(self.vllms.first().ok_or("no upstream")?.address())
    }

    /// A stream and a call pass whole, or no figure is worth anything.
    pub(crate) fn check(&self) -> Result<()> {
        callers_runtime()?.block_on(async {
            let mut client = self.connect(1).await?.client(0).await?;
            let tokens = if self.pace == Pace::IDLE { 1 } else { 20 };
            let chunks = client.stream(tokens, |_chunks| ()).await?;
            if chunks != u64::from(tokens) {
                return Err(format!("{chunks} chunks came in place of {tokens}").into());
            }
            client.unary().await
        })
    }

    /// Endless streams, all at once.
    pub(crate) fn streams(&self, count: usize, effort: &Effort) -> Result<Load> {
        let runtime = callers_runtime()?;
        runtime.block_on(async {
            let tally = Arc::new(Tally::default());
            let mut callers = self.open(count, &tally).await?;
            self.window(effort, &mut callers, &tally).await
        })
    }

    /// Unary calls, each caller's next one after the other.
    pub(crate) fn unary_calls(&self, count: usize, effort: &Effort) -> Result<Load> {
        let runtime = callers_runtime()?;
        runtime.block_on(async {
            let tally = Arc::new(Tally::default());
            let clients = self.connect(CONNECTIONS).await?;
            let mut callers = Callers::new();
            for number in 0..count {
                let mut client = clients.client(number).await?;
                let tally = Arc::clone(&tally);
                callers.spawn(async move {
                    loop {
                        client.unary().await?;
                        tally.chunks.fetch_add(1, Relaxed);
                    }
                });
            }
            self.window(effort, &mut callers, &tally).await
        })
    }

    /// The median of the calls in microseconds, over that of calls straight to the simulated vLLM.
    ///
    /// The two take turns, so that what else the machine does falls on both.
    pub(crate) fn first_token(&self, calls: usize) -> Result<f64> {
        // One thread, so that the callers' own hand-overs between threads are not taken for the server's.
        let runtime = Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let straight = Clients::connect(Kind::Direct, self.vllm()?, 1).await?;
            let mut straight = straight.client(0).await?;
            let mut through = self.connect(1).await?.client(0).await?;
            let (mut before, mut after) = (Vec::new(), Vec::new());
            for _ in 0..calls {
                before.push(first_content(&mut straight).await?);
                after.push(first_content(&mut through).await?);
            }
            let before = median(&before).ok_or("no calls")?;
            let after = median(&after).ok_or("no calls")?;
            Ok(match self.kind {
                Kind::Direct => before,
                Kind::Nginx | Kind::Bulk | Kind::Naive | Kind::Adapter => after - before,
            })
        })
    }

    /// Bytes of memory that a silent stream takes; `None` without a server.
    pub(crate) fn idle(&self, count: usize) -> Result<Option<f64>> {
        let Some(server) = &self.server else {
            return Ok(None);
        };
        callers_runtime()?.block_on(async {
            let tally = Arc::new(Tally::default());
            let before = server.resident()?;
            let callers = self.open(count, &tally).await?;
            // What the last answers left on the way to being freed.
            sleep(Duration::from_millis(200)).await;
            let after = server.resident()?;
            drop(callers);
            Ok(Some((after as f64 - before as f64) / count as f64))
        })
    }

    /// Opens streams that do not end, until each has got content.
    async fn open(&self, count: usize, tally: &Arc<Tally>) -> Result<Callers> {
        let clients = self.connect(CONNECTIONS).await?;
        let mut callers = Callers::new();
        let start = Instant::now();
        for number in 0..count {
            tokio::time::sleep_until(start + OPENING * number as u32).await;
            let client = clients.client(number).await?;
            callers.spawn(endless(client, Arc::clone(tally)));
        }
        while tally.started.load(Relaxed) < count as u64 {
            fail_early(&mut callers)?;
            if start.elapsed() > OPENED {
                return Err("not every stream got its first content".into());
            }
            sleep(Duration::from_millis(5)).await;
        }
        Ok(callers)
    }

    /// Reads what a window of the load costs.
    async fn window(&self, effort: &Effort, callers: &mut Callers, tally: &Tally) -> Result<Load> {
        sleep(effort.warm_up).await;
        let cpu = || self.server.as_ref().map(Server::cpu).transpose();
        let (start, chunks_before, before) = (Instant::now(), tally.chunks.load(Relaxed), cpu()?);
        sleep(effort.window).await;
        let chunks = (tally.chunks.load(Relaxed) - chunks_before) as f64;
        let (elapsed, after) = (start.elapsed(), cpu()?);
        let memory = self.server.as_ref().map(Server::resident).transpose()?;
        fail_early(callers)?;
        let used = after.zip(before).map(|(after, before)| after - before);
        Ok(Load {
            cpu: used.map(|used| used.as_secs_f64() * 1e6 / chunks),
            rate: Some(chunks / elapsed.as_secs_f64()),
            memory: memory.map(|bytes| bytes as f64),
        })
    }
}

/// Two threads: enough to read faster than any server here writes, and not one a core of a large machine.
fn callers_runtime() -> Result<Runtime> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    Ok(runtime)
}

async fn endless(mut client: Client, tally: Arc<Tally>) -> Result<()> {
    let mut has_started = false;
    let seen = |chunks| {
        tally.chunks.fetch_add(chunks, Relaxed);
        if !has_started {
            has_started = true;
            tally.started.fetch_add(1, Relaxed);
        }
    };
    client.stream(ENDLESS, seen).await?;
    Err("an endless stream ended".into())
}

/// Microseconds from the call to its first content; the rest of the stream is read, so that connections are kept.
async fn first_content(client: &mut Client) -> Result<f64> {
    let start = Instant::now();
    let mut first = None;
    client
        .stream(1, |_chunks| first = Some(start.elapsed()))
        .await?;
    let first = first.ok_or("a stream without content")?;
    Ok(first.as_secs_f64() * 1e6)
}

/// No caller ends by itself; one that did met a fault.
fn fail_early(callers: &mut Callers) -> Result<()> {
    match callers.try_join_next() {
        Some(outcome) => outcome?,
        None => Ok(()),
    }
}
