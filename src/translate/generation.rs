//! Generation: a prompt, a chat or raw text is sent; text, reasoning and tool calls come back, whole or in a stream.

mod asked;
mod checks;
mod extensions;
mod fold;
mod logprobs;
mod request;
mod response;
mod stream;
mod structured;
mod tool_calls;

pub use fold::Fold;
pub(crate) use request::{Translated, request};
pub(crate) use response::response;
pub(crate) use stream::StreamTranslator;
