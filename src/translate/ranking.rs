//! Scores of pairs, and documents in the order of their relevance.

use super::{
    answer::{create_time, in_order, usage},
    chat::{self, template},
    extra_body,
    invalid::{InvalidAnswer, InvalidRequest, set},
    names,
    sampling::{self, in_range, text},
};
use crate::{
    config::Policy,
    openai::ranking::{
        Input, Queries, RerankRequest, RerankResponse, RerankResult, ScoreRequest, ScoreResponse,
        Shared,
    },
    proto,
};

/// The body that vLLM takes, or the fields that the caller has to correct.
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
        max_tokens_per_document: max_per_document,
        truncate_prompt_tokens,
        truncation_side,
        chat_template_kwargs_json,
        priority,
        multimodal_queries,
        multimodal_documents,
        extra_body_json,
    } = request;
    let documents = self::documents(documents, multimodal_documents, policy)?;
    if !multimodal_queries.is_empty() {
        InvalidRequest::only_one(set!(queries, multimodal_queries))?;
    }
    let queries = inputs("multimodal_queries", queries, multimodal_queries, policy)?;
    Ok(ScoreRequest {
        text_1: self::queries(queries, documents.len())?,
        text_2: documents,
        shared: Shared {
            model: sampling::model_or_default(model, policy),
            instruction: text(instruction),
            use_activation,
            max_tokens_per_query: in_range("max_tokens_per_query", max_tokens_per_query, 0..)?,
            max_tokens_per_doc: in_range("max_tokens_per_document", max_per_document, 0..)?,
            truncate_prompt_tokens: truncated(truncate_prompt_tokens)?,
            truncation_side: sampling::truncation_side(truncation_side)?,
            chat_template_kwargs: template::kwargs(chat_template_kwargs_json)?,
            priority,
            extra_body: extra_body::members(extra_body_json, &names::SCORE, policy)?,
        },
    })
}

/// The body that vLLM takes, or the fields that the caller has to correct.
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
        max_tokens_per_document: max_per_document,
        truncate_prompt_tokens,
        truncation_side,
        chat_template_kwargs_json,
        priority,
        multimodal_query,
        multimodal_documents,
        extra_body_json,
        // vLLM gives them to everybody.
        return_documents: _,
    } = request;
    let documents = self::documents(documents, multimodal_documents, policy)?;
    let query = match multimodal_query {
        None => Input::Text(query),
        Some(multimodal_query) => {
            let description = "must be empty with `multimodal_query`";
            InvalidRequest::refuse(set!(query), description)?;
            with_media("multimodal_query", multimodal_query, policy)?
        }
    };
    Ok(RerankRequest {
        query,
        documents,
        top_n: in_range("top_n", top_n, 0..)?,
        shared: Shared {
            model: sampling::model_or_default(model, policy),
            instruction: text(instruction),
            use_activation,
            max_tokens_per_query: in_range("max_tokens_per_query", max_tokens_per_query, 0..)?,
            max_tokens_per_doc: in_range("max_tokens_per_document", max_per_document, 0..)?,
            truncate_prompt_tokens: truncated(truncate_prompt_tokens)?,
            truncation_side: sampling::truncation_side(truncation_side)?,
            chat_template_kwargs: template::kwargs(chat_template_kwargs_json)?,
            priority,
            extra_body: extra_body::members(extra_body_json, &names::RERANK, policy)?,
        },
    })
}

fn truncated(tokens: Option<i32>) -> Result<Option<i32>, InvalidRequest> {
    in_range("truncate_prompt_tokens", tokens, -1..)
}

fn documents(
    documents: Vec<String>,
    multimodal_documents: Vec<proto::MultimodalText>,
    policy: &Policy,
) -> Result<Vec<Input>, InvalidRequest> {
    if multimodal_documents.is_empty() && documents.is_empty() {
        return Err(InvalidRequest::new("documents", "must not be empty"));
    }
    InvalidRequest::only_one(set!(documents, multimodal_documents))?;
    inputs(
        "multimodal_documents",
        documents,
        multimodal_documents,
        policy,
    )
}

/// The texts, or those with media, of which only one list is filled.
fn inputs(
    field: &str,
    texts: Vec<String>,
    multimodal: Vec<proto::MultimodalText>,
    policy: &Policy,
) -> Result<Vec<Input>, InvalidRequest> {
    let multimodal = multimodal.into_iter().enumerate();
    let multimodal = multimodal.map(|(n, it)| with_media(&format!("{field}[{n}]"), it, policy));
    let texts = texts.into_iter().map(|text| Ok(Input::Text(text)));
    texts.chain(multimodal).collect()
}

fn with_media(
    field: &str,
    text: proto::MultimodalText,
    policy: &Policy,
) -> Result<Input, InvalidRequest> {
    if text.parts.is_empty() {
        return Err(InvalidRequest::new(
            format!("{field}.parts"),
            "must not be empty",
        ));
    }
    let content = chat::parts(text.parts, policy).map_err(|invalid| invalid.within(field))?;
    Ok(Input::Parts { content })
}

fn queries(mut queries: Vec<Input>, n_documents: usize) -> Result<Queries, InvalidRequest> {
    if queries.len() == n_documents && n_documents > 1 {
        return Ok(Queries::Each(queries));
    }
    match (queries.pop(), queries.is_empty()) {
        (Some(only), true) => Ok(Queries::One(only)),
        _ => {
            let description = "must be one, or as many as documents";
            Err(InvalidRequest::new("queries", description))
        }
    }
}

/// The scores in the order of the documents, if each document has one.
pub(crate) fn score_response(
    response: ScoreResponse,
    n_documents: usize,
) -> Result<proto::ScoreResponse, InvalidAnswer> {
    let scores = response.data.into_iter().map(|it| (it.index, it.score));
    Ok(proto::ScoreResponse {
        scores: in_order(scores, n_documents)?,
        id: response.id.unwrap_or_default(),
        model: response.model.unwrap_or_default(),
        create_time: response.created.as_ref().and_then(create_time),
        usage: response.usage.map(usage),
    })
}

/// The documents in the upstream's order, if none is missing, comes twice or is no document.
///
/// Documents out of the order of their scores are not sorted here: with `top_n`, the upstream may have dropped the wrong
/// ones.
pub(crate) fn rerank_response(
    response: RerankResponse,
    n_documents: usize,
    top_n: Option<i32>,
    with_documents: bool,
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
        let document = result.document.filter(|_| with_documents);
        if with_documents && document.is_none() {
            return Err(InvalidAnswer::Malformed("no document, which was asked for"));
        }
        results.push(proto::RerankResult {
            document: document.and_then(|it| it.text).unwrap_or_default(),
            index: i32::try_from(index).ok(),
            relevance_score: Some(result.relevance_score),
        });
    }
    let top_n = top_n.and_then(|top_n| usize::try_from(top_n).ok());
    let n_wanted = top_n
        .filter(|top_n| *top_n > 0)
        .map_or(n_documents, |top_n| top_n.min(n_documents));
    if results.len() > n_wanted {
        let what = "more documents than were asked for";
        return Err(InvalidAnswer::Malformed(what));
    }
    if results.len() < n_wanted {
        return Err(InvalidAnswer::Unfinished);
    }
    Ok(proto::RerankResponse {
        id: response.id.unwrap_or_default(),
        model: response.model.unwrap_or_default(),
        results,
        usage: response.usage.map(usage),
    })
}

#[cfg(test)]
mod tests;
