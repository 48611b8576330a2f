//! Upstreams that are reached by TLS, and those that must not be.
//!
//! The adapter is a process of its own, since `SSL_CERT_FILE` makes the tests' root of trust known to it.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use rcgen::{BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;
use tonic::{Code, Status};
use url::Url;

use crate::support::{
    outcome::check, process::Process, reply::Reply, requests::prompt, soon, vllm::Vllm, wire,
};

/// Of a record that holds a handshake; HTTP in clear begins with a letter.
const HANDSHAKE: u8 = 22;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A server before the scripted upstream; dropping it closes its port.
struct Front {
    address: SocketAddr,
    n_clear: Arc<AtomicUsize>,
    n_connections: Arc<AtomicUsize>,
    _task: JoinSet<()>,
}

/// What a front does with a connection.
#[derive(Clone)]
enum Greeting {
    /// Speaks TLS, and passes on what comes.
    Tls(TlsAcceptor),
    /// Sends these bytes in answer to the first that come.
    Bytes(Vec<u8>),
}

// === impl Front ===

impl Front {
    async fn before(vllm: &Vllm, greeting: Greeting) -> Self {
        let target = vllm.base_url().socket_addrs(|| None).unwrap()[0];
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let [n_clear, n_connections] = [(); 2].map(|()| Arc::<AtomicUsize>::default());
        let counts = (Arc::clone(&n_clear), Arc::clone(&n_connections));
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _address) = listener.accept().await.unwrap();
                counts.1.fetch_add(1, Ordering::Relaxed);
                let n_clear = Arc::clone(&counts.0);
                connections.spawn(greet(stream, greeting.clone(), target, n_clear));
            }
        });
        Self {
            address,
            n_clear,
            n_connections,
            _task: task,
        }
    }

    fn base_url(&self) -> Url {
        Url::parse(&format!("https://{}/v1", self.address)).unwrap()
    }
}

async fn greet(
    mut stream: TcpStream,
    greeting: Greeting,
    target: SocketAddr,
    n_clear: Arc<AtomicUsize>,
) {
    let mut first = [0];
    if stream.peek(&mut first).await.is_ok_and(|n| n == 1) && first != [HANDSHAKE] {
        n_clear.fetch_add(1, Ordering::Relaxed);
    }
    match greeting {
        Greeting::Tls(acceptor) => {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                return;
            };
            let mut server = TcpStream::connect(target).await.unwrap();
            // Either side may leave as it likes.
            let _ = copy_bidirectional(&mut stream, &mut server).await;
        }
        Greeting::Bytes(bytes) => {
            let mut buffer = [0; 4096];
            let _ = stream.read(&mut buffer).await;
            let _ = stream.write_all(&bytes).await;
            while stream.read(&mut buffer).await.is_ok_and(|n| n > 0) {}
        }
    }
}

/// A root of trust.
fn root() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A server's certificate for that name, valid until then.
fn certificate(
    issuer: &CertifiedIssuer<'static, KeyPair>,
    name: &str,
    until: SystemTime,
) -> (Certificate, KeyPair) {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.not_before = (SystemTime::now() - 10 * DAY).into();
    params.not_after = until.into();
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, issuer).unwrap(), key)
}

/// TLS with that certificate, for those protocols above it; none are all.
fn tls((certificate, key): (Certificate, KeyPair), protocols: &[&str]) -> Greeting {
    let provider = rustls::crypto::ring::default_provider();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut config = ServerConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    config.alpn_protocols = protocols
        .iter()
        .map(|name| name.as_bytes().to_vec())
        .collect();
    Greeting::Tls(TlsAcceptor::from(Arc::new(config)))
}

/// What a server sends that knows TLS 1.1 at most: its choice of a version that was not offered.
fn hello_of_tls_1_1() -> Vec<u8> {
    let mut hello = vec![3, 2];
    hello.extend([7; 32]);
    // No session, the cipher `TLS_RSA_WITH_AES_128_CBC_SHA`, no compression.
    hello.extend([0, 0, 0x2f, 0]);
    let mut record = vec![HANDSHAKE, 3, 2, 0, hello.len() as u8 + 4];
    record.extend([2, 0, 0, hello.len() as u8]);
    record.extend(hello);
    record
}

/// A file that holds the certificate, as `SSL_CERT_FILE` names it.
fn file(name: &str, root: &Certificate) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("{name}-{}.pem", std::process::id()));
    let text = BASE64_STANDARD.encode(root.der());
    let pem = format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n");
    std::fs::write(&path, pem).unwrap();
    path
}

/// What a unary and a streamed call are told by an adapter that trusts these roots.
async fn told(front: &Front, roots: &Path) -> [Status; 2] {
    let process = Process::before(&front.base_url())
        .variable("SSL_CERT_FILE", roots.to_str().unwrap())
        .start()
        .await;
    let mut client = process.client().await;
    let unary = soon("a unary call", client.generate(prompt("x"))).await;
    let streamed = soon("a stream", client.stream_generate(prompt("x"))).await;
    [unary.map(drop), streamed.map(drop)]
        .map(|told| told.map_or_else(|status| status, |()| Status::new(Code::Ok, "")))
}

