//! The adapter in this process, on a port of its own, and the client that calls it.

use std::{net::SocketAddr, time::Duration};

use tokio::{net::TcpListener, sync::mpsc, task::JoinSet};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Code, IntoRequest, Status,
    transport::{Channel, Endpoint},
};
use url::Url;
use vllm_grpc_adapter::{
    config::{Config, Limits, Log, Policy, Server, Tls, Upstream, UpstreamTls, Web},
    proto::{
        GenerateRequest, StreamGenerateResponse, generation_service_client::GenerationServiceClient,
    },
    server::{self, Listeners},
};

use super::soon;

/// A running adapter; dropping it ends it.
pub(crate) struct Adapter {
    pub(crate) address: SocketAddr,
    /// Of the web port, where the configuration has one.
    pub(crate) web: Option<SocketAddr>,
    /// Connects with its first call.
    channel: Channel,
    stop: mpsc::Sender<()>,
    task: JoinSet<Result<(), server::Error>>,
}

/// An adapter to be started, with the defaults of the flags but for a drain without delay.
pub(crate) struct Builder {
    config: Config,
}

/// A stream as its caller saw it.
#[derive(Debug)]
pub(crate) struct Streamed {
    pub(crate) events: Vec<StreamGenerateResponse>,
    /// The one terminal status; OK has an empty message.
    pub(crate) status: Status,
}

// === impl Builder ===

impl Builder {
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    pub(crate) async fn start(self) -> Adapter {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let web = match self.config.web.listen {
            Some(listen) => Some(TcpListener::bind(listen).await.unwrap()),
            None => None,
        };
        let web_address = web.as_ref().map(|it| it.local_addr().unwrap());
        let listeners = Listeners {
            grpc: listener,
            admin: None,
            web,
        };
        let (stop, stops) = mpsc::channel(2);
        let stops = ReceiverStream::new(stops);
        let mut task = JoinSet::new();
        task.spawn(server::serve(listeners, self.config, stops));
        Adapter {
            address,
            web: web_address,
            channel: endpoint(address).connect_lazy(),
            stop,
            task,
        }
    }
}

// === impl Adapter ===

impl Adapter {
    /// An adapter before the upstream that has this base URL.
    pub(crate) fn before(base_url: Url) -> Builder {
        Builder {
            config: config(base_url),
        }
    }

    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    pub(crate) fn client(&self) -> GenerationServiceClient<Channel> {
        GenerationServiceClient::new(self.channel.clone()).max_decoding_message_size(64 << 20)
    }

    /// Streams an answer to its end.
    pub(crate) async fn stream(&self, request: impl IntoRequest<GenerateRequest>) -> Streamed {
        let mut streamed = Streamed {
            events: Vec::new(),
            status: Status::new(Code::Ok, ""),
        };
        let mut client = self.client();
        let mut responses = match client.stream_generate(request).await {
            Ok(response) => response.into_inner(),
            Err(status) => {
                streamed.status = status;
                return streamed;
            }
        };
        loop {
            match soon("waiting for an event", responses.message()).await {
                Ok(Some(event)) => streamed.events.push(event),
                Ok(None) => return streamed,
                Err(status) => {
                    streamed.status = status;
                    return streamed;
                }
            }
        }
    }

    /// As a signal does.
    pub(crate) async fn stop(&self) {
        self.stop.send(()).await.unwrap();
    }

    /// What `serve` returned.
    pub(crate) async fn ended(mut self) -> Result<(), server::Error> {
        let ended = soon("waiting for the adapter to end", self.task.join_next()).await;
        ended.unwrap().unwrap()
    }
}

/// A client by another way, as by a proxy.
pub(crate) async fn client_at(address: SocketAddr) -> GenerationServiceClient<Channel> {
    let channel = endpoint(address);
    let channel = soon("connecting to the adapter", channel.connect()).await;
    GenerationServiceClient::new(channel.unwrap())
}

fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint::from_shared(format!("http://{address}")).unwrap()
}

/// An adapter before an upstream that nobody listens for.
pub(crate) async fn serve(change: impl FnOnce(&mut Server)) -> Adapter {
    let nobody = "http://127.0.0.1:1/v1".parse().unwrap();
    let adapter = Adapter::before(nobody).with(|config| change(&mut config.server));
    adapter.start().await
}

/// What the flags' defaults give, but for a drain without delay.
fn config(base_url: Url) -> Config {
    let seconds = Duration::from_secs;
    Config {
        listen: ([127, 0, 0, 1], 0).into(),
        admin_listen: None,
        web: Web::default(),
        server: Server {
            max_request_bytes: 32 << 20,
            max_response_bytes: 32 << 20,
            max_request_memory: 512 << 20,
            pad_responses: None,
            max_connections: 10_000,
            max_connections_per_source: None,
            max_streams_per_connection: 256,
            max_in_flight: None,
            keepalive_interval: Some(seconds(30)),
            keepalive_timeout: seconds(10),
            max_connection_idle: Some(seconds(15 * 60)),
            max_connection_age: None,
            max_connection_age_grace: Some(seconds(120)),
            write_stall_timeout: Some(seconds(60)),
            drain_delay: Duration::ZERO,
            drain_timeout: seconds(120),
            reflection: true,
            tls: Tls::default(),
        },
        upstream: Upstream {
            base_url,
            api_key: None,
            api_key_source: "none".to_owned(),
            connect_timeout: seconds(2),
            idle_timeout: seconds(3),
            max_event_bytes: 8 << 20,
            max_body_bytes: 32 << 20,
            // Tests count what the upstream is asked.
            probe_interval: None,
            tls: UpstreamTls::default(),
            address: None,
        },
        upstreams: None,
        callers: Vec::new(),
        forward_authorization: false,
        limits: Limits {
            first_token: None,
            token_idle: Some(seconds(60)),
            max_duration: None,
        },
        policy: Policy {
            max_audio_bytes: 25 << 20,
            ..Policy::default()
        },
        log: Log {
            filter: "info".to_owned(),
            json: false,
        },
    }
}
