//! The RPCs: each a composition of translation and upstream, with its deadline, its status and its record.

mod backend;
mod call;
mod deadline;
mod embedding;
mod error;
mod generation;
mod models;
mod observer;
mod ranking;
pub(crate) mod request_id;
mod stream;
mod tokenization;
mod transcription;
pub(crate) mod transport_error;

pub(crate) use backend::Backend;
pub(crate) use embedding::Embedding;
pub(crate) use generation::Generation;
pub(crate) use models::Models;
pub(crate) use ranking::Ranking;
pub(crate) use tokenization::Tokenization;
pub(crate) use transcription::Transcription;
