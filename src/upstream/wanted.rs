//! Who calls, and what its metadata says about the upstream.

use std::collections::BTreeSet;

use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use url::Url;

use crate::access::Identity;

const MAX_SESSION_BYTES: usize = 128;
const MAX_URL_BYTES: usize = 2048;

/// Of one call.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) identity: Identity,
    pub(super) url: Option<HeaderValue>,
    /// Never without `url`.
    key: Option<HeaderValue>,
    pub(super) upstream: Option<HeaderValue>,
    session: Option<HeaderValue>,
}

/// Why a call has no upstream. The text is the status's message.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unroutable {
    /// One text for all, so that nothing can be learnt of the list.
    #[error("adapter-upstream-url: not an origin that callers may choose here")]
    ForeignUrl,
    #[error("adapter-upstream names no configured upstream")]
    UnknownUpstream,
    /// Whether there is such a model is not told.
    #[error("the caller may not use the model")]
    NotAllowed,
    #[error("no upstream has the model")]
    UnknownModel,
    #[error("no upstream has the model, of those that could be asked for their models")]
    Unasked,
    #[error("name one of the models, as {0}")]
    NoModel(String),
    #[error("adapter-session: expected at most {MAX_SESSION_BYTES} characters")]
    Session,
    #[error("adapter-upstream-key: expected a key without spaces, beside adapter-upstream-url")]
    Key,
    #[error("every replica has as many calls as its max_in_flight")]
    Overloaded,
}

impl Wanted {
    pub(crate) fn of(headers: &HeaderMap, identity: Identity) -> Self {
        let value = |name| headers.get(name).cloned();
        Self {
            identity,
            url: value("adapter-upstream-url"),
            key: value("adapter-upstream-key"),
            upstream: value("adapter-upstream"),
            session: value("adapter-session"),
        }
    }

    pub(super) fn session(&self) -> Result<Option<&[u8]>, Unroutable> {
        match self.session.as_ref().map(HeaderValue::as_bytes) {
            Some(session) if session.len() > MAX_SESSION_BYTES => Err(Unroutable::Session),
            session => Ok(session),
        }
    }

    /// The caller's key, as it is sent.
    pub(super) fn authorization(&self) -> Result<Option<HeaderValue>, Unroutable> {
        let Some(key) = &self.key else {
            // A key for the operator's upstream is not for another.
            let forwarded = self.identity.forwarded();
            return Ok(forwarded.filter(|_| self.url.is_none()).cloned());
        };
        let fits = |key: &&[u8]| self.url.is_some() && key.iter().all(u8::is_ascii_graphic);
        let key = Some(key.as_bytes()).filter(fits).ok_or(Unroutable::Key)?;
        let bearer = HeaderValue::from_bytes(&[b"Bearer ", key].concat());
        let mut bearer = bearer.map_err(|_invalid| Unroutable::Key)?;
        bearer.set_sensitive(true);
        Ok(Some(bearer))
    }
}

/// The name of the header of [`Wanted::authorization`].
pub(super) const KEY: http::HeaderName = AUTHORIZATION;

/// The base URL that a caller chose, where its origin is among those that are allowed.
///
/// It is parsed once, and what is compared is what is connected to.
pub(super) fn foreign_url(text: &[u8], origins: &BTreeSet<String>) -> Option<Url> {
    let text = std::str::from_utf8(text).ok()?;
    // `Url` drops some of these, which then hide what a URL is.
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'\\';
    if text.len() > MAX_URL_BYTES || !text.bytes().all(is_plain) {
        return None;
    }
    let mut url = Url::parse(text).ok()?;
    let has_user = !url.username().is_empty() || url.password().is_some() || text.contains('@');
    let is_http = matches!(url.scheme(), "http" | "https");
    if has_user || !is_http || url.query().is_some() || url.fragment().is_some() {
        return None;
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    origins
        .contains(&url.origin().ascii_serialization())
        .then_some(url)
}

#[cfg(test)]
mod tests;
