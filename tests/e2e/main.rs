//! End-to-end tests: the adapter's program before a real vLLM.
//!
//! - `ADAPTER_TEST_VLLM`: base URL of a vLLM that `tests/vllm/vllm.sh serve DIR chat` runs, with `/v1`.
//! - `ADAPTER_TEST_VLLM_REASON`: the same of kind `reason`.
//! - `ADAPTER_TEST_VLLM_EMBED`, `ADAPTER_TEST_VLLM_RERANK`: the same of kind `embed` and `rerank`.
//! - `ADAPTER_TEST_VLLM_DIR`: where `tests/vllm/vllm.sh install` put vLLM; the tests of [`faults`] and [`upstreams`]
//!   start servers of their own from there, and kill them.
//! - `OPENAI_API_KEY`: the key of those vLLMs, where they ask for one.
//!
//! They are ignored unless asked for by `-- --include-ignored`, and then fail where their variable is not set.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "tests"
)]

mod support;

/// Callers that leave, in the queue and while text comes.
mod cancellation;
/// What vLLM refuses: status and details, unary and streamed.
mod errors;
/// A vLLM that dies or falls silent.
mod faults;
/// Text, whole and streamed.
mod generate;
/// Reasoning apart from the answer.
mod reasoning;
/// Embeddings, models, tokens, scores and ranks.
mod services;
/// Answers that hold to a form.
mod structured;
/// Tool calls and their results.
mod tools;
/// Several vLLMs behind one adapter, one of which is killed.
mod upstreams;
