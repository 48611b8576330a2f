//! Parsers of single values, for clap, which names the flag and the value beside what they return.

use std::{
    net::{SocketAddr, ToSocketAddrs},
    time::Duration,
};

/// A value that a flag may switch off: `None` is `off`.
///
/// clap takes a field whose type is written `Option` as one of a flag that may be missing.
pub type OrOff<T> = Option<T>;

/// Longest duration: far beyond any use, and short enough that no clock overflows.
const MAX_DURATION: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Largest message, body or part of one: gRPC gives a length in 32 bits, and clients read it as a signed number.
pub(super) const MESSAGE: u64 = 2 << 30;

/// Largest memory for messages: far beyond any use, and small enough for a semaphore.
pub(super) const MEMORY: u64 = 1 << 40;

/// Largest size up to which responses are padded.
pub(super) const PADDING: u64 = 64 << 10;

/// A value that has this parser, or `off`.
pub(super) fn or_off<T>(
    parse: fn(&str) -> Result<T, String>,
) -> impl Fn(&str) -> Result<OrOff<T>, String> + Clone {
    move |text| match text {
        "off" => Ok(None),
        text => parse(text)
            .map(Some)
            .map_err(|fault| format!("{fault}, or `off`")),
    }
}

/// An IP address or a name, and a port; a name is resolved at once.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let addresses = text.to_socket_addrs();
    let mut addresses = addresses.map_err(|error| format!("expected ADDRESS:PORT: {error}"))?;
    let address = addresses.next();
    address.ok_or_else(|| "the name has no address".to_owned())
}

/// A duration with its unit, as `2s` or `1m 30s`, above zero.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    match duration_or_zero(text)? {
        Duration::ZERO => Err("expected a duration above zero".to_owned()),
        duration => Ok(duration),
    }
}

/// A duration that may be zero.
pub(super) fn duration_or_zero(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if duration > MAX_DURATION => Err("expected at most a year".to_owned()),
        Ok(duration) => Ok(duration),
        Err(_) => Err("expected a duration with a unit, as 500ms, 2s or 5m".to_owned()),
    }
}

/// A size in bytes, as `32MiB` or `4096`, above zero.
pub(super) fn bytes<const MAX: u64>(text: &str) -> Result<usize, String> {
    let size: bytesize::ByteSize = text
        .parse()
        .map_err(|_unreadable| "expected a size, as 65536, 64KiB or 32MiB".to_owned())?;
    let size = Some(size.as_u64()).filter(|size| (1..=MAX).contains(size));
    let size = size.and_then(|size| usize::try_from(size).ok());
    let max = bytesize::ByteSize(MAX).display().iec();
    size.ok_or_else(|| format!("expected a size from 1 byte to {max}"))
}

/// Checks a name that stands in logs and metadata.
pub(super) fn name(text: &str) -> Result<(), &'static str> {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    match (1..=64).contains(&text.len()) && text.bytes().all(is_word) {
        true => Ok(()),
        false => Err("expected 1 to 64 letters, digits, `-`, `_` or `.`"),
    }
}

/// A whole number above zero.
pub(super) fn count<T: TryFrom<u32>>(text: &str) -> Result<T, String> {
    let count = text.parse().ok().filter(|count| *count > 0_u32);
    let count = count.and_then(|count| T::try_from(count).ok());
    count.ok_or_else(|| format!("expected a whole number from 1 to {}", u32::MAX))
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
        assert_eq!(duration_or_zero("0s"), Ok(Duration::ZERO));
    }

    #[test]
    fn an_address_may_be_a_name() {
        for text in ["127.0.0.1:1", "[::1]:1", "0.0.0.0:0"] {
            assert_eq!(address(text), Ok(text.parse().unwrap()));
        }
        assert!(address("localhost:1").unwrap().ip().is_loopback());
        for text in ["", "127.0.0.1", "localhost", "127.0.0.1:65536"] {
            assert!(address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn off_is_not_zero() {
        let or_off = or_off(duration);
        assert_eq!(or_off("off"), Ok(None));
        assert_eq!(or_off("1s"), Ok(Some(Duration::from_secs(1))));
        for text in ["0s", "Off", "", "2"] {
            assert!(
                or_off(text).is_err_and(|fault| fault.ends_with("`off`")),
                "{text}"
            );
        }
    }

    #[test]
    fn a_size_is_above_zero_and_at_most_what_it_is_for() {
        for (text, size) in [
            ("4096", Some(4096)),
            ("64KiB", Some(64 << 10)),
            ("1.5 MiB", Some(3 << 19)),
            ("2GiB", Some(2 << 30)),
            ("2147483649", None),
            ("0", None),
            ("-1", None),
            ("lots", None),
            ("", None),
        ] {
            assert_eq!(bytes::<MESSAGE>(text).ok(), size, "{text}");
        }
        assert_eq!(bytes::<MEMORY>("1TiB"), Ok(1 << 40));
        assert!(bytes::<MEMORY>("2TiB").is_err());
        assert_eq!(bytes::<PADDING>("64KiB"), Ok(64 << 10));
        let fault = bytes::<PADDING>("65537").unwrap_err();
        assert_eq!(fault, "expected a size from 1 byte to 64.0 KiB");
    }

    #[test]
    fn a_count_is_above_zero() {
        for (text, expected) in [
            ("1", Some(1)),
            ("4294967295", Some(u32::MAX)),
            ("4294967296", None),
            ("0", None),
            ("-1", None),
            ("1.5", None),
            ("", None),
        ] {
            assert_eq!(count::<u32>(text).ok(), expected, "{text}");
        }
    }
}
