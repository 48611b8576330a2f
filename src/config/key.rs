//! Where the upstream's key comes from.

use std::{env, fmt, path::PathBuf};

use clap::parser::ValueSource;

/// The variable that the OpenAI SDK reads its key from.
pub(super) const VARIABLE: &str = "OPENAI_API_KEY";

/// Where the upstream's key came from. It is logged; the key never is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum KeySource {
    /// There is no key.
    #[default]
    None,
    /// The flag `--upstream-api-key`.
    Flag,
    /// The variable `OPENAI_API_KEY`.
    Variable,
    /// The `.env` file at this path.
    File(PathBuf),
}

// === impl KeySource ===

impl KeySource {
    #[expect(clippy::disallowed_methods, reason = "`config` reads the environment")]
    /// The source of the variable's value, before a `.env` file at this path is loaded.
    pub(super) fn of_variable(dotenv: PathBuf) -> Self {
        match env::var_os(VARIABLE) {
            Some(_) => Self::Variable,
            None => Self::File(dotenv),
        }
    }

    /// The source of the key that clap found there.
    pub(super) fn of_value(found: Option<ValueSource>, variable: Self) -> Self {
        match found {
            Some(ValueSource::CommandLine) => Self::Flag,
            Some(_) => variable,
            None => Self::None,
        }
    }
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Flag => f.write_str("--upstream-api-key"),
            Self::Variable => f.write_str(VARIABLE),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}
