//! What a real vLLM sent, played again before the adapter: whole, byte by byte, cut in two, and cut off.
//!
//! What a caller sees is compared with the `.events.txt` or `.answer.txt` beside each recording. With
//! `UPDATE_SNAPSHOTS=1` in the environment they are written anew instead, to be reviewed as a difference.

mod request;
mod seen;
mod sent;

use std::{collections::BTreeSet, env, fs, sync::Arc};

use bytes::Bytes;
use tokio::task::JoinSet;
use tonic::{Code, Request};
use vllm_grpc_adapter::proto::{GenerateRequest, Role, stream_generate_response::Event};

use crate::support::{
    adapter::{Adapter, Streamed},
    bounds::scaled,
    recording::Recording,
    reply::Reply,
    requests::chat,
    vllm::Vllm,
};

/// Recordings that concern generation.
const GENERATION: &[&str] = &[
    "auth_", "chat", "cmpl", "engine_", "err_", "reason", "reqhdr_", "reqid_", "so_", "sse_",
    "tool", "usage_",
];

/// Recorded requests that the contract has no words for.
const NOT_IN_THE_CONTRACT: &[&str] = &[
    // Fields that vLLM ignores or the adapter sets.
    "chat_sampling_all",
    "cmpl_bestof",
    // Values of a wrong type.
    "err_stop_type",
    "err_streamopts",
    "err_type",
    "so_bad_rf",
    // Two forms of one answer.
    "so_two",
];

/// Calls at once, so that a sweep over every byte takes seconds.
const N_WORKERS: usize = 8;

// === Whole ===

#[tokio::test]
async fn a_recorded_stream_comes_out_as_before() {
    let mut n_streams = 0;
    for recording in Recording::all(GENERATION) {
        let is_asked = recording.asks_for_a_stream();
        let Some(request) = request_of(&recording).filter(|_| is_asked) else {
            continue;
        };
        n_streams += 1;
        let seen = seen_of_stream(&recording, recording.reply(), request.clone()).await;
        check_snapshot(&recording, "events", &seen);
        let bytewise = seen_of_stream(&recording, recording.reply().bytewise(), request).await;
        assert_eq!(bytewise, seen, "{}", recording.name);
    }
    assert!(n_streams >= 28, "{n_streams} streams");
}

#[tokio::test]
async fn a_recorded_answer_comes_out_as_before() {
    let mut n_answers = 0;
    for recording in Recording::all(GENERATION) {
        let is_asked = !recording.asks_for_a_stream();
        let Some(request) = request_of(&recording).filter(|_| is_asked) else {
            continue;
        };
        n_answers += 1;
        let vllm = Vllm::replying(recording.reply()).await;
        let adapter = Adapter::before(vllm.base_url()).start().await;
        let answer = adapter.client().generate(request).await;
        let answer = answer.map(tonic::Response::into_inner);
        check_snapshot(&recording, "answer", &seen::of_answer(&answer));
        check_sent(&recording, &vllm).await;
    }
    assert!(n_answers >= 60, "{n_answers} answers");
}

async fn seen_of_stream(recording: &Recording, reply: Reply, request: GenerateRequest) -> String {
    let vllm = Vllm::replying(reply).await;
    let adapter = Adapter::before(vllm.base_url()).start().await;
    let streamed = adapter.stream(request).await;
    check_order(&streamed);
    check_sent(recording, &vllm).await;
    seen::of_stream(&streamed)
}

/// What the adapter asked is what the real vLLM was asked, where it asked at all.
async fn check_sent(recording: &Recording, vllm: &Vllm) {
    if let (Some(recorded), 1..) = (&recording.request, vllm.n_requests()) {
        let sent = vllm.request(0).await.json();
        assert_eq!(
            sent::normal(&sent),
            sent::normal(recorded),
            "{}",
            recording.name
        );
    }
}

