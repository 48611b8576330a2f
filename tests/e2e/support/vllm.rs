//! The real vLLM: where it is, and what its metrics say.

use std::env;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::{RwLock, RwLockReadGuard, RwLockWriteGuard},
};

/// Held by the tests that use the vLLM of kind `chat`, and alone by those that count what it runs.
static IN_USE: RwLock<()> = RwLock::const_new(());

/// The vLLM of kind `chat`, which other tests may use at the same time.
pub(crate) async fn chat() -> Vllm {
    let url = given("ADAPTER_TEST_VLLM");
    Vllm::new(url, Turn::Shared(IN_USE.read().await))
}

/// The vLLM of kind `chat`, which no other test uses now.
pub(crate) async fn chat_alone() -> Vllm {
    let url = given("ADAPTER_TEST_VLLM");
    Vllm::new(url, Turn::Alone(IN_USE.write().await))
}

/// The vLLM that has a reasoning parser.
pub(crate) fn reason() -> Vllm {
    Vllm::own(given("ADAPTER_TEST_VLLM_REASON"))
}

/// The vLLM of an embedding model.
pub(crate) fn embed() -> Vllm {
    Vllm::own(given("ADAPTER_TEST_VLLM_EMBED"))
}

/// The vLLM of a reranker.
pub(crate) fn rerank() -> Vllm {
    Vllm::own(given("ADAPTER_TEST_VLLM_RERANK"))
}

/// A variable of the environment, without which the running test fails.
#[expect(
    clippy::disallowed_methods,
    reason = "the environment says where the real vLLM is"
)]
pub(crate) fn given(variable: &str) -> String {
    let value = env::var(variable).unwrap_or_default();
    assert!(
        !value.is_empty(),
        "{variable} is not set, see tests/vllm/README.md"
    );
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

    /// Requests that have ended well.
    pub(crate) async fn n_finished(&self) -> u32 {
        self.metric("vllm:request_success_total{").await
    }

    /// The sum of a metric over its labels.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a small count, printed as a float"
    )]
    async fn metric(&self, name: &str) -> u32 {
        let metrics = self.get("/metrics").await.unwrap();
        let lines: Vec<_> = metrics.lines().filter(|it| it.starts_with(name)).collect();
        assert!(!lines.is_empty(), "no {name}");
        let values = lines
            .into_iter()
            .map(|line| line.rsplit(' ').next().unwrap());
        let sum: f64 = values.map(|value| value.parse::<f64>().unwrap()).sum();
        sum as u32
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
