//! Who may call, and how much at once.
//!
//! A call is identified at its head, before its message is read, by the callers of that moment. Whoever is identified
//! stays so to the call's end.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use governor::{
    DefaultDirectRateLimiter, Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
};
use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use subtle::{ConditionallySelectable as _, ConstantTimeEq as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::{self, Config};

/// Who may call, as the configuration says at the time.
#[derive(Debug, Default)]
pub(crate) struct Access {
    callers: ArcSwap<Callers>,
    forwards: bool,
}

#[derive(Debug, Default)]
struct Callers {
    list: Vec<Arc<Caller>>,
    /// Once there were callers, nobody else may call, also where the file has lost the last of them.
    is_required: bool,
}

/// A caller of the configuration, and what it uses.
#[derive(Debug)]
pub(crate) struct Caller {
    config: config::Caller,
    limits: Arc<Limits>,
}

/// `None` is unlimited.
#[derive(Debug)]
struct Limits {
    in_flight: Option<Arc<Semaphore>>,
    rate: Option<DefaultDirectRateLimiter>,
}

/// Who makes a call.
#[derive(Clone, Debug, Default)]
pub(crate) enum Identity {
    /// Everybody may call.
    #[default]
    Anyone,
    Known(Arc<Caller>),
    /// One that the upstream knows by this header.
    Forwarded(HeaderValue),
    /// One that may not call.
    Unknown(Denied),
}

/// Why a caller is refused. The text is the status's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Denied {
    #[error("send a key: `authorization: Bearer KEY`")]
    NoKey,
    #[error("no such key: expected one `authorization: Bearer KEY`")]
    WrongKey,
    #[error("the caller has as many calls at once as its max_in_flight")]
    Concurrency,
    /// The next call may come after that time.
    #[error("the caller has as many calls a minute as its requests_per_minute")]
    Rate(Duration),
}

// === impl Access ===

impl Access {
    pub(crate) fn new(config: &Config) -> Self {
        let access = Self {
            callers: ArcSwap::default(),
            forwards: config.forward_authorization,
        };
        access.replace(&config.callers);
        access
    }

    /// Puts those callers in the place of the ones before. Who has kept its limits goes on with what it has used.
    pub(crate) fn replace(&self, callers: &[config::Caller]) {
        let before = self.callers.load();
        let is_required = before.is_required || !callers.is_empty();
        if is_required && callers.is_empty() {
            tracing::warn!("no callers are configured any more: every call is refused");
        }
        let list = callers.iter().map(|config| {
            let limits = |it: &config::Caller| (it.max_in_flight, it.requests_per_minute);
            let is_same = |it: &&Arc<Caller>| {
                it.config.name == config.name && limits(&it.config) == limits(config)
            };
            let limits = before.list.iter().find(is_same);
            let limits = limits.map(|it| Arc::clone(&it.limits));
            Arc::new(Caller {
                limits: limits.unwrap_or_else(|| Arc::new(Limits::of(config))),
                config: config.clone(),
            })
        });
        let list = list.collect();
        self.callers.store(Arc::new(Callers { list, is_required }));
    }

    /// Who makes the call with these headers, on a connection whose certificate has these names.
    pub(crate) fn identify(&self, headers: &HeaderMap, names: &[String]) -> Identity {
        let callers = self.callers.load();
        if !callers.is_required && !self.forwards {
            return Identity::Anyone;
        }
        let mut sent = headers.get_all(AUTHORIZATION).iter();
        let known = match (sent.next(), sent.next()) {
            (None, _) if self.forwards => Err(Denied::NoKey),
            (None, _) => callers.by_name(names).ok_or(Denied::NoKey),
            (Some(header), None) => match bearer(header) {
                Some(_) if self.forwards => {
                    let mut header = header.clone();
                    header.set_sensitive(true);
                    return Identity::Forwarded(header);
                }
                key => key
                    .and_then(|key| callers.by_key(key))
                    .ok_or(Denied::WrongKey),
            },
            (Some(_), Some(_)) => Err(Denied::WrongKey),
        };
        known.map_or_else(Identity::Unknown, Identity::Known)
    }
}

// === impl Callers ===

