//! What the adapter reports of itself.

mod chain;
pub mod logging;

pub use chain::Chain;
