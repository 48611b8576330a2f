//! What the tests are made of.

pub mod raw_h2;
pub mod served;
