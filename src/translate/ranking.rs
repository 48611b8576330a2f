//! Scores of pairs, and documents in the order of their relevance.

use super::{
    InvalidAnswer, InvalidRequest, chat_options, extra_body, fields::Fields,
    request::truncation_side, response::create_time, sampling, text, usage,
};
use crate::{
    config::Policy,
    openai::ranking::{
        Queries, RerankRequest, RerankResponse, RerankResult, ScoreRequest, ScoreResponse, Shared,
    },
    proto,
};

pub(super) const SCORE_FIELDS: Fields = Fields {
    inputs: &["input_text", "input_tokens"],
    same: SAME,
    renamed: &[
        ("chat_template_kwargs", "chat_template_kwargs_json"),
        ("data_1", "queries"),
        ("data_2", "documents"),
        ("documents", "documents"),
        ("items", "documents"),
        ("max_tokens_per_doc", "max_tokens_per_document"),
        ("queries", "queries"),
        ("text_1", "queries"),
        ("text_2", "documents"),
    ],
    own: OWN,
    told: TOLD,
};

pub(super) const RERANK_FIELDS: Fields = Fields {
    inputs: &["documents", "input_text", "input_tokens"],
    same: SAME_AND_RERANK,
    renamed: &[
        ("chat_template_kwargs", "chat_template_kwargs_json"),
        ("max_tokens_per_doc", "max_tokens_per_document"),
    ],
    own: OWN,
    told: TOLD,
};

const SAME: &[&str] = &[
    "instruction",
    "max_tokens_per_query",
    "model",
    "priority",
    "truncate_prompt_tokens",
    "truncation_side",
    "use_activation",
];

const SAME_AND_RERANK: &[&str] = &[
    "instruction",
    "max_tokens_per_query",
    "model",
    "priority",
    "query",
    "top_n",
    "truncate_prompt_tokens",
    "truncation_side",
    "use_activation",
];

const OWN: &[&str] = &["request_id", "return_documents"];

const TOLD: &[(&str, &str)] = &[
    ("max_tokens_per_query", "max_tokens_per_query"),
    ("max_tokens_per_doc", "max_tokens_per_document"),
    ("Priority scheduling", "priority"),
];

/// What both requests have in common, by the names of the contract.
struct Options {
    model: String,
    instruction: String,
    use_activation: Option<bool>,
    max_tokens_per_query: Option<i32>,
    max_tokens_per_document: Option<i32>,
    truncate_prompt_tokens: Option<i32>,
    truncation_side: i32,
    chat_template_kwargs_json: String,
    priority: Option<i32>,
    extra_body_json: String,
}

/// The body that vLLM takes, or what the caller has to mend.
pub(crate) fn score_request(
    request: proto::ScoreRequest,
    policy: &Policy,
) -> Result<ScoreRequest, InvalidRequest> {
    let proto::ScoreRequest {
        model,
        queries,
        documents,
        instruction,
        use_activation,
        max_tokens_per_query,
        max_tokens_per_document,
        truncate_prompt_tokens,
        truncation_side,
        chat_template_kwargs_json,
        priority,
        extra_body_json,
    } = request;
    let options = Options {
        model,
        instruction,
        use_activation,
        max_tokens_per_query,
        max_tokens_per_document,
        truncate_prompt_tokens,
        truncation_side,
        chat_template_kwargs_json,
        priority,
        extra_body_json,
    };
    let shared = shared(options, &SCORE_FIELDS, policy)?;
    check_documents(&documents)?;
    Ok(ScoreRequest {
        text_1: self::queries(queries, documents.len())?,
        text_2: documents,
        shared,
    })
}

fn queries(mut queries: Vec<String>, n_documents: usize) -> Result<Queries, InvalidRequest> {
    sampling::none_empty("queries", &queries)?;
    if queries.len() == n_documents && n_documents > 1 {
        return Ok(Queries::Each(queries));
    }
    match (queries.pop(), queries.is_empty()) {
        (Some(only), true) => Ok(Queries::One(only)),
        _ => {
            let description = "must be one, or as many as `documents`";
            Err(InvalidRequest::new("queries", description))
        }
    }
}

/// The body that vLLM takes, or what the caller has to mend.
pub(crate) fn rerank_request(
    request: proto::RerankRequest,
    policy: &Policy,
) -> Result<RerankRequest, InvalidRequest> {
    let proto::RerankRequest {
        model,
        query,
        documents,
        top_n,
        instruction,
        use_activation,
        max_tokens_per_query,
        max_tokens_per_document,
        truncate_prompt_tokens,
        truncation_side,
        chat_template_kwargs_json,
        priority,
        extra_body_json,
    } = request;
    let options = Options {
        model,
        instruction,
        use_activation,
        max_tokens_per_query,
        max_tokens_per_document,
        truncate_prompt_tokens,
        truncation_side,
        chat_template_kwargs_json,
        priority,
        extra_body_json,
    };
    let shared = shared(options, &RERANK_FIELDS, policy)?;
    if query.is_empty() {
        return Err(InvalidRequest::new("query", "must not be empty"));
    }
    check_documents(&documents)?;
    sampling::integer("top_n", top_n, 0..)?;
    Ok(RerankRequest {
        query,
        documents,
        top_n,
        shared,
    })
}

