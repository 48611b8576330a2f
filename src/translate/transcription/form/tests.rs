use super::*;

const WAV: &[u8] = b"RIFF\x24\0\0\0WAVEfmt ";

fn policy() -> Policy {
    Policy {
        default_model: Some("d".to_owned()),
        extra_body_keys: ["vllm_xargs".to_owned(), "x".to_owned()].into(),
        max_audio_bytes: 64,
        ..Policy::default()
    }
}

fn sound() -> proto::TranscribeRequest {
    proto::TranscribeRequest {
        audio: Bytes::from_static(WAV),
        ..proto::TranscribeRequest::default()
    }
}

fn with(change: impl FnOnce(&mut proto::TranscribeRequest)) -> proto::TranscribeRequest {
    let mut request = sound();
    change(&mut request);
    request
}

/// The fields of the form, each as `name=value`.
#[track_caller]
fn check(request: proto::TranscribeRequest, mode: Mode, expected: &[&str]) {
    let form = super::form(request, Task::Transcribe, mode, &policy()).unwrap();
    let fields: Vec<_> = form
        .fields
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    assert_eq!(fields, expected);
}

#[track_caller]
fn refused(request: proto::TranscribeRequest, mode: Mode, fields: &[&str]) {
    let invalid = super::form(request, Task::Transcribe, mode, &policy()).unwrap_err();
    let named: Vec<_> = invalid.violations().iter().map(|it| &*it.field).collect();
    assert_eq!(named, fields, "{invalid}");
}

#[test]
fn the_format_follows_from_what_is_wanted() {
    check(sound(), Mode::Unary, &["response_format=json", "model=d"]);
    let streamed = [
        "response_format=json",
        "stream=true",
        "stream_include_usage=true",
        "model=d",
    ];
    check(sound(), Mode::Stream, &streamed);
    let segment = TimestampGranularity::Segment.into();
    let word = TimestampGranularity::Word.into();
    check(
        with(|it| it.timestamps = vec![word, segment]),
        Mode::Unary,
        &[
            "response_format=verbose_json",
            "timestamp_granularities[]=word",
            "timestamp_granularities[]=segment",
            "model=d",
        ],
    );
    check(
        with(|it| it.diarize = Some(true)),
        Mode::Unary,
        &["response_format=diarized_json", "model=d"],
    );
    check(
        with(|it| it.subtitles = SubtitleFormat::Vtt.into()),
        Mode::Unary,
        &["response_format=verbose_json", "model=d"],
    );
}

#[test]
fn a_translation_has_segments_alone() {
    let translated = |change: fn(&mut proto::TranscribeRequest)| {
        let form = super::form(with(change), Task::Translate, Mode::Unary, &policy());
        let violation = |invalid: &InvalidRequest| invalid.violations()[0].field.clone();
        form.map(|form| form.fields[0].1.clone())
            .map_err(|invalid| violation(&invalid))
    };
    let verbose = Ok("verbose_json".to_owned());
    assert_eq!(translated(|_| {}), Ok("json".to_owned()));
    let segments = translated(|it| it.timestamps = vec![TimestampGranularity::Segment.into()]);
    assert_eq!(segments, verbose);
    assert_eq!(translated(|it| it.subtitles = 1), verbose);
    let words = translated(|it| it.timestamps = vec![1, 2]);
    assert_eq!(words, Err("timestamps[1]".to_owned()));
    let speakers = translated(|it| it.diarize = Some(true));
    assert_eq!(speakers, Err("diarize".to_owned()));
}

/// The fields of a request that has all of them.
const EVERY_OPTION: &[&str] = &[
    "response_format=json",
    "model=m",
    "language=en",
    "prompt=p",
    "hotwords=h",
    "to_language=de",
    "temperature=0.7",
    "top_p=0.9",
    "top_k=0",
    "min_p=0",
    "seed=7",
    "frequency_penalty=-2",
    "presence_penalty=2",
    "repetition_penalty=1.5",
    "max_completion_tokens=9",
    "use_beam_search=true",
    "n=2",
    "length_penalty=0.5",
    "include_stop_str_in_output=false",
    "watermarking=true",
    r#"vllm_xargs={"a":[1]}"#,
    "x=y",
];

