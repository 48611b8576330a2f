//! Why a choice ended.

use super::InvalidAnswer;
use crate::proto::FinishReason;

/// The reason for an upstream's word; an abort or an error is none (`vllm/v1/engine/__init__.py`, vLLM 0.33).
///
/// A word that nobody knows yet is `FINISH_REASON_UNSPECIFIED`, and the caller sees the word beside it.
pub(super) fn finish_reason(word: &str) -> Result<FinishReason, InvalidAnswer> {
    match word {
        "abort" => Err(InvalidAnswer::Aborted),
        "error" => Err(InvalidAnswer::Failed),
        "stop" => Ok(FinishReason::Stop),
        "length" => Ok(FinishReason::Length),
        "tool_calls" => Ok(FinishReason::ToolCalls),
        "content_filter" => Ok(FinishReason::ContentFilter),
        "repetition" => Ok(FinishReason::Repetition),
        _ => Ok(FinishReason::Unspecified),
    }
}
