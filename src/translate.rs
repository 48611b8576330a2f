//! The only place that knows both vocabularies: the contract's and the upstream's. Pure: no I/O, no clock, no log.

mod asked;
mod chat;
mod extensions;
mod extra_body;
mod finish;
mod fold;
mod invalid;
mod invalid_answer;
mod json;
mod logprobs;
mod media;
mod media_type;
mod param;
mod request;
mod response;
mod sampling;
mod stream;
mod structured;
mod tool_calls;
mod tools;
mod usage;

pub(crate) use asked::{Asked, Input};
pub use fold::Fold;
pub(crate) use invalid::InvalidRequest;
pub(crate) use invalid_answer::InvalidAnswer;
pub(crate) use param::{field_path, is_own};
pub(crate) use request::{Mode, Translated, request};
pub(crate) use response::response;
pub(crate) use stream::StreamTranslator;
pub(crate) use structured::Needs;
