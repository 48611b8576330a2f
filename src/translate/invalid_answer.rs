//! What is wrong with an answer.

/// An answer that no caller may take for a whole one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidAnswer {
    /// The engine aborted a choice, as it does when it is shut down.
    #[error("the engine aborted the generation")]
    Aborted,
    /// The engine failed in a choice.
    #[error("the engine failed during the generation")]
    Failed,
    /// The upstream ended its answer before every choice was finished.
    #[error("the upstream ended its answer before every choice was finished")]
    Unfinished,
    /// The answer contradicts itself or the request.
    #[error("the upstream's answer is malformed: {0}")]
    Malformed(&'static str),
}