/// Row B2.
#[tokio::test]
async fn a_server_that_cannot_be_trusted_is_unavailable_and_never_asked() {
    let vllm = Vllm::replying(Reply::json(200, wire::answer("a"))).await;
    let (trusted, foreign) = (root(), root());
    let roots = file("trusted", trusted.as_ref());
    let later = SystemTime::now() + 10 * DAY;
    let earlier = SystemTime::now() - DAY;
    let host = "127.0.0.1";
    let rows = [
        ("expired", tls(certificate(&trusted, host, earlier), &[])),
        (
            "another name",
            tls(certificate(&trusted, "elsewhere.example", later), &[]),
        ),
        ("unknown root", tls(certificate(&foreign, host, later), &[])),
        ("TLS 1.1", Greeting::Bytes(hello_of_tls_1_1())),
        (
            "no version in common, as an alert",
            Greeting::Bytes(vec![21, 3, 1, 0, 2, 2, 70]),
        ),
        (
            "HTTP/2 alone",
            tls(certificate(&trusted, host, later), &["h2"]),
        ),
        (
            "HTTP in clear",
            Greeting::Bytes(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n".to_vec()),
        ),
    ];
    for (row, greeting) in rows {
        let front = Front::before(&vllm, greeting).await;
        for status in told(&front, &roots).await {
            check(&status, Code::Unavailable, "UPSTREAM_TLS", row);
            assert!(!status.message().contains(host), "{row}: {status:?}");
        }
        assert_eq!(front.n_connections.load(Ordering::Relaxed), 2, "{row}");
        assert_eq!(front.n_clear.load(Ordering::Relaxed), 0, "{row}");
    }
    assert_eq!(vllm.n_requests(), 0);
}

/// Row B2: what the others lack is all that they lack.
#[tokio::test]
async fn a_server_of_a_known_root_is_asked_by_tls() {
    let trusted = root();
    let roots = file("known", trusted.as_ref());
    let later = SystemTime::now() + 10 * DAY;
    for protocols in [&[][..], &["h2", "http/1.1"]] {
        let stream = Reply::stream()
            .event(wire::first())
            .event(wire::finish("stop"))
            .done();
        let vllm = Vllm::replying_in_turn([Reply::json(200, wire::answer("a")), stream]).await;
        let server = tls(certificate(&trusted, "127.0.0.1", later), protocols);
        let front = Front::before(&vllm, server).await;
        for status in told(&front, &roots).await {
            assert_eq!(status.code(), Code::Ok, "{status:?}");
        }
        assert_eq!(front.n_clear.load(Ordering::Relaxed), 0);
        assert_eq!(vllm.n_requests(), 2);
    }
}

/// A PEM file of that kind.
fn pem(name: &str, kind: &str, der: &[u8]) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("{name}-{}.pem", std::process::id()));
    let text = BASE64_STANDARD.encode(der);
    let pem = format!("-----BEGIN {kind}-----\n{text}\n-----END {kind}-----\n");
    std::fs::write(&path, pem).unwrap();
    path
}

#[tokio::test]
async fn an_upstream_has_a_root_of_its_own_and_may_ask_for_a_client_certificate() {
    let (trusted, later) = (root(), SystemTime::now() + 10 * DAY);
    let vllm = Vllm::replying(Reply::json(200, wire::answer("a"))).await;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(trusted.as_ref().der().clone()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider));
    let (server, server_key) = certificate(&trusted, "127.0.0.1", later);
    let server_key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(server_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(vec![server.der().clone()], server_key)
        .unwrap();
    let greeting = Greeting::Tls(TlsAcceptor::from(Arc::new(config)));
    let front = Front::before(&vllm, greeting).await;
    let (client, client_key) = certificate(&trusted, "client", later);
    let ca = file("own-ca", trusted.as_ref());
    let cert = pem("own-cert", "CERTIFICATE", client.der());
    let key = pem("own-key", "PRIVATE KEY", &client_key.serialize_der());
    let url = front.base_url();
    let text = format!("[[upstream]]\nname = \"a\"\nurls = [\"{url}\"]\nca = {ca:?}\n");
    let with_client = format!("{text}cert = {cert:?}\nkey = {key:?}\n");
    for (name, text, is_ok) in [("plain", text, false), ("client", with_client, true)] {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("tls-{name}.toml"));
        std::fs::write(&path, text).unwrap();
        let process = Process::configured(&path).start().await;
        let mut client = process.client().await;
        let told = soon("a unary call", client.generate(prompt("x"))).await;
        assert_eq!(told.is_ok(), is_ok, "{name}: {told:?}");
    }
}
