//! A simulated vLLM inside the process, to try the adapter without a GPU.
//!
//! It listens on a loopback port and speaks the HTTP of vLLM 0.32 as a real one was recorded: routes, JSON,
//! server-sent events token by token, and error bodies. What it says comes from a small script and not from a model.
//! It shares no code with the serving path, so that a mistake there cannot hide itself here.

mod answer;
mod body;
mod chat;
mod chunk;
mod error;
mod fields;
mod limits;
mod logprobs;
mod request;
mod routes;
mod schema;
mod script;
mod text;
mod wire;

use std::{convert::Infallible, io, net::SocketAddr, time::Duration};

use tokio::{net::TcpListener, task::JoinSet};
use url::Url;

/// The one model that the simulated vLLM serves.
pub const MODEL: &str = "demo";

/// Pause after a failed accept, as when file descriptors run out, so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A simulated vLLM that holds its port but does not answer yet.
#[derive(Debug)]
pub struct Upstream {
    listener: TcpListener,
    base_url: Url,
}

// === impl Upstream ===

impl Upstream {
    /// Takes a free port of the loopback interface.
    ///
    /// # Errors
    ///
    /// The loopback interface has no port to give.
    pub async fn bind() -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let base_url = Url::parse(&format!("http://{address}/v1")).map_err(io::Error::other)?;
        Ok(Self { listener, base_url })
    }

    /// The base URL as the OpenAI SDK takes it, with the `/v1`.
    pub fn base_url(&self) -> Url {
        self.base_url.clone()
    }

    /// Answers for as long as it is polled; dropping it closes every connection.
    pub async fn run(self) -> Infallible {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _address)) => {
                        connections.spawn(routes::serve(stream));
                    }
                    Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
                },
                Some(_ended) = connections.join_next() => {}
            }
        }
    }
}

/// The grpcurl calls to try first, one a line, for an adapter that listens on `listen`.
///
/// An adapter that listens on every interface is called through the loopback one.
pub fn grpcurl_lines(listen: SocketAddr) -> String {
    let port = listen.port();
    let target = if listen.ip().is_unspecified() {
        format!("localhost:{port}")
    } else {
        listen.to_string()
    };
    let call = |request: &str, method: &str| {
        format!(
            "grpcurl -plaintext -d '{request}' {target} vllm_adapter.v1.GenerationService/{method}\n"
        )
    };
    [
        call(r#"{"prompt":"Hello!"}"#, "Generate"),
        call(r#"{"prompt":"Count to ten."}"#, "StreamGenerate"),
        call(r#"{"prompt":"Think about 2+2."}"#, "StreamGenerate"),
        call(
            r#"{"prompt":"Weather in Paris?","tools":[{"name":"get_weather","parameters_json":"{\"type\":\"object\",\"properties\":{\"city\":{\"type\":\"string\"}}}"}]}"#,
            "StreamGenerate",
        ),
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grpcurl_lines_name_an_address_that_can_be_called() {
        for (listen, target) in [
            ("127.0.0.1:50051", " 127.0.0.1:50051 "),
            ("0.0.0.0:7", " localhost:7 "),
            ("[::]:7", " localhost:7 "),
            ("[::1]:7", " [::1]:7 "),
        ] {
            let lines = grpcurl_lines(listen.parse().unwrap());
            assert!(lines.lines().all(|line| line.contains(target)), "{lines}");
            assert!(lines.contains("GenerationService/Generate\n"));
            assert!(lines.contains("GenerationService/StreamGenerate\n"));
        }
    }

    #[tokio::test]
    async fn every_upstream_takes_a_port_of_its_own() {
        let one = Upstream::bind().await.unwrap();
        let other = Upstream::bind().await.unwrap();
        assert_ne!(one.base_url(), other.base_url());
        assert_eq!(one.base_url().path(), "/v1");
    }
}
