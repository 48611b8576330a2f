//! What the streams of all services have in common.

use crate::openai::chunk::Chunk;

use super::InvalidAnswer;

/// Folds the chunks of one streamed answer into responses.
pub(crate) trait ChunkTranslator {
    /// What a caller is sent.
    type Response: prost::Message;

    /// Takes a chunk by its text alone, if it is mere text as chunks before it were; false if it has to be parsed.
    fn push_text(&mut self, _json: &str) -> Result<bool, InvalidAnswer> {
        Ok(false)
    }

    /// Takes a chunk; `json` is its text.
    fn push(&mut self, chunk: Chunk<'_>, json: &str) -> Result<(), InvalidAnswer>;

    /// Takes the end of the stream, which must be whole.
    fn end(&mut self) -> Result<(), InvalidAnswer>;

    /// The next response for the caller.
    fn pop(&mut self) -> Option<Self::Response>;

    /// Whether a response holds a piece of the answer's text or of its calls.
    fn is_delta(response: &Self::Response) -> bool;
}
