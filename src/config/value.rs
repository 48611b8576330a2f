//! Reads single values.

use std::{
    net::{SocketAddr, ToSocketAddrs},
    time::Duration,
};

use secrecy::{ExposeSecret, SecretString};
use tracing_subscriber::{EnvFilter, filter::LevelFilter};
use url::Host;

/// An address and port; a name is looked up.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let fault =
        || format!("{text:?} is not an address and a port, as 0.0.0.0:50051 or [::1]:50051");
    text.to_socket_addrs()
        .map_err(|_unknown| fault())?
        .next()
        .ok_or_else(fault)
}

/// Longest duration: far beyond any use, and near enough that no clock overflows.
const MAX_DURATION: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A duration with its unit, as `2s` or `1m 30s`, above zero.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    match duration_or_zero(text) {
        Ok(Duration::ZERO) => Err(format!("{text:?} is no time at all")),
        read => read,
    }
}

/// A duration that may be zero.
pub(super) fn duration_or_zero(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if duration > MAX_DURATION => Err(format!("{text:?} is more than a year")),
        Ok(duration) => Ok(duration),
        Err(_) => Err(format!(
            "{text:?} is not a duration with a unit, as 500ms, 2s or 5m"
        )),
    }
}

/// A duration above zero, or `off`.
pub(super) fn duration_or_off(text: &str) -> Result<Option<Duration>, String> {
    if text == "off" {
        return Ok(None);
    }
    duration(text)
        .map(Some)
        .map_err(|fault| format!("{fault}; `off` switches it off"))
}

/// A size in bytes, as `32MiB` or `4096`, above zero.
pub(super) fn bytes(text: &str) -> Result<usize, String> {
    let size: bytesize::ByteSize = text
        .parse()
        .map_err(|_unreadable| format!("{text:?} is not a size, as 65536, 64KiB or 32MiB"))?;
    match usize::try_from(size.as_u64()) {
        Ok(0) => Err(format!("{text:?} would let nothing through")),
        Ok(size) if size <= MAX_BYTES => Ok(size),
        _ => Err(format!("{text:?} is more than 2GiB")),
    }
}

/// The same for a response, which is never lighter than 256 bytes.
pub(super) fn response_bytes(text: &str) -> Result<usize, String> {
    match bytes(text)? {
        size @ 256.. => Ok(size),
        _ => Err(format!(
            "{text:?} is less than 256, which every response takes"
        )),
    }
}

/// gRPC gives a message's length in 32 bits, and clients read it as a signed number.
const MAX_BYTES: usize = 1 << 31;

/// A whole number above zero, or `off`.
pub(super) fn count_or_off(text: &str) -> Result<Option<usize>, String> {
    if text == "off" {
        return Ok(None);
    }
    count(text)
        .map(Some)
        .map_err(|fault| format!("{fault}; `off` switches it off"))
}

/// A whole number above zero.
pub(super) fn count<T: std::str::FromStr + PartialEq + From<u8>>(text: &str) -> Result<T, String> {
    match text.parse::<T>() {
        Ok(count) if count != T::from(0) => Ok(count),
        _ => Err(format!("{text:?} is not a whole number above 0")),
    }
}

/// Yes or no, in the words that clap takes for a switch.
///
/// clap itself would stop at the first that is wrong, before any other value is looked at.
pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "on" | "t" | "true" | "y" | "yes" => Ok(true),
        "0" | "f" | "false" | "n" | "no" | "off" => Ok(false),
        _ => Err(format!("{text:?} is neither true nor false")),
    }
}

/// A key that can stand in a header; an empty one counts as none.
pub(super) fn api_key(key: Option<SecretString>) -> Result<Option<SecretString>, String> {
    let Some(key) = key else { return Ok(None) };
    let text = key.expose_secret().trim();
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("holds a character that a header cannot carry".to_owned());
    }
    Ok((!text.is_empty()).then(|| SecretString::from(text)))
}

/// A log filter, each of whose words is a level by itself or gives one to something.
///
/// A word alone would be read as the name of a module, and a misspelt level would silence the log.
pub(super) fn filter(text: &str) -> Result<String, String> {
    let fault = |why: &str| format!("{text:?} is not a log filter: {why}");
    let words = || text.split(',').filter(|word| !word.trim().is_empty());
    let is_level = |word: &str| word.contains(['=', '[']) || word.parse::<LevelFilter>().is_ok();
    if let Some(word) = words().find(|word| !is_level(word)) {
        return Err(fault(&format!("{word:?} is not a level, {LEVELS}")));
    }
    if words().next().is_none() {
        return Err(fault(&format!("it needs a level, {LEVELS}")));
    }
    match text.parse::<EnvFilter>() {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(fault(&error.to_string())),
    }
}

const LEVELS: &str =
    "as off, error, warn, info, debug or trace, or a module's, as vllm_grpc_adapter=debug";

