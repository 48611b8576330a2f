//! The only place that knows both vocabularies: the contract's and the upstream's. Pure: no I/O, no clock, no log.

mod asked;
mod body;
mod chat;
mod chat_options;
mod extensions;
mod extra_body;
mod finish;
mod fold;
mod input;
mod invalid;
mod invalid_answer;
mod json;
mod logprobs;
mod media;
mod media_type;
mod param;
mod pattern;
mod request;
mod response;
mod sampling;
mod stream;
mod structured;
mod tool_calls;
mod tools;
mod usage;

pub(crate) use asked::Asked;
pub use fold::Fold;
pub(crate) use input::Input;
pub(crate) use invalid::InvalidRequest;
pub(crate) use invalid_answer::InvalidAnswer;
pub(crate) use param::{field_path, is_own};
pub(crate) use request::{Mode, Translated, request};
pub(crate) use response::response;
pub(crate) use stream::StreamTranslator;
pub(crate) use structured::Needs;

/// A text that is set; an empty one counts as not set.
fn text(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}
