//! The public contract as generated from `proto/`, and from `third_party/` the interface of gRPC's own health
//! service and the load report; each item is documented there. `codec` reads and writes the messages.

#![allow(
    missing_debug_implementations,
    unreachable_pub,
    clippy::all,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::doc_markdown,
    clippy::too_many_lines,
    clippy::disallowed_methods,
    clippy::wildcard_enum_match_arm,
    reason = "generated code"
)]

use std::sync::LazyLock;

use prost::Message as _;
use prost_types::FileDescriptorSet;

mod codec;
mod elements;

pub(crate) use codec::ROOM;

tonic::include_proto!("vllm_adapter.v1");

/// `grpc.health.v1`.
pub mod health {
    tonic::include_proto!("grpc.health.v1");
}

/// `xds.data.orca.v3`: the load report.
pub mod orca {
    tonic::include_proto!("xds.data.orca.v3");
}

/// The serialized `FileDescriptorSet` of all, for server reflection.
pub const DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor_set.bin"));

/// The same, decoded; the build made it, so that it can be decoded.
pub(crate) static DESCRIPTORS: LazyLock<FileDescriptorSet> =
    LazyLock::new(|| FileDescriptorSet::decode(DESCRIPTOR_SET).unwrap_or_default());
