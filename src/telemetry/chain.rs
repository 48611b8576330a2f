//! An error as one line, for the log and for the end of the process.

use std::{error::Error, fmt};

/// An error and its causes, the outermost first, with a colon between.
#[derive(Debug)]
pub struct Chain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        std::iter::successors(self.0.source(), |&cause| cause.source())
            .try_for_each(|cause| write!(f, ": {cause}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Fault {
        text: &'static str,
        source: Option<Box<Self>>,
    }

    #[test]
    fn an_error_is_told_with_all_its_causes() {
        let mut error = Fault {
            text: "refused",
            source: None,
        };
        assert_eq!(Chain(&error).to_string(), "refused");
        for text in ["no connection", "no answer"] {
            error = Fault {
                text,
                source: Some(Box::new(error)),
            };
        }
        assert_eq!(
            Chain(&error).to_string(),
            "no answer: no connection: refused"
        );
    }
}
