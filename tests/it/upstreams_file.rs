//! The configuration file: what `check` says of it, and how it is read again.

use rustix::process::Signal as Hangup;
use tonic::Code;
use url::Url;
use vllm_grpc_adapter::proto::GenerateRequest;

use crate::{
    support::{
        file::File,
        process::{Process, binary},
        reply::Reply,
        signal::Signal,
        soon,
        vllm::{Vllm, closed_port},
        wire,
    },
    upstreams::replica,
};

fn upstream(name: &str, model: &str, url: &Url) -> String {
    format!("[[upstream]]\nname = {name:?}\nurls = [\"{url}\"]\nmodels = [{model:?}]\n")
}

async fn vllm() -> Vllm {
    Vllm::choosing(|_| {
        let events = [wire::first(), wire::finish("stop")];
        Reply::stream().events(events).done()
    })
    .await
}

fn check(arguments: &[&str]) -> (i32, String) {
    let output = binary().arg("check").args(arguments).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    let code = output.status.code().unwrap();
    (code, String::from_utf8(text).unwrap())
}

#[tokio::test]
async fn check_says_what_was_understood_and_every_fault() {
    let url = closed_port().await;
    let good = File::new("check_good.toml", &upstream("chat", "m", &url));
    let path = good.0.to_str().unwrap();
    let (code, text) = check(&["--config", path, "--offline"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains(&format!("upstream chat: at {url}")), "{text}");
    let (code, text) = check(&["--config", path]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("nothing listens"), "{text}");
    let bad = upstream("chat", "m", &url) + "colour = 1\n";
    let bad = File::new("check_bad.toml", &bad);
    let (code, text) = check(&["--config", bad.0.to_str().unwrap()]);
    assert_eq!(code, 64, "{text}");
    assert!(
        text.contains("line 5, column 1") && text.contains("colour"),
        "{text}"
    );
    let twice = upstream("a", "m", &url) + &upstream("a", "m", &url);
    let twice = File::new("check_twice.toml", &twice);
    let (code, text) = check(&["--config", twice.0.to_str().unwrap()]);
    assert_eq!(code, 64, "{text}");
    assert!(
        text.contains("name: \"a\"") && text.contains("models and aliases: \"m\""),
        "{text}"
    );
    let (code, text) = check(&["--config", path, "--upstream", url.as_str()]);
    assert_eq!(code, 64, "{text}");
}

fn ask(model: &str) -> GenerateRequest {
    GenerateRequest {
        prompt: "a".to_owned(),
        model: model.to_owned(),
        ..GenerateRequest::default()
    }
}

async fn code(process: &Process, model: &str) -> Code {
    let mut client = process.client().await;
    let begun = client.stream_generate(ask(model)).await;
    let Ok(stream) = begun else {
        return begun.unwrap_err().code();
    };
    let mut stream = stream.into_inner();
    loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            Ok(None) => return Code::Ok,
            Err(status) => return status.code(),
        }
    }
}

#[tokio::test]
async fn no_call_fails_while_the_file_is_read_again() {
    let (one, other) = (vllm().await, vllm().await);
    let both =
        |a: &Vllm, b: &Vllm| upstream("a", "m", &a.base_url()) + &upstream("b", "n", &b.base_url());
    let file = File::new("reload.toml", &both(&one, &other));
    let process = Process::configured(&file.0).start().await;
    let calls = async {
        for n in 0..1000 {
            let model = if n % 2 == 0 { "m" } else { "n" };
            assert_eq!(code(&process, model).await, Code::Ok, "{n}");
        }
    };
    let reloads = async {
        for n in 1..=20 {
            let text = match n % 2 {
                0 => both(&one, &other),
                _ => both(&other, &one),
            };
            file.write(&text);
            process.send(Hangup::HUP);
            let said = async {
                while process.log().matches("was read again").count() < n {
                    tokio::task::yield_now().await;
                }
            };
            soon("waiting for the file to be read", said).await;
        }
    };
    tokio::join!(calls, reloads);
    assert!(one.n_requests() > 0 && other.n_requests() > 0);
    // One with faults keeps the running one.
    file.write("[[upstream]]\nname = 7");
    process.send(Hangup::HUP);
    process.says("the running one is kept").await;
    assert_eq!(code(&process, "m").await, Code::Ok);
}

#[tokio::test]
async fn a_file_that_changes_is_read_again_unasked() {
    let vllm = vllm().await;
    let file = File::new("watched.toml", &upstream("a", "m", &vllm.base_url()));
    let process = Process::configured(&file.0).start().await;
    assert_eq!(code(&process, "n").await, Code::NotFound);
    file.write(&upstream("a", "n", &vllm.base_url()));
    process.says("was read again").await;
    assert_eq!(code(&process, "n").await, Code::Ok);
}

/// What TLS cannot use.
const GARBAGE: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

