//! Callers by their keys: who may call, which models, and how much at once.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use rustix::process::Signal as ProcessSignal;
use tokio::task::JoinSet;
use tonic::{Code, Request, Status, metadata::MetadataMap};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_types::StatusExt;
use vllm_grpc_adapter::proto::{
    GenerateRequest, GetModelRequest, ListModelsRequest, TokenizeRequest,
    model_service_client::ModelServiceClient,
    tokenization_service_client::TokenizationServiceClient,
};

use crate::support::{
    bounds::scaled,
    file::File,
    outcome::outcome,
    process::{Process, binary},
    raw_h2::{END_HEADERS, HEADERS, RawH2, call_fields, frame},
    reply::Reply,
    signal::Signal,
    soon,
    vllm::{Vllm, closed_port},
    wire,
};

const GENERATE: &str = "/vllm_adapter.v1.GenerationService/Generate";
const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";

const SEARCH_KEY: &str = "key-of-search";
const BATCH_KEY: &str = "key-of-batch";

/// An entry for a caller by that key, with more lines.
fn caller(name: &str, key: &str, more: &str) -> String {
    let digest = vllm_grpc_adapter::config::sha256(key.as_bytes());
    format!("[[caller]]\nname = {name:?}\nkey_sha256 = {digest:?}\n{more}\n")
}

fn upstream(name: &str, vllm: &Vllm, more: &str) -> String {
    let url = vllm.base_url();
    format!("[[upstream]]\nname = {name:?}\nurls = [\"{url}\"]\n{more}\n")
}

