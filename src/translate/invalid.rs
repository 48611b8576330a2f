//! What is wrong with a request.

use std::fmt;

/// Fields that a caller has to mend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InvalidRequest {
    violations: Vec<Violation>,
}

/// One field, and how to mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    /// Path in the request message, as `messages[2].parts[0].image`.
    pub(crate) field: String,
    /// What is wrong and what would be right; no value that the caller sent.
    pub(crate) description: String,
}

impl InvalidRequest {
    /// One field is wrong.
    pub(crate) fn new(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self {
            violations: vec![Violation {
                field: field.into(),
                description: description.into(),
            }],
        }
    }

    /// Several fields are wrong together, for one reason.
    pub(crate) fn together(fields: &[&str], description: &str) -> Self {
        let violation = |field: &&str| Violation {
            field: (*field).to_owned(),
            description: description.to_owned(),
        };
        Self {
            violations: fields.iter().map(violation).collect(),
        }
    }

    /// Refuses those fields that are set, if any is.
    pub(crate) fn refuse(fields: &[(&str, bool)], description: &str) -> Result<(), Self> {
        let set = fields.iter().filter(|(_, is_set)| *is_set);
        let set: Vec<&str> = set.map(|(field, _)| *field).collect();
        if set.is_empty() {
            return Ok(());
        }
        Err(Self::together(&set, description))
    }

    /// The same, below a field: `image` becomes `parts[0].image`.
    pub(crate) fn within(mut self, outer: &str) -> Self {
        for violation in &mut self.violations {
            violation.field = format!("{outer}.{}", violation.field);
        }
        self
    }

    /// What to mend.
    pub(crate) fn violations(&self) -> &[Violation] {
        &self.violations
    }
}

impl fmt::Display for InvalidRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, violation) in self.violations.iter().enumerate() {
            let separator = if n == 0 { "" } else { "; " };
            write!(
                f,
                "{separator}{}: {}",
                violation.field, violation.description
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for InvalidRequest {}
