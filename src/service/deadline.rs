//! How long a call may take: the caller's `grpc-timeout` and the operator's limit, as one deadline.

use std::time::Duration;

use tokio::time::{Instant, Sleep};
use tonic::metadata::MetadataMap;

/// The header of the [gRPC protocol] that carries the caller's deadline.
///
/// [gRPC protocol]: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#requests
const GRPC_TIMEOUT: &str = "grpc-timeout";

/// Longest time that is counted; beyond it there is no deadline. Tokio's timers reach about two years.
const FAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// When a call must be over, and who says so. Covers the whole call, its stream included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Deadline {
    at: Option<Instant>,
    expired: Expired,
}

/// Whose limit has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expired {
    /// The caller's own deadline.
    Caller,
    /// The operator's longest duration.
    Operator,
}

/// `grpc-timeout` is not 1 to 8 digits and a unit, or comes twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MalformedTimeout;

impl Deadline {
    /// The earlier of both, counted from now.
    pub(super) fn new(
        metadata: &MetadataMap,
        max_duration: Option<Duration>,
    ) -> Result<Self, MalformedTimeout> {
        let caller = timeout(metadata)?;
        let (after, expired) = match (caller, max_duration) {
            (Some(caller), Some(most)) if most < caller => (Some(most), Expired::Operator),
            (Some(caller), _) => (Some(caller), Expired::Caller),
            (None, most) => (most, Expired::Operator),
        };
        let at = after
            .filter(|&after| after < FAR)
            .map(|after| Instant::now() + after);
        Ok(Self { at, expired })
    }

    /// Waits for the future, but no longer than to the deadline.
    pub(super) async fn bound<T>(self, future: impl Future<Output = T>) -> Result<T, Expired> {
        match self.at {
            None => Ok(future.await),
            // A deadline that has passed already must not start anything.
            Some(at) if at <= Instant::now() => Err(self.expired),
            Some(at) => tokio::time::timeout_at(at, future)
                .await
                .map_err(|_elapsed| self.expired),
        }
    }

    /// A timer for a stream, where there is a deadline.
    pub(super) fn timer(self) -> Option<Sleep> {
        self.at.map(tokio::time::sleep_until)
    }

    /// Whose limit it is.
    pub(super) fn expired(self) -> Expired {
        self.expired
    }
}

fn timeout(metadata: &MetadataMap) -> Result<Option<Duration>, MalformedTimeout> {
    let mut values = metadata.get_all(GRPC_TIMEOUT).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => parse(value.as_encoded_bytes())
            .ok_or(MalformedTimeout)
            .map(Some),
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
    match unit {
        b'H' => Some(Duration::from_secs(count * 60 * 60)),
        b'M' => Some(Duration::from_secs(count * 60)),
        b'S' => Some(Duration::from_secs(count)),
        b'm' => Some(Duration::from_millis(count)),
        b'u' => Some(Duration::from_micros(count)),
        b'n' => Some(Duration::from_nanos(count)),
        _ => None,
    }
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

    fn metadata(timeouts: &[&'static str]) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        for timeout in timeouts {
            metadata.append(GRPC_TIMEOUT, timeout.parse().unwrap());
        }
        metadata
    }

    #[tokio::test(start_paused = true)]
    async fn the_earlier_limit_counts() {
        let most = Some(Duration::from_secs(10));
        let rows = [
            (vec!["5S"], most, Some(5), Expired::Caller),
            (vec!["20S"], most, Some(10), Expired::Operator),
            (vec![], most, Some(10), Expired::Operator),
            (vec!["5S"], None, Some(5), Expired::Caller),
            (vec!["99999999H"], None, None, Expired::Caller),
        ];
        for (timeouts, most, seconds, expired) in rows {
            let at = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
            let deadline = Deadline::new(&metadata(&timeouts), most);
            assert_eq!(deadline, Ok(Deadline { at, expired }), "{timeouts:?}");
        }
        assert_eq!(
            Deadline::new(&metadata(&["1S", "2S"]), None),
            Err(MalformedTimeout)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_bound_ends_at_the_deadline() {
        let deadline = Deadline::new(&metadata(&["300m"]), None).unwrap();
        let begun = Instant::now();
        assert_eq!(
            deadline.bound(std::future::pending::<()>()).await,
            Err(Expired::Caller)
        );
        assert_eq!(begun.elapsed().as_millis(), 300);
        let passed = Deadline::new(&metadata(&["0n"]), None).unwrap();
        assert_eq!(passed.bound(async {}).await, Err(Expired::Caller));
    }
}
