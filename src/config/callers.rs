//! The callers of the configuration file, and keys for new ones.

use std::{collections::BTreeSet, fmt, num::NonZeroU32};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::{
    digest::{SHA256, digest},
    rand::{SecureRandom as _, SystemRandom},
};
use serde::Deserialize;

use super::value::name;

/// Of a key that `keygen` makes: as hard to guess as its digest.
const KEY_BYTES: usize = 32;

/// One that may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// What logs say.
    pub name: String,
    /// SHA-256 of the key; `None` where a certificate alone tells the caller.
    pub key_sha256: Option<[u8; 32]>,
    /// A SPIFFE URI or DNS name of its certificate, exact or with a trailing `/*`.
    pub client_id: Option<String>,
    /// The models that it may use, by any of their names; `None` for all.
    pub models: Option<Vec<String>>,
    /// Calls at once; `None` is unlimited.
    pub max_in_flight: Option<NonZeroU32>,
    /// Calls a minute, of which as many may come at once; `None` is unlimited.
    pub requests_per_minute: Option<NonZeroU32>,
    /// Whether it may choose a base URL.
    pub caller_chosen: bool,
}

/// A caller as the file has it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    name: String,
    key_sha256: Option<String>,
    client_id: Option<String>,
    models: Option<Vec<String>>,
    max_in_flight: Option<u32>,
    requests_per_minute: Option<u32>,
    #[serde(default)]
    caller_chosen: bool,
}

/// What the flags say about the callers of a file.
#[derive(Clone, Copy, Debug, Default)]
pub struct CallerRules {
    /// Callers' keys are the upstream's to check.
    pub forwards: bool,
    /// Certificates of callers are checked.
    pub checks_certificates: bool,
}

/// What the entries mean, and all their faults.
pub(super) fn understand(
    entries: Vec<Entry>,
    rules: CallerRules,
    may_serve: impl Fn(&String) -> bool,
) -> (Vec<Caller>, Vec<String>) {
    let mut faults = Vec::new();
    if rules.forwards && !entries.is_empty() {
        faults.push("[[caller]]: is not used with --forward-authorization".to_owned());
    }
    let mut before = BTreeSet::new();
    for entry in &entries {
        let mut fault = |field: &str, fault: &str| {
            faults.push(format!("caller {:?}: {field}: {fault}", entry.name));
        };
        if let Err(wrong) = name(&entry.name) {
            fault("name", wrong);
        }
        // The text of a digest is not repeated, since it may be the key itself.
        for (field, text) in [
            ("name", Some(&entry.name)),
            ("key_sha256", entry.key_sha256.as_ref()),
            ("client_id", entry.client_id.as_ref()),
        ] {
            if text.is_some_and(|text| !before.insert((field, text.to_ascii_lowercase()))) {
                fault(field, "is given more than once");
            }
        }
        for (is_wrong, field, wrong) in entry.checks(rules) {
            if is_wrong {
                fault(field, wrong);
            }
        }
        let models = entry.models.iter().flatten();
        for model in models.filter(|model| !may_serve(model)) {
            fault("models", &format!("no upstream lists {model:?}"));
        }
    }
    (entries.into_iter().map(Caller::from).collect(), faults)
}

/// A new key for that caller, with its entry for the file.
///
/// # Errors
///
/// A name that a caller cannot have, or a system without random numbers.
pub fn keygen(caller: &str) -> Result<String, String> {
    name(caller).map_err(|fault| format!("NAME: {fault}"))?;
    let mut random = [0; KEY_BYTES];
    let filled = SystemRandom::new().fill(&mut random);
    filled.map_err(|_none| "the system gives no random numbers".to_owned())?;
    let key = BASE64_URL_SAFE_NO_PAD.encode(random);
    let digest = digest(&SHA256, key.as_bytes());
    let digest = digest.as_ref().iter().map(|byte| format!("{byte:02x}"));
    let digest = digest.collect::<String>();
    Ok(format!(
        "The key, for the caller alone; it is not kept here:\n{key}\n\n\
        The entry for the configuration file:\n[[caller]]\nname = \"{caller}\"\nkey_sha256 = \"{digest}\"\n"
    ))
}

/// A digest in 64 hexadecimal digits.
fn sha256(text: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, pair) in digest.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(digest)
}

// === impl Entry ===

impl Entry {
    /// Each field with whether it is wrong, and what is right.
    fn checks(&self, rules: CallerRules) -> [(bool, &'static str, &'static str); 7] {
        let (key, id) = (&self.key_sha256, &self.client_id);
        let is_digest = key.as_deref().is_none_or(|text| sha256(text).is_some());
        let is_uncheckable = id.is_some() && !rules.checks_certificates;
        let models = self.models.as_deref();
        [
            (
                key.is_none() && id.is_none(),
                "key_sha256",
                "expected it, or client_id",
            ),
            (
                !is_digest,
                "key_sha256",
                "expected 64 hexadecimal digits, as `keygen` prints them, never the key itself",
            ),
            (
                id.as_deref() == Some(""),
                "client_id",
                "expected a name of the certificate",
            ),
            (is_uncheckable, "client_id", "needs --tls-client-ca"),
            (
                models.is_some_and(<[_]>::is_empty),
                "models",
                "expected at least one; without the line, all",
            ),
            (
                self.max_in_flight == Some(0),
                "max_in_flight",
                "expected at least 1",
            ),
            (
                self.requests_per_minute == Some(0),
                "requests_per_minute",
                "expected at least 1",
            ),
        ]
    }
}

impl From<Entry> for Caller {
    fn from(entry: Entry) -> Self {
        Self {
            name: entry.name,
            key_sha256: entry.key_sha256.as_deref().and_then(sha256),
            client_id: entry.client_id,
            models: entry.models,
            max_in_flight: entry.max_in_flight.and_then(NonZeroU32::new),
            requests_per_minute: entry.requests_per_minute.and_then(NonZeroU32::new),
            caller_chosen: entry.caller_chosen,
        }
    }
}

// === impl Caller ===

/// What `check` prints.
impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let models = self.models.as_ref().map(|models| models.join(", "));
        let limit = |limit: Option<NonZeroU32>| limit.map(|it| it.to_string());
        let or = |value: Option<String>, none: &str| value.unwrap_or_else(|| none.to_owned());
        write!(
            f,
            "caller {}: {}models {}, calls at once {}, a minute {}",
            self.name,
            if self.caller_chosen {
                "base URLs, "
            } else {
                ""
            },
            or(models, "all"),
            or(limit(self.max_in_flight), "unlimited"),
            or(limit(self.requests_per_minute), "unlimited"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_is_random_and_fits_its_entry() {
        let printed = keygen("search").unwrap();
        let key = printed.lines().nth(1).unwrap();
        assert_eq!(key.len(), 43, "{printed}");
        let (_, entry) = printed.split_once("file:\n").unwrap();
        let entry = toml::from_str::<toml::Table>(entry).unwrap();
        let digest_of_entry = entry["caller"][0]["key_sha256"].as_str().unwrap();
        let read = sha256(digest_of_entry).unwrap();
        assert_eq!(digest(&SHA256, key.as_bytes()).as_ref(), read);
        assert_ne!(keygen("search").unwrap(), printed);
        assert!(keygen("a b").unwrap_err().contains("letters"));
    }
}
