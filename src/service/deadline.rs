//! How long a call may take, and why the server ends one.

use std::time::Duration;

use http::HeaderMap;
use tokio::time::Instant;

/// <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#requests>
const GRPC_TIMEOUT: &str = "grpc-timeout";

/// Longest time that is counted; beyond it there is no deadline. Tokio's timers reach about two years.
const FAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Why the server ends a call that would have gone on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Ending {
    #[error("the server is stopping")]
    Draining,
    #[error("the connection reached its greatest age")]
    ConnectionAged,
    #[error("the caller does not read")]
    CallerTooSlow,
    /// The caller's own.
    #[error("the call's deadline passed; generation has stopped")]
    Deadline,
    #[error("the call took longer than --max-duration allows; generation has stopped")]
    MaxDuration,
}

/// When a call must have ended, upload and stream included, and by whose limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Deadline {
    pub(crate) at: Instant,
    pub(crate) ending: Ending,
}

/// `grpc-timeout` is not 1 to 8 digits and a unit, or comes twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MalformedTimeout;

// === impl Deadline ===

impl Deadline {
    /// The earlier of both, counted from now; `None` where neither is set.
    pub(super) fn of(
        headers: &HeaderMap,
        max_duration: Option<Duration>,
    ) -> Result<Option<Self>, MalformedTimeout> {
        let (after, ending) = match (timeout(headers)?, max_duration) {
            (Some(caller), Some(most)) if most < caller => (Some(most), Ending::MaxDuration),
            (Some(caller), _) => (Some(caller), Ending::Deadline),
            (None, most) => (most, Ending::MaxDuration),
        };
        let after = after.filter(|&after| after < FAR);
        Ok(after.map(|after| Self {
            at: Instant::now() + after,
            ending,
        }))
    }
}

fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, MalformedTimeout> {
    let mut values = headers.get_all(GRPC_TIMEOUT).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => parse(value.as_bytes()).ok_or(MalformedTimeout).map(Some),
        (Some(_), Some(_)) => Err(MalformedTimeout),
    }
}

/// `TimeoutValue TimeoutUnit`: at most 8 digits, and a unit.
fn parse(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let count: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(count * 60 * 60),
        b'M' => Duration::from_secs(count * 60),
        b'S' => Duration::from_secs(count),
        b'm' => Duration::from_millis(count),
        b'u' => Duration::from_micros(count),
        b'n' => Duration::from_nanos(count),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_read_by_the_specification() {
        let rows = [
            ("0n", Some(Duration::ZERO)),
            ("1n", Some(Duration::from_nanos(1))),
            ("20u", Some(Duration::from_micros(20))),
            ("300m", Some(Duration::from_millis(300))),
            ("5S", Some(Duration::from_secs(5))),
            ("2M", Some(Duration::from_secs(120))),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
            ("100000000H", None),
            ("5", None),
            ("S", None),
            ("", None),
            ("-1S", None),
            ("+1S", None),
            ("1.5S", None),
            ("1s", None),
            (" 1S", None),
        ];
        for (text, read) in rows {
            assert_eq!(parse(text.as_bytes()), read, "{text:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_earlier_limit_counts() {
        let headers = |timeouts: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for timeout in timeouts {
                headers.append(GRPC_TIMEOUT, timeout.parse().unwrap());
            }
            headers
        };
        let most = Some(Duration::from_secs(10));
        let rows = [
            (vec!["5S"], most, Some((5, Ending::Deadline))),
            (vec!["20S"], most, Some((10, Ending::MaxDuration))),
            (vec![], most, Some((10, Ending::MaxDuration))),
            (vec!["5S"], None, Some((5, Ending::Deadline))),
            (vec!["99999999H"], None, None),
            (vec![], None, None),
        ];
        for (timeouts, most, expected) in rows {
            let expected = expected.map(|(seconds, ending)| Deadline {
                at: Instant::now() + Duration::from_secs(seconds),
                ending,
            });
            let deadline = Deadline::of(&headers(&timeouts), most);
            assert_eq!(deadline, Ok(expected), "{timeouts:?}");
        }
        let twice = headers(&["1S", "2S"]);
        assert_eq!(Deadline::of(&twice, None), Err(MalformedTimeout));
    }
}
