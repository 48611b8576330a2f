//! A client of vllm-grpc-adapter. The messages of the contract are in [`v1`].

mod client;
mod error;
mod fold;
mod retry;
pub use client::{Client, Connection, Events, MAX_RECEIVE_BYTES};
pub use error::AdapterError;
pub use fold::fold;

/// The messages and the stubs of the contract.
#[allow(clippy::all, missing_docs, rustdoc::all, reason = "generated code")]
pub mod v1 {
    include!("vllm_adapter/v1/vllm_adapter.v1.rs");
}
