//! What the adapter tells of itself.

pub(crate) mod call;
mod chain;
pub mod logging;

pub use chain::Chain;
