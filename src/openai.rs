//! The upstream's JSON, as vLLM speaks it: data only, and every name is vLLM's.
//!
//! What is sent is built from closed types, so that nothing goes out that vLLM does not know; what is read is lenient,
//! since absent, null and renamed fields differ among vLLM 0.6 to 0.33 and its Rust front end.

pub(crate) mod chunk;
pub(crate) mod classification;
pub(crate) mod embedding;
pub(crate) mod error;
pub(crate) mod logprobs;
pub(crate) mod model;
pub(crate) mod ranking;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod text;
pub(crate) mod tokenization;
pub(crate) mod transcription;
pub(crate) mod version;
