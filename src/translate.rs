//! The only place that knows both vocabularies: the contract's and the upstream's. Pure: no I/O, no clock, no log.

mod asked;
mod body;
mod chat;
mod chat_options;
mod extra_body;
mod input;
mod invalid;
mod json;
mod media;
mod media_type;
pub(crate) mod param;
mod request;
mod sampling;
mod structured;
mod tools;

pub(crate) use asked::Asked;
pub(crate) use input::Input;
pub(crate) use invalid::InvalidRequest;
pub(crate) use request::{Mode, Translated, request};
pub(crate) use structured::Needs;

/// A text that is set; an empty one counts as not set.
fn text(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}
