//! The version that a vLLM gives at `/version`.

use std::fmt;

use serde::Deserialize;

/// A release, as `0.11.2`; what comes after it (`rc1`, `.post1`, `+cpu`) does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    pub(crate) major: u32,
    pub(crate) minor: u32,
    pub(crate) patch: u32,
}

/// The body of `/version`.
#[derive(Debug, Deserialize)]
pub(crate) struct VersionResponse {
    pub(crate) version: String,
}

// === impl Version ===

impl Version {
    /// A release by its numbers.
    pub(crate) const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self {
            major,
            minor,
            patch,
        }
    }

    /// Reads a version as vLLM writes it; `None` for anything else, as a server that is no vLLM.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim().trim_start_matches('v');
        let mut numbers = text.splitn(3, '.').map(leading_number);
        let major = numbers.next()??;
        let minor = numbers.next()??;
        let patch = numbers.next().flatten().unwrap_or(0);
        Some(Self::new(major, minor, patch))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// The number that a text begins with: 1 of `1rc2`.
fn leading_number(text: &str) -> Option<u32> {
    let digits = text.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::Version;

    #[test]
    fn versions_of_vllm_are_read() {
        for (text, expected) in [
            ("0.33.0", Some(Version::new(0, 33, 0))),
            ("0.8.5.post1", Some(Version::new(0, 8, 5))),
            ("v0.11.1", Some(Version::new(0, 11, 1))),
            (
                "0.11.1rc2.dev148+g938772af0.d20251022",
                Some(Version::new(0, 11, 1)),
            ),
            ("0.32.0+cpu", Some(Version::new(0, 32, 0))),
            ("1.0", Some(Version::new(1, 0, 0))),
            ("dev", None),
            ("1", None),
            ("", None),
            ("99999999999.0.0", None),
        ] {
            assert_eq!(Version::parse(text), expected, "{text}");
        }
    }

    #[test]
    fn versions_are_ordered_by_number() {
        assert!(Version::new(0, 9, 2) < Version::new(0, 11, 0));
        assert!(Version::new(0, 11, 1) < Version::new(0, 11, 2));
        assert_eq!(Version::new(0, 11, 2).to_string(), "0.11.2");
    }
}
