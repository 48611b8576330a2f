//! Log probabilities, in the two shapes of vLLM's two routes.
//!
//! A script has no probabilities: each token gets a small constant one, and its rivals a smaller one.

use std::{collections::BTreeMap, ops::Range};

use serde::Serialize;

use super::answer::Token;

/// Natural logarithm of a token's probability.
const CHOSEN: f64 = -0.002;

/// The same of the likeliest rival; each further one is less likely by as much again.
const RIVAL: f64 = -8.5;

#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Logprobs<'a> {
    Chat {
        content: Vec<ChatToken<'a>>,
    },
    /// Four lists that run side by side.
    Completion {
        text_offset: Vec<usize>,
        token_logprobs: Vec<f64>,
        tokens: Vec<&'a str>,
        top_logprobs: Vec<BTreeMap<String, f64>>,
    },
}

#[derive(Serialize)]
pub(super) struct ChatToken<'a> {
    token: &'a str,
    logprob: f64,
    bytes: &'a [u8],
    top_logprobs: Vec<TopToken>,
}

#[derive(Serialize)]
struct TopToken {
    token: String,
    logprob: f64,
    bytes: Vec<u8>,
}

/// `n_top` likeliest tokens beside each token; `None` where no log probabilities were asked for.
pub(super) fn of_chat(n_top: Option<usize>, tokens: &[Token]) -> Option<Logprobs<'_>> {
    let n_top = n_top?;
    let token = |token: &'_ Token| {
        let top = likeliest(&token.text, n_top).map(|(token, logprob)| TopToken {
            bytes: token.clone().into_bytes(),
            token,
            logprob,
        });
        top.collect()
    };
    let content = tokens.iter().map(|it| ChatToken {
        token: &it.text,
        logprob: CHOSEN,
        bytes: it.text.as_bytes(),
        top_logprobs: token(it),
    });
    Some(Logprobs::Chat {
        content: content.collect(),
    })
}

/// The same for the tokens of a completion in `range`; `tokens` are all of them, for the offsets count from the first.
pub(super) fn of_completion(
    n_top: Option<usize>,
    tokens: &[Token],
    range: Range<usize>,
) -> Option<Logprobs<'_>> {
    let n_top = n_top?;
    let before = tokens.get(..range.start)?;
    let mut offset = before.iter().map(|token| token.text.chars().count()).sum();
    let tokens = tokens.get(range)?;
    let offsets = tokens.iter().map(|token| {
        let start = offset;
        offset += token.text.chars().count();
        start
    });
    Some(Logprobs::Completion {
        text_offset: offsets.collect(),
        token_logprobs: vec![CHOSEN; tokens.len()],
        tokens: tokens.iter().map(|token| token.text.as_str()).collect(),
        top_logprobs: tokens
            .iter()
            .map(|token| likeliest(&token.text, n_top.max(1)).collect())
            .collect(),
    })
}

fn likeliest(chosen: &str, n_top: usize) -> impl Iterator<Item = (String, f64)> {
    let rivals = (1_u8..).map(|rank| (format!(" rival{rank}"), RIVAL * f64::from(rank)));
    std::iter::once((chosen.to_owned(), CHOSEN))
        .chain(rivals)
        .take(n_top)
}
