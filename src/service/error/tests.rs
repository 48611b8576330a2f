use std::time::Duration;

use tonic::Code;
use tonic_types::StatusExt;

use super::*;
use crate::{
    access::Identity,
    config::Policy,
    openai::error::ErrorBody,
    proto,
    translate::{Fields, Mode, embedding, generation},
    upstream::Refusal,
};

const OBJECT: &str =
    r#"{"error":{"message":"m","type":"BadRequestError","param":"temperature","code":400}}"#;
const FLAT: &str =
    r#"{"object":"error","message":"m","type":"BadRequestError","param":"temperature","code":400}"#;
const WORD: &str = r#"{"error":"Unauthorized"}"#;
const DETAIL: &str = r#"{"detail":"Not Found"}"#;
const HTML: &str = "<html><h1>secret host</h1></html>";
const NO_MODEL: &str = r#"{"error":{"message":"The model `x` does not exist. Valid aliases: theirs",
    "type":"NotFoundError","param":"model","code":404}}"#;

/// A call of that id for a model.
fn call_of(id: &str, model: &str) -> Call {
    let request = http::Request::builder().header("x-request-id", id);
    let call = Call::at_head(
        &request.body(()).unwrap().into_parts().0,
        None,
        Identity::default(),
    );
    call.set_model(model);
    call
}

fn call() -> Call {
    call_of("r-1", "x")
}

fn refused(status: u16, body: &str, retry_after: Option<u64>) -> Error {
    let retry_after = retry_after.map(Duration::from_secs);
    let body = ErrorBody::read(body.as_bytes());
    Error::Upstream(upstream::Error::Refused(Refusal {
        status,
        body,
        retry_after,
    }))
}

/// The status of an error, after checks of what every status has.
#[track_caller]
fn status(error: &Error, call: &Call) -> (Status, &'static str) {
    let status = error.to_status(call);
    let reason = call.failure.get().unwrap().reason;
    let details = status.get_error_details();
    let info = details.error_info().unwrap();
    assert_eq!(
        (info.domain.as_str(), info.reason.as_str()),
        (report::DOMAIN, reason)
    );
    assert_eq!(details.request_info().unwrap().request_id, call.id());
    assert!(status.message().len() <= 1024 && !status.message().contains('\n'));
    assert!(!status.message().contains("secret") && !status.message().contains("theirs"));
    assert!(status.details().len() * 4 / 3 + status.message().len() < 4096);
    (status, reason)
}

#[track_caller]
fn check(error: &Error, code: Code, reason: &str) {
    let (status, told) = status(error, &call());
    assert_eq!((status.code(), told), (code, reason));
}

