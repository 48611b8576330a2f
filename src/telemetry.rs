//! What the adapter tells of itself.

pub(crate) mod call;
pub mod logging;
