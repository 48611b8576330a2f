//! Answers that belong to another request.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use serde_json::json;
use tokio::task::JoinSet;
use tonic::{Code, Status};
use vllm_grpc_adapter::proto::{
    EmbedRequest, GenerateResponse, ScoreRequest, embedding_service_client::EmbeddingServiceClient,
    ranking_service_client::RankingServiceClient,
};

use crate::support::{
    adapter::Adapter,
    bounds::scaled,
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

/// The methods whose answers carry an id.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Method {
    Generate,
    Stream,
    Embed,
    Score,
}

impl Method {
    const ALL: [Self; 4] = [Self::Generate, Self::Stream, Self::Embed, Self::Score];

    /// The method that made a request, and the call's marker.
    fn of(request: &Request) -> (Self, u32) {
        let json = request.json();
        let (method, marker) = match &*request.path {
            "/v1/embeddings" => (Self::Embed, &json["input"][0]),
            "/score" => (Self::Score, &json["text_1"]),
            _ if json["stream"] == true => (Self::Stream, &json["messages"][0]["content"]),
            _ => (Self::Generate, &json["messages"][0]["content"]),
        };
        (method, marker.as_str().unwrap().parse().unwrap())
    }

    /// The bytes of the answer to a request, with its marker.
    fn answer(self, request: &Request, marker: u32) -> Bytes {
        let id = request.header("x-request-id").unwrap();
        let text = marker.to_string();
        let (content_type, body) = match self {
            Self::Generate => ("application/json", answer(&id_of(request), &text)),
            Self::Stream => {
                let events = [wire::first(), wire::text(&text), wire::finish("stop")];
                let events = events.map(|event| event.replace("chatcmpl-1", &id_of(request)));
                let lines = events.iter().map(|event| format!("data: {event}\n\n"));
                let body = lines.collect::<String>() + "data: [DONE]\n\n";
                ("text/event-stream", body)
            }
            Self::Embed => {
                let data = json!([{"index": 0, "embedding": [marker, 1]}]);
                let body = json!({"id": format!("embd-{id}"), "model": "m", "data": data});
                ("application/json", body.to_string())
            }
            Self::Score => {
                let data = json!([{"index": 0, "score": marker}]);
                let body = json!({"id": format!("score-{id}"), "model": "m", "data": data});
                ("application/json", body.to_string())
            }
        };
        let n_bytes = body.len();
        let head = format!("content-type: {content_type}\r\ncontent-length: {n_bytes}");
        format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}").into()
    }

    /// The marker in the answer to a call with this one.
    async fn call(self, adapter: &Adapter, marker: u32) -> Result<String, Status> {
        let text = marker.to_string();
        Ok(match self {
            Self::Generate => {
                let answer = adapter.client().generate(prompt(&text)).await?;
                self::text(answer.get_ref())
            }
            Self::Stream => {
                let streamed = adapter.stream(prompt(&text)).await;
                let content = streamed.content();
                // What came before an error counts, too.
                assert!(text.starts_with(&content), "{text}: {content}");
                if streamed.status.code() != Code::Ok {
                    return Err(streamed.status);
                }
                content
            }
            Self::Embed => {
                let request = EmbedRequest {
                    texts: vec![text],
                    ..EmbedRequest::default()
                };
                let mut client = EmbeddingServiceClient::new(adapter.channel());
                let answer = client.embed(request).await?.into_inner();
                answer.embeddings[0].values[0].to_string()
            }
            Self::Score => {
                let request = ScoreRequest {
                    queries: vec![text],
                    documents: vec!["x".to_owned()],
                    ..ScoreRequest::default()
                };
                let mut client = RankingServiceClient::new(adapter.channel());
                let answer = client.score(request).await?.into_inner();
                answer.scores[0].to_string()
            }
        })
    }
}

/// An upstream, or a proxy before it, at its worst: some answers come twice, some belong to another call, at once or
/// while the connection is idle, and some are cut off.
fn faulty(request: &Request, answers: &Mutex<Vec<(Method, Bytes)>>) -> Reply {
    let (method, marker) = Method::of(request);
    let answer = method.answer(request, marker);
    let other = {
        let mut answers = answers.lock().unwrap();
        let others: Vec<_> = answers.iter().filter(|other| other.0 == method).collect();
        let other = fastrand::choice(&others).map(|other| other.1.clone());
        if answers.len() >= 64 {
            answers.swap_remove(fastrand::usize(..64));
        }
        answers.push((method, answer.clone()));
        other.unwrap_or_else(|| answer.clone())
    };
    // A further answer may come with the first, or just when the connection is used again.
    let soon = Duration::from_micros(fastrand::u64(..3_000));
    let whole = Reply::raw().send(answer.clone());
    match fastrand::u8(..10) {
        0..4 => whole.stay_open(),
        4 => whole.pause(soon).send(answer).stay_open(),
        5 => whole.pause(soon).send(other).stay_open(),
        6 => whole.send(other).stay_open(),
        7 => Reply::raw()
            .send(other)
            .pause(soon)
            .send(answer)
            .stay_open(),
        8 => Reply::raw()
            .send(answer.slice(..fastrand::usize(..answer.len())))
            .cut(),
        _ => whole.reset(),
    }
}

#[tokio::test]
async fn no_answer_reaches_another_caller() {
    const N_CALLERS: u32 = 8;
    let n_calls: u32 = scaled(20_000, 2_000);
    let answers = Mutex::new(Vec::new());
    let vllm = Vllm::choosing(move |request| faulty(request, &answers)).await;
    let adapter = Arc::new(Adapter::before(vllm.base_url()).start().await);
    let mut callers = JoinSet::new();
    for caller in 0..N_CALLERS {
        let adapter = adapter.clone();
        callers.spawn(async move {
            let mut answered = [0; Method::ALL.len()];
            for marker in (caller..n_calls).step_by(N_CALLERS as usize) {
                let n = fastrand::usize(..Method::ALL.len());
                match Method::ALL[n].call(&adapter, marker).await {
                    Ok(told) => {
                        assert_eq!(told, marker.to_string());
                        answered[n] += 1;
                    }
                    Err(status) => {
                        let (code, reason) = outcome(&status);
                        let is_refused = (code, &*reason) == (Code::Internal, "UPSTREAM_PROTOCOL");
                        assert!(is_refused || code == Code::Unavailable, "{status:?}");
                    }
                }
            }
            answered
        });
    }
    let answered = callers.join_all().await;
    for n in 0..Method::ALL.len() {
        let answered: u32 = answered.iter().map(|answered| answered[n]).sum();
        // A quarter of the calls each, of which half at least meet no fault.
        assert!(answered > n_calls / 16, "{:?}: {answered}", Method::ALL[n]);
    }
}
