//! What the answers of several services have in common.

use crate::{
    openai::{chunk::Chunk, response},
    proto::{self, FinishReason},
};

use super::invalid::InvalidAnswer;

/// The seconds that a `Timestamp` holds: the years 1 to 9999.
const TIMESTAMPS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// Whether the answer is streamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// One complete answer.
    Unary,
    /// Events while the answer is made.
    Stream,
}

/// Folds the chunks of one streamed answer into responses.
pub(crate) trait ChunkTranslator {
    /// The message that a caller is sent.
    type Response: prost::Message;

    /// Takes a chunk; `json` is its text.
    fn push(&mut self, chunk: Chunk<'_>, json: &str) -> Result<(), InvalidAnswer>;

    /// Takes the end of the stream, which must be complete.
    fn end(&mut self) -> Result<(), InvalidAnswer>;

    /// The next response for the caller.
    fn pop(&mut self) -> Option<Self::Response>;

    /// Whether a response holds a piece of the answer's text or of its calls.
    fn is_delta(response: &Self::Response) -> bool;
}

/// Seconds since 1970; `None` for a time that a `Timestamp` cannot hold.
pub(super) fn create_time(seconds: &serde_json::Number) -> Option<prost_types::Timestamp> {
    let seconds = seconds.as_i64().filter(|it| TIMESTAMPS.contains(it))?;
    Some(prost_types::Timestamp { seconds, nanos: 0 })
}

/// The token counts; what the upstream did not report stays unset.
pub(super) fn usage(usage: response::Usage) -> proto::Usage {
    let prompt = usage.prompt_tokens_details.unwrap_or_default();
    let completion = usage.completion_tokens_details.unwrap_or_default();
    proto::Usage {
        prompt_tokens: usage.prompt_tokens,
        completion_tokens: usage.completion_tokens,
        total_tokens: usage.total_tokens,
        cached_tokens: prompt.cached_tokens,
        cache_creation_tokens: prompt.created_cache_tokens,
        reasoning_tokens: completion.reasoning_tokens,
        multimodal_tokens: prompt.multimodal_tokens.unwrap_or_default(),
    }
}

/// The reason for an upstream's word; an abort or an error is an invalid answer (`vllm/v1/engine/__init__.py`, vLLM 0.33).
///
/// An unknown word is `FINISH_REASON_UNSPECIFIED`, and the caller gets the word beside it.
pub(super) fn finish_reason(word: &str) -> Result<FinishReason, InvalidAnswer> {
    match word {
        "abort" => Err(InvalidAnswer::Aborted),
        "error" => Err(InvalidAnswer::Failed),
        "function_call" => Err(InvalidAnswer::FUNCTION_CALL),
        "stop" => Ok(FinishReason::Stop),
        "length" => Ok(FinishReason::Length),
        "tool_calls" => Ok(FinishReason::ToolCalls),
        "content_filter" => Ok(FinishReason::ContentFilter),
        "repetition" => Ok(FinishReason::Repetition),
        _ => Ok(FinishReason::Unspecified),
    }
}

/// The entries by their index, or by their place where they have none; each of `n` must be there once.
pub(super) fn in_order<T>(
    entries: impl Iterator<Item = (Option<i64>, T)>,
    n: usize,
) -> Result<Vec<T>, InvalidAnswer> {
    let mut slots: Vec<Option<T>> = std::iter::repeat_with(|| None).take(n).collect();
    for (place, (index, entry)) in entries.enumerate() {
        let index = index.map_or(Some(place), |index| usize::try_from(index).ok());
        match index.and_then(|index| slots.get_mut(index)) {
            Some(slot @ None) => *slot = Some(entry),
            Some(Some(_)) => return Err(InvalidAnswer::Malformed("an index that comes twice")),
            None => return Err(InvalidAnswer::Malformed("an index that was not asked for")),
        }
    }
    let entries: Option<Vec<T>> = slots.into_iter().collect();
    entries.ok_or(InvalidAnswer::Unfinished)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_one_that_a_timestamp_holds() {
        for (seconds, is_held) in [
            ("0", true),
            ("-62135596800", true),
            ("-62135596801", false),
            ("253402300799", true),
            ("253402300800", false),
            ("9223372036854775808", false),
            ("1000000000000000000000000000000", false),
            ("1e30", false),
        ] {
            let number = serde_json::from_str(seconds).unwrap();
            assert_eq!(create_time(&number).is_some(), is_held, "{seconds}");
        }
    }

    #[test]
    fn entries_are_there_once_each() {
        let entries = |indexes: &[Option<i64>]| {
            let entries = indexes.iter().copied().zip('a'..);
            in_order(entries, 2).map(String::from_iter)
        };
        assert_eq!(entries(&[None, None]), Ok("ab".to_owned()));
        assert_eq!(entries(&[Some(1), Some(0)]), Ok("ba".to_owned()));
        assert_eq!(entries(&[Some(1)]), Err(InvalidAnswer::Unfinished));
        for indexes in [
            [Some(0), Some(0)],
            [Some(0), Some(2)],
            [Some(-1), None],
            [Some(1), None],
        ] {
            let entries = entries(&indexes);
            assert!(
                matches!(entries, Err(InvalidAnswer::Malformed(_))),
                "{indexes:?}"
            );
        }
    }
}
