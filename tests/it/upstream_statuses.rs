//! The statuses of the upstream, and how long it asks callers to wait.

use std::time::Duration;

use tonic::Code;
use tonic_types::StatusExt;

use crate::{
    support::{outcome::check, reply::Reply, wire},
    upstream_http::told,
};

/// The forms of an error's body; only the engine's own say what is wrong with the request.
fn bodies(status: u16) -> [(&'static str, Reply, bool); 8] {
    let object = wire::error("m", "BadRequestError", status);
    let flat =
        format!(r#"{{"object":"error","message":"m","type":"BadRequestError","code":{status}}}"#);
    let cut = Reply::raw().send(format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: 900\r\n\r\n{{\"error"
    ));
    let huge = format!(
        r#"{{"error":{{"message":"{}","code":{status}}}}}"#,
        "x".repeat(1 << 20)
    );
    [
        ("object", Reply::json(status, object), true),
        ("flat object", Reply::json(status, flat), true),
        ("string", Reply::json(status, r#"{"error":"no"}"#), false),
        ("detail", Reply::json(status, r#"{"detail":"no"}"#), false),
        ("page", Reply::page(status, "<html>no</html>"), false),
        ("nothing", Reply::json(status, ""), false),
        ("1 MiB", Reply::json(status, huge), false),
        ("cut", cut.cut(), false),
    ]
}

/// Row B18, where each status has one answer whatever its body says.
#[tokio::test]
async fn a_status_of_the_upstream_is_told_by_its_meaning_whatever_its_body() {
    use Code::{
        Aborted, DeadlineExceeded, FailedPrecondition, Internal, PermissionDenied,
        ResourceExhausted, Unavailable, Unimplemented,
    };
    let rows = [
        (401, Internal, "UPSTREAM_AUTH"),
        (402, Internal, "UPSTREAM_BILLING"),
        (403, Internal, "UPSTREAM_FORBIDDEN"),
        (405, Internal, "UPSTREAM_MISROUTED"),
        (406, Internal, "UPSTREAM_MISROUTED"),
        (408, Unavailable, "UPSTREAM_UNAVAILABLE"),
        (409, Aborted, "UPSTREAM_CONFLICT"),
        (412, FailedPrecondition, "UPSTREAM_PRECONDITION"),
        (413, ResourceExhausted, "REQUEST_TOO_LARGE"),
        (414, Internal, "UPSTREAM_PROTOCOL"),
        (415, Internal, "UPSTREAM_MISROUTED"),
        (421, Internal, "UPSTREAM_MISROUTED"),
        (425, Unavailable, "UPSTREAM_UNAVAILABLE"),
        (426, Internal, "UPSTREAM_MISROUTED"),
        (428, FailedPrecondition, "UPSTREAM_PRECONDITION"),
        (429, ResourceExhausted, "UPSTREAM_RATE_LIMITED"),
        (431, Internal, "UPSTREAM_PROTOCOL"),
        (451, PermissionDenied, "UPSTREAM_LEGAL"),
        (499, Unavailable, "UPSTREAM_RESET"),
        (500, Internal, "UPSTREAM_INTERNAL"),
        (501, Unimplemented, "UPSTREAM_UNIMPLEMENTED"),
        (502, Unavailable, "UPSTREAM_UNAVAILABLE"),
        (503, Unavailable, "UPSTREAM_OVERLOADED"),
        (504, DeadlineExceeded, "UPSTREAM_TIMEOUT"),
        (507, ResourceExhausted, "UPSTREAM_STORAGE"),
        (520, Unavailable, "UPSTREAM_UNAVAILABLE"),
        (524, DeadlineExceeded, "UPSTREAM_TIMEOUT"),
        (529, Unavailable, "UPSTREAM_UNAVAILABLE"),
        (598, DeadlineExceeded, "UPSTREAM_TIMEOUT"),
        (418, Internal, "UPSTREAM_HTTP"),
        (599, Internal, "UPSTREAM_HTTP"),
    ];
    for (status, code, reason) in rows {
        for (form, reply, _is_engine) in bodies(status) {
            for told in told(reply).await {
                check(&told, code, reason, &format!("{status} {form}"));
            }
        }
    }
}

/// Row B18, where the body decides.
#[tokio::test]
async fn only_the_engines_own_word_blames_the_request() {
    for (status, code, reason, foreign_code, foreign) in [
        (
            400,
            Code::InvalidArgument,
            "INVALID_REQUEST",
            Code::Internal,
            "UPSTREAM_PROTOCOL",
        ),
        (
            410,
            Code::NotFound,
            "MODEL_NOT_FOUND",
            Code::NotFound,
            "MODEL_NOT_FOUND",
        ),
        (
            422,
            Code::InvalidArgument,
            "INVALID_REQUEST",
            Code::InvalidArgument,
            "INVALID_REQUEST",
        ),
    ] {
        for (form, reply, is_engine) in bodies(status) {
            for told in told(reply).await {
                let row = format!("{status} {form}");
                if is_engine {
                    check(&told, code, reason, &row);
                } else {
                    check(&told, foreign_code, foreign, &row);
                }
            }
        }
    }
    let no_model = wire::error("no m", "NotFoundError", 404);
    for told in told(Reply::json(404, no_model)).await {
        check(
            &told,
            Code::NotFound,
            "MODEL_NOT_FOUND",
            "404 of the engine",
        );
    }
    for told in told(Reply::json(404, r#"{"detail":"Not Found"}"#)).await {
        check(
            &told,
            Code::Internal,
            "UPSTREAM_MISROUTED",
            "404 of a router",
        );
    }
}

/// Rows B19 and B25.
#[tokio::test]
async fn retry_after_becomes_a_bounded_delay() {
    let date = ("date", "Sun, 22 Nov 2026 17:00:00 GMT");
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    let rows: [(&[(&str, &str)], Option<Duration>); 13] = [
        (&[("retry-after", "5")], seconds(5)),
        (&[("retry-after", "0")], seconds(0)),
        (&[("retry-after", "61")], seconds(60)),
        (&[("retry-after", "1000000000000")], seconds(60)),
        (
            &[("retry-after", "99999999999999999999999999")],
            seconds(60),
        ),
        (
            &[("retry-after", "Sun, 22 Nov 2026 17:00:07 GMT"), date],
            seconds(7),
        ),
        (
            &[("retry-after", "Sun, 22 Nov 2026 18:00:00 GMT"), date],
            seconds(60),
        ),
        (
            &[("retry-after", "Sun, 22 Nov 2026 16:00:00 GMT"), date],
            seconds(0),
        ),
        (
            &[("retry-after", "Sun, 99 Nov 2026 17:00:07 GMT"), date],
            None,
        ),
        (&[("retry-after", "-1")], None),
        (&[("retry-after", "1e12")], None),
        (&[("retry-after", "soon")], None),
        (&[("retry-after", "5"), ("retry-after", "50")], None),
    ];
    for (headers, delay) in rows {
        // 429 has no delay of its own.
        let reply = headers
            .iter()
            .fold(Reply::json(429, "{}"), |reply, (name, value)| {
                reply.header(name, value)
            });
        for told in told(reply).await {
            check(
                &told,
                Code::ResourceExhausted,
                "UPSTREAM_RATE_LIMITED",
                "429",
            );
            let retry = told.get_error_details().retry_info().cloned();
            assert_eq!(
                retry.and_then(|retry| retry.retry_delay),
                delay,
                "{headers:?}"
            );
            let pushback = told.metadata().get("grpc-retry-pushback-ms");
            let pushback = pushback.map(|value| value.to_str().unwrap().to_owned());
            let millis = delay.map(|delay| delay.as_millis().to_string());
            assert_eq!(pushback, millis, "{headers:?}");
        }
    }
}

/// Row B25.
#[tokio::test]
async fn a_busy_upstream_asks_for_a_delay_though_it_names_none() {
    for body in [
        wire::error("The server is busy", "ServiceUnavailableError", 503),
        r#"{"error":"The model is currently scaling"}"#.to_owned(),
        r#"{"error":"Service Unavailable"}"#.to_owned(),
    ] {
        for told in told(Reply::json(503, body.clone())).await {
            check(&told, Code::Unavailable, "UPSTREAM_OVERLOADED", &body);
            let details = told.get_error_details();
            let delay = details.retry_info().unwrap().retry_delay.unwrap();
            assert!((500..=1500).contains(&delay.as_millis()), "{delay:?}");
            assert!(told.metadata().contains_key("grpc-retry-pushback-ms"));
        }
    }
}
