//! End-to-end tests: the adapter's program before a real vLLM.
//!
//! - `ADAPTER_TEST_VLLM`: base URL of a vLLM that `tests/vllm/vllm.sh serve DIR chat` runs, with `/v1`.
//! - `ADAPTER_TEST_VLLM_REASON`: the same of kind `reason`.
//! - `ADAPTER_TEST_VLLM_DIR`: where `tests/vllm/vllm.sh install` put vLLM; the tests of [`faults`] start servers of
//!   their own from there, and kill them.
//! - `OPENAI_API_KEY`: the key of those vLLMs, where they ask for one.
//!
//! A test whose vLLM is not given says on stderr that it was skipped, and passes.

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
/// Answers that hold to a form.
mod structured;
/// Tool calls and their results.
mod tools;
