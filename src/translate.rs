//! The only place that knows both vocabularies: the contract's and the upstream's. Pure: no I/O, no clock, no log.

mod invalid;

pub(crate) use invalid::InvalidRequest;
