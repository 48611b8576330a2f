//! Speech to text, whole and streamed, before the routes that vLLM 0.32 defines.
//!
//! The bodies are what `vllm/entrypoints/speech_to_text/` makes of its classes: no tiny model transcribes.

use std::time::Duration;

use bytes::Bytes;
use tonic::{Code, transport::Channel};
use vllm_grpc_adapter::proto::{
    SubtitleFormat, TimestampGranularity, TranscribeRequest, stream_transcribe_response::Event,
    stream_translate_response, transcription_service_client::TranscriptionServiceClient,
};

use crate::support::{
    adapter::Adapter,
    process::Process,
    recording::Recording,
    reply::Reply,
    soon,
    told::{Told, telling, told},
    vllm::{self, Vllm},
};

const WAV: &[u8] = b"RIFF\x24\0\0\0WAVEfmt \r\n--\0";

/// `TranscriptionResponse`.
const PLAIN: &str = r#"{"text":"Hello there.","usage":{"type":"duration","seconds":3}}"#;

/// `TranscriptionResponseVerbose`.
const VERBOSE: &str = r#"{"duration":2.5,"language":"en","text":"Hello there.","segments":[{"id":0,"avg_logprob":-0.25,"compression_ratio":1.5,"end":2.0,"no_speech_prob":null,"seek":0,"start":0.5,"temperature":0.0,"text":"Hello there.","tokens":[1,2]}],"words":null}"#;

/// `TranscriptionResponseDiarized`.
const DIARIZED: &str = r#"{"task":"transcribe","duration":2.5,"text":"Hi. Ho.","segments":[{"type":"transcript.text.segment","id":"seg_0","start":0.0,"end":1.0,"text":"Hi.","speaker":"A"},{"type":"transcript.text.segment","id":"seg_1","start":1.0,"end":2.0,"text":"Ho.","speaker":"B"}],"usage":{"type":"duration","seconds":3}}"#;

/// The usage chunk of a stream.
const USAGE: &str = r#"{"id":"transcribe-1","object":"transcription.chunk","created":7,"model":"w","choices":[],"usage":{"prompt_tokens":3,"total_tokens":5,"completion_tokens":2}}"#;

