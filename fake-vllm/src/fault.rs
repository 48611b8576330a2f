//! Failures that a prompt asks for, to show what a client makes of them.
//!
//! `Fail [once|twice] with STATUS[: MESSAGE]` is refused with that HTTP status. With `abort` in place of the status, the
//! engine aborts the answer. `Wait.` is never answered.

use std::sync::{Mutex, PoisonError};

use crate::error::Error;

/// How a request fails.
#[derive(Debug, PartialEq)]
pub(crate) enum Fault {
    Refused(Error),
    /// After the first token.
    Aborted,
    Silent,
}

/// The prompts that have failed and shall be answered yet, once for each failure.
#[derive(Debug, Default)]
pub(crate) struct Failed(Mutex<Vec<String>>);

// === impl Failed ===

impl Failed {
    /// How this prompt shall fail now; `None` where it shall be answered.
    pub(crate) fn next(&self, prompt: &str) -> Option<Fault> {
        if prompt == "Wait." {
            return Some(Fault::Silent);
        }
        let (times, what) = prompt.strip_prefix("Fail ")?.split_once("with ")?;
        let (status, message) = what.split_once(": ").unwrap_or((what, "as was asked for"));
        let fault = match status.trim_end_matches('.') {
            "abort" => Fault::Aborted,
            status => Fault::Refused(Error::new(status.parse().ok()?, message, None)),
        };
        let times = match times.trim_end() {
            "once" => 1,
            "twice" => 2,
            _ => return Some(fault),
        };
        let mut failed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if failed.iter().filter(|it| *it == prompt).count() == times {
            failed.retain(|it| it != prompt);
            return None;
        }
        failed.push(prompt.to_owned());
        Some(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_fails_as_often_as_it_says() {
        let failed = Failed::default();
        for (prompt, fails) in [
            ("Fail twice with 503.", [true, true, false, true]),
            ("Fail once with abort: x", [true, false, true, false]),
            ("Fail with 503.", [true; 4]),
            ("Fail with grace.", [false; 4]),
            ("Hello!", [false; 4]),
        ] {
            let seen = fails.map(|_| failed.next(prompt).is_some());
            assert_eq!(seen, fails, "{prompt}");
        }
    }

    #[test]
    fn a_prompt_gives_the_message() {
        let refused = Error::new(400, "a: b", None);
        let fault = Failed::default().next("Fail with 400: a: b");
        assert_eq!(fault, Some(Fault::Refused(refused)));
    }
}
