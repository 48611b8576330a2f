//! What is wrong with a request, or with an upstream's answer.

use std::fmt;

use crate::openai::version::Version;

/// Fields that a caller has to correct.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InvalidRequest {
    violations: Vec<Violation>,
}

/// One field, and how to correct it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    /// Path in the request message, as `messages[2].parts[0].image`.
    pub(crate) field: String,
    /// What is wrong and what would be right; no value that the caller sent.
    pub(crate) description: String,
}

/// The release that a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Needs {
    /// Path of the field that needs it.
    pub(crate) field: &'static str,
    /// The oldest vLLM that honours the field.
    pub(crate) version: Version,
}

/// An answer that no caller may take for a complete one.
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

impl InvalidAnswer {
    /// A call in the form that OpenAI's API had before tools; no vLLM makes one, and the contract has no place for it.
    pub(crate) const FUNCTION_CALL: Self = Self::Malformed("a legacy function call");
}

/// The names of fields, each with whether it is set.
macro_rules! set {
    ($($field:ident),+ $(,)?) => {
        &[$((stringify!($field), crate::translate::invalid::is_set(&$field))),+]
    };
}
pub(super) use set;

/// Whether a field has another value than that of an unset one.
pub(super) fn is_set<T: Default + PartialEq>(value: &T) -> bool {
    *value != T::default()
}

impl InvalidRequest {
    /// One field is wrong.
    pub(crate) fn new(field: impl Into<String>, description: impl Into<String>) -> Self {
        let (field, description) = (field.into(), description.into());
        let violations = vec![Violation { field, description }];
        Self { violations }
    }

    /// Several fields are wrong together, for one reason.
    pub(crate) fn together(fields: &[&str], description: &str) -> Self {
        let violation = |field: &&str| Violation {
            field: (*field).to_owned(),
            description: description.to_owned(),
        };
        let violations = fields.iter().map(violation).collect();
        Self { violations }
    }

    /// Refuses those fields that are set, if any is.
    pub(crate) fn refuse(fields: &[(&str, bool)], description: &str) -> Result<(), Self> {
        match set_fields(fields).as_slice() {
            [] => Ok(()),
            set => Err(Self::together(set, description)),
        }
    }

    /// Checks that exactly one of the fields is set.
    pub(crate) fn only_one(fields: &[(&str, bool)]) -> Result<(), Self> {
        let names: Vec<&str> = fields.iter().map(|(field, _)| *field).collect();
        let list = names.join("`, `");
        let list = match list.rsplit_once(", ") {
            Some((first, last)) => format!("`{first} and {last}`"),
            None => format!("`{list}`"),
        };
        match set_fields(fields).as_slice() {
            [_] => Ok(()),
            [] => Err(Self::together(&names, &format!("set one of {list}"))),
            set => Err(Self::together(set, &format!("set only one of {list}"))),
        }
    }

    /// The same, below a field: `image` becomes `parts[0].image`, and an empty path the field itself.
    pub(crate) fn within(mut self, outer: &str) -> Self {
        for Violation { field, .. } in &mut self.violations {
            let separator = if field.is_empty() { "" } else { "." };
            *field = format!("{outer}{separator}{field}");
        }
        self
    }

    /// The paths of the fields to correct.
    pub(crate) fn fields(&self) -> String {
        let fields: Vec<&str> = self.violations.iter().map(|it| it.field.as_str()).collect();
        fields.join(", ")
    }

    /// What to correct.
    pub(crate) fn violations(&self) -> &[Violation] {
        &self.violations
    }
}

fn set_fields<'a>(fields: &[(&'a str, bool)]) -> Vec<&'a str> {
    let set = fields.iter().filter(|(_, is_set)| *is_set);
    set.map(|(field, _)| *field).collect()
}

impl fmt::Display for InvalidRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, Violation { field, description }) in self.violations.iter().enumerate() {
            let separator = if n == 0 { "" } else { "; " };
            write!(f, "{separator}{field}: {description}")?;
        }
        Ok(())
    }
}

impl std::error::Error for InvalidRequest {}
