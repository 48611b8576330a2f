//! The only place that knows both vocabularies: the contract's and the upstream's. Pure: no I/O, no clock, no log.

mod asked;
mod body;
mod chat;
mod chat_options;
mod chunk_translator;
pub(crate) mod embedding;
mod extensions;
mod extra_body;
mod fields;
mod finish;
mod fold;
mod identity;
mod input;
mod invalid;
mod invalid_answer;
mod json;
mod logprobs;
mod media;
mod media_type;
pub(crate) mod models;
mod param;
mod pattern;
pub(crate) mod ranking;
mod request;
mod response;
mod sampling;
mod stream;
mod structured;
pub(crate) mod tokenization;
mod tool_calls;
mod tools;
pub(crate) mod transcription;
mod usage;

pub(crate) use asked::Asked;
pub(crate) use chunk_translator::ChunkTranslator;
pub(crate) use fields::{Origin, field_of_text, field_path, is_own};
pub use fold::Fold;
pub(crate) use input::Input;
pub(crate) use invalid::InvalidRequest;
pub(crate) use invalid_answer::InvalidAnswer;
pub(crate) use request::{Mode, Translated, request};
pub(crate) use response::response;
pub(crate) use stream::StreamTranslator;
pub(crate) use structured::Needs;

/// A text that is set; an empty one counts as not set.
fn text(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}
