use super::*;

/// Sets one field.
type Set<T> = fn(&mut Shared, T);

/// A field, and values within its range and outside.
type Numbers = (&'static str, Set<f64>, &'static [f64], &'static [f64]);

fn with<T>(set: Set<T>, value: T) -> Shared {
    let mut shared = Shared::default();
    set(&mut shared, value);
    shared
}

#[track_caller]
fn accepted(shared: &Shared) {
    assert_eq!(check(shared, Input::Prompt), Ok(()));
}

#[track_caller]
fn refused(shared: &Shared, field: &str, says: &str) {
    let invalid = check(shared, Input::Prompt).unwrap_err();
    let violation = &invalid.violations()[0];
    assert_eq!(violation.field, field);
    assert!(violation.description.contains(says), "{invalid}");
}

#[test]
fn numbers_are_held_to_their_range_at_the_edge() {
    let rows: [Numbers; 6] = [
        (
            "temperature",
            |shared, value| shared.temperature = Some(value),
            &[0.0, -0.0, 0.7, 2.0],
            &[-0.1, 2.000_001],
        ),
        (
            "top_p",
            |shared, value| shared.top_p = Some(value),
            &[f64::MIN_POSITIVE, 1.0],
            &[0.0, 1.1],
        ),
        (
            "min_p",
            |shared, value| shared.min_p = Some(value),
            &[0.0, 1.0],
            &[-0.1, 1.1],
        ),
        (
            "frequency_penalty",
            |shared, value| shared.frequency_penalty = Some(value),
            &[-2.0, 2.0],
            &[-2.1, 2.1],
        ),
        (
            "presence_penalty",
            |shared, value| shared.presence_penalty = Some(value),
            &[-2.0, 2.0],
            &[-2.1, 2.1],
        ),
        (
            "repetition_penalty",
            |shared, value| shared.repetition_penalty = Some(value),
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
        |shared, value| shared.max_tokens = Some(value),
        1,
        i32::MAX,
    ),
    (
        "min_tokens",
        |shared, value| shared.min_tokens = Some(value),
        0,
        i32::MAX,
    ),
    ("n", |shared, value| shared.n = Some(value), 1, 16384),
    (
        "top_k",
        |shared, value| shared.top_k = Some(value),
        -1,
        i32::MAX,
    ),
    (
        "thinking_token_budget",
        |shared, value| shared.thinking_token_budget = Some(value),
        -1,
        i32::MAX,
    ),
    (
        "truncate_prompt_tokens",
        |shared, value| shared.truncate_prompt_tokens = Some(value),
        -1,
        i32::MAX,
    ),
    (
        "prompt_logprobs",
        |shared, value| shared.prompt_logprobs = Some(value),
        -1,
        i32::MAX,
    ),
    (
        "stream_interval",
        |shared, value| shared.stream_interval = Some(value),
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
    let mut shared = with(|shared, value| shared.max_tokens = Some(value), 0);
    shared.echo = Some(true);
    assert_eq!(check(&shared, Input::Completion), Ok(()));
    refused(&shared, "max_tokens", "at least 1");
    shared.echo = Some(false);
    assert!(check(&shared, Input::Completion).is_err());
}

#[test]
fn the_least_is_no_more_than_the_most() {
    let mut shared = with(|shared, value| shared.max_tokens = Some(value), 5);
    shared.min_tokens = Some(5);
    accepted(&shared);
    shared.min_tokens = Some(6);
    refused(&shared, "min_tokens", "greater than `max_tokens`");
}

#[test]
fn a_length_penalty_goes_with_beams() {
    let mut shared = with(|shared, value| shared.length_penalty = Some(value), -3.5);
    refused(&shared, "length_penalty", "`use_beam_search`");
    shared.use_beam_search = Some(false);
    refused(&shared, "length_penalty", "`use_beam_search`");
    shared.use_beam_search = Some(true);
    accepted(&shared);
    shared.length_penalty = Some(f64::NAN);
    refused(&shared, "length_penalty", "finite");
}

#[test]
fn token_ids_are_not_negative() {
    let rows: [(&str, Set<Vec<i32>>); 3] = [
        ("allowed_token_ids", |shared, ids| {
            shared.allowed_token_ids = ids
        }),
        ("stop_token_ids", |shared, ids| shared.stop_token_ids = ids),
        ("logprob_token_ids", |shared, ids| {
            shared.logprob_token_ids = ids
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
        let mut shared = Shared::default();
        shared.logit_bias.insert(token_id, bias);
        shared
    };
    // vLLM cuts these off at 100.
    accepted(&bias(0, -1000.0));
    refused(&bias(-1, 1.0), "logit_bias", "token ids");
    refused(&bias(7, f64::NAN), "logit_bias[7]", "finite");
}

#[test]
fn lists_are_bounded_at_the_edge() {
    let texts: [(&str, Set<Vec<String>>, usize); 2] = [
        ("stop", |shared, texts| shared.stop = texts, 4),
        ("bad_words", |shared, texts| shared.bad_words = texts, 128),
    ];
    for (field, set, most) in texts {
        accepted(&with(set, vec!["a".to_owned(); most]));
        let many = vec!["a".to_owned(); most + 1];
        refused(&with(set, many), field, &format!("at most {most}"));
        let empty = vec!["a".to_owned(), String::new()];
        refused(&with(set, empty), &format!("{field}[1]"), "empty");
    }
    let set: Set<Vec<i32>> = |shared, ids| shared.logprob_token_ids = ids;
    accepted(&with(set, vec![1; 128]));
    refused(&with(set, vec![1; 129]), "logprob_token_ids", "at most 128");
}

#[test]
fn a_salt_is_short_and_plain() {
    let salt = |salt: &str| {
        let cache_salt = Some(salt.to_owned());
        Shared {
            cache_salt,
            ..Shared::default()
        }
    };
    // Characters count, not bytes.
    accepted(&salt(&"é".repeat(128)));
    for text in ["a@b", "a/b", "a\\b", "a\0b", &"a".repeat(129)] {
        refused(&salt(text), "cache_salt", "at most 128 characters");
    }
}

#[test]
fn repetition_is_looked_for_where_it_can_be_found() {
    let detection = |max_pattern_size, min_pattern_size, min_count| Shared {
        repetition_detection: Some(RepetitionDetection {
            max_pattern_size,
            min_pattern_size,
            min_count,
        }),
        ..Shared::default()
    };
    accepted(&detection(None, None, None));
    accepted(&detection(Some(0), Some(0), Some(0)));
    accepted(&detection(Some(3), Some(3), Some(2)));
    for (shared, field) in [
        (detection(Some(-1), None, Some(2)), "max_pattern_size"),
        (detection(Some(3), Some(-1), Some(2)), "min_pattern_size"),
        (detection(Some(3), Some(4), Some(2)), "min_pattern_size"),
        (detection(None, Some(1), Some(2)), "min_pattern_size"),
        (detection(Some(3), None, None), "min_count"),
        (detection(Some(3), None, Some(1)), "min_count"),
        (detection(None, None, Some(-1)), "min_count"),
    ] {
        refused(&shared, &format!("repetition_detection.{field}"), "must ");
    }
}

#[test]
fn log_probabilities_are_asked_for_first() {
    let check = |logprobs, top_logprobs, token_ids: &[i32]| {
        let shared = Shared {
            logprob_token_ids: token_ids.to_vec(),
            ..Shared::default()
        };
        let logprobs = Logprobs {
            logprobs,
            top_logprobs,
        };
        let invalid = logprobs.check(&shared).err()?;
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
        let logprobs = Logprobs {
            logprobs,
            top_logprobs,
        };
        assert_eq!(logprobs.in_completion(), expected);
    }
}
