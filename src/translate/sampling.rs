//! Checks of one value each, made where a field is taken over.
//!
//! The limits are those of vLLM 0.33, whose own errors mostly name no field, and come after the headers of a stream
//! where the engine makes them.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Display,
    ops::{Bound, RangeBounds},
};

use crate::{
    config::Policy,
    openai::request::RepetitionDetection,
    proto::{self, TruncationSide},
};

use super::invalid::InvalidRequest;

/// Longest salt, in characters: `_MAX_CACHE_SALT_LENGTH`.
const MAX_SALT: usize = 128;

/// The numbers above 0.
pub(super) const ABOVE_ZERO: (Bound<f64>, Bound<f64>) = (Bound::Excluded(0.0), Bound::Unbounded);

/// The numbers above 0, up to 1.
pub(super) const ABOVE_ZERO_TO_ONE: (Bound<f64>, Bound<f64>) =
    (Bound::Excluded(0.0), Bound::Included(1.0));

/// A text that is set; an empty one counts as not set.
pub(super) fn text(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// The model, or the operator's default; `None` for the upstream's.
pub(super) fn model_or_default(model: String, policy: &Policy) -> Option<String> {
    text(model).or_else(|| policy.default_model.clone())
}

/// A number within a range.
pub(super) fn in_range<T: PartialOrd + Display>(
    field: &str,
    value: Option<T>,
    range: impl RangeBounds<T>,
) -> Result<Option<T>, InvalidRequest> {
    if value.as_ref().is_none_or(|value| range.contains(value)) {
        return Ok(value);
    }
    let start = match range.start_bound() {
        Bound::Included(start) => Some(format!("at least {start}")),
        Bound::Excluded(start) => Some(format!("above {start}")),
        Bound::Unbounded => None,
    };
    let end = match range.end_bound() {
        Bound::Included(end) => Some(format!("at most {end}")),
        Bound::Excluded(end) => Some(format!("below {end}")),
        Bound::Unbounded => None,
    };
    let bounds: Vec<String> = start.into_iter().chain(end).collect();
    let description = format!("must be {}", bounds.join(" and "));
    Err(InvalidRequest::new(field, description))
}

/// A finite number within a range.
pub(super) fn number(
    field: &str,
    value: Option<f64>,
    range: impl RangeBounds<f64>,
) -> Result<Option<f64>, InvalidRequest> {
    if value.is_some_and(|value| !value.is_finite()) {
        return Err(InvalidRequest::new(field, "must be a finite number"));
    }
    in_range(field, value, range)
}

/// Token ids are 0 or greater.
pub(super) fn token_ids(field: &str, ids: Vec<i32>) -> Result<Vec<i32>, InvalidRequest> {
    let Some(n) = ids.iter().position(|id| *id < 0) else {
        return Ok(ids);
    };
    let description = "must be a token id, 0 or greater";
    Err(InvalidRequest::new(format!("{field}[{n}]"), description))
}

/// `token_inputs`, each a text as token ids.
pub(super) fn token_inputs(inputs: Vec<proto::TokenIds>) -> Result<Vec<Vec<i32>>, InvalidRequest> {
    let inputs = inputs.into_iter().enumerate().map(|(n, input)| {
        let field = format!("token_inputs[{n}].ids");
        if input.ids.is_empty() {
            return Err(InvalidRequest::new(field, "must not be empty"));
        }
        token_ids(&field, input.ids)
    });
    inputs.collect()
}

/// A list of at most so many entries.
pub(super) fn at_most<T>(
    field: &str,
    list: Vec<T>,
    limit: usize,
) -> Result<Vec<T>, InvalidRequest> {
    if list.len() <= limit {
        return Ok(list);
    }
    let description = format!("must have at most {limit} entries");
    Err(InvalidRequest::new(field, description))
}

/// A list of at most so many texts, none of them empty.
pub(super) fn texts(
    field: &str,
    texts: Vec<String>,
    limit: usize,
) -> Result<Vec<String>, InvalidRequest> {
    let texts = at_most(field, texts, limit)?;
    let Some(n) = texts.iter().position(String::is_empty) else {
        return Ok(texts);
    };
    let field = format!("{field}[{n}]");
    Err(InvalidRequest::new(field, "must not be empty"))
}

/// `logit_bias`, by token id.
pub(super) fn logit_bias(bias: HashMap<i32, f64>) -> Result<BTreeMap<i32, f64>, InvalidRequest> {
    let bias: BTreeMap<i32, f64> = bias.into_iter().collect();
    for (token_id, bias) in &bias {
        if *token_id < 0 {
            let description = "must have token ids as keys, 0 or greater";
            return Err(InvalidRequest::new("logit_bias", description));
        }
        number(&format!("logit_bias[{token_id}]"), Some(*bias), ..)?;
    }
    Ok(bias)
}

/// `repetition_detection`.
pub(super) fn repetition_detection(
    detection: proto::RepetitionDetection,
) -> Result<RepetitionDetection, InvalidRequest> {
    let proto::RepetitionDetection {
        max_pattern_size: max,
        min_pattern_size: min,
        min_count,
    } = detection;
    let size = "repetition_detection.min_pattern_size";
    let count = "repetition_detection.min_count";
    let detection = RepetitionDetection {
        max_pattern_size: in_range("repetition_detection.max_pattern_size", max, 0..)?,
        min_pattern_size: in_range(size, min, 0..)?,
        min_count: in_range(count, min_count, 0..)?,
    };
    let longest = max.unwrap_or(0);
    if min.unwrap_or(0) > longest {
        let description = "must not be greater than `max_pattern_size`";
        return Err(InvalidRequest::new(size, description));
    }
    if longest > 0 && min_count.unwrap_or(0) < 2 {
        return Err(InvalidRequest::new(count, "must be at least 2"));
    }
    Ok(detection)
}

/// `seed`, of which vLLM reads -1 as unset.
pub(super) fn seed(seed: Option<i64>) -> Option<i64> {
    seed.filter(|seed| *seed != -1)
}

/// `cache_salt`.
pub(super) fn cache_salt(salt: String) -> Result<Option<String>, InvalidRequest> {
    let is_forbidden = |c| matches!(c, '@' | '/' | '\\' | '\0');
    if salt.chars().count() > MAX_SALT || salt.contains(is_forbidden) {
        let description = "must have at most 128 characters, none of `@`, `/`, `\\`, NUL";
        return Err(InvalidRequest::new("cache_salt", description));
    }
    Ok(text(salt))
}

/// The end that is cut off; `None` for the upstream's default.
pub(super) fn truncation_side(side: i32) -> Result<Option<&'static str>, InvalidRequest> {
    match TruncationSide::try_from(side) {
        Ok(TruncationSide::Unspecified) => Ok(None),
        Ok(TruncationSide::Left) => Ok(Some("left")),
        Ok(TruncationSide::Right) => Ok(Some("right")),
        Err(_unknown) => {
            let description = "must be TRUNCATION_SIDE_LEFT or TRUNCATION_SIDE_RIGHT";
            Err(InvalidRequest::new("truncation_side", description))
        }
    }
}
