//! One replica of an upstream, and whether it is worth asking.

use std::{
    ops::Deref,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use http::StatusCode;
use tokio::time::Instant;

use super::{client::Client, error::Error};
use crate::telemetry::{Counted, Series};

/// Failures in a row after which a replica is out.
const MAX_FAILURES: u32 = 3;

/// How long it is out at first; twice as long each further time.
const FIRST_OUT: Duration = Duration::from_secs(1);
const LONGEST_OUT: Duration = Duration::from_secs(60);

/// One address that requests are sent to.
#[derive(Debug)]
pub(crate) struct Replica {
    client: Client,
    /// Its address, for sessions and logs.
    pub(super) label: String,
    /// What is counted of it for operators.
    pub(super) series: Arc<Series>,
    max_in_flight: usize,
    /// Whether `trouble` may say anything, so that a sound replica costs no lock.
    is_troubled: AtomicBool,
    trouble: Mutex<Trouble>,
    /// Whether it answered when it was last asked for its health.
    pub(super) answers: AtomicBool,
}

/// What went wrong since the last good answer.
#[derive(Debug, Default, PartialEq, Eq)]
struct Trouble {
    n_failures: u32,
    /// How often it was out.
    n_outs: u32,
    /// Out for its failures.
    until: Option<Instant>,
    /// Out as long as it asked for, whatever it answers meanwhile to earlier requests.
    rests_until: Option<Instant>,
    /// It did not answer, so that an answer to a probe brings it back.
    is_unreachable: bool,
    /// The last probe failed. One that is out waits for a good one, so that no call is lost to find out.
    fails_probes: bool,
}

/// What an outcome says about a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Good,
    Neutral,
    Unreachable,
    Failed,
    Rest(Duration),
}

impl Deref for Replica {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Replica {
    pub(super) fn new(
        client: Client,
        label: String,
        series: Arc<Series>,
        max_in_flight: Option<usize>,
    ) -> Self {
        Self {
            client,
            label,
            series,
            max_in_flight: max_in_flight.unwrap_or(usize::MAX),
            is_troubled: AtomicBool::new(false),
            trouble: Mutex::default(),
            answers: AtomicBool::new(false),
        }
    }

    /// Counts a request; `None` where it has as many as it may.
    pub(super) fn begin(&self) -> Option<Counted> {
        Counted::begin(&self.series.in_flight, self.max_in_flight)
    }

    pub(super) fn n_in_flight(&self) -> usize {
        usize::try_from(self.series.in_flight.get()).unwrap_or_default()
    }

    pub(super) fn has_room(&self) -> bool {
        self.n_in_flight() < self.max_in_flight
    }

    /// Whether it is left out for a while.
    pub(super) fn is_out(&self) -> bool {
        let is_out = |trouble: &mut Trouble| {
            let until = trouble.until.max(trouble.rests_until);
            trouble.fails_probes && trouble.n_failures >= MAX_FAILURES
                || until.is_some_and(|until| Instant::now() < until)
        };
        self.is_troubled.load(Relaxed) && self.with(is_out)
    }

    /// Takes note of how a request ended.
    pub(super) fn record(&self, error: Option<&Error>) {
        match error.map_or(Verdict::Good, verdict) {
            Verdict::Neutral => {}
            Verdict::Good => {
                if self.is_troubled.load(Relaxed) {
                    self.with(|trouble| {
                        // A replica may answer calls while its probes fail: they count on until it is out. Then it is
                        // only tried where all are out, and its answer counts for more.
                        if trouble.fails_probes && trouble.n_failures < MAX_FAILURES {
                            return;
                        }
                        let rests_until = trouble.rests_until.filter(|it| Instant::now() < *it);
                        *trouble = Trouble {
                            rests_until,
                            ..Trouble::default()
                        };
                    });
                }
            }
            Verdict::Rest(time) => {
                let until = Some(Instant::now() + time);
                self.with(|trouble| trouble.rests_until = trouble.rests_until.max(until));
            }
            Verdict::Unreachable => self.failed(true),
            Verdict::Failed => self.failed(false),
        }
    }

    /// Takes note of what `/health` answered. One that was out for not answering is back.
    pub(super) fn probed(&self, health: &Result<StatusCode, Error>) {
        let answers = health
            .as_ref()
            .is_ok_and(|status| !status.is_server_error());
        self.series.up.set(answers.into());
        let changed = self.answers.swap(answers, Relaxed) != answers;
        self.with(|trouble| trouble.fails_probes = !answers);
        if !answers {
            self.failed(true);
        } else if self.with(|trouble| trouble.is_unreachable) {
            self.record(None);
        }
        if changed {
            tracing::info!(replica = %self.label, answers, "health of a replica");
        }
    }

    fn failed(&self, is_unreachable: bool) {
        self.with(|trouble| {
            trouble.n_failures = trouble.n_failures.saturating_add(1);
            trouble.is_unreachable = is_unreachable;
            let is_out = trouble.until.is_some_and(|until| Instant::now() < until);
            if trouble.n_failures < MAX_FAILURES || is_out {
                return;
            }
            let doubled = FIRST_OUT * 2_u32.saturating_pow(trouble.n_outs.min(6));
            let time = doubled
                .min(LONGEST_OUT)
                .mul_f64(0.8 + 0.4 * fastrand::f64());
            trouble.n_outs = trouble.n_outs.saturating_add(1);
            self.series.ejections.inc();
            trouble.until = Some(Instant::now() + time);
            tracing::warn!(replica = %self.label, ?time, "a replica is out");
        });
    }

    fn with<T>(&self, change: impl FnOnce(&mut Trouble) -> T) -> T {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut trouble);
        let is_troubled = *trouble != Trouble::default();
        self.is_troubled.store(is_troubled, Relaxed);
        changed
    }
}

fn verdict(error: &Error) -> Verdict {
    match error {
        Error::Connect(_)
        | Error::Dns(_)
        | Error::Tls(_)
        | Error::Reset { .. }
        | Error::FirstToken(_) => Verdict::Unreachable,
        Error::Refused(refusal) => match (refusal.status, refusal.retry_after) {
            (429 | 503, Some(time)) => Verdict::Rest(time),
            (429, None) => Verdict::Neutral,
            (500.., _) => Verdict::Failed,
            _ => Verdict::Good,
        },
        Error::Truncated(_) | Error::Stalled(_) => Verdict::Neutral,
        Error::Redirected(_) | Error::Protocol(_) | Error::TooLarge { .. } => Verdict::Good,
    }
}

#[cfg(test)]
pub(super) mod tests;