#[test]
fn every_http_status_has_its_code() {
    let rows = [
        (400, OBJECT, Code::InvalidArgument, "INVALID_REQUEST"),
        (400, FLAT, Code::InvalidArgument, "INVALID_REQUEST"),
        (400, WORD, Code::Internal, "UPSTREAM_PROTOCOL"),
        (400, DETAIL, Code::Internal, "UPSTREAM_PROTOCOL"),
        (400, HTML, Code::Internal, "UPSTREAM_PROTOCOL"),
        (400, "", Code::Internal, "UPSTREAM_PROTOCOL"),
        (401, WORD, Code::Internal, "UPSTREAM_AUTH"),
        (402, "", Code::Internal, "UPSTREAM_BILLING"),
        (403, OBJECT, Code::Internal, "UPSTREAM_FORBIDDEN"),
        (404, NO_MODEL, Code::NotFound, "MODEL_NOT_FOUND"),
        (404, DETAIL, Code::Internal, "UPSTREAM_MISROUTED"),
        (404, HTML, Code::Internal, "UPSTREAM_MISROUTED"),
        (404, "", Code::Internal, "UPSTREAM_MISROUTED"),
        (405, DETAIL, Code::Internal, "UPSTREAM_MISROUTED"),
        (408, "", Code::Unavailable, "UPSTREAM_UNAVAILABLE"),
        (409, "", Code::Aborted, "UPSTREAM_CONFLICT"),
        (410, "", Code::NotFound, "MODEL_NOT_FOUND"),
        (412, "", Code::FailedPrecondition, "UPSTREAM_PRECONDITION"),
        (413, "", Code::ResourceExhausted, "REQUEST_TOO_LARGE"),
        (414, "", Code::Internal, "UPSTREAM_PROTOCOL"),
        (415, "", Code::Internal, "UPSTREAM_MISROUTED"),
        (418, "", Code::Internal, "UPSTREAM_HTTP"),
        (422, OBJECT, Code::InvalidArgument, "INVALID_REQUEST"),
        (
            422,
            r#"{"detail":[{"loc":["body"]}]}"#,
            Code::InvalidArgument,
            "INVALID_REQUEST",
        ),
        (425, "", Code::Unavailable, "UPSTREAM_UNAVAILABLE"),
        (429, HTML, Code::ResourceExhausted, "UPSTREAM_RATE_LIMITED"),
        (431, "", Code::Internal, "UPSTREAM_PROTOCOL"),
        (451, "", Code::PermissionDenied, "UPSTREAM_LEGAL"),
        (499, "", Code::Unavailable, "UPSTREAM_RESET"),
        (500, OBJECT, Code::Internal, "UPSTREAM_INTERNAL"),
        (501, OBJECT, Code::Unimplemented, "UPSTREAM_UNIMPLEMENTED"),
        (502, HTML, Code::Unavailable, "UPSTREAM_UNAVAILABLE"),
        (503, WORD, Code::Unavailable, "UPSTREAM_OVERLOADED"),
        (504, HTML, Code::DeadlineExceeded, "UPSTREAM_TIMEOUT"),
        (505, "", Code::Internal, "UPSTREAM_HTTP"),
        (507, "", Code::ResourceExhausted, "UPSTREAM_STORAGE"),
        (520, "", Code::Unavailable, "UPSTREAM_UNAVAILABLE"),
        (524, "", Code::DeadlineExceeded, "UPSTREAM_TIMEOUT"),
        (204, "", Code::Internal, "UPSTREAM_PROTOCOL"),
    ];
    for (http, body, code, reason) in rows {
        let (status, told) = status(&refused(http, body, None), &call());
        assert_eq!((status.code(), told), (code, reason), "{http} {body}");
    }
}

fn embed_fields() -> Fields {
    let request = proto::EmbedRequest {
        texts: vec!["a".to_owned()],
        ..proto::EmbedRequest::default()
    };
    let translated = embedding::request(request, &Policy::default());
    translated.unwrap().fields
}

#[test]
fn a_route_that_the_router_lacks_is_what_the_model_cannot_do() {
    let embed = embed_fields();
    let cases = [
        (404, DETAIL, embed, Code::Unimplemented),
        (405, DETAIL, Fields::RERANK, Code::Unimplemented),
        (501, OBJECT, Fields::SCORE, Code::Unimplemented),
        (404, HTML, embed, Code::Internal),
        // vLLM's front end in Rust.
        (404, "", embed, Code::Unimplemented),
        (404, DETAIL, Fields::MODELS, Code::Internal),
        (404, NO_MODEL, embed, Code::NotFound),
    ];
    for (http, body, fields, code) in cases {
        let call = call();
        call.set_fields(fields);
        let (status, _) = status(&refused(http, body, None), &call);
        assert_eq!(status.code(), code, "{http} {body} {fields:?}");
    }
}

/// What the log says of a failure.
fn cause(error: &Error) -> String {
    let call = call();
    error.to_status(&call);
    call.failure.get().unwrap().cause.clone().unwrap()
}

#[test]
fn the_log_names_the_fields_of_a_wrong_request_and_nothing_of_the_callers() {
    let policy = Policy::default();
    let request = proto::GenerateRequest {
        prompt: "a".to_owned(),
        extra_body_json: r#"{"mine":1}"#.to_owned(),
        ..proto::GenerateRequest::default()
    };
    let invalid = generation::request(request, Mode::Unary, &policy).unwrap_err();
    assert!(invalid.to_string().contains("mine"));
    let cause = cause(&Error::InvalidRequest(invalid));
    assert_eq!(cause, "wrong fields: extra_body_json");
}

#[test]
fn the_log_tells_the_operator_what_a_wrong_url_may_lack() {
    let missing = cause(&refused(404, DETAIL, None));
    assert!(missing.contains("`/v1`"), "{missing}");
    let other = cause(&refused(500, OBJECT, None));
    assert!(!other.contains("`/v1`"), "{other}");
}

