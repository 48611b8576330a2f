//! Callers by their certificates, and by keys over TLS, on the web port too.

use prost::Message as _;
use reqwest::{Method, StatusCode};
use tonic::{
    Code, Request,
    transport::{Channel, ClientTlsConfig, Endpoint},
};
use vllm_grpc_adapter::{
    config::{Caller, sha256},
    proto::{GenerateRequest, generation_service_client::GenerationServiceClient},
};

use crate::support::{
    adapter::{Adapter, Builder},
    certificates::{Authority, Files},
    outcome::outcome,
    reply::Reply,
    requests::prompt,
    soon,
    vllm::Vllm,
    wire,
};

const GENERATE: &str = "/vllm_adapter.v1.GenerationService/Generate";
const KEY: &str = "key-of-search";

fn caller(name: &str, key: Option<&str>, client_id: Option<&str>) -> Caller {
    Caller {
        name: name.to_owned(),
        key_sha256: key.map(|key| sha256(key.as_bytes())),
        client_id: client_id.map(str::to_owned),
        models: Some(vec![name.to_owned()]),
        max_in_flight: None,
        requests_per_minute: None,
        caller_chosen: false,
    }
}

/// An adapter with a certificate, and those callers.
fn serving(files: &Files, ours: &Authority, vllm: &Vllm, callers: Vec<Caller>) -> Builder {
    let server = ours.certify("localhost");
    let cert = files.write("cert.pem", &server.cert);
    let key = files.write("key.pem", &server.key);
    Adapter::before(vllm.base_url()).with(|config| {
        config.server.tls.cert = Some(cert.into());
        config.server.tls.key = Some(key.into());
        config.callers = callers;
    })
}

async fn connect(adapter: &Adapter, tls: ClientTlsConfig) -> GenerationServiceClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("https://{}", adapter.address)).unwrap();
    let endpoint = endpoint.tls_config(tls.domain_name("localhost")).unwrap();
    let channel = soon("connecting by TLS", endpoint.connect()).await;
    GenerationServiceClient::new(channel.unwrap())
}

fn ask(model: &str, key: Option<&str>) -> Request<GenerateRequest> {
    let mut request = Request::new(prompt("x"));
    request.get_mut().model = model.to_owned();
    if let Some(key) = key {
        let bearer = format!("Bearer {key}").parse().unwrap();
        request.metadata_mut().insert("authorization", bearer);
    }
    request
}

#[tokio::test]
async fn a_caller_is_known_by_its_certificate_or_by_its_key() {
    let ours = Authority::new();
    let files = Files::of("access-certificates");
    let vllm = Vllm::replying(Reply::json(200, wire::answer("a"))).await;
    let callers = vec![
        caller("web", None, Some("spiffe://example.org/ns/web/*")),
        caller("search", Some(KEY), None),
    ];
    let ca = files.write("ca.pem", &ours.0.pem());
    let adapter = serving(&files, &ours, &vllm, callers)
        .with(|config| {
            config.server.tls.client_ca = Some(ca.into());
            config.server.tls.client_auth = Some(vllm_grpc_adapter::config::ClientAuth::Optional);
        })
        .start()
        .await;
    let tls = || ClientTlsConfig::new().ca_certificate(ours.root());
    let with = |name: &str| tls().identity(ours.certify(name).identity());
    let web = "spiffe://example.org/ns/web/sa/a";
    let (missing, invalid) = ("KEY_MISSING", "KEY_INVALID");
    for (row, tls, key, model, expected) in [
        ("its own", with(web), None, "web", ""),
        (
            "another model",
            with(web),
            None,
            "search",
            "MODEL_NOT_ALLOWED",
        ),
        ("another name", with("b.example"), None, "web", missing),
        ("no name", with(""), None, "web", missing),
        ("no certificate", tls(), None, "web", missing),
        ("a key", tls(), Some(KEY), "search", ""),
        ("the key counts", with(web), Some(KEY), "search", ""),
        ("a wrong key", with(web), Some("wrong"), "web", invalid),
    ] {
        let mut client = connect(&adapter, tls).await;
        let called = soon("a call", client.generate(ask(model, key))).await;
        let reason = called.map_or_else(|status| outcome(&status).1, |_| String::new());
        assert_eq!(reason, expected, "{row}");
    }
}

#[tokio::test]
async fn the_web_port_has_the_same_tls_and_asks_for_the_same_keys() {
    let ours = Authority::new();
    let files = Files::of("access-web");
    let vllm = Vllm::replying(Reply::json(200, wire::answer("a"))).await;
    let adapter = serving(
        &files,
        &ours,
        &vllm,
        vec![caller("search", Some(KEY), None)],
    )
    .with(|config| {
        config.web.listen = Some(([127, 0, 0, 1], 0).into());
        config.web.origins = vec!["https://chat.example".to_owned()];
        config.web.playground = true;
    })
    .start()
    .await;
    // Another test may have set it, to the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let root = reqwest::Certificate::from_pem(ours.0.pem().as_bytes()).unwrap();
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([root])
        .build()
        .unwrap();
    let url = format!("https://localhost:{}", adapter.web.unwrap().port());
    let page = soon("the page", client.get(&url).send()).await.unwrap();
    assert_eq!(page.status(), StatusCode::OK, "the page needs no key");
    let preflight = client
        .request(Method::OPTIONS, format!("{url}{GENERATE}"))
        .header("origin", "https://chat.example")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization");
    let preflight = soon("a preflight", preflight.send()).await.unwrap();
    assert_eq!(preflight.status(), StatusCode::OK, "it needs no key");
    assert_eq!(
        preflight.headers()["access-control-allow-headers"],
        "authorization"
    );
    let message = ask("search", None).into_inner().encode_to_vec();
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let body = [&[0][..], &length, &message].concat();
    for (key, code) in [
        (None, Some(Code::Unauthenticated)),
        (Some("wrong"), Some(Code::Unauthenticated)),
        (Some(KEY), None),
    ] {
        let mut request = client
            .post(format!("{url}{GENERATE}"))
            .header("origin", "https://chat.example")
            .header("content-type", "application/grpc-web+proto")
            .body(body.clone());
        if let Some(key) = key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let response = soon("a call", request.send()).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let status = response.headers().get("grpc-status").cloned();
        let expected = code.map(|code| (code as i32).to_string());
        assert_eq!(
            status.as_ref().map(|it| it.to_str().unwrap()),
            expected.as_deref()
        );
        let answered = response.bytes().await.unwrap();
        let is_ok = String::from_utf8_lossy(&answered).contains("grpc-status:0");
        assert_eq!(is_ok, code.is_none(), "{key:?}");
    }
    // Plaintext there is no call.
    let plain = format!("http://localhost:{}/", adapter.web.unwrap().port());
    assert!(soon("plaintext", client.get(plain).send()).await.is_err());
    assert_eq!(vllm.n_requests(), 1);
}