#[tokio::test]
async fn a_file_that_is_there_but_cannot_be_used_exits_64() {
    let url = closed_port().await;
    let pem = File::new("garbage.pem", GARBAGE);
    let pem = pem.0.to_str().unwrap();
    for fields in [
        format!("ca = {pem:?}"),
        format!("cert = {pem:?}\nkey = {pem:?}"),
    ] {
        let file = upstream("chat", "m", &url) + &fields + "\n";
        let file = File::new("unusable.toml", &file);
        let path = file.0.to_str().unwrap();
        for arguments in [
            &["check", "--config", path, "--offline"][..],
            &["--config", path],
        ] {
            let output = binary().args(arguments).output().unwrap();
            let text = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(64), "{arguments:?}: {text}");
            assert!(
                text.contains("upstream \"chat\": ca, cert and key"),
                "{text}"
            );
        }
    }
    let listener = [
        "--tls-cert",
        pem,
        "--tls-key",
        pem,
        "--listen",
        "127.0.0.1:0",
    ];
    for command in [&["check", "--offline"][..], &[]] {
        let output = binary().args(command).args(listener).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8(text).unwrap();
        assert_eq!(output.status.code(), Some(64), "{command:?}: {text}");
    }
}

#[tokio::test]
async fn a_reload_keeps_what_is_as_before_and_says_what_it_took() {
    let finish = Signal::new();
    let held = finish.clone();
    let script = move |_: &_| {
        let begun = Reply::stream().event(wire::first()).wait_for(&held);
        begun.event(wire::finish("stop")).done()
    };
    let (one, other) = (
        Vllm::choosing(script.clone()).await,
        Vllm::choosing(script).await,
    );
    let full = upstream("a", "m", &one.base_url()) + "max_in_flight = 1\n";
    let second = |model| upstream("b", model, &other.base_url());
    let file = File::new("kept.toml", &(full.clone() + &second("n")));
    let process = Process::configured(&file.0).start().await;
    let mut client = process.client().await;
    let (mut m, mut n) = (Vec::new(), Vec::new());
    for (model, streams) in [("m", &mut m), ("n", &mut n)] {
        streams.push(
            client
                .stream_generate(ask(model))
                .await
                .unwrap()
                .into_inner(),
        );
    }
    file.write(&("listen = \"127.0.0.1:0\"\n".to_owned() + &full + &second("o")));
    process.send(Hangup::HUP);
    process
        .says("changed in the file, but need a restart")
        .await;
    let log = process.log();
    assert!(log.contains("changed=\"b\""), "{log}");
    assert!(log.contains("settings=\"listen\""), "{log}");
    // The upstream that is as before still counts its stream.
    assert_eq!(code(&process, "m").await, Code::ResourceExhausted);
    assert_eq!(code(&process, "n").await, Code::NotFound);
    // Running calls end where they began.
    finish.give();
    for mut stream in m.into_iter().chain(n) {
        while soon("waiting for an end", stream.message())
            .await
            .unwrap()
            .is_some()
        {}
    }
    assert_eq!(code(&process, "m").await, Code::Ok);
    assert_eq!(code(&process, "o").await, Code::Ok);
}

#[tokio::test]
async fn check_says_what_an_upstream_is_or_the_likely_mistake() {
    let good = replica("m").await;
    let wrong_key = Vllm::replying(Reply::json(401, r#"{"error":"Unauthorized"}"#)).await;
    let mut no_v1 = good.base_url();
    no_v1.set_path("/");
    for (url, line) in [
        (good.base_url(), "1 of 1 replicas, vLLM 0.32.0, models m"),
        (wrong_key.base_url(), "it refuses the key; set api_key"),
        (no_v1, "no models there; its URL should end with /v1"),
        (closed_port().await, "nothing listens at its URL"),
    ] {
        let text = format!("[[upstream]]\nname = \"a\"\nurls = [\"{url}\"]\n");
        let file = File::new("said.toml", &text);
        let path = file.0.to_str().unwrap().to_owned();
        let checked = tokio::task::spawn_blocking(move || check(&["--config", &path]));
        let (code, text) = checked.await.unwrap();
        assert_eq!(code, 0, "{text}");
        assert!(text.contains(&format!("upstream a: {line}")), "{text}");
    }
}

#[tokio::test]
async fn a_key_file_that_changes_is_read_again() {
    let vllm = vllm().await;
    let key = File::new("upstream_key.txt", "one\n");
    let text = upstream("a", "m", &vllm.base_url());
    let text = format!("{text}api_key = \"file:{}\"\n", key.0.display());
    let file = File::new("keyed.toml", &text);
    let process = Process::configured(&file.0).start().await;
    let generation = async || {
        assert_eq!(code(&process, "m").await, Code::Ok);
        let mut n = vllm.n_requests();
        loop {
            // Others ask for the models.
            n -= 1;
            let sent = vllm.request(n).await;
            if sent.path.ends_with("/completions") {
                return sent.header("authorization").unwrap().to_owned();
            }
        }
    };
    assert_eq!(generation().await, "Bearer one");
    key.write("two\n");
    process.says("was read again").await;
    assert_eq!(generation().await, "Bearer two");
    // One that no header can carry changes nothing.
    key.write("t w o");
    process.says("the running one is kept").await;
    assert_eq!(generation().await, "Bearer two");
    assert!(!process.log().contains("t w o"));
}