/// Members of every request's body that the contract or the adapter sets, so that `extra_body_json` can hold them
/// nowhere. What only some requests set may be of use in the others.
pub(crate) const ALWAYS_TAKEN: [&str; 2] = ["model", "request_id"];

/// A key that `extra_body_json` may carry.
pub(super) fn extra_body_key(text: &str) -> Result<String, String> {
    if ALWAYS_TAKEN.contains(&text) {
        return Err(format!(
            "{text:?} is set by the adapter in every request, so that no caller can set it"
        ));
    }
    key(text)
}

/// The name of a member of a JSON object; a list of them has no word for all.
pub(super) fn key(text: &str) -> Result<String, String> {
    if text == "*" {
        return Err("`*` is no key: each key is named".to_owned());
    }
    Ok(text.to_owned())
}

/// A host as a URL names it, or `*` for any.
pub(super) fn host(text: &str) -> Result<String, String> {
    let fault =
        || format!("{text:?} is not the name or the address of a host, as media.example or [::1]");
    if text == "*" {
        return Ok(text.to_owned());
    }
    let host = Host::parse(text).map_err(|_invalid| fault())?;
    let is_host = match &host {
        Host::Domain(domain) => is_name(domain),
        Host::Ipv4(_) | Host::Ipv6(_) => true,
    };
    is_host.then(|| host.to_string()).ok_or_else(fault)
}

/// Whether a domain is one that a resolver would look up (RFC 1123, and `_`, which is in use).
fn is_name(domain: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|it| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'_'))
    };
    domain.len() <= 253 && domain.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_needs_its_unit() {
        let read = [
            ("2s", Some(2000)),
            ("500ms", Some(500)),
            ("1m 30s", Some(90_000)),
            ("2", None),
            ("0s", None),
            ("2years", None),
            ("18446744073709551615s", None),
        ];
        for (text, millis) in read {
            assert_eq!(
                duration(text).ok(),
                millis.map(Duration::from_millis),
                "{text}"
            );
        }
    }

    #[test]
    fn off_is_not_zero() {
        assert_eq!(duration_or_off("off"), Ok(None));
        assert_eq!(duration_or_off("1s"), Ok(Some(Duration::from_secs(1))));
        assert!(duration_or_off("0s").is_err_and(|fault| fault.contains("`off`")));
        assert_eq!(duration_or_zero("0s"), Ok(Duration::ZERO));
    }

    #[test]
    fn sizes_have_units() {
        let read = [
            ("4096", Some(4096)),
            ("64KiB", Some(65_536)),
            ("0", None),
            ("3GiB", None),
            ("big", None),
        ];
        for (text, size) in read {
            assert_eq!(bytes(text).ok(), size, "{text}");
        }
    }

    #[test]
    fn a_filter_gives_levels() {
        for text in [
            "info",
            "WARN",
            "off",
            "5",
            "warn,hyper=debug,",
            "[call]=trace",
            "info,[call{id}]",
        ] {
            assert_eq!(filter(text).as_deref(), Ok(text), "{text}");
        }
        for text in ["wran", "info,wran", "vllm_grpc_adapter", "", " ", ","] {
            let fault = filter(text).unwrap_err();
            assert!(
                fault.contains("off, error, warn, info, debug or trace"),
                "{fault}"
            );
        }
        for text in ["a=b", "vllm_grpc_adapter=wran", "a=b=c"] {
            assert!(
                filter(text).is_err_and(|fault| fault.contains(text)),
                "{text}"
            );
        }
    }

    #[test]
    fn a_key_is_named_and_is_not_one_that_the_adapter_sets() {
        assert_eq!(extra_body_key("chat_template"), Ok("chat_template".into()));
        assert_eq!(key("model"), Ok("model".into()));
        for text in ["*", "model", "request_id"] {
            assert!(
                extra_body_key(text).is_err_and(|fault| fault.contains(text)),
                "{text}"
            );
        }
        assert!(key("*").is_err());
    }

    #[test]
    fn a_host_is_a_name_or_an_address() {
        for (text, expected) in [
            ("*", "*"),
            ("Media.Example", "media.example"),
            ("a_b-c.example", "a_b-c.example"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("10.0.0.1", "10.0.0.1"),
            ("[::1]", "[::1]"),
            ("[0:0::1]", "[::1]"),
        ] {
            assert_eq!(host(text).as_deref(), Ok(expected), "{text}");
        }
        for text in [
            "http://media.example",
            "media.example/path",
            "media.example:80",
            "user@media.example",
            "*.example",
            "media..example",
            "media.example.",
            "a b",
            "a!b",
            "::1",
            "256.0.0.1",
            &"a".repeat(64),
        ] {
            assert!(
                host(text).is_err_and(|fault| fault.contains(text)),
                "{text}"
            );
        }
    }
}
