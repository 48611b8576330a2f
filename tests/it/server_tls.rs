//! Callers that are reached by TLS, with and without a certificate, and probes that are not.

use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use rustix::process::Signal;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tonic::{
    Code,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};
use vllm_grpc_adapter::proto::generation_service_client::GenerationServiceClient;

use crate::support::{
    process::{Builder, Process, binary},
    reply::Reply,
    requests::prompt,
    soon,
    vllm::Vllm,
    wire,
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

const SEARCH: &str = "spiffe://example.org/ns/search/sa/web";

/// A root of trust, whose certificates tests give to servers and callers.
struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in PEM.
struct Pair {
    cert: String,
    key: String,
}

/// Files of one test.
struct Files(PathBuf);

// === impl Authority ===

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn root(&self) -> Certificate {
        Certificate::from_pem(self.0.pem())
    }

    /// A certificate for that name, which is a URI where it looks like one, valid until then.
    fn certify_until(&self, name: &str, until: SystemTime) -> Pair {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![match name.contains("://") {
            true => SanType::URI(name.try_into().unwrap()),
            false => SanType::DnsName(name.try_into().unwrap()),
        }];
        params.not_before = (SystemTime::now() - 10 * DAY).into();
        params.not_after = until.into();
        let key = KeyPair::generate().unwrap();
        Pair {
            cert: params.signed_by(&key, &self.0).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    fn certify(&self, name: &str) -> Pair {
        self.certify_until(name, SystemTime::now() + 10 * DAY)
    }
}

// === impl Pair ===

impl Pair {
    fn identity(&self) -> Identity {
        Identity::from_pem(&self.cert, &self.key)
    }
}

// === impl Files ===

impl Files {
    fn of(test: &str) -> Self {
        let name = format!("{test}-{}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// An adapter that shows this certificate.
    fn serving(&self, vllm: &Vllm, server: &Pair) -> Builder {
        Process::before(&vllm.base_url())
            .flag("--tls-cert", &self.write("cert.pem", &server.cert))
            .flag("--tls-key", &self.write("key.pem", &server.key))
    }
}

/// Connects with TLS; why it cannot, where it cannot.
async fn connect(process: &Process, tls: ClientTlsConfig) -> Result<Channel, String> {
    let endpoint = Endpoint::from_shared(format!("https://{}", process.address)).unwrap();
    let endpoint = endpoint.tls_config(tls.domain_name("localhost")).unwrap();
    let channel = soon("connecting by TLS", endpoint.connect()).await;
    channel.map_err(|error| format!("{error:?}"))
}

/// What a call by that connection ends with; `None` where the connection was refused.
async fn called(process: &Process, tls: ClientTlsConfig) -> Option<Code> {
    let channel = connect(process, tls).await.ok()?;
    let mut client = GenerationServiceClient::new(channel);
    let called = soon("a call by TLS", client.generate(prompt("x"))).await;
    match called {
        Ok(_response) => Some(Code::Ok),
        // With TLS 1.3 a caller learns that its certificate was refused after its own part of the handshake.
        Err(status) if std::error::Error::source(&status).is_some() => None,
        Err(status) => Some(status.code()),
    }
}

#[tokio::test]
async fn callers_need_a_certificate_of_the_root_with_one_of_the_names() {
    let (ours, foreign) = (Authority::new(), Authority::new());
    let files = Files::of("client-auth");
    let vllm = Vllm::replying(Reply::json(200, wire::answer("a"))).await;
    let process = files
        .serving(&vllm, &ours.certify("localhost"))
        .flag("--tls-client-ca", &files.write("ca.pem", &ours.0.pem()))
        .flag(
            "--tls-client-ids",
            "spiffe://example.org/ns/search/*,batch.example",
        )
        .start()
        .await;
    let tls = || ClientTlsConfig::new().ca_certificate(ours.root());
    for name in [SEARCH, "batch.example"] {
        let caller = tls().identity(ours.certify(name).identity());
        assert_eq!(called(&process, caller).await, Some(Code::Ok), "{name}");
    }
    let expired = ours.certify_until(SEARCH, SystemTime::now() - DAY);
    let another = "spiffe://example.org/ns/other/sa/web";
    for (row, caller, logged) in [
        ("none", None, "peer sent no certificates"),
        (
            "of another root",
            Some(foreign.certify(SEARCH)),
            "invalid peer certificate: BadSignature",
        ),
        ("expired", Some(expired), "expired"),
        (
            "of another name",
            Some(ours.certify(another)),
            "in --tls-client-ids: spiffe://example.org/ns/other",
        ),
    ] {
        let identities = caller.iter().map(Pair::identity);
        let tls = identities.fold(tls(), ClientTlsConfig::identity);
        assert_eq!(called(&process, tls).await, None, "{row}");
        process.says(logged).await;
    }
    assert_eq!(vllm.n_requests(), 2);
}

#[tokio::test]
async fn a_certificate_is_optional_where_the_operator_says_so() {
    let (ours, foreign) = (Authority::new(), Authority::new());
    let files = Files::of("client-auth-optional");
    let vllm = Vllm::replying(Reply::json(200, wire::answer("a"))).await;
    let process = files
        .serving(&vllm, &ours.certify("localhost"))
        .flag("--tls-client-ca", &files.write("ca.pem", &ours.0.pem()))
        .flag("--tls-client-auth", "optional")
        .start()
        .await;
    let tls = || ClientTlsConfig::new().ca_certificate(ours.root());
    assert_eq!(called(&process, tls()).await, Some(Code::Ok));
    let wrong = tls().identity(foreign.certify(SEARCH).identity());
    assert_eq!(called(&process, wrong).await, None);
}

#[tokio::test]
async fn new_connections_get_the_certificate_that_has_replaced_the_first() {
    let (before, after) = (Authority::new(), Authority::new());
    let files = Files::of("reload");
    let stream = Reply::stream().event(wire::first()).stay_open();
    let vllm = Vllm::replying_in_turn([stream, Reply::json(200, wire::answer("a"))]).await;
    let process = files
        .serving(&vllm, &before.certify("localhost"))
        .start()
        .await;
    let trusting = |authority: &Authority| ClientTlsConfig::new().ca_certificate(authority.root());
    let channel = connect(&process, trusting(&before)).await.unwrap();
    let mut client = GenerationServiceClient::new(channel);
    let running = soon("a stream", client.stream_generate(prompt("x"))).await;
    let mut running = running.unwrap().into_inner();
    assert!(running.message().await.unwrap().is_some());

    let replaced = after.certify("localhost");
    files.write("cert.pem", &replaced.cert);
    process
        .says("the TLS files cannot be used: those read before stay")
        .await;
    assert_eq!(connect(&process, trusting(&before)).await.map(drop), Ok(()));
    files.write("key.pem", &replaced.key);
    process.says("the TLS files were read again").await;
    assert!(connect(&process, trusting(&before)).await.is_err());
    assert_eq!(called(&process, trusting(&after)).await, Some(Code::Ok));
    let waiting = tokio::time::timeout(Duration::from_millis(50), running.message()).await;
    assert!(waiting.is_err(), "the running stream goes on");
}

#[tokio::test]
async fn a_plain_caller_of_a_tls_port_is_closed_and_so_is_the_reverse() {
    let ours = Authority::new();
    let files = Files::of("mixed");
    let vllm = Vllm::replying(Reply::json(200, wire::answer("a"))).await;
    let process = files
        .serving(&vllm, &ours.certify("localhost"))
        .start()
        .await;
    let mut plain = TcpStream::connect(process.address).await.unwrap();
    plain
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    let mut answered = Vec::new();
    let ended = soon(
        "the end of a plain connection",
        plain.read_to_end(&mut answered),
    )
    .await;
    assert!(
        ended.is_err() || answered.first() == Some(&21),
        "a TLS alert: {answered:?}"
    );
    process.says("refused a connection").await;

    let process = Process::before(&vllm.base_url()).start().await;
    let tls = ClientTlsConfig::new().ca_certificate(ours.root());
    assert!(connect(&process, tls).await.is_err());
    assert_eq!(vllm.n_requests(), 0);
}

#[tokio::test]
async fn probes_are_answered_in_clear_until_the_drain() {
    let vllm = Vllm::replying(Reply::json(200, wire::answer("a"))).await;
    let process = Process::before(&vllm.base_url())
        .flag("--admin-listen", "127.0.0.1:0")
        .flag("--drain-delay", "1h")
        .start()
        .await;
    let log = process.log();
    let admin = log
        .lines()
        .find_map(|line| line.split_once("admin="))
        .unwrap()
        .1;
    let admin = admin.replace("\u{1b}[0m", "");
    let status = async |path: &str| {
        let mut socket = TcpStream::connect(&admin).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: probe\r\nconnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        soon("a probe", socket.read_to_string(&mut answer))
            .await
            .unwrap();
        let status = answer.split(' ').nth(1).unwrap();
        status.parse::<u16>().unwrap()
    };
    assert_eq!(
        (status("/livez").await, status("/readyz").await),
        (200, 200)
    );
    assert_eq!(status("/metrics-of-nobody").await, 404);
    process.send(Signal::TERM);
    process.says("health is NOT_SERVING").await;
    assert_eq!(
        (status("/livez").await, status("/readyz").await),
        (200, 503)
    );
}

#[tokio::test]
async fn flags_of_tls_that_contradict_each_other_are_refused() {
    for (flags, fault) in [
        (&["--tls-cert", "a"][..], "--tls-cert: needs --tls-key"),
        (&["--tls-key", "a"], "--tls-key: needs --tls-cert"),
        (
            &["--tls-client-ca", "a"],
            "--tls-client-auth: needs --tls-cert",
        ),
        (
            &[
                "--tls-cert",
                "a",
                "--tls-key",
                "b",
                "--tls-client-auth",
                "optional",
            ],
            "--tls-client-auth: needs --tls-client-ca",
        ),
        (
            &["--tls-client-ids", "a"],
            "--tls-client-ids: needs --tls-client-ca",
        ),
        (
            &["--tls-cert", "/nowhere", "--tls-key", "/nowhere"],
            "/nowhere: No such file",
        ),
    ] {
        let output = crate::support::process::binary()
            .args(flags)
            .args(["--listen", "127.0.0.1:0"])
            .output()
            .unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(
            !output.status.success() && told.contains(fault),
            "{flags:?}: {told}"
        );
    }
}

#[tokio::test]
async fn ask_shows_its_certificate_and_checks_the_adapters() {
    let (ours, foreign) = (Authority::new(), Authority::new());
    let files = Files::of("ask");
    let vllm = Vllm::replying(Reply::stream()
            .event(r#"{"id":"c","choices":[{"index":0,"delta":{"content":"Yes."},"finish_reason":"stop"}]}"#)
            .done()).await;
    let ca = files.write("ca.pem", &ours.0.pem());
    let serving = files.serving(&vllm, &ours.certify("localhost"));
    let process = serving.flag("--tls-client-ca", &ca).start().await;
    let client = ours.certify("client.example");
    let (cert, key) = (
        files.write("client.pem", &client.cert),
        files.write("client-key.pem", &client.key),
    );
    let other = files.write("foreign.pem", &foreign.0.pem());
    let address = format!("localhost:{}", process.address.port());
    for (flags, code) in [
        (&["--ca", &ca, "--cert", &cert, "--key", &key][..], 0),
        (&["--ca", &ca], 69),
        (&["--ca", &other, "--cert", &cert, "--key", &key], 69),
        (&[], 69),
        (&["--cert", &cert, "--key", &key], 64),
    ] {
        let mut command = binary();
        command
            .args(["ask", "--address", &address])
            .args(flags)
            .arg("x");
        let output = tokio::task::spawn_blocking(move || command.output().unwrap());
        let output = output.await.unwrap();
        assert_eq!(output.status.code(), Some(code), "{flags:?} {output:?}");
    }
}
