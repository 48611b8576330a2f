//! The only place that knows both vocabularies: the contract's and the upstream's. Pure: no I/O, no clock, no log.

mod answer;
mod chat;
pub(crate) mod classification;
pub(crate) mod embedding;
mod extra_body;
pub(crate) mod generation;
mod invalid;
mod json;
pub(crate) mod models;
mod names;
pub(crate) mod pooling;
pub(crate) mod ranking;
mod sampling;
pub(crate) mod tokenization;
pub(crate) mod transcription;

pub(crate) use answer::{ChunkTranslator, Mode};
pub use generation::Fold;
pub(crate) use invalid::{InvalidAnswer, InvalidRequest, Needs};
pub(crate) use names::Fields;
