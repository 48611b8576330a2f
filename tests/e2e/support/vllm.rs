//! The real vLLM: where it is, and what its metrics say.

use std::{env, io::Write as _};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::{RwLock, RwLockReadGuard, RwLockWriteGuard},
};

/// Held by the tests that use the vLLM of kind `chat`, and alone by those that count what it runs.
static IN_USE: RwLock<()> = RwLock::const_new(());

/// The vLLM of kind `chat`, which other tests may use at the same time.
pub(crate) async fn chat() -> Option<Vllm> {
    let url = given("ADAPTER_TEST_VLLM")?;
    Some(Vllm::new(url, Turn::Shared(IN_USE.read().await)))
}

/// The vLLM of kind `chat`, which no other test uses now.
pub(crate) async fn chat_alone() -> Option<Vllm> {
    let url = given("ADAPTER_TEST_VLLM")?;
    Some(Vllm::new(url, Turn::Alone(IN_USE.write().await)))
}

/// The vLLM that has a reasoning parser.
pub(crate) fn reason() -> Option<Vllm> {
    given("ADAPTER_TEST_VLLM_REASON").map(|url| Vllm::new(url, Turn::Own))
}

/// A variable of the environment; without it, says that the running test is skipped.
#[expect(
    clippy::disallowed_methods,
    reason = "where the real vLLM is, the environment says"
)]
pub(crate) fn given(variable: &str) -> Option<String> {
    let value = env::var(variable).ok().filter(|value| !value.is_empty());
    if value.is_none() {
        let thread = std::thread::current();
        let test = thread.name().unwrap_or("a test");
        // Not by a macro, since the test runner keeps what those print of a test that passes.
        let mut stderr = std::io::stderr();
        let why = format!("{variable} is not set, see tests/vllm/README.md");
        writeln!(stderr, "SKIPPED {test}: {why}").unwrap();
    }
    value
}

/// What keeps other tests away from a vLLM.
enum Turn {
    /// Nothing: no other test needs it for itself.
    Own,
    Shared(#[expect(dead_code, reason = "held")] RwLockReadGuard<'static, ()>),
    Alone(#[expect(dead_code, reason = "held")] RwLockWriteGuard<'static, ()>),
}

/// A running vLLM.
pub(crate) struct Vllm {
    url: String,
    _turn: Turn,
}

impl Vllm {
    fn new(url: String, turn: Turn) -> Self {
        Self { url, _turn: turn }
    }

    /// A vLLM that a test has started.
    pub(crate) fn own(url: String) -> Self {
        Self::new(url, Turn::Own)
    }

    /// Its base URL, with `/v1`.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Requests whose tokens are being made.
    pub(crate) async fn running(&self) -> u32 {
        self.metric("vllm:num_requests_running{").await
    }

    /// Requests in the queue.
    pub(crate) async fn waiting(&self) -> u32 {
        self.metric("vllm:num_requests_waiting{").await
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a small count, printed as a float"
    )]
    async fn metric(&self, name: &str) -> u32 {
        let metrics = self.get("/metrics").await.unwrap();
        let line = metrics.lines().find(|line| line.starts_with(name)).unwrap();
        let value: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
        value as u32
    }

    /// Whether it answers.
    pub(crate) async fn is_healthy(&self) -> bool {
        let response = self.get("/health").await;
        response.is_ok_and(|response| response.starts_with("HTTP/1.1 200"))
    }

    /// The whole response to a GET of a path at the server's root.
    async fn get(&self, path: &str) -> std::io::Result<String> {
        let address = self.url.trim_start_matches("http://");
        let address = address.split('/').next().unwrap();
        let mut connection = TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: vllm\r\nconnection: close\r\n\r\n");
        connection.write_all(request.as_bytes()).await?;
        let mut response = String::new();
        connection.read_to_string(&mut response).await?;
        Ok(response)
    }
}