/// `TranscriptionStreamResponse`, dumped without what was not set.
fn chunk(text: &str, finish: Option<&str>) -> String {
    let finish = finish.map_or(String::new(), |word| {
        format!(r#","finish_reason":"{word}","stop_reason":null"#)
    });
    format!(
        r#"{{"id":"transcribe-1","object":"transcription.chunk","created":7,"model":"w","choices":[{{"delta":{{"content":"{text}"}}{finish}}}]}}"#
    )
}

async fn before(vllm: &Vllm) -> (Adapter, TranscriptionServiceClient<Channel>) {
    let adapter = Adapter::before(vllm.base_url()).start().await;
    let client = TranscriptionServiceClient::new(adapter.channel());
    (adapter, client)
}

fn sound() -> TranscribeRequest {
    TranscribeRequest {
        audio: Bytes::from_static(WAV),
        ..TranscribeRequest::default()
    }
}

/// The parts of a form: the head of each, and its bytes.
fn parts(request: &vllm::Request) -> Vec<(String, Vec<u8>)> {
    let media_type = request.header("content-type").unwrap();
    let boundary = media_type.strip_prefix("multipart/form-data; boundary=");
    let boundary = format!("\r\n--{}", boundary.unwrap());
    let body = [b"\r\n", &*request.body].concat();
    let find = |bytes: &[u8], what: &[u8]| bytes.windows(what.len()).position(|it| it == what);
    let mut parts = Vec::new();
    let mut rest = &body[boundary.len()..];
    while let Some(part) = rest.strip_prefix(b"\r\n") {
        let head = find(part, b"\r\n\r\n").unwrap();
        let end = find(part, boundary.as_bytes()).unwrap();
        let text = String::from_utf8(part[..head].to_vec()).unwrap();
        parts.push((text, part[head + 4..end].to_vec()));
        rest = &part[end + boundary.len()..];
    }
    assert_eq!(rest, b"--\r\n");
    parts
}

#[tokio::test]
async fn sound_goes_out_as_a_form() {
    let vllm = Vllm::replying(Reply::json(200, PLAIN)).await;
    let (_adapter, mut client) = before(&vllm).await;
    let request = TranscribeRequest {
        model: "w".to_owned(),
        language: "en".to_owned(),
        temperature: Some(0.7),
        file_name: "talk.wav".to_owned(),
        ..sound()
    };
    let answer = client.transcribe(request).await.unwrap().into_inner();
    assert_eq!(answer.text, "Hello there.");
    assert_eq!(answer.duration_seconds, Some(3.0));
    let asked = vllm.request(0).await;
    assert_eq!(asked.path, "/v1/audio/transcriptions");
    let field = |name: &str, value: &str| {
        let head = format!("Content-Disposition: form-data; name=\"{name}\"");
        (head, value.as_bytes().to_vec())
    };
    let file = "Content-Disposition: form-data; name=\"file\"; filename=\"talk.wav\"\r\nContent-Type: audio/wav";
    let expected = [
        field("response_format", "json"),
        field("model", "w"),
        field("language", "en"),
        field("temperature", "0.7"),
        (file.to_owned(), WAV.to_vec()),
    ];
    assert_eq!(parts(&asked), expected);
}

#[tokio::test]
async fn times_and_speakers_come_when_asked_for() {
    let vllm = Vllm::replying_in_turn([Reply::json(200, VERBOSE), Reply::json(200, DIARIZED)]);
    let vllm = vllm.await;
    let (_adapter, mut client) = before(&vllm).await;
    let verbose = TranscribeRequest {
        timestamps: vec![TimestampGranularity::Segment.into()],
        ..sound()
    };
    let answer = client.transcribe(verbose).await.unwrap().into_inner();
    assert_eq!(
        (&*answer.language, answer.duration_seconds),
        ("en", Some(2.5))
    );
    let segment = &answer.segments[0];
    assert_eq!(
        (segment.start_seconds, segment.end_seconds),
        (Some(0.5), Some(2.0))
    );
    assert_eq!(segment.avg_logprob, Some(-0.25));
    let diarized = TranscribeRequest {
        diarize: Some(true),
        ..sound()
    };
    let answer = client.transcribe(diarized).await.unwrap().into_inner();
    let speakers: Vec<_> = answer.segments.iter().map(|it| &*it.speaker).collect();
    assert_eq!(speakers, ["A", "B"]);
}

/// `TranslationResponse` and `TranslationResponseVerbose` are those of a transcription, without its usage.
#[tokio::test]
async fn a_translation_goes_to_its_own_route() {
    let plain = r#"{"text":"Hello there."}"#;
    let vllm = Vllm::replying_in_turn([Reply::json(200, plain), Reply::json(200, VERBOSE)]).await;
    let (_adapter, mut client) = before(&vllm).await;
    let answer = client.translate(sound()).await.unwrap().into_inner();
    assert_eq!((&*answer.text, answer.usage), ("Hello there.", None));
    let with_subtitles = TranscribeRequest {
        subtitles: SubtitleFormat::Srt.into(),
        ..sound()
    };
    let answer = client.translate(with_subtitles).await.unwrap().into_inner();
    let cue = "1\n00:00:00,500 --> 00:00:02,000\nHello there.\n\n";
    assert_eq!((&*answer.subtitles, answer.segments), (cue, vec![]));
    assert_eq!(vllm.request(1).await.path, "/v1/audio/translations");
}

#[tokio::test]
async fn a_translation_is_streamed_as_a_transcription_is() {
    use stream_translate_response::Event;

    let reply = Reply::stream()
        .event(chunk("Hello", None))
        .event(chunk(" there.", Some("stop")))
        .event(USAGE);
    let vllm = Vllm::replying_in_turn([reply.clone().done(), reply.end_body()]).await;
    let (_adapter, mut client) = before(&vllm).await;
    let stream = client.stream_translate(sound()).await.unwrap();
    let mut stream = stream.into_inner();
    let mut events = Vec::new();
    while let Some(response) = stream.message().await.unwrap() {
        events.push(match response.event.unwrap() {
            Event::Content(delta) => delta.text,
            Event::Finished(finished) => format!("[{}]", finished.finish_reason_raw),
            Event::Usage(usage) => format!("[{} tokens]", usage.total_tokens()),
        });
    }
    assert_eq!(events.concat(), "Hello there.[stop][5 tokens]");
    assert_eq!(vllm.request(0).await.path, "/v1/audio/translations");
    let stream = client.stream_translate(sound()).await.unwrap();
    let mut stream = stream.into_inner();
    let end = loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            end => break told(end),
        }
    };
    let expected = telling(Code::Unavailable, "UPSTREAM_STREAM_TRUNCATED", &[]);
    assert_eq!(end, expected);
}