fn shared(options: Options, fields: &Fields, policy: &Policy) -> Result<Shared, InvalidRequest> {
    let is_taken = |name: &str| fields.has(name);
    let extra_body =
        extra_body::members(options.extra_body_json, is_taken, &policy.extra_body_keys);
    let shared = Shared {
        model: text(options.model).or_else(|| policy.default_model.clone()),
        instruction: text(options.instruction),
        use_activation: options.use_activation,
        max_tokens_per_query: options.max_tokens_per_query,
        max_tokens_per_doc: options.max_tokens_per_document,
        truncate_prompt_tokens: options.truncate_prompt_tokens,
        truncation_side: truncation_side(options.truncation_side)?,
        chat_template_kwargs: chat_options::template_kwargs(options.chat_template_kwargs_json)?,
        priority: options.priority,
        extra_body: extra_body?,
    };
    sampling::integer("max_tokens_per_query", shared.max_tokens_per_query, 0..)?;
    sampling::integer("max_tokens_per_document", shared.max_tokens_per_doc, 0..)?;
    let truncated = shared.truncate_prompt_tokens;
    sampling::integer("truncate_prompt_tokens", truncated, -1..)?;
    Ok(shared)
}

fn check_documents(documents: &[String]) -> Result<(), InvalidRequest> {
    if documents.is_empty() {
        return Err(InvalidRequest::new("documents", "must not be empty"));
    }
    sampling::none_empty("documents", documents)
}

/// The scores in the order of the documents, if each has its own.
pub(crate) fn score_response(
    response: ScoreResponse,
    n_documents: usize,
) -> Result<proto::ScoreResponse, InvalidAnswer> {
    let mut scores = vec![None; n_documents];
    for (place, score) in response.data.into_iter().enumerate() {
        let index = match score.index {
            Some(index) => usize::try_from(index).unwrap_or(usize::MAX),
            None => place,
        };
        match scores.get_mut(index) {
            Some(slot @ None) => *slot = Some(score.score),
            _ => return Err(InvalidAnswer::Malformed("a score of no document")),
        }
    }
    let scores: Option<Vec<f64>> = scores.into_iter().collect();
    Ok(proto::ScoreResponse {
        id: response.id.unwrap_or_default(),
        model: response.model.unwrap_or_default(),
        create_time: response.created.map(create_time),
        scores: scores.ok_or(InvalidAnswer::Unfinished)?,
        usage: response.usage.map(usage::usage),
    })
}

/// The documents as the upstream ordered them, if none is missing, comes twice or is no document.
///
/// Where the order is not that of the scores, the answer is not put right: with `top_n`, the upstream may have kept the
/// wrong documents.
pub(crate) fn rerank_response(
    response: RerankResponse,
    n_documents: usize,
    top_n: Option<i32>,
) -> Result<proto::RerankResponse, InvalidAnswer> {
    let in_order =
        |one: &RerankResult, next: &RerankResult| one.relevance_score >= next.relevance_score;
    if !response.results.is_sorted_by(in_order) {
        return Err(InvalidAnswer::Malformed("documents out of order"));
    }
    let mut is_ranked = vec![false; n_documents];
    let mut results = Vec::with_capacity(response.results.len().min(n_documents));
    for result in response.results {
        let index = usize::try_from(result.index).unwrap_or(usize::MAX);
        match is_ranked.get_mut(index) {
            Some(is_ranked @ false) => *is_ranked = true,
            _ => return Err(InvalidAnswer::Malformed("a rank of no document")),
        }
        results.push(proto::RerankResult {
            index: i32::try_from(index).ok(),
            relevance_score: Some(result.relevance_score),
        });
    }
    let top_n = top_n.and_then(|top_n| usize::try_from(top_n).ok());
    let n_wanted = top_n
        .filter(|top_n| *top_n > 0)
        .map_or(n_documents, |top_n| top_n.min(n_documents));
    if results.len() > n_wanted {
        return Err(InvalidAnswer::Malformed(
            "more documents than were asked for",
        ));
    }
    if results.len() < n_wanted {
        return Err(InvalidAnswer::Unfinished);
    }
    Ok(proto::RerankResponse {
        id: response.id.unwrap_or_default(),
        model: response.model.unwrap_or_default(),
        results,
        usage: response.usage.map(usage::usage),
    })
}

#[cfg(test)]
mod tests;
