//! The range of each field, at its edges.

use super::*;

/// Sets one field.
type Set<T> = fn(&mut proto::GenerateRequest, T);

/// A field, and values within its range and outside.
type Numbers = (&'static str, Set<f64>, &'static [f64], &'static [f64]);

fn with<T>(set: Set<T>, value: T) -> proto::GenerateRequest {
    let mut request = prompt();
    set(&mut request, value);
    request
}

#[track_caller]
fn accepted(request: &proto::GenerateRequest) {
    translated(request.clone(), mode(request));
}

#[track_caller]
fn refused(request: &proto::GenerateRequest, field: &str, says: &str) {
    super::refused(request.clone(), mode(request), &[field], says);
}

fn mode(request: &proto::GenerateRequest) -> Mode {
    match request.stream_interval {
        Some(_) => Mode::Stream,
        None => Mode::Unary,
    }
}

#[test]
fn numbers_are_held_to_their_range_at_the_edge() {
    let rows: [Numbers; 6] = [
        (
            "temperature",
            |request, value| request.temperature = Some(value),
            &[0.0, -0.0, 0.7, 2.0],
            &[-0.1, 2.000_001],
        ),
        (
            "top_p",
            |request, value| request.top_p = Some(value),
            &[f64::MIN_POSITIVE, 1.0],
            &[0.0, 1.1],
        ),
        (
            "min_p",
            |request, value| request.min_p = Some(value),
            &[0.0, 1.0],
            &[-0.1, 1.1],
        ),
        (
            "frequency_penalty",
            |request, value| request.frequency_penalty = Some(value),
            &[-2.0, 2.0],
            &[-2.1, 2.1],
        ),
        (
            "presence_penalty",
            |request, value| request.presence_penalty = Some(value),
            &[-2.0, 2.0],
            &[-2.1, 2.1],
        ),
        (
            "repetition_penalty",
            |request, value| request.repetition_penalty = Some(value),
            &[0.001, 1e300],
            &[0.0, -1.0],
        ),
    ];
    for (field, set, within, outside) in rows {
        for value in within {
            accepted(&with(set, *value));
        }
        for value in outside {
            refused(&with(set, *value), field, "must be ");
        }
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            refused(&with(set, value), field, "finite");
        }
    }
}

/// A field, and its least and greatest value.
const COUNTS: [(&str, Set<i32>, i32, i32); 8] = [
    (
        "max_tokens",
        |request, value| request.max_tokens = Some(value),
        1,
        i32::MAX,
    ),
    (
        "min_tokens",
        |request, value| request.min_tokens = Some(value),
        0,
        i32::MAX,
    ),
    ("n", |request, value| request.n = Some(value), 1, 16384),
    (
        "top_k",
        |request, value| request.top_k = Some(value),
        -1,
        i32::MAX,
    ),
    (
        "thinking_token_budget",
        |request, value| request.thinking_token_budget = Some(value),
        -1,
        i32::MAX,
    ),
    (
        "truncate_prompt_tokens",
        |request, value| request.truncate_prompt_tokens = Some(value),
        -1,
        i32::MAX,
    ),
    (
        "prompt_logprobs",
        |request, value| request.prompt_logprobs = Some(value),
        -1,
        i32::MAX,
    ),
    (
        "stream_interval",
        |request, value| request.stream_interval = Some(value),
        1,
        i32::MAX,
    ),
];

#[test]
fn counts_are_held_to_their_range_at_the_edge() {
    for (field, set, least, most) in COUNTS {
        accepted(&with(set, least));
        accepted(&with(set, most));
        refused(&with(set, least - 1), field, &format!("at least {least}"));
        if let Some(more) = most.checked_add(1) {
            refused(&with(set, more), field, &format!("at most {most}"));
        }
    }
}

#[test]
fn only_an_echo_of_a_completion_may_go_without_new_tokens() {
    let echo = |request: proto::GenerateRequest, echo| proto::GenerateRequest {
        max_tokens: Some(0),
        echo: Some(echo),
        ..request
    };
    accepted(&echo(completion(), true));
    refused(&echo(completion(), false), "max_tokens", "at least 1");
    refused(&echo(prompt(), true), "max_tokens", "at least 1");
}

#[test]
fn the_least_is_no_more_than_the_most() {
    let mut request = with(|request, value| request.max_tokens = Some(value), 5);
    request.min_tokens = Some(5);
    accepted(&request);
    request.min_tokens = Some(6);
    refused(&request, "min_tokens", "greater than `max_tokens`");
}

#[test]
fn a_length_penalty_goes_with_beams() {
    let mut request = with(|request, value| request.length_penalty = Some(value), -3.5);
    refused(&request, "length_penalty", "`use_beam_search`");
    request.use_beam_search = Some(false);
    refused(&request, "length_penalty", "`use_beam_search`");
    // vLLM's default changes nothing.
    request.length_penalty = Some(1.0);
    accepted(&request);
    request.length_penalty = Some(-3.5);
    request.use_beam_search = Some(true);
    accepted(&request);
    request.length_penalty = Some(f64::NAN);
    refused(&request, "length_penalty", "finite");
}