impl Callers {
    /// Compares with the keys of all, in a time that does not tell which it was, or how much of it was right.
    fn by_key(&self, key: &[u8]) -> Option<Arc<Caller>> {
        let sent = config::sha256(key);
        let (mut found, mut place) = (0_u64, 0_u64);
        for caller in &self.list {
            place += 1;
            if let Some(digest) = &caller.config.key_sha256 {
                found.conditional_assign(&place, sent.as_bytes().ct_eq(digest.as_bytes()));
            }
        }
        let index = usize::try_from(found.checked_sub(1)?).ok()?;
        self.list.get(index).cloned()
    }

    /// The first with such a name.
    fn by_name(&self, names: &[String]) -> Option<Arc<Caller>> {
        let is_it = |caller: &&Arc<Caller>| {
            let id = caller.config.client_id.as_deref();
            id.is_some_and(|id| names.iter().any(|name| matches(id, name)))
        };
        self.list.iter().find(is_it).cloned()
    }
}

/// Whether the name of a certificate is the pattern, or below a pattern that ends in `/*`.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) if start.ends_with('/') => name
            .strip_prefix(start)
            .is_some_and(|rest| !rest.is_empty()),
        _ => pattern == name,
    }
}

/// The key of a header, whose scheme may be in any case.
fn bearer(header: &HeaderValue) -> Option<&[u8]> {
    let (scheme, key) = header.as_bytes().split_at_checked(6)?;
    let key = key.strip_prefix(b" ")?.trim_ascii();
    let is_bearer = scheme.eq_ignore_ascii_case(b"bearer");
    let is_key = !key.is_empty() && key.iter().all(u8::is_ascii_graphic);
    (is_bearer && is_key).then_some(key)
}

// === impl Limits ===

impl Limits {
    fn of(config: &config::Caller) -> Self {
        let places = |most| usize::try_from(most).unwrap_or(usize::MAX);
        let places = |most| Semaphore::new(places(most).min(Semaphore::MAX_PERMITS));
        let rate = config.requests_per_minute.and_then(NonZeroU32::new);
        Self {
            in_flight: config.max_in_flight.map(|most| Arc::new(places(most))),
            rate: rate.map(|most| RateLimiter::direct(Quota::per_minute(most))),
        }
    }
}

// === impl Identity ===

impl Identity {
    /// Whether it may call at all.
    pub(crate) fn check(&self) -> Result<(), Denied> {
        match self {
            Self::Anyone | Self::Known(_) | Self::Forwarded(_) => Ok(()),
            Self::Unknown(denied) => Err(*denied),
        }
    }

    /// Counts a call, and takes a place for it among those at once, where they are limited.
    pub(crate) fn begin(&self) -> Result<Option<OwnedSemaphorePermit>, Denied> {
        self.check()?;
        let Self::Known(caller) = self else {
            return Ok(None);
        };
        let Limits { in_flight, rate } = &*caller.limits;
        let place = in_flight.clone().map(Semaphore::try_acquire_owned);
        let place = place.transpose().map_err(|_full| Denied::Concurrency)?;
        if let Some(Err(wait)) = rate.as_ref().map(|rate| rate.check()) {
            return Err(Denied::Rate(
                wait.wait_time_from(DefaultClock::default().now()),
            ));
        }
        Ok(place)
    }

    fn caller(&self) -> Option<&config::Caller> {
        match self {
            Self::Known(caller) => Some(&caller.config),
            Self::Anyone | Self::Forwarded(_) | Self::Unknown(_) => None,
        }
    }

    /// The caller's name.
    pub(crate) fn name(&self) -> Option<&str> {
        self.caller().map(|it| it.name.as_str())
    }

    /// The models that it may use; `None` for all.
    pub(crate) fn models(&self) -> Option<&[String]> {
        self.caller()?.models.as_deref()
    }

    /// Whether it may use the model that this finds among those that it may use.
    pub(crate) fn may_use(&self, is_it: impl Fn(&str) -> bool) -> bool {
        let models = self.models();
        self.check().is_ok() && models.is_none_or(|models| models.iter().any(|it| is_it(it)))
    }

    /// Whether it may choose a base URL.
    pub(crate) fn may_choose_url(&self) -> bool {
        self.check().is_ok() && self.caller().is_none_or(|it| it.caller_chosen)
    }

    /// What the upstream is sent as the caller's key.
    pub(crate) fn forwarded(&self) -> Option<&HeaderValue> {
        match self {
            Self::Forwarded(header) => Some(header),
            Self::Anyone | Self::Known(_) | Self::Unknown(_) => None,
        }
    }
}

#[cfg(test)]
mod tests;