/// The events of a stream as text; a failure is what it tells.
async fn streamed(vllm: &Vllm) -> (Vec<String>, Option<Told>) {
    let (_adapter, mut client) = before(vllm).await;
    let mut events = Vec::new();
    let mut stream = match client.stream_transcribe(sound()).await {
        Ok(response) => response.into_inner(),
        Err(status) => return (events, Some(told(Err::<(), _>(status)))),
    };
    loop {
        match soon("waiting for an event", stream.message()).await {
            Ok(None) => return (events, None),
            Err(status) => return (events, Some(told(Err::<(), _>(status)))),
            Ok(Some(response)) => events.push(match response.event.unwrap() {
                Event::Content(delta) => delta.text,
                Event::Finished(finished) => format!("[{}]", finished.finish_reason_raw),
                Event::Usage(usage) => format!("[{} tokens]", usage.total_tokens()),
            }),
        }
    }
}

#[tokio::test]
async fn text_is_streamed_and_finishes() {
    let reply = Reply::stream()
        .event(chunk("Hello", None))
        .event(chunk(" there.", Some("stop")))
        .event(chunk(" Bye.", Some("stop")))
        .event(USAGE)
        .done();
    let vllm = Vllm::replying(reply).await;
    let (events, error) = streamed(&vllm).await;
    assert_eq!(error, None);
    assert_eq!(events.concat(), "Hello there. Bye.[stop][5 tokens]");
    let names: Vec<_> = parts(&vllm.request(0).await)
        .into_iter()
        .map(|(head, value)| (head, String::from_utf8_lossy(&value).into_owned()))
        .collect();
    let names = format!("{names:?}");
    assert!(names.contains("\\\"stream\\\"\", \"true\""), "{names}");
    assert!(names.contains("stream_include_usage"), "{names}");
}

#[tokio::test]
async fn only_a_whole_stream_is_ok() {
    let begun = || Reply::stream().event(chunk("Hello", None));
    let error = r#"{"error": {"message": "Internal server error", "type": "InternalServerError", "param": null, "code": 500}}"#;
    let truncated = telling(Code::Unavailable, "UPSTREAM_STREAM_TRUNCATED", &[]);
    let internal = telling(Code::Internal, "UPSTREAM_INTERNAL", &[]);
    let finished = || begun().event(chunk(".", Some("stop")));
    for (reply, expected) in [
        (begun().cut(), &truncated),
        (begun().end_body(), &truncated),
        (begun().done(), &truncated),
        (finished().cut(), &truncated),
        (finished().event(chunk(" And", None)).done(), &truncated),
        (begun().reset(), &truncated),
        (begun().event(error).done(), &internal),
        (Reply::stream().event(error).done(), &internal),
        (
            begun().event(chunk("", Some("abort"))).done(),
            &telling(Code::Unavailable, "UPSTREAM_ABORTED", &[]),
        ),
    ] {
        let vllm = Vllm::replying(reply.clone()).await;
        let (_events, error) = streamed(&vllm).await;
        assert_eq!(error.as_ref(), Some(expected), "{reply:?}");
    }
}

#[tokio::test]
async fn a_caller_that_leaves_a_stream_closes_the_upstreams_request() {
    let reply = Reply::stream().event(chunk("Hello", None)).fall_silent();
    let vllm = Vllm::replying(reply).await;
    let (_adapter, mut client) = before(&vllm).await;
    let stream = client.stream_transcribe(sound()).await.unwrap();
    let mut stream = stream.into_inner();
    stream.message().await.unwrap().unwrap();
    drop(stream);
    vllm.left(0).await;
}