/// Lists a model, and answers each call.
async fn vllm(model: &'static str) -> Vllm {
    Vllm::choosing(move |request| match request.path.as_str() {
        "/v1/models" => {
            let list =
                serde_json::json!({"object": "list", "data": [{"id": model}, {"id": "other"}]});
            Reply::json(200, list.to_string())
        }
        "/tokenize" => Reply::json(200, r#"{"count":1,"max_model_len":9,"tokens":[1]}"#),
        _ => Reply::json(200, wire::answer("a")),
    })
    .await
}

fn with<T>(message: T, metadata: &[(&'static str, &str)]) -> Request<T> {
    let mut headers = HeaderMap::new();
    for (name, value) in metadata {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    let mut request = Request::new(message);
    *request.metadata_mut() = MetadataMap::from_headers(headers);
    request
}

fn by<T>(key: &str, message: T) -> Request<T> {
    with(message, &[("authorization", &format!("Bearer {key}"))])
}

fn ask(model: &str) -> GenerateRequest {
    GenerateRequest {
        prompt: "canary-prompt".to_owned(),
        model: model.to_owned(),
        ..GenerateRequest::default()
    }
}

fn ended<T>(called: Result<T, Status>) -> (Code, String) {
    called.map_or_else(|status| outcome(&status), |_| (Code::Ok, String::new()))
}

fn expected(code: Code, reason: &str) -> (Code, String) {
    (code, reason.to_owned())
}

async fn generate(process: &Process, request: Request<GenerateRequest>) -> (Code, String) {
    let mut client = process.client().await;
    ended(soon("a call", client.generate(request)).await)
}

#[tokio::test]
async fn a_call_is_refused_before_its_message_unless_it_has_one_good_key() {
    let vllm = vllm("m").await;
    let text = upstream("a", &vllm, "") + &caller("search", SEARCH_KEY, "");
    let file = File::new("access_keys.toml", &text);
    let process = Process::configured(&file.0).start().await;
    let good = format!("Bearer {SEARCH_KEY}");
    let mut connection = RawH2::open(process.address, &[]).await;
    let mut stream = 1;
    for (path, keys, code, reason) in [
        (GENERATE, &[][..], Code::Unauthenticated, "KEY_MISSING"),
        (
            GENERATE,
            &["Bearer wrong"],
            Code::Unauthenticated,
            "KEY_INVALID",
        ),
        (
            GENERATE,
            &[&good, &good],
            Code::Unauthenticated,
            "KEY_INVALID",
        ),
        (
            GENERATE,
            &["Basic a2V5"],
            Code::Unauthenticated,
            "KEY_INVALID",
        ),
        ("/no.such/Method", &[], Code::Unauthenticated, "KEY_MISSING"),
        (REFLECTION, &[], Code::Unauthenticated, "KEY_MISSING"),
        (
            "/no.such/Method",
            &[&good],
            Code::Unimplemented,
            "METHOD_UNKNOWN",
        ),
    ] {
        let keys: Vec<_> = keys.iter().map(|key| ("authorization", *key)).collect();
        let head = frame(HEADERS, END_HEADERS, stream, &call_fields(path, &keys));
        // Neither the message nor the end of the stream follows.
        connection.write(&head).await;
        let response = connection.response(stream).await;
        assert_eq!(
            response.outcome(),
            expected(code, reason),
            "{path} {keys:?}"
        );
        assert!(response.trailers.is_empty(), "{response:?}");
        stream += 2;
    }
    assert_eq!(vllm.n_requests_to("/v1/chat/completions"), 0);
    let mut health = HealthClient::new(process.channel().await);
    let checked = health.check(HealthCheckRequest::default()).await;
    assert!(checked.is_ok(), "health needs no key: {checked:?}");
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let key = format!("{scheme} {SEARCH_KEY}");
        let request = with(ask("m"), &[("authorization", &key)]);
        assert_eq!(generate(&process, request).await.0, Code::Ok, "{scheme}");
    }
}

#[tokio::test]
async fn a_key_goes_nowhere_and_the_log_names_its_caller() {
    let vllm = vllm("m").await;
    let text = upstream("a", &vllm, "") + &caller("search", SEARCH_KEY, "");
    let file = File::new("access_secret.toml", &text);
    let process = Process::configured(&file.0)
        .flag("--log", "trace")
        .start()
        .await;
    assert_eq!(
        generate(&process, by(SEARCH_KEY, ask("m"))).await.0,
        Code::Ok
    );
    assert_eq!(
        generate(&process, by("wrong-key", ask("m"))).await.0,
        Code::Unauthenticated
    );
    process.says("KEY_INVALID").await;
    let log = process
        .log()
        .replace("\u{1b}[3m", "")
        .replace("\u{1b}[0m\u{1b}[2m=\u{1b}[0m", "=");
    assert!(log.contains("caller=\"search\""), "{log}");
    assert!(
        !log.contains(SEARCH_KEY) && !log.contains("wrong-key"),
        "{log}"
    );
    for n in 0..vllm.n_requests() {
        let request = vllm.request(n).await;
        assert_eq!(request.header("authorization"), None);
        assert!(!format!("{request:?}").contains(SEARCH_KEY), "{request:?}");
    }
}

#[tokio::test]
async fn a_caller_may_use_its_models_by_whatever_way_it_names_them() {
    let (one, two) = (vllm("big").await, vllm("small").await);
    let down = closed_port().await;
    let text = [
        "default_model = \"big\"\n".to_owned(),
        upstream("one", &one, "models = [\"big\"]\naliases = { chat = \"big\", c = \"big\" }"),
        upstream("two", &two, "models = [\"small\"]"),
        format!("[[upstream]]\nname = \"down\"\nurls = [\"{down}\"]\nmodels = [\"gone\", \"lost\"]\nfallback = \"small\"\n"),
        format!("[caller_chosen]\norigins = [\"{}\"]\n", two.base_url().origin().ascii_serialization()),
        caller("search", SEARCH_KEY, "models = [\"chat\", \"gone\"]"),
        caller("small", "key-of-small", "models = [\"small\", \"lost\"]\ncaller_chosen = true"),
        caller("batch", BATCH_KEY, ""),
    ]
    .concat();
    let file = File::new("access_models.toml", &text);
    let process = Process::configured(&file.0).start().await;
    let url = two.base_url().to_string();
    let to_url = ("adapter-upstream-url", url.as_str());
    let denied = (Code::PermissionDenied, "MODEL_NOT_ALLOWED");
    let ok = (Code::Ok, "");
    for (key, model, metadata, (code, reason)) in [
        (SEARCH_KEY, "chat", &[][..], ok),
        (SEARCH_KEY, "c", &[], ok),
        (SEARCH_KEY, "big", &[], ok),
        // The default.
        (SEARCH_KEY, "", &[], ok),
        ("key-of-small", "", &[], denied),
        (SEARCH_KEY, "small", &[], denied),
        // Whether there is such a model is not told.
        (SEARCH_KEY, "none", &[], denied),
        (BATCH_KEY, "none", &[], (Code::NotFound, "MODEL_NOT_FOUND")),
        (SEARCH_KEY, "small", &[("adapter-upstream", "two")], denied),
        (SEARCH_KEY, "small", &[("adapter-upstream", "one")], denied),
        // `c` is an alias of the other upstream alone.
        (SEARCH_KEY, "c", &[("adapter-upstream", "two")], denied),
        (SEARCH_KEY, "", &[("adapter-upstream", "two")], denied),
        (BATCH_KEY, "small", &[("adapter-upstream", "two")], ok),
        // The fallback is another's, so that the failure stays.
        (
            SEARCH_KEY,
            "gone",
            &[],
            (Code::Unavailable, "UPSTREAM_CONNECT"),
        ),
        ("key-of-small", "lost", &[], ok),
        (BATCH_KEY, "gone", &[], ok),
        (
            BATCH_KEY,
            "small",
            &[to_url],
            (Code::PermissionDenied, "BASE_URL_NOT_ALLOWED"),
        ),
        ("key-of-small", "small", &[to_url], ok),
        ("key-of-small", "big", &[to_url], denied),
    ] {
        let authorization = format!("Bearer {key}");
        let metadata = [&[("authorization", authorization.as_str())], metadata].concat();
        let got = generate(&process, with(ask(model), &metadata)).await;
        assert_eq!(got, expected(code, reason), "{key} {model:?} {metadata:?}");
    }
    let mut client = TokenizationServiceClient::new(process.channel().await);
    let text = |model: &str| TokenizeRequest {
        model: model.to_owned(),
        text: "a".to_owned(),
        ..TokenizeRequest::default()
    };
    let called = ended(client.tokenize(by(SEARCH_KEY, text("chat"))).await);
    assert_eq!(called, expected(Code::Ok, ""));
    let called = ended(client.tokenize(by(SEARCH_KEY, text("small"))).await);
    assert_eq!(called, expected(denied.0, denied.1));
    lists_its_models_alone(&process).await;
}

async fn lists_its_models_alone(process: &Process) {
    let mut client = ModelServiceClient::new(process.channel().await);
    for (key, expected) in [(SEARCH_KEY, &["big"][..]), (BATCH_KEY, &["big", "small"])] {
        let listed = client
            .list_models(by(key, ListModelsRequest {}))
            .await
            .unwrap();
        let models = listed.into_inner().models;
        let ids: Vec<_> = models.iter().map(|model| &*model.id).collect();
        assert_eq!(ids, expected, "{key}");
    }
    let get = |model: &str| GetModelRequest {
        model: model.to_owned(),
    };
    assert!(client.get_model(by(SEARCH_KEY, get("chat"))).await.is_ok());
    let hidden = ended(client.get_model(by(SEARCH_KEY, get("small"))).await);
    assert_eq!(hidden, expected(Code::NotFound, "MODEL_NOT_FOUND"));
}

#[tokio::test]
async fn a_caller_of_some_models_names_one_where_there_is_no_default() {
    let vllm = vllm("m").await;
    let text = upstream("a", &vllm, "") + &caller("search", SEARCH_KEY, "models = [\"m\"]");
    let file = File::new("access_default.toml", &text);
    let process = Process::configured(&file.0).start().await;
    let mut client = process.client().await;
    let status = client.generate(by(SEARCH_KEY, ask(""))).await.unwrap_err();
    assert_eq!(
        outcome(&status),
        expected(Code::InvalidArgument, "INVALID_REQUEST")
    );
    assert!(status.message().contains("as m"), "{status:?}");
}

#[tokio::test]
async fn a_caller_has_its_own_limits() {
    let release = Signal::new();
    let vllm = {
        let release = release.clone();
        Vllm::choosing(move |_request| {
            let stream = Reply::stream().event(wire::first());
            stream.wait_for(&release).event(wire::finish("stop")).done()
        })
        .await
    };
    let limits = "max_in_flight = 1\nrequests_per_minute = 2";
    let text = upstream("a", &vllm, "models = [\"m\"]")
        + &caller("search", SEARCH_KEY, limits)
        + &caller("batch", BATCH_KEY, "");
    let file = File::new("access_limits.toml", &text);
    let process = Process::configured(&file.0).start().await;
    let mut client = process.client().await;
    let running = client.stream_generate(by(SEARCH_KEY, ask("m"))).await;
    let mut running = running.unwrap().into_inner();
    let full = client
        .stream_generate(by(SEARCH_KEY, ask("m")))
        .await
        .unwrap_err();
    assert_eq!(
        outcome(&full),
        expected(Code::ResourceExhausted, "KEY_CONCURRENCY")
    );
    assert!(
        full.metadata().contains_key("grpc-retry-pushback-ms"),
        "{full:?}"
    );
    let other = client.stream_generate(by(BATCH_KEY, ask("m"))).await;
    assert!(other.is_ok(), "{other:?}");
    release.give();
    while soon("the stream's end", running.message())
        .await
        .unwrap()
        .is_some()
    {}
    drop(running);
    // The place is free once the server has seen the end.
    let second = async {
        loop {
            match client.stream_generate(by(SEARCH_KEY, ask("m"))).await {
                Ok(stream) => break drop(stream),
                Err(status) => assert_eq!(outcome(&status).1, "KEY_CONCURRENCY"),
            }
        }
    };
    soon("a second call", second).await;
    let third = async {
        loop {
            let status = client
                .stream_generate(by(SEARCH_KEY, ask("m")))
                .await
                .unwrap_err();
            if outcome(&status).1 == "KEY_RATE_LIMITED" {
                break status;
            }
        }
    };
    let third = soon("a third call", third).await;
    assert_eq!(third.code(), Code::ResourceExhausted);
    let wait = third
        .get_error_details()
        .retry_info()
        .unwrap()
        .retry_delay
        .unwrap();
    assert!(
        wait <= Duration::from_secs(30) && wait > Duration::ZERO,
        "{wait:?}"
    );
}

#[tokio::test]
async fn wrong_keys_keep_nobody_from_calling() {
    let vllm = vllm("m").await;
    let text = upstream("a", &vllm, "") + &caller("search", SEARCH_KEY, "");
    let file = File::new("access_wrong.toml", &text);
    let process = Process::configured(&file.0).start().await;
    let n_wrong = scaled(10_000, 1_000);
    let mut guesses = JoinSet::new();
    for n in 0..10 {
        let mut client = process.client().await;
        guesses.spawn(async move {
            for guess in 0..n_wrong / 10 {
                let key = format!("{SEARCH_KEY}-{n}-{guess}");
                let called = ended(client.generate(by(&key, ask("m"))).await);
                assert_eq!(called, expected(Code::Unauthenticated, "KEY_INVALID"));
            }
        });
    }
    let mut n_good = 0;
    while !guesses.is_empty() {
        assert_eq!(
            generate(&process, by(SEARCH_KEY, ask("m"))).await.0,
            Code::Ok
        );
        n_good += 1;
        while let Some(guessed) = guesses.try_join_next() {
            guessed.unwrap();
        }
    }
    assert_eq!(vllm.n_requests_to("/v1/chat/completions"), n_good);
}

#[tokio::test]
async fn a_key_that_is_removed_under_load_ends_new_calls_alone() {
    let vllm = Vllm::replying(Reply::stream().event(wire::first()).stay_open()).await;
    let both = upstream("a", &vllm, "models = [\"m\"]") + &caller("batch", BATCH_KEY, "");
    let file = File::new(
        "access_removed.toml",
        &(both.clone() + &caller("search", SEARCH_KEY, "")),
    );
    let process = Process::configured(&file.0).start().await;
    let mut running = Vec::new();
    let mut client = process.client().await;
    for _ in 0..20 {
        let stream = client.stream_generate(by(SEARCH_KEY, ask("m"))).await;
        running.push(stream.unwrap().into_inner());
    }
    file.write(&both);
    process.send(ProcessSignal::HUP);
    process.says("the configuration was read again").await;
    for _ in 0..20 {
        let new = ended(client.stream_generate(by(SEARCH_KEY, ask("m"))).await);
        assert_eq!(new, expected(Code::Unauthenticated, "KEY_INVALID"));
        let other = client.stream_generate(by(BATCH_KEY, ask("m"))).await;
        assert!(other.is_ok(), "{other:?}");
    }
    for mut stream in running {
        assert!(stream.message().await.unwrap().is_some());
        let more = tokio::time::timeout(Duration::from_millis(1), stream.message()).await;
        assert!(more.is_err(), "a running call goes on: {more:?}");
    }
    // Without the last one, nobody may call.
    file.write(&upstream("a", &vllm, "models = [\"m\"]"));
    process.send(ProcessSignal::HUP);
    process.says("no callers are configured any more").await;
    let open = ended(client.stream_generate(ask("m")).await);
    assert_eq!(open, expected(Code::Unauthenticated, "KEY_MISSING"));
}

#[tokio::test]
async fn a_forwarded_key_is_the_upstreams_to_check() {
    let vllm = Vllm::choosing(|request| match request.header("authorization") {
        Some("bearer  key-of-a-caller") => Reply::json(200, wire::answer("a")),
        _ => Reply::json(401, r#"{"error":"Unauthorized"}"#),
    })
    .await;
    let process = Process::before(&vllm.base_url())
        .flag("--upstream-api-key", "key-of-the-operator")
        .variable("ADAPTER_FORWARD_AUTHORIZATION", "true")
        .start()
        .await;
    let good = with(ask("m"), &[("authorization", "bearer  key-of-a-caller")]);
    assert_eq!(generate(&process, good).await, expected(Code::Ok, ""));
    let wrong = generate(&process, by("wrong", ask("m"))).await;
    assert_eq!(wrong, expected(Code::Unauthenticated, "KEY_INVALID"));
    // The operator's key is not lent to one that has none.
    let none = generate(&process, Request::new(ask("m"))).await;
    assert_eq!(none, expected(Code::Unauthenticated, "KEY_MISSING"));
    assert_eq!(vllm.n_requests(), 2);
    for n in 0..2 {
        let request = vllm.request(n).await;
        let sent = request
            .headers
            .iter()
            .filter(|(name, _)| name == "authorization");
        assert_eq!(sent.count(), 1, "{request:?}");
    }
}

#[tokio::test]
async fn check_reports_every_fault_of_callers_and_never_a_key() {
    let vllm = vllm("m").await;
    let digest = "0".repeat(64);
    let text = upstream("a", &vllm, "models = [\"m\"]")
        + &caller("a b", "x", "")
        + "[[caller]]\nname = \"none\"\n"
        + "[[caller]]\nname = \"none\"\nkey_sha256 = \"canary-key\"\nmodels = []\n"
        + &format!("[[caller]]\nname = \"c\"\nkey_sha256 = {digest:?}\nmodels = [\"n\"]\n")
        + &format!("[[caller]]\nname = \"d\"\nkey_sha256 = {digest:?}\nmax_in_flight = 0\n")
        + "[[caller]]\nname = \"e\"\nclient_id = \"e.example\"\nrequests_per_minute = 0\n";
    let file = File::new("access_faults.toml", &text);
    let path = file.0.to_str().unwrap();
    let output = binary()
        .args([
            "check",
            "--offline",
            "--config",
            path,
            "--forward-authorization",
        ])
        .output()
        .unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(64), "{told}");
    for fault in [
        "[[caller]]: is not used with --forward-authorization",
        "caller \"a b\": name: expected 1 to 64 letters",
        "caller \"none\": key_sha256: expected it, or client_id",
        "caller \"none\": name: is given more than once",
        "caller \"none\": key_sha256: expected 64 digits",
        "caller \"none\": models: expected at least one",
        "caller \"c\": models: no upstream lists \"n\"",
        "caller \"d\": key_sha256: is given more than once",
        "caller \"d\": max_in_flight: expected at least 1",
        "caller \"e\": client_id: needs --tls-client-ca",
        "caller \"e\": requests_per_minute: expected at least 1",
    ] {
        assert!(told.contains(fault), "{fault} in {told}");
    }
    assert_eq!(told.lines().count(), 11, "{told}");
    assert!(!told.contains("canary"), "{told}");
}

#[tokio::test]
async fn a_key_of_keygen_is_asked_with() {
    let made = binary().args(["keygen", "team"]).output().unwrap();
    let made = String::from_utf8(made.stdout).unwrap();
    let key = made.lines().nth(1).unwrap();
    let entry = &made[made.find("[[caller]]").unwrap()..];
    let vllm = Vllm::replying(
        Reply::stream()
            .events([wire::text("Yes."), wire::finish("stop")])
            .done(),
    )
    .await;
    let text = upstream("a", &vllm, "models = [\"m\"]") + entry;
    let file = File::new("access_keygen.toml", &text);
    let checked = binary()
        .args(["check", "--offline", "--config", file.0.to_str().unwrap()])
        .output()
        .unwrap();
    let checked = String::from_utf8(checked.stdout).unwrap();
    assert!(checked.contains("caller team"), "{checked}");
    let process = Process::configured(&file.0).start().await;
    let key_file = File::new("access_keygen.key", &format!("{key}\n"));
    let address = process.address.to_string();
    let asked = |name: &'static str, value: String, flags: Vec<String>| {
        let mut command = binary();
        command.args(["ask", "--address", &address, "--model", "m"]);
        command.args(flags).arg("x").env(name, value);
        async {
            tokio::task::spawn_blocking(move || command.output().unwrap())
                .await
                .unwrap()
        }
    };
    let none = || ("X", String::new());
    let path = key_file.0.to_str().unwrap().to_owned();
    for ((name, value), flags, code) in [
        (none(), vec!["--key-file".to_owned(), path], 0),
        (("VLLM_GRPC_ADAPTER_KEY", key.to_owned()), Vec::new(), 0),
        (none(), Vec::new(), 64),
        (
            none(),
            vec!["--key-file".to_owned(), "/no/such".to_owned()],
            64,
        ),
    ] {
        let output = asked(name, value, flags.clone()).await;
        assert_eq!(output.status.code(), Some(code), "{flags:?} {output:?}");
    }
    let named = binary().args(["keygen", "a b"]).output().unwrap();
    assert_eq!(named.status.code(), Some(64), "{named:?}");
}