#[test]
fn a_model_that_is_not_listed_is_not_found() {
    let (status, reason) = status(&Error::UnknownModel, &call());
    assert_eq!((status.code(), reason), (Code::NotFound, "MODEL_NOT_FOUND"));
    let resource = status.get_details_resource_info().unwrap();
    assert_eq!(resource.resource_name, "x");
}

#[test]
fn an_error_without_a_parameter_names_the_field_of_its_words() {
    let body = r#"{"error":{"message":"Model 'm' only supports dimensions in range [1, 2], got 3.","type":"BadRequestError","param":null,"code":400}}"#;
    let call = call();
    call.set_fields(embed_fields());
    let (status, _) = status(&refused(400, body, None), &call);
    let details = status.get_details_bad_request().unwrap();
    assert_eq!(details.field_violations[0].field, "dimensions");
}

#[test]
fn a_context_that_is_too_long_is_told_by_its_own_reason() {
    let by_param =
        r#"{"error":{"message":"m","type":"BadRequestError","param":"input_tokens","code":400}}"#;
    // vLLM up to 0.31.
    let by_text = r#"{"object":"error","message":"This model's maximum context length is 8","type":"BadRequestError","param":null,"code":400}"#;
    for body in [by_param, by_text] {
        let prompt = proto::GenerateRequest {
            prompt: "a".to_owned(),
            ..proto::GenerateRequest::default()
        };
        let chat = proto::GenerateRequest {
            messages: vec![proto::ChatMessage {
                role: proto::Role::User.into(),
                ..proto::ChatMessage::default()
            }],
            ..proto::GenerateRequest::default()
        };
        let completion = proto::GenerateRequest {
            completion: Some(proto::CompletionInput {
                text: "a".to_owned(),
                ..proto::CompletionInput::default()
            }),
            ..proto::GenerateRequest::default()
        };
        for (request, field) in [
            (prompt, "prompt"),
            (chat, "messages"),
            (completion, "completion"),
        ] {
            let translated = generation::request(request, Mode::Unary, &Policy::default());
            let call = call();
            call.set_fields(translated.unwrap().fields);
            let (status, reason) = status(&refused(400, body, None), &call);
            assert_eq!(
                (status.code(), reason),
                (Code::InvalidArgument, "CONTEXT_LENGTH_EXCEEDED")
            );
            assert_eq!(
                status.get_details_bad_request().unwrap().field_violations[0].field,
                field
            );
        }
    }
}

#[test]
fn a_field_of_the_adapters_own_is_not_the_callers_fault() {
    let body = r#"{"error":{"message":"m","type":"Bad Request","param":"body.stream_options","code":400}}"#;
    check(
        &refused(400, body, None),
        Code::Internal,
        "UPSTREAM_PROTOCOL",
    );
    let blocked = r#"{"error":{"message":"m","code":"content_filter"}}"#;
    check(
        &refused(400, blocked, None),
        Code::FailedPrecondition,
        "CONTENT_BLOCKED",
    );
}

#[test]
fn waiting_is_told_where_it_helps() {
    let pushback = |error: &Error, call: &Call| {
        let (status, _) = status(error, call);
        let told = status
            .metadata()
            .get("grpc-retry-pushback-ms")
            .map(|it| it.to_str().unwrap().to_owned());
        let info = status
            .get_details_retry_info()
            .map(|it| it.retry_delay.unwrap().as_millis().to_string());
        assert!(info.is_none() || info == told);
        told
    };
    let told = |error: &Error| pushback(error, &call());
    assert_eq!(told(&refused(503, "", Some(7))), Some("7000".to_owned()));
    assert_eq!(told(&refused(429, "", Some(3))), Some("3000".to_owned()));
    assert_eq!(told(&refused(429, "", None)), None);
    assert_eq!(told(&refused(500, "", Some(3))), None);
    assert_eq!(told(&refused(502, "", None)), Some("1000".to_owned()));
    let spread: u64 = told(&refused(503, "", None)).unwrap().parse().unwrap();
    assert!((500..=1500).contains(&spread));
    // Paid for, and the headers are not out: the library must not repeat it.
    let head = http::Request::get("/s/StreamGenerate").body(()).unwrap();
    let streamed = Call::at_head(&head.into_parts().0, None, Identity::default());
    let cut = || Error::Upstream(upstream::Error::Truncated(None));
    assert_eq!(told(&cut()), Some("-1".to_owned()));
    assert_eq!(pushback(&cut(), &streamed), None);
}

