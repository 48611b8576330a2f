//! Which replica gets a request.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
};

use super::replica::Replica;
use crate::telemetry::Counted;

/// A replica, and the count of the request there.
pub(super) type Picked = (Arc<Replica>, Counted);

/// Picks a replica that is not out, or any where all are; `None` where all have as many requests as they may.
///
/// A session goes to the same replica again, unless that has far more requests than the others.
pub(super) fn pick(replicas: &[Arc<Replica>], session: Option<&[u8]>) -> Option<Picked> {
    if let [only] = replicas {
        return Some((Arc::clone(only), only.begin()?));
    }
    let mut open: Vec<_> = replicas.iter().filter(|it| !it.is_out()).collect();
    if open.is_empty() {
        open = replicas.iter().collect();
    }
    least_of(open, session)
}

/// Picks another replica than those that failed; none that is out.
pub(super) fn pick_other(replicas: &[Arc<Replica>], failed: &[Arc<Replica>]) -> Option<Picked> {
    let has_failed = |it: &&Arc<Replica>| failed.iter().any(|failed| Arc::ptr_eq(failed, it));
    let others = replicas.iter().filter(|it| !has_failed(it));
    least_of(others.filter(|it| !it.is_out()).collect(), None)
}

fn least_of(mut open: Vec<&Arc<Replica>>, session: Option<&[u8]>) -> Option<Picked> {
    if let Some(session) = session
        && let Some(home) = open.iter().max_by_key(|it| score(session, &it.label))
        && !is_overloaded(home, &open)
        && let Some(in_flight) = home.begin()
    {
        return Some((Arc::clone(home), in_flight));
    }
    open.retain(|it| it.has_room());
    for at in 0..open.len().min(2) {
        let other = fastrand::usize(at..open.len());
        open.swap(at, other);
    }
    if let Some(two) = open.get_mut(..2) {
        two.sort_by_key(|it| it.n_in_flight());
    }
    // Another call may have taken the last place meanwhile.
    let begun = |it: &Arc<Replica>| Some((Arc::clone(it), it.begin()?));
    open.into_iter().find_map(begun)
}

/// Whether a replica has more than 1.25 times the mean, and 10 more.
fn is_overloaded(replica: &Replica, all: &[&Arc<Replica>]) -> bool {
    let sum: usize = all.iter().map(|it| it.n_in_flight()).sum();
    let n = replica.n_in_flight().saturating_mul(all.len());
    n.saturating_mul(4) > sum.saturating_mul(5) && n > sum.saturating_add(10 * all.len())
}

/// The same in every adapter of one release, so that a session finds its replica through any of them.
fn score(session: &[u8], label: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (session, label).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;