/// The request of a recording; one that could not be kept is a chat.
fn request_of(recording: &Recording) -> Option<GenerateRequest> {
    let Some(body) = &recording.request else {
        return Some(chat([(Role::User, "Say hello.")]));
    };
    let is_listed = NOT_IN_THE_CONTRACT.contains(&recording.name.as_str());
    match request::read(body) {
        Ok(request) => {
            assert!(!is_listed, "{} is in the contract", recording.name);
            Some(request)
        }
        Err(unsaid) => {
            assert!(is_listed, "{} has no place for {unsaid}", recording.name);
            None
        }
    }
}

/// The rules of the contract for the order of events.
fn check_order(streamed: &Streamed) {
    let mut finished = BTreeSet::new();
    let mut is_usage_seen = false;
    for (n, response) in streamed.events.iter().enumerate() {
        assert!(!is_usage_seen, "usage is the last event");
        let Some(event) = &response.event else {
            let is_last = n + 1 == streamed.events.len();
            assert!(is_last, "only the end may lack an event");
            continue;
        };
        assert_eq!(
            n == 0,
            matches!(event, Event::Started(_)),
            "started is the first event, once"
        );
        is_usage_seen = matches!(event, Event::Usage(_));
        let Some(choice) = seen::choice_index(event) else {
            continue;
        };
        assert!(!finished.contains(&choice), "nothing follows the finish");
        if matches!(event, Event::Finished(_)) {
            finished.insert(choice);
        }
    }
    if streamed.status.code() == Code::Ok {
        assert!(!finished.is_empty(), "every choice is finished");
    }
}

fn check_snapshot(recording: &Recording, kind: &str, seen: &str) {
    let path = recording.snapshot(kind);
    if env::var_os("UPDATE_SNAPSHOTS").is_some() {
        fs::write(path, seen).unwrap();
        return;
    }
    let expected = fs::read_to_string(&path);
    let expected = expected.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(seen, expected, "{}", recording.name);
}

// === Every byte ===

/// A way for a body to end too early.
#[derive(Clone, Copy, Debug)]
enum Cut {
    /// The HTTP body is whole, and what it holds is not.
    CleanEnd,
    /// The connection ends within the HTTP body.
    Fin,
    /// The connection ends, which is how this body tells its end.
    Close,
}

/// Recordings that are cut off at every byte, with how many events of their beginning and their end are taken.
///
/// Each kind of event is in it: text, several choices, usage, characters of several bytes, logprobs, reasoning, a tool
/// call, comments, an error. What lies between repeats what is taken.
const SWEPT: &[(&str, usize, usize)] = &[
    ("chat_stream_maxtokens", 2, 2),
    ("chat_stream_n2", 3, 4),
    ("chat_stream_utf8", 4, 2),
    ("cmpl_stream_logprobs", 1, 2),
    ("engine_killed_stream", 2, 2),
    ("reason_so_stream", 2, 3),
    ("sse_keepalive", 4, 2),
    ("tool_required_stream", 3, 2),
];

fn swept() -> impl Iterator<Item = Recording> {
    SWEPT
        .iter()
        .map(|(name, n_first, n_last)| Recording::read(name).shortened(*n_first, *n_last))
}

/// The `n`th call cuts each event in two after its `n`th byte, so that over all calls each byte of the body is the last
/// one that arrives before the rest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_cut_in_two_anywhere_comes_out_the_same() {
    for recording in Recording::all(GENERATION) {
        if recording.is_raw() || !recording.is_stream() {
            continue;
        }
        let events = recording.events();
        let Some(request) = request_of(&recording) else {
            continue;
        };
        let expected = seen_of_stream(&recording, recording.reply(), request.clone()).await;
        let n_cuts = events.iter().map(Bytes::len).max().unwrap() - 1;
        let name = recording.name.clone();
        sweep(
            request,
            n_cuts,
            move |n| recording.reply_of(events.iter().flat_map(|event| in_two(event, n + 1))),
            move |n, streamed| {
                check_order(streamed);
                let seen = seen::of_stream(streamed);
                assert_eq!(seen, expected, "{name}, each event in two at {}", n + 1);
            },
        )
        .await;
    }
}

