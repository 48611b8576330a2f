use super::*;

/// A request for times.
fn times(kinds: &[TimestampGranularity]) -> proto::TranscribeRequest {
    proto::TranscribeRequest {
        timestamps: kinds.iter().map(|kind| i32::from(*kind)).collect(),
        ..proto::TranscribeRequest::default()
    }
}

fn speakers() -> proto::TranscribeRequest {
    proto::TranscribeRequest {
        diarize: Some(true),
        ..proto::TranscribeRequest::default()
    }
}

fn answer(request: &proto::TranscribeRequest, json: &str) -> proto::TranscribeResponse {
    response(serde_json::from_str(json).unwrap(), Asked::of(request)).unwrap()
}

#[test]
fn the_plain_answer_has_text_and_length() {
    let json = r#"{"text":"Hello.","usage":{"type":"duration","seconds":3}}"#;
    assert_eq!(
        answer(&times(&[]), json),
        proto::TranscribeResponse {
            text: "Hello.".to_owned(),
            duration_seconds: Some(3.0),
            ..proto::TranscribeResponse::default()
        }
    );
}

#[test]
fn the_verbose_answer_has_segments_and_words() {
    let both = [TimestampGranularity::Segment, TimestampGranularity::Word];
    let json = r#"{"duration":2.5,"language":"en","text":"Hello.","segments":[{"id":0,"avg_logprob":-0.1,
        "compression_ratio":1.1,"end":2.0,"no_speech_prob":null,"seek":30,"start":0.0,"temperature":0.2,
        "text":"Hello.","tokens":[1,2]}],"words":[{"end":1.0,"start":0.5,"word":"Hello"}]}"#;
    let told = answer(&times(&both), json);
    assert_eq!(
        (told.language.as_str(), told.duration_seconds),
        ("en", Some(2.5))
    );
    let [segment] = &*told.segments else {
        panic!("one segment");
    };
    assert_eq!(
        (segment.index, segment.start_seconds, segment.end_seconds),
        (Some(0), Some(0.0), Some(2.0))
    );
    assert_eq!(
        (segment.avg_logprob, segment.no_speech_prob),
        (Some(-0.1), None)
    );
    assert_eq!(
        (segment.compression_ratio, segment.temperature, segment.seek),
        (Some(1.1), Some(0.2), Some(30))
    );
    assert_eq!(segment.token_ids, [1, 2]);
    assert_eq!(told.words[0].word, "Hello");
    assert_eq!(told.words[0].end_seconds, Some(1.0));
}

#[test]
fn the_diarized_answer_has_speakers() {
    let json = r#"{"task":"transcribe","duration":2.5,"text":"Hi. Ho.","segments":[
        {"type":"transcript.text.segment","id":"seg_0","start":0,"end":1,"text":"Hi.","speaker":"A"},
        {"type":"transcript.text.segment","id":"seg_1","start":1,"end":2,"text":"Ho.","speaker":"B"}],
        "usage":{"type":"duration","seconds":3}}"#;
    let told = answer(&speakers(), json);
    let speakers: Vec<_> = told
        .segments
        .iter()
        .map(|it| (it.index, &*it.speaker))
        .collect();
    assert_eq!(speakers, [(Some(0), "A"), (Some(1), "B")]);
    assert_eq!(told.duration_seconds, Some(2.5));
}

#[test]
fn tokens_are_counted_where_the_upstream_does() {
    let json = r#"{"text":"","usage":{"type":"tokens","total_tokens":7}}"#;
    assert_eq!(
        answer(&times(&[]), json).usage.unwrap().total_tokens,
        Some(7)
    );
}

#[test]
fn what_was_not_asked_for_is_left_out() {
    let json = r#"{"text":"Hi.","segments":[{"end":1,"start":0,"text":"Hi.","speaker":"A"}],
        "words":[{"end":1.0,"start":0.5,"word":"Hi"}]}"#;
    for (request, expected) in [
        (times(&[]), (0, 0)),
        (times(&[TimestampGranularity::Segment]), (1, 0)),
        (times(&[TimestampGranularity::Word]), (0, 1)),
        (speakers(), (1, 0)),
    ] {
        let told = answer(&request, json);
        assert_eq!((told.segments.len(), told.words.len()), expected);
        let has_speaker = told
            .segments
            .iter()
            .any(|segment| !segment.speaker.is_empty());
        assert_eq!(has_speaker, request.diarize.is_some());
    }
}
