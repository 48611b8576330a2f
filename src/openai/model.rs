//! `/v1/models` (vLLM 0.33); read only.

use serde::Deserialize;

/// `ModelList`.
#[derive(Debug, Deserialize)]
pub(crate) struct ModelList {
    pub(crate) data: Vec<ModelCard>,
}

/// `ModelCard`.
#[derive(Debug, Deserialize)]
pub(crate) struct ModelCard {
    pub(crate) id: String,
    pub(crate) created: Option<serde_json::Number>,
    pub(crate) owned_by: Option<String>,
    pub(crate) root: Option<String>,
    /// The base model of an adapter (`LoRA`).
    pub(crate) parent: Option<String>,
    pub(crate) max_model_len: Option<i64>,
}