fn in_two(event: &Bytes, at: usize) -> [Bytes; 2] {
    let at = at.min(event.len());
    [event.slice(..at), event.slice(at..)]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_cut_off_anywhere_is_never_ok() {
    for recording in swept() {
        let request = request_of(&recording).unwrap();
        let expected = seen_of_stream(&recording, recording.reply(), request.clone()).await;
        let n_done_bytes = n_bytes_to_done(&recording.body);
        let cuts: Vec<(usize, Cut)> = cuts(&recording.body).collect();
        let (n_cuts, cuts_again) = (cuts.len(), cuts.clone());
        let name = recording.name.clone();
        sweep(
            request,
            n_cuts,
            move |n| {
                let (at, cut) = cuts[n];
                let reply = recording.reply_of([recording.body.slice(..at)]);
                match cut {
                    Cut::CleanEnd => reply,
                    Cut::Fin => reply.cut(),
                    Cut::Close => reply.until_close(),
                }
            },
            move |n, streamed| {
                check_order(streamed);
                let (at, cut) = cuts_again[n];
                let place = format!("{name} off at {at} by {cut:?}");
                if at >= n_done_bytes {
                    assert_eq!(seen::of_stream(streamed), expected, "{place}");
                } else {
                    let code = streamed.status.code();
                    let is_failed = matches!(code, Code::Unavailable | Code::Internal);
                    assert!(is_failed, "{place}: {code:?}");
                }
            },
        )
        .await;
    }
}

/// Every byte by a clean end, which costs no connection; every tenth one and each line end in the other ways too.
fn cuts(body: &Bytes) -> impl Iterator<Item = (usize, Cut)> {
    (0..body.len()).flat_map(|at| {
        let is_line_end = at > 0 && body[at - 1] == b'\n';
        let ways = if is_line_end || at % 10 == 0 {
            &[Cut::CleanEnd, Cut::Fin, Cut::Close][..]
        } else {
            &[Cut::CleanEnd]
        };
        ways.iter().map(move |cut| (at, *cut))
    })
}

/// The bytes up to the end of the event that ends the stream.
fn n_bytes_to_done(body: &Bytes) -> usize {
    const DONE: &[u8] = b"data: [DONE]\n\n";
    let start = body.windows(DONE.len()).position(|bytes| bytes == DONE);
    start.expect("vLLM ends every stream so") + DONE.len()
}

/// Streams `n_calls` answers over one connection of the caller, several at once, and checks each by its number.
async fn sweep(
    request: GenerateRequest,
    n_calls: usize,
    reply: impl Fn(usize) -> Reply + Send + Sync + 'static,
    check: impl Fn(usize, &Streamed) + Send + Sync + 'static,
) {
    let vllm = Vllm::choosing(move |request| {
        let id = request.header("x-request-id").unwrap();
        let (number, _attempt) = id.split_once('~').unwrap();
        reply(number.parse().unwrap())
    })
    .await;
    let adapter = Arc::new(Adapter::before(vllm.base_url()).start().await);
    let check = Arc::new(check);
    let step = scaled(1, 7);
    let mut workers = JoinSet::new();
    for worker in 0..N_WORKERS {
        let (adapter, check, request) = (adapter.clone(), check.clone(), request.clone());
        workers.spawn(async move {
            for n in (worker * step..n_calls).step_by(N_WORKERS * step) {
                let mut request = Request::new(request.clone());
                let number = n.to_string().parse().unwrap();
                request.metadata_mut().insert("x-request-id", number);
                check(n, &adapter.stream(request).await);
            }
        });
    }
    workers.join_all().await;
    assert_eq!(
        vllm.n_requests(),
        n_calls.div_ceil(step),
        "each call asked once"
    );
}