#[tokio::test]
async fn a_call_that_takes_too_long_ends_the_upstreams_request() {
    let stream = Reply::stream().event(chunk("Hello", None)).fall_silent();
    let vllm = Vllm::replying_in_turn([stream, Reply::raw().fall_silent()]).await;
    let adapter = Adapter::before(vllm.base_url())
        .with(|config| config.limits.max_duration = Some(Duration::from_millis(300)))
        .start()
        .await;
    let mut client = TranscriptionServiceClient::new(adapter.channel());
    let expected = telling(Code::DeadlineExceeded, "TOTAL_TIMEOUT", &[]);
    let stream = client.stream_transcribe(sound()).await.unwrap();
    let mut stream = stream.into_inner();
    stream.message().await.unwrap().unwrap();
    let end = soon("waiting for the limit", stream.message()).await;
    assert_eq!(told(end), expected);
    vllm.left(0).await;
    assert_eq!(told(client.transcribe(sound()).await), expected);
    vllm.left(1).await;
}

#[tokio::test]
async fn what_vllm_refuses_names_the_field() {
    let body = |message: &str, param: &str| {
        let error = format!(
            r#"{{"error":{{"message":"{message}","type":"BadRequestError","param":{param},"code":400}}}}"#
        );
        Reply::json(400, error)
    };
    let invalid = |fields: &[&str]| telling(Code::InvalidArgument, "INVALID_REQUEST", fields);
    for (reply, expected) in [
        (
            body(
                "Maximum file size exceeded (parameter=audio_filesize_mb, value=30.0)",
                "\"audio_filesize_mb\"",
            ),
            invalid(&["audio"]),
        ),
        (
            body("Invalid or unsupported audio file.", "null"),
            invalid(&["audio"]),
        ),
        (
            body("Currently do not support verbose_json for w", "null"),
            invalid(&["timestamps"]),
        ),
        (
            Recording::read("emb_err_model").reply(),
            telling(Code::NotFound, "MODEL_NOT_FOUND", &[]),
        ),
        (
            Reply::json(404, r#"{"detail":"Not Found"}"#),
            telling(Code::Unimplemented, "UPSTREAM_UNIMPLEMENTED", &[]),
        ),
    ] {
        let vllm = Vllm::replying(reply).await;
        let (_adapter, mut client) = before(&vllm).await;
        assert_eq!(told(client.transcribe(sound()).await), expected);
    }
}

#[tokio::test]
async fn sound_that_is_empty_or_too_large_is_not_sent() {
    let vllm = Vllm::replying(Reply::json(200, PLAIN)).await;
    let adapter = Adapter::before(vllm.base_url())
        .with(|config| config.policy.max_audio_bytes = 64)
        .start()
        .await;
    let mut client = TranscriptionServiceClient::new(adapter.channel());
    for length in [0, 65] {
        let request = TranscribeRequest {
            audio: vec![0; length].into(),
            ..TranscribeRequest::default()
        };
        let expected = telling(Code::InvalidArgument, "INVALID_REQUEST", &["audio"]);
        assert_eq!(told(client.transcribe(request).await), expected);
    }
    assert_eq!(vllm.n_requests(), 0);
}

#[tokio::test]
#[ignore = "bounds of memory need a quiet machine: tests/faults.sh runs it"]
async fn sound_is_held_once() {
    const LENGTH: usize = 24 << 20;
    let vllm = Vllm::replying(Reply::json(200, PLAIN)).await;
    let process = Process::before(&vllm.base_url()).start().await;
    let mut client = TranscriptionServiceClient::new(process.channel().await);
    let before = process.peak_bytes();
    let request = TranscribeRequest {
        audio: vec![7; LENGTH].into(),
        ..TranscribeRequest::default()
    };
    let answer = soon("transcribing", client.transcribe(request)).await;
    assert_eq!(answer.unwrap().into_inner().text, "Hello there.");
    let taken = process.peak_bytes().saturating_sub(before);
    let sent = vllm.request(0).await.body.len();
    assert!(sent > LENGTH);
    // The message as it came in, and what the sockets hold; a second copy would pass this.
    assert!(taken < LENGTH as u64 * 7 / 4, "{taken} bytes for {LENGTH}");
}
