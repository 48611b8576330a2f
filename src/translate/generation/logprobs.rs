//! Log probabilities: one shape for chat and for completions, whose JSON differs.

use std::vec;

use indexmap::IndexMap;

use crate::{
    openai::logprobs::{Logprobs, PromptLogprob, PromptLogprobs, TokenLogprob},
    proto,
    translate::invalid::InvalidAnswer,
};

use super::asked::Asked;

/// One entry a token.
pub(super) fn token_logprobs(
    logprobs: Logprobs,
    asked: &Asked,
) -> Result<Vec<proto::TokenLogprob>, InvalidAnswer> {
    if let Some(content) = logprobs.content {
        let tokens = content.into_iter();
        return Ok(tokens.map(|token| chat_token(token, asked)).collect());
    }
    let Some(tokens) = logprobs.tokens else {
        return Ok(Vec::new());
    };
    let mut values = column(logprobs.token_logprobs, tokens.len())?;
    let mut tops = column(logprobs.top_logprobs, tokens.len())?;
    let mut offsets = column(logprobs.text_offset, tokens.len())?;
    let entry = |token| {
        let (token, token_id) = token_or_id(token, asked);
        // vLLM 0.33 lists the token itself here even where no others were asked for; in a chat it lists none then.
        let top = tops.next().flatten().filter(|_| asked.top_logprobs);
        let top = top.into_iter().flatten();
        let top = top.map(|(token, logprob)| self::top(token, Some(logprob), None, asked));
        proto::TokenLogprob {
            token,
            token_id,
            logprob: values.next().flatten(),
            top_logprobs: top.collect(),
            text_offset: offsets.next(),
            ..Default::default()
        }
    };
    Ok(tokens.into_iter().map(entry).collect())
}

/// One entry a token of the prompt.
pub(super) fn prompt_logprobs(logprobs: PromptLogprobs) -> Vec<proto::PromptTokenLogprobs> {
    let candidate = |(token_id, candidate): (i32, PromptLogprob)| proto::PromptLogprob {
        token_id: Some(token_id),
        token: candidate.decoded_token.unwrap_or_default(),
        logprob: Some(candidate.logprob),
        rank: candidate.rank,
    };
    let place = |candidates: Option<IndexMap<i32, PromptLogprob>>| proto::PromptTokenLogprobs {
        candidates: candidates.into_iter().flatten().map(candidate).collect(),
    };
    logprobs.into_iter().map(place).collect()
}

/// A list parallel to that of the tokens: absent, or of the same length.
fn column<T>(list: Option<Vec<T>>, n_tokens: usize) -> Result<vec::IntoIter<T>, InvalidAnswer> {
    let list = list.unwrap_or_default();
    if !list.is_empty() && list.len() != n_tokens {
        let what = "lists of log probabilities that differ in length";
        return Err(InvalidAnswer::Malformed(what));
    }
    Ok(list.into_iter())
}

fn chat_token(token: TokenLogprob, asked: &Asked) -> proto::TokenLogprob {
    let tops = token.top_logprobs.unwrap_or_default().into_iter();
    let tops = tops.map(|it| top(it.token, it.logprob, it.bytes, asked));
    let (text, token_id) = token_or_id(token.token, asked);
    proto::TokenLogprob {
        token: text,
        token_id,
        logprob: token.logprob,
        raw_bytes: token.bytes.unwrap_or_default().into(),
        top_logprobs: tops.collect(),
        text_offset: None,
    }
}

fn top(
    token: String,
    logprob: Option<f32>,
    bytes: Option<Vec<u8>>,
    asked: &Asked,
) -> proto::TopLogprob {
    let (token, token_id) = token_or_id(token, asked);
    proto::TopLogprob {
        token,
        token_id,
        logprob,
        raw_bytes: bytes.unwrap_or_default().into(),
    }
}

/// A token's text, or its id where ids were asked for: vLLM then writes `token_id:N`.
fn token_or_id(token: String, asked: &Asked) -> (String, Option<i32>) {
    let id = token
        .strip_prefix("token_id:")
        .filter(|_| asked.tokens_as_ids);
    match id.and_then(|id| id.parse().ok()) {
        Some(id) => (String::new(), Some(id)),
        None => (token, None),
    }
}
