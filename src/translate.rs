//! The only place that knows both vocabularies: the contract's and the upstream's. Pure: no I/O, no clock, no log.

mod asked;
mod extensions;
mod finish;
mod fold;
mod invalid;
mod invalid_answer;
mod logprobs;
mod response;
mod stream;
mod tool_calls;
mod usage;

pub(crate) use asked::Asked;
pub use fold::Fold;
pub(crate) use invalid::InvalidRequest;
pub(crate) use invalid_answer::InvalidAnswer;
pub(crate) use response::response;
pub(crate) use stream::StreamTranslator;
