//! Token counts.

use crate::{openai::response, proto};

/// The counts; what the upstream did not say stays unset.
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
