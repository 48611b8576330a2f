//! The only place that knows both vocabularies: the contract's and the upstream's. Pure: no I/O, no clock, no log.

mod asked;
mod chat;
mod extra_body;
mod invalid;
mod json;
mod media;
mod media_type;
pub(crate) mod param;
mod request;
mod sampling;
mod structured;
mod tools;

pub(crate) use asked::{Asked, Input};
pub(crate) use invalid::InvalidRequest;
pub(crate) use request::{Mode, Translated, request};
pub(crate) use structured::Needs;
