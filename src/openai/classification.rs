//! The answer of `/classify` (vLLM 0.33).

use serde::Deserialize;

use super::response::Usage;

/// `ClassificationResponse`.
#[derive(Debug, Deserialize)]
pub(crate) struct ClassificationResponse {
    pub(crate) id: Option<String>,
    pub(crate) created: Option<serde_json::Number>,
    pub(crate) model: Option<String>,
    pub(crate) data: Vec<Classification>,
    pub(crate) usage: Option<Usage>,
}

/// `ClassificationData`, whose `num_classes` is the number of `probs`.
#[derive(Debug, Deserialize)]
pub(crate) struct Classification {
    /// Missing counts as its place in the list.
    pub(crate) index: Option<i64>,
    pub(crate) label: Option<String>,
    pub(crate) probs: Vec<f64>,
}
