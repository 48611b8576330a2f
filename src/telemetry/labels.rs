//! The labels of metrics.

use std::borrow::Cow;

/// In place of a name that a caller made up.
pub(crate) const OTHER: &str = "other";

pub(crate) type Label = Cow<'static, str>;
pub(crate) type Labels = Vec<(&'static str, Label)>;
