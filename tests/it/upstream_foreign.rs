//! Answers that belong to another request.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::task::JoinSet;
use tonic::{Code, Status};
use vllm_grpc_adapter::proto::GenerateResponse;

use crate::support::{
    adapter::Adapter,
    outcome::{check, outcome},
    reply::Reply,
    requests::prompt,
    vllm::{Request, Vllm},
    wire,
};

/// The id of an answer, as vLLM makes it.
fn id_of(request: &Request) -> String {
    format!("chatcmpl-{}", request.header("x-request-id").unwrap())
}

fn prompt_of(request: &Request) -> String {
    let content = &request.json()["messages"][0]["content"];
    content.as_str().unwrap().to_owned()
}

/// The answer with that id, which repeats what was asked.
fn answer(id: &str, text: &str) -> String {
    wire::answer(text).replace("chatcmpl-1", id)
}

/// The same as a stream.
fn stream(id: &str, text: &str) -> Reply {
    let events = [wire::first(), wire::text(text), wire::finish("stop")];
    let events = events.map(|event| event.replace("chatcmpl-1", id));
    Reply::stream().events(events).done()
}

fn text(answer: &GenerateResponse) -> String {
    let choice = answer.choices.first().unwrap();
    choice.message.as_ref().unwrap().content.clone()
}

async fn unary(adapter: &Adapter) -> Status {
    let answered = adapter.client().generate(prompt("x")).await;
    answered.map_or_else(|status| status, |_answer| Status::new(Code::Ok, ""))
}

#[tokio::test]
async fn an_answer_whose_id_is_that_of_another_attempt_is_refused_and_its_connection_closed() {
    let other = "chatcmpl-x~0123456789abcdef";
    for (row, unary_reply, stream_reply) in [
        (
            "another attempt",
            Reply::json(200, answer(other, "a")),
            stream(other, "a"),
        ),
        (
            "another attempt, with a tail",
            Reply::json(200, answer(&format!("{other}-0"), "a")),
            stream(&format!("{other}-0"), "a"),
        ),
    ] {
        let vllm = Vllm::replying_in_turn([unary_reply, stream_reply]).await;
        let adapter = Adapter::before(vllm.base_url()).start().await;
        for told in [
            unary(&adapter).await,
            adapter.stream(prompt("x")).await.status,
        ] {
            check(&told, Code::Internal, "UPSTREAM_PROTOCOL", row);
            vllm.is_left_alone().await;
        }
        assert_eq!(vllm.n_connections(), 2, "{row}");
    }
}

#[tokio::test]
async fn an_answer_with_its_own_id_or_another_servers_passes() {
    type Id = fn(&Request) -> String;
    let rows: [(&str, Id); 3] = [
        ("its own", id_of),
        ("its own, with a tail", |request| id_of(request) + "-0"),
        ("of another server", |_request| "cmpl~1".to_owned()),
    ];
    for (row, id) in rows {
        let vllm = Vllm::choosing(move |request| {
            if request.json()["stream"] == true {
                stream(&id(request), "a")
            } else {
                Reply::json(200, answer(&id(request), "a"))
            }
        })
        .await;
        let adapter = Adapter::before(vllm.base_url()).start().await;
        for told in [
            unary(&adapter).await,
            adapter.stream(prompt("x")).await.status,
        ] {
            assert_eq!(outcome(&told).0, Code::Ok, "{row}: {told:?}");
        }
    }
}

/// An upstream, or a proxy before it, that sends every answer twice.
#[tokio::test]
async fn an_answer_that_comes_twice_never_reaches_another_caller() {
    let vllm = Vllm::choosing(|request| {
        let body = answer(&id_of(request), &prompt_of(request));
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length";
        let whole = format!("{head}: {}\r\n\r\n{body}", body.len());
        // The second may come with the first, or just when the connection is used again.
        let twice = Reply::raw().send(whole.clone());
        twice
            .pause(Duration::from_micros(fastrand::u64(..3_000)))
            .send(whole)
            .stay_open()
    })
    .await;
    let adapter = Arc::new(Adapter::before(vllm.base_url()).start().await);
    let n_answered = Arc::new(AtomicUsize::new(0));
    let mut callers = JoinSet::new();
    for caller in 0..4 {
        let (adapter, n_answered) = (adapter.clone(), n_answered.clone());
        callers.spawn(async move {
            for n in 0..200 {
                let mine = format!("{caller}-{n}");
                match adapter.client().generate(prompt(&mine)).await {
                    Ok(answered) => {
                        assert_eq!(text(answered.get_ref()), mine);
                        n_answered.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(status) => check(&status, Code::Internal, "UPSTREAM_PROTOCOL", &mine),
                }
            }
        });
    }
    callers.join_all().await;
    assert!(n_answered.load(Ordering::Relaxed) > 0);
}
