//! The upstream's version, by `/version`.

use std::fmt;

use serde::Deserialize;

/// A release of vLLM, as far as it decides what a request may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    pub(crate) major: u32,
    pub(crate) minor: u32,
}

impl Version {
    /// Reads `0.33.0`, `0.9.2rc1` or `0.32.1.dev7+g123`; `None` where it is no release.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let mut numbers = text.trim().trim_start_matches('v').split('.');
        let major = numbers.next()?.parse().ok()?;
        let minor = numbers.next()?.parse().ok()?;
        Some(Self { major, minor })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The body of `/version`.
#[derive(Debug, Deserialize)]
pub(crate) struct VersionResponse {
    pub(crate) version: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read() {
        let rows = [
            ("0.33.0", Some((0, 33))),
            ("0.9.2rc1", Some((0, 9))),
            ("v1.0", Some((1, 0))),
            ("0.32.1.dev7+g123", Some((0, 32))),
            ("dev", None),
            ("", None),
        ];
        for (text, read) in rows {
            assert_eq!(
                Version::read(text).map(|it| (it.major, it.minor)),
                read,
                "{text}"
            );
        }
        assert!(Version::read("0.9.2") < Version::read("0.11.0"));
    }
}
