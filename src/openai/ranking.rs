//! `/score` and `/rerank` (vLLM 0.33).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_with_macros::skip_serializing_none;

use super::{
    request::{Json, Part},
    response::Usage,
};

/// `ScoreRequest`, by the names that every release takes.
#[derive(Debug, Serialize)]
pub(crate) struct ScoreRequest {
    pub(crate) text_1: Queries,
    pub(crate) text_2: Vec<Input>,
    #[serde(flatten)]
    pub(crate) shared: Shared,
}

/// `ScoreInput`.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Input {
    Text(String),
    Parts { content: Vec<Part> },
}

/// One query for all documents, or one for each.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Queries {
    One(Input),
    Each(Vec<Input>),
}

/// `RerankRequest`.
#[skip_serializing_none]
#[derive(Debug, Serialize)]
pub(crate) struct RerankRequest {
    pub(crate) query: Input,
    pub(crate) documents: Vec<Input>,
    pub(crate) top_n: Option<i32>,
    #[serde(flatten)]
    pub(crate) shared: Shared,
}

/// `ScoringRequestMixin`.
#[skip_serializing_none]
#[derive(Debug, Default, Serialize)]
pub(crate) struct Shared {
    pub(crate) model: Option<String>,
    pub(crate) instruction: Option<String>,
    pub(crate) use_activation: Option<bool>,
    pub(crate) max_tokens_per_query: Option<i32>,
    pub(crate) max_tokens_per_doc: Option<i32>,
    pub(crate) truncate_prompt_tokens: Option<i32>,
    pub(crate) truncation_side: Option<&'static str>,
    pub(crate) chat_template_kwargs: Option<Json>,
    pub(crate) priority: Option<i64>,
    /// Members of `extra_body_json`; none has the name of a field above.
    #[serde(flatten)]
    pub(crate) extra_body: BTreeMap<String, Json>,
}

/// `ScoreResponse`.
#[derive(Debug, Deserialize)]
pub(crate) struct ScoreResponse {
    pub(crate) id: Option<String>,
    pub(crate) created: Option<serde_json::Number>,
    pub(crate) model: Option<String>,
    pub(crate) data: Vec<Score>,
    pub(crate) usage: Option<Usage>,
}

/// `ScoreResponseData`.
#[derive(Debug, Deserialize)]
pub(crate) struct Score {
    /// Missing counts as its place in the list.
    pub(crate) index: Option<i64>,
    pub(crate) score: f64,
}

/// `RerankResponse`.
#[derive(Debug, Deserialize)]
pub(crate) struct RerankResponse {
    pub(crate) id: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) results: Vec<RerankResult>,
    pub(crate) usage: Option<Usage>,
}

/// `RerankResult`.
#[derive(Debug, Deserialize)]
pub(crate) struct RerankResult {
    pub(crate) index: i64,
    pub(crate) relevance_score: f64,
    pub(crate) document: Option<Document>,
}

/// `RerankDocument`, without its media.
#[derive(Debug, Deserialize)]
pub(crate) struct Document {
    pub(crate) text: Option<String>,
}