#[test]
fn token_ids_are_not_negative() {
    let rows: [(&str, Set<Vec<i32>>); 3] = [
        ("allowed_token_ids", |request, ids| {
            request.allowed_token_ids = ids
        }),
        ("stop_token_ids", |request, ids| {
            request.stop_token_ids = ids
        }),
        ("logprob_token_ids", |request, ids| {
            request.logprobs = Some(true);
            request.logprob_token_ids = ids;
        }),
    ];
    for (field, set) in rows {
        accepted(&with(set, vec![0, i32::MAX]));
        refused(&with(set, vec![0, -1]), &format!("{field}[1]"), "token id");
    }
}

#[test]
fn biases_are_finite_and_by_token_id() {
    let bias = |token_id, bias| {
        let mut request = prompt();
        request.logit_bias.insert(token_id, bias);
        request
    };
    // vLLM cuts these off at 100.
    accepted(&bias(0, -1000.0));
    refused(&bias(-1, 1.0), "logit_bias", "token ids");
    refused(&bias(7, f64::NAN), "logit_bias[7]", "finite");
}

#[test]
fn lists_are_bounded_at_the_edge() {
    let texts: [(&str, Set<Vec<String>>, usize); 2] = [
        ("stop", |request, texts| request.stop = texts, 4),
        ("bad_words", |request, texts| request.bad_words = texts, 128),
    ];
    for (field, set, most) in texts {
        accepted(&with(set, vec!["a".to_owned(); most]));
        let many = vec!["a".to_owned(); most + 1];
        refused(&with(set, many), field, &format!("at most {most}"));
        let empty = vec!["a".to_owned(), String::new()];
        refused(&with(set, empty), &format!("{field}[1]"), "empty");
    }
    let set: Set<Vec<i32>> = |request, ids| {
        request.logprobs = Some(true);
        request.logprob_token_ids = ids;
    };
    accepted(&with(set, vec![1; 128]));
    refused(&with(set, vec![1; 129]), "logprob_token_ids", "at most 128");
}

#[test]
fn a_salt_is_short_and_plain() {
    let salt = |salt: &str| proto::GenerateRequest {
        cache_salt: salt.to_owned(),
        ..prompt()
    };
    // Characters count, not bytes.
    accepted(&salt(&"é".repeat(128)));
    for text in ["a@b", "a/b", "a\\b", "a\0b", &"a".repeat(129)] {
        refused(&salt(text), "cache_salt", "at most 128 characters");
    }
}

#[test]
fn repetition_is_looked_for_where_it_can_be_found() {
    let detection = |max_pattern_size, min_pattern_size, min_count| proto::GenerateRequest {
        repetition_detection: Some(proto::RepetitionDetection {
            max_pattern_size,
            min_pattern_size,
            min_count,
        }),
        ..prompt()
    };
    accepted(&detection(None, None, None));
    accepted(&detection(Some(0), Some(0), Some(0)));
    accepted(&detection(Some(3), Some(3), Some(2)));
    for (request, field) in [
        (detection(Some(-1), None, Some(2)), "max_pattern_size"),
        (detection(Some(3), Some(-1), Some(2)), "min_pattern_size"),
        (detection(Some(3), Some(4), Some(2)), "min_pattern_size"),
        (detection(None, Some(1), Some(2)), "min_pattern_size"),
        (detection(Some(3), None, None), "min_count"),
        (detection(Some(3), None, Some(1)), "min_count"),
        (detection(None, None, Some(-1)), "min_count"),
    ] {
        refused(&request, &format!("repetition_detection.{field}"), "must ");
    }
}

#[test]
fn log_probabilities_are_asked_for_first() {
    let check = |logprobs, top_logprobs, token_ids: &[i32]| {
        let request = proto::GenerateRequest {
            logprobs,
            top_logprobs,
            logprob_token_ids: token_ids.to_vec(),
            ..prompt()
        };
        let invalid = super::super::request(request, Mode::Unary, &policy()).err()?;
        Some(invalid.violations()[0].field.clone())
    };
    for (logprobs, top_logprobs, token_ids, expected) in [
        (None, None, &[][..], None),
        (Some(true), None, &[], None),
        (Some(true), Some(-1), &[7], None),
        (None, Some(0), &[], None),
        (None, Some(1), &[], Some("top_logprobs")),
        (Some(false), Some(-1), &[], Some("top_logprobs")),
        (Some(true), Some(-2), &[], Some("top_logprobs")),
        (Some(false), None, &[7], Some("logprob_token_ids")),
    ] {
        let refused = check(logprobs, top_logprobs, token_ids);
        assert_eq!(refused.as_deref(), expected);
    }
}

#[test]
fn a_completion_has_one_number_for_log_probabilities() {
    for (logprobs, top_logprobs, expected) in [
        (None, None, None),
        (Some(false), Some(0), None),
        (Some(true), None, Some(0)),
        (Some(true), Some(5), Some(5)),
        (Some(true), Some(-1), Some(-1)),
    ] {
        let request = proto::GenerateRequest {
            logprobs,
            top_logprobs,
            ..completion()
        };
        let body = translated(request, Mode::Unary).request;
        let body = serde_json::to_value(body).unwrap();
        assert_eq!(
            body.get("logprobs"),
            expected.map(|it: i32| json!(it)).as_ref()
        );
    }
}
