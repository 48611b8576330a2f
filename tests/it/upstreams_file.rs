//! The configuration file: what `check` says of it, and how it is read again.

use rustix::process::Signal;
use tonic::Code;
use url::Url;
use vllm_grpc_adapter::proto::GenerateRequest;

use crate::support::{
    file::File,
    process::{Process, binary},
    reply::Reply,
    soon,
    vllm::{Vllm, closed_port},
    wire,
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
            process.send(Signal::HUP);
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
    process.send(Signal::HUP);
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
