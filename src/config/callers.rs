//! The callers of the configuration file, and keys for new ones.

use std::collections::BTreeSet;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::{
    digest::{SHA256, digest},
    rand::{SecureRandom as _, SystemRandom},
};
use serde::Deserialize;

use super::value::name;

/// Of a key that `keygen` makes: as hard to guess as its digest.
const KEY_BYTES: usize = 32;

/// One that may call, as the file has it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Caller {
    /// What logs say.
    pub name: String,
    /// SHA-256 of the key, as [`sha256`] writes it; `None` where a certificate alone tells the caller.
    pub key_sha256: Option<String>,
    /// A SPIFFE URI or DNS name of its certificate, exact or with a trailing `/*`.
    pub client_id: Option<String>,
    /// The models that it may use, by any of their names; `None` for all.
    pub models: Option<Vec<String>>,
    /// Calls at once, at least 1; `None` is unlimited.
    pub max_in_flight: Option<u32>,
    /// Calls a minute, at least 1, of which as many may come at once; `None` is unlimited.
    pub requests_per_minute: Option<u32>,
    /// Whether it may choose a base URL.
    #[serde(default)]
    pub caller_chosen: bool,
}

/// What the flags say about the callers of a file.
#[derive(Clone, Copy, Debug, Default)]
pub struct CallerRules {
    /// Callers' keys are the upstream's to check.
    pub forwards: bool,
    /// Certificates of callers are checked.
    pub checks_certificates: bool,
}

/// All faults of the callers.
pub(super) fn faults(
    callers: &[Caller],
    rules: CallerRules,
    may_serve: impl Fn(&String) -> bool,
) -> Vec<String> {
    let mut faults = Vec::new();
    if rules.forwards && !callers.is_empty() {
        faults.push("[[caller]]: is not used with --forward-authorization".to_owned());
    }
    let mut before = BTreeSet::new();
    for caller in callers {
        let mut wrong = |is_wrong: bool, field: &str, right: &str| {
            let fault = || format!("caller {:?}: {field}: {right}", caller.name);
            faults.extend(is_wrong.then(fault));
        };
        let (key, id) = (&caller.key_sha256, &caller.client_id);
        let right = name(&caller.name).err();
        wrong(right.is_some(), "name", right.unwrap_or_default());
        wrong(
            key.is_none() && id.is_none(),
            "key_sha256",
            "expected it, or client_id",
        );
        // The text is not repeated, since it may be the key itself.
        let right = "expected 64 digits, 0 to 9 and a to f, as `keygen` prints them, never the key";
        wrong(!key.as_deref().is_none_or(is_sha256), "key_sha256", right);
        for (field, text) in [
            ("name", Some(&caller.name)),
            ("key_sha256", key.as_ref()),
            ("client_id", id.as_ref()),
        ] {
            let is_new = text.is_none_or(|text| before.insert((field, text)));
            wrong(!is_new, field, "is given more than once");
        }
        let is_unchecked = id.is_some() && !rules.checks_certificates;
        wrong(is_unchecked, "client_id", "needs --tls-client-ca");
        let models = caller.models.as_deref();
        let right = "expected at least one; without the line, all";
        wrong(models.is_some_and(<[_]>::is_empty), "models", right);
        for model in models.into_iter().flatten() {
            let fault = format!("no upstream lists {model:?}");
            wrong(!may_serve(model), "models", &fault);
        }
        let right = "expected at least 1";
        wrong(caller.max_in_flight == Some(0), "max_in_flight", right);
        wrong(
            caller.requests_per_minute == Some(0),
            "requests_per_minute",
            right,
        );
    }
    faults
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
    let digest = sha256(key.as_bytes());
    Ok(format!(
        "The key, for the caller alone; it is not kept here:\n{key}\n\n\
        The entry for the configuration file:\n[[caller]]\nname = \"{caller}\"\nkey_sha256 = \"{digest}\"\n"
    ))
}

/// The SHA-256 of a key, in 64 hexadecimal digits, small ones.
#[must_use]
pub fn sha256(key: &[u8]) -> String {
    let digest = digest(&SHA256, key);
    let digits = digest.as_ref().iter().map(|byte| format!("{byte:02x}"));
    digits.collect()
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
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
        let digest = entry["caller"][0]["key_sha256"].as_str().unwrap();
        assert!(is_sha256(digest), "{digest}");
        assert_eq!(digest, sha256(key.as_bytes()));
        assert_ne!(keygen("search").unwrap(), printed);
        assert!(keygen("a b").unwrap_err().contains("letters"));
    }
}
