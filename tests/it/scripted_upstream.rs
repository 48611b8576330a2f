//! The scripted upstream does what its script says, and tells what it met.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{
    reply::Reply,
    signal::{Meter, Signal},
    soon,
    vllm::{Vllm, Welcome, closed_port},
};

const REQUEST: &[u8] = b"POST /v1/x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}";

async fn connect(vllm: &Vllm) -> TcpStream {
    let url = vllm.base_url();
    let address = (url.host_str().unwrap(), url.port().unwrap());
    TcpStream::connect(address).await.unwrap()
}

async fn ask(vllm: &Vllm) -> TcpStream {
    let mut stream = connect(vllm).await;
    stream.write_all(REQUEST).await.unwrap();
    stream
}

/// What is sent until the connection ends, and whether it ends with a FIN.
async fn heard(mut stream: TcpStream) -> (String, bool) {
    let mut heard = Vec::new();
    let end = soon("reading a reply", stream.read_to_end(&mut heard)).await;
    (String::from_utf8(heard).unwrap(), end.is_ok())
}

#[tokio::test]
async fn a_request_is_kept_as_it_came() {
    let vllm = Vllm::replying(Reply::json(200, "{}").cut()).await;
    let (reply, is_fin) = heard(ask(&vllm).await).await;
    assert!(is_fin);
    assert_eq!(
        reply,
        "HTTP/1.1 200 Scripted\r\ncontent-length: 2\r\ncontent-type: application/json\r\n\r\n{}"
    );
    let request = vllm.request(0).await;
    assert_eq!(
        (request.method.as_str(), request.path.as_str()),
        ("POST", "/v1/x")
    );
    assert_eq!(request.header("host"), Some("h"));
    assert_eq!(request.json(), serde_json::json!({}));
}

#[tokio::test]
async fn a_stream_ends_as_its_script_says() {
    let stream = || Reply::stream().event("1");
    let chunk = "9\r\ndata: 1\n\n\r\n";
    for (reply, body, is_fin) in [
        (stream().end_body().cut(), format!("{chunk}0\r\n\r\n"), true),
        (stream().bytewise().cut(), chunk.to_owned(), true),
        (stream().until_close(), "data: 1\n\n".to_owned(), true),
        (
            stream().give(&Signal::new()).half_close(),
            chunk.to_owned(),
            true,
        ),
        (Reply::raw().send("x").cut(), "x".to_owned(), true),
        (Reply::raw().reset(), String::new(), false),
    ] {
        let vllm = Vllm::replying(reply).await;
        let (heard, ended_by_fin) = heard(ask(&vllm).await).await;
        assert!(heard.ends_with(&body), "{heard}");
        assert_eq!(ended_by_fin, is_fin, "{body}");
    }
}

#[tokio::test]
async fn a_connection_serves_several_requests() {
    let vllm = Vllm::replying_in_turn([
        Reply::stream().done().end_body(),
        Reply::json(200, "[]").cut(),
    ])
    .await;
    let mut stream = ask(&vllm).await;
    stream.write_all(REQUEST).await.unwrap();
    let (heard, _) = heard(stream).await;
    assert!(heard.contains("data: [DONE]\n\n\r\n0\r\n\r\nHTTP/1.1 200"));
    assert_eq!((vllm.n_connections(), vllm.n_requests()), (1, 2));
    assert_eq!(vllm.request(1).await.connection, 0);
    vllm.is_over(1).await;
    vllm.is_left_alone().await;
}

#[tokio::test]
async fn a_peer_that_leaves_is_noticed_while_nothing_is_sent() {
    let at_event = Signal::new();
    for reply in [
        Reply::stream().event("1").give(&at_event).fall_silent(),
        Reply::stream().give(&at_event).wait_for(&Signal::new()),
    ] {
        let vllm = Vllm::replying(reply).await;
        let stream = ask(&vllm).await;
        at_event.given().await;
        let before = tokio::time::Instant::now();
        drop(stream);
        assert!(vllm.left(0).await >= before);
    }
}

#[tokio::test]
async fn a_flood_stalls_when_nobody_reads() {
    let meter = Meter::new();
    let vllm = Vllm::replying(Reply::stream().flood("x".repeat(1 << 16), &meter)).await;
    let mut stream = ask(&vllm).await;
    let stalled_at = meter.stalled_for(Duration::from_millis(200)).await;
    let mut some = vec![0; usize::try_from(stalled_at).unwrap()];
    stream.read_exact(&mut some).await.unwrap();
    meter.above(stalled_at).await;
    drop(stream);
    vllm.left(0).await;
}

#[tokio::test]
async fn a_connection_meets_its_welcome() {
    for (welcome, is_fin) in [(Welcome::Closed, true), (Welcome::Reset, false)] {
        let vllm = Vllm::welcoming(move |_| welcome, |_| Reply::raw()).await;
        let (heard, ended_by_fin) = heard(connect(&vllm).await).await;
        assert_eq!((heard.as_str(), ended_by_fin), ("", is_fin));
        vllm.is_left_alone().await;
    }
    let url = closed_port().await;
    let address = (url.host_str().unwrap(), url.port().unwrap());
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn health_and_version_stand_beside_the_script() {
    let vllm = Vllm::replying(Reply::raw()).await;
    vllm.set_health(503);
    let mut stream = connect(&vllm).await;
    let requests = b"GET /health HTTP/1.1\r\n\r\nGET /version HTTP/1.1\r\n\r\n";
    stream.write_all(requests).await.unwrap();
    stream.shutdown().await.unwrap();
    let (heard, _) = heard(stream).await;
    assert!(heard.starts_with("HTTP/1.1 503") && heard.ends_with(r#"{"version":"0.32.0"}"#));
    assert_eq!(vllm.n_requests(), 0);
}