#[test]
fn every_option_goes_out() {
    let request = proto::TranscribeRequest {
        model: "m".to_owned(),
        language: "en".to_owned(),
        prompt: "p".to_owned(),
        hotwords: "h".to_owned(),
        target_language: "de".to_owned(),
        temperature: Some(0.7),
        top_p: Some(0.9),
        top_k: Some(0),
        min_p: Some(0.0),
        seed: Some(7),
        extra_body_json: r#"{"vllm_xargs":{"a":[1]},"x":"y"}"#.to_owned(),
        frequency_penalty: Some(-2.0),
        presence_penalty: Some(2.0),
        repetition_penalty: Some(1.5),
        max_tokens: Some(9),
        use_beam_search: Some(true),
        beams: Some(2),
        length_penalty: Some(0.5),
        include_stop_str_in_output: Some(false),
        watermarking: Some(true),
        ..sound()
    };
    check(request, Mode::Unary, EVERY_OPTION);
}

#[test]
fn the_file_has_a_name_and_a_type() {
    let file = |request| {
        super::form(request, Task::Transcribe, Mode::Unary, &policy())
            .unwrap()
            .file
    };
    let plain = file(sound());
    assert_eq!((&*plain.name, &*plain.media_type), ("audio", "audio/wav"));
    assert_eq!(plain.data, WAV);
    let unknown = file(with(|it| it.audio = Bytes::from_static(b"?")));
    assert_eq!(unknown.media_type, "application/octet-stream");
    let given = file(with(|it| {
        it.media_type = "audio/x-own".to_owned();
        it.file_name = "Gespräch 1.wav".to_owned();
    }));
    assert_eq!(
        (&*given.name, &*given.media_type),
        ("Gespräch 1.wav", "audio/x-own")
    );
}

#[test]
fn sound_that_is_empty_or_too_large_is_refused() {
    refused(with(|it| it.audio.clear()), Mode::Unary, &["audio"]);
    let of = |length: usize| with(|it| it.audio = vec![0; length].into());
    check(of(64), Mode::Unary, &["response_format=json", "model=d"]);
    let invalid = super::form(of(65), Task::Transcribe, Mode::Unary, &policy()).unwrap_err();
    let told = invalid.to_string();
    assert!(
        told.starts_with("audio: must have at most 64 bytes"),
        "{told}"
    );
    assert!(told.contains("--max-audio-bytes"), "{told}");
}

#[test]
fn what_no_upstream_can_do_is_refused_by_name() {
    let times = |times: &[i32]| with(|it| it.timestamps = times.to_vec());
    let extra = |json: &str| with(|it| it.extra_body_json = json.to_owned());
    let name = |name: &str| with(|it| it.file_name = name.to_owned());
    let segment: i32 = TimestampGranularity::Segment.into();
    for (request, fields) in [
        (with(|it| it.media_type = "a/b;c".into()), &["media_type"]),
        (name("a\"b"), &["file_name"]),
        (name("a\r\nb"), &["file_name"]),
        (name(&"a".repeat(256)), &["file_name"]),
        (with(|it| it.subtitles = 9), &["subtitles"]),
        (times(&[0]), &["timestamps[0]"]),
        (times(&[segment, 9]), &["timestamps[1]"]),
        (times(&[segment, segment]), &["timestamps[1]"]),
        (with(|it| it.temperature = Some(2.5)), &["temperature"]),
        (with(|it| it.max_tokens = Some(0)), &["max_tokens"]),
        (with(|it| it.beams = Some(2)), &["beams"]),
        (extra(r#"{"stream":1}"#), &["extra_body_json"]),
        (extra(r#"{"y":1}"#), &["extra_body_json"]),
    ] {
        refused(request, Mode::Unary, fields);
    }
    let both = with(|it| {
        it.timestamps = vec![segment];
        it.diarize = Some(true);
    });
    refused(both, Mode::Unary, &["timestamps", "diarize"]);
    let both = with(|it| {
        it.subtitles = 1;
        it.diarize = Some(true);
    });
    refused(both, Mode::Unary, &["diarize", "subtitles"]);
}

#[test]
fn what_cannot_be_streamed_is_refused_by_name() {
    let segment = TimestampGranularity::Segment.into();
    let beams = with(|it| it.use_beam_search = Some(true));
    for (request, field) in [
        (with(|it| it.timestamps = vec![segment]), "timestamps"),
        (with(|it| it.diarize = Some(true)), "diarize"),
        (with(|it| it.subtitles = 1), "subtitles"),
        (beams, "use_beam_search"),
    ] {
        refused(request, Mode::Stream, &[field]);
    }
}
