//! Callers that are reached by TLS, with and without a certificate, and probes that are not.

use std::time::{Duration, SystemTime};

use rustix::process::Signal as ProcessSignal;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tonic::{
    Code,
    transport::{Channel, ClientTlsConfig, Endpoint},
};
use vllm_grpc_adapter::proto::generation_service_client::GenerationServiceClient;

use crate::support::{
    certificates::{Authority, DAY, Files, Pair},
    file::File,
    process::{Process, binary},
    reply::Reply,
    requests::prompt,
    signal::Signal,
    soon,
    vllm::Vllm,
    wire,
};

const SEARCH: &str = "spiffe://example.org/ns/search/sa/web";

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
            "without a name",
            Some(ours.certify("")),
            "in --tls-client-ids: it has none",
        ),
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
async fn no_call_fails_while_certificates_are_swapped() {
    let (before, after) = (Authority::new(), Authority::new());
    let files = Files::of("swap");
    let vllm = Vllm::replying(Reply::json(200, wire::answer("a"))).await;
    let process = files
        .serving(&vllm, &before.certify("localhost"))
        .start()
        .await;
    let both = || ClientTlsConfig::new().ca_certificates([before.root(), after.root()]);
    let (mut n_calls, is_over) = (0, Signal::new());
    let calls = async {
        while !is_over.is_given() {
            // Each by a connection of its own.
            assert_eq!(called(&process, both()).await, Some(Code::Ok), "{n_calls}");
            n_calls += 1;
        }
    };
    let swaps = async {
        for n in 1..=2 {
            let pair = [&before, &after][n % 2].certify("localhost");
            files.write("cert.pem", &pair.cert);
            files.write("key.pem", &pair.key);
            let said = async {
                while process
                    .log()
                    .matches("the TLS files were read again")
                    .count()
                    < n
                {
                    tokio::task::yield_now().await;
                }
            };
            soon("waiting for the files to be read", said).await;
        }
        is_over.give();
    };
    tokio::join!(calls, swaps);
    assert!(n_calls > 0);
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

/// The HTTP status of the admin port.
async fn probed(process: &Process, path: &str) -> u16 {
    let log = process.log();
    let mut lines = log.lines();
    let admin = lines.find_map(|line| line.split_once("admin=")).unwrap().1;
    let admin = admin.replace("\u{1b}[0m", "");
    let mut socket = TcpStream::connect(&admin).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: probe\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = soon("a probe", socket.read_to_string(&mut answer)).await;
    read.unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_probe_may_ask_whether_each_upstream_has_a_replica() {
    let vllm = Vllm::replying(Reply::json(200, wire::answer("a"))).await;
    let text = format!(
        "[[upstream]]\nname = \"a\"\nurls = [\"{}\"]\n",
        vllm.base_url()
    );
    let file = File::new("readyz.toml", &text);
    let with_replica = Process::configured(&file.0)
        .flag("--probe-interval", "50ms")
        .flag("--admin-listen", "127.0.0.1:0")
        .start();
    let without = Process::alone()
        .flag("--admin-listen", "127.0.0.1:0")
        .start();
    let (with_replica, without) = tokio::join!(with_replica, without);
    becomes(&without, "/readyz", 200).await;
    assert_eq!(probed(&without, "/readyz?upstream").await, 503);
    becomes(&with_replica, "/readyz?upstream", 200).await;
    vllm.set_health(503);
    becomes(&with_replica, "/readyz?upstream", 503).await;
    assert_eq!(probed(&with_replica, "/readyz").await, 200);
}

/// Waits until the admin port answers so.
async fn becomes(process: &Process, path: &str, status: u16) {
    let asking = async {
        while probed(process, path).await != status {
            tokio::task::yield_now().await;
        }
    };
    soon(path, asking).await;
}

#[tokio::test]
async fn probes_are_answered_in_clear_until_the_drain() {
    let vllm = Vllm::replying(Reply::json(200, wire::answer("a"))).await;
    let process = Process::before(&vllm.base_url())
        .flag("--admin-listen", "127.0.0.1:0")
        .flag("--drain-delay", "1h")
        .start()
        .await;
    let status = async |path: &str| probed(&process, path).await;
    becomes(&process, "/readyz", 200).await;
    assert_eq!(status("/livez").await, 200);
    assert_eq!(status("/metrics-of-nobody").await, 404);
    process.send(ProcessSignal::TERM);
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
