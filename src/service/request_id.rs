//! The id that tells a call apart in logs, here and upstream.

use http::{HeaderName, HeaderValue};

/// The header that carries it, in and out.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// More than any id in use needs, and little enough to be sent on and logged.
const MAX_LEN: usize = 128;

/// The caller's id, cut to 128 visible ASCII characters, or a new one where it sent none of such characters.
pub(super) fn accept_or_make(sent: Option<&HeaderValue>) -> HeaderValue {
    sent.and_then(accept).unwrap_or_else(make)
}

fn accept(sent: &HeaderValue) -> Option<HeaderValue> {
    let text = sent.as_bytes();
    let text = text.get(..MAX_LEN).unwrap_or(text);
    let is_shown = !text.is_empty() && text.iter().all(u8::is_ascii_graphic);
    is_shown.then(|| HeaderValue::from_bytes(text).ok())?
}

/// It has to differ, not to be hard to guess: nothing is granted to who knows it.
fn make() -> HeaderValue {
    let text = format!("{:032x}", fastrand::u128(..));
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("none"))
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
            assert_eq!(accept_or_make(Some(&sent)), taken);
        }
    }

    #[test]
    fn an_id_that_cannot_be_shown_is_replaced() {
        let sent: [&[u8]; 4] = [b"", b"a b", b"a\tb", "ä".as_bytes()];
        for sent in sent {
            let sent = HeaderValue::from_bytes(sent).unwrap();
            let made = accept_or_make(Some(&sent));
            assert_eq!(made.len(), 32, "{sent:?}");
            assert!(made.as_bytes().iter().all(u8::is_ascii_hexdigit));
        }
        let one = accept_or_make(None);
        assert_ne!(one, accept_or_make(None));
    }
}