#[test]
fn an_event_that_is_large_as_the_caller_asked_is_told_with_its_limit() {
    let too_large = upstream::Error::TooLarge {
        what: "event",
        limit: 8,
    };
    let call = call();
    let request = proto::GenerateRequest {
        prompt: "a".to_owned(),
        logprobs: Some(true),
        ..proto::GenerateRequest::default()
    };
    let translated = generation::request(request, Mode::Unary, &Policy::default());
    call.set_fields(translated.unwrap().fields);
    let (status, reason) = status(&Error::from(too_large), &call);
    let expected = (Code::ResourceExhausted, "RESPONSE_TOO_LARGE");
    assert_eq!((status.code(), reason), expected);
    assert!(status.message().contains("--max-event-bytes"), "{status:?}");
}

#[test]
fn what_happens_upstream_has_its_code() {
    use upstream::Error as E;
    let second = Duration::from_secs(1);
    let unreachable = E::Connect("refused".into());
    check(&unreachable.into(), Code::Unavailable, "UPSTREAM_CONNECT");
    check(
        &E::Truncated(None).into(),
        Code::Unavailable,
        "UPSTREAM_STREAM_TRUNCATED",
    );
    check(
        &E::Redirected(307).into(),
        Code::Internal,
        "UPSTREAM_REDIRECT",
    );
    check(
        &E::Protocol("not UTF-8".into()).into(),
        Code::Internal,
        "UPSTREAM_PROTOCOL",
    );
    let too_large = E::TooLarge {
        what: "event",
        limit: 8,
    };
    check(
        &too_large.into(),
        Code::Internal,
        "UPSTREAM_EVENT_TOO_LARGE",
    );
    check(
        &E::FirstToken(second).into(),
        Code::DeadlineExceeded,
        "FIRST_TOKEN_TIMEOUT",
    );
    check(
        &E::Stalled(second).into(),
        Code::Unavailable,
        "UPSTREAM_STALLED",
    );
}

#[test]
fn an_answer_that_is_not_whole_has_its_code() {
    check(
        &InvalidAnswer::Aborted.into(),
        Code::Unavailable,
        "UPSTREAM_ABORTED",
    );
    check(
        &InvalidAnswer::Failed.into(),
        Code::Internal,
        "UPSTREAM_INTERNAL",
    );
    check(
        &InvalidAnswer::Unfinished.into(),
        Code::Unavailable,
        "UPSTREAM_STREAM_TRUNCATED",
    );
    check(
        &InvalidAnswer::Malformed("x").into(),
        Code::Internal,
        "UPSTREAM_PROTOCOL",
    );
}

#[test]
fn a_partial_answer_says_so() {
    let call = call();
    for _ in 0..3 {
        call.responded(true);
    }
    let (status, _) = status(&InvalidAnswer::Unfinished.into(), &call);
    let metadata = status.get_details_error_info().unwrap().metadata;
    assert_eq!(metadata.get("partial").map(String::as_str), Some("true"));
    assert_eq!(metadata.get("deltas").map(String::as_str), Some("3"));
}

#[test]
fn the_trailers_are_bounded_whatever_comes() {
    let long = "é".repeat(100_000);
    let engine = format!(
        r#"{{"error":{{"message":"{long}","type":"BadRequestError","param":"messages","code":400}}}}"#
    );
    let (id, model) = ("r".repeat(128), long.clone());
    let call = || call_of(&id, &model);
    status(&refused(400, &engine, None), &call());
    status(&refused(404, NO_MODEL, None), &call());
    let fields: Vec<String> = (0..500).map(|n| format!("messages[{n}].{long}")).collect();
    let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
    status(&InvalidRequest::together(&fields, &long).into(), &call());
}

#[test]
fn every_wrong_field_is_told() {
    let (status, _) = status(
        &InvalidRequest::together(&["prompt", "messages"], "set one").into(),
        &call(),
    );
    assert_eq!(status.message(), "prompt: set one; messages: set one");
    let violations = status.get_details_bad_request().unwrap().field_violations;
    let fields: Vec<_> = violations.iter().map(|it| it.field.as_str()).collect();
    assert_eq!(fields, ["prompt", "messages"]);
}
