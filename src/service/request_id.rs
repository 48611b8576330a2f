//! The id that tells a call apart in logs, here and upstream.

use http::{HeaderName, HeaderValue};

/// The header that carries it, in and out.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// More than any id in use needs, and little enough to be sent on and logged.
const MAX_LEN: usize = 128;

/// 1 to 128 visible ASCII characters.
///
/// The server puts it into each request's extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestId(HeaderValue);

// === impl RequestId ===

impl RequestId {
    /// The caller's id, cut to its longest length, or a new one where it sent none that can be shown.
    pub(crate) fn accept_or_make(sent: Option<&HeaderValue>) -> Self {
        sent.and_then(Self::accept).unwrap_or_else(Self::make)
    }

    fn accept(sent: &HeaderValue) -> Option<Self> {
        let text = sent.as_bytes();
        let text = text.get(..MAX_LEN).unwrap_or(text);
        if text.is_empty() || !text.iter().all(u8::is_ascii_graphic) {
            return None;
        }
        HeaderValue::from_bytes(text).ok().map(Self)
    }

    /// It has to differ, not to be hard to guess: nothing is granted to who knows it.
    fn make() -> Self {
        let text = format!("{:032x}", fastrand::u128(..));
        HeaderValue::try_from(text)
            .map_or_else(|_invalid| Self(HeaderValue::from_static("none")), Self)
    }

    /// As text.
    pub(crate) fn as_str(&self) -> &str {
        // Visible ASCII by construction.
        self.0.to_str().unwrap_or_default()
    }

    /// As the value of its header.
    pub(crate) fn as_header(&self) -> &HeaderValue {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_the_caller_is_taken() {
        let (long, cut) = ("a".repeat(200), "a".repeat(MAX_LEN));
        let sent = [("a-1", "a-1"), (long.as_str(), cut.as_str())];
        for (sent, taken) in sent {
            let sent = HeaderValue::from_str(sent).unwrap();
            assert_eq!(RequestId::accept_or_make(Some(&sent)).as_str(), taken);
        }
    }

    #[test]
    fn an_id_that_cannot_be_shown_is_replaced() {
        let sent: [&[u8]; 4] = [b"", b"a b", b"a\tb", "ä".as_bytes()];
        for sent in sent {
            let sent = HeaderValue::from_bytes(sent).unwrap();
            let made = RequestId::accept_or_make(Some(&sent));
            assert_eq!(made.as_str().len(), 32, "{sent:?}");
            assert!(made.as_str().bytes().all(|byte| byte.is_ascii_hexdigit()));
        }
        let one = RequestId::accept_or_make(None);
        assert_ne!(one, RequestId::accept_or_make(None));
    }
}
