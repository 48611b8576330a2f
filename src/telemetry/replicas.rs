//! What is counted of each replica, and of whatever else is open.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::Counter, gauge::Gauge, histogram::Histogram},
};

use super::labels::Labels;

/// The series of all replicas. Those of a removed one go with the last who counts there, and one that a reload makes
/// anew counts on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Replicas(Arc<Mutex<BTreeMap<Labels, Weak<Series>>>>);

/// What is counted of one replica.
#[derive(Debug)]
pub(crate) struct Series {
    labels: Labels,
    pub(crate) in_flight: Gauge,
    /// Whether it answered when it was last asked for its health, as 1 or 0; negative, and not shown, before.
    pub(crate) up: Gauge,
    pub(crate) attempts: Counter,
    pub(crate) failovers: Counter,
    pub(crate) ejections: Counter,
    pub(super) first_byte: Histogram,
}

/// One that is counted until it is dropped.
#[derive(Debug)]
pub(crate) struct Counted(Gauge);

impl Replicas {
    /// Those of a replica; all of the same names are one.
    pub(crate) fn series(&self, upstream: &str, replica: &str) -> Arc<Series> {
        let label = |text: &str| text.to_owned().into();
        let labels = vec![("upstream", label(upstream)), ("replica", label(replica))];
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(series) = all.get(&labels).and_then(Weak::upgrade) {
            return series;
        }
        let series = Arc::new(Series {
            labels: labels.clone(),
            in_flight: Gauge::default(),
            up: Gauge::default(),
            attempts: Counter::default(),
            failovers: Counter::default(),
            ejections: Counter::default(),
            first_byte: Histogram::new((0..14).map(|n| 0.005 * 2.5_f64.powi(n))),
        });
        series.up.set(-1);
        all.insert(labels, Arc::downgrade(&series));
        series
    }
}

impl Series {
    /// The names of its upstream and its replica.
    pub(crate) fn names(&self) -> [&str; 2] {
        [0, 1].map(|n| self.labels.get(n).map_or("", |(_, name)| name))
    }
}

impl Counted {
    /// Counts one more, unless there are `most` already.
    pub(crate) fn begin(gauge: &Gauge, most: usize) -> Option<Self> {
        let counted = Self(gauge.clone());
        let n_before = usize::try_from(gauge.inc()).unwrap_or_default();
        (n_before < most).then_some(counted)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Collector for Replicas {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, series| series.strong_count() > 0);
        let all: Vec<_> = all.values().filter_map(Weak::upgrade).collect();
        type Get = fn(&Series) -> &dyn EncodeMetric;
        let families: [(&str, &str, Get); 6] = [
            ("in_flight", "Requests that a replica has", |it| {
                &it.in_flight
            }),
            ("up", "Whether a replica answers to probes", |it| &it.up),
            ("attempts", "Requests sent to a replica", |it| &it.attempts),
            ("failovers", "Calls that another was asked for", |it| {
                &it.failovers
            }),
            ("ejections", "Times that a replica was left out", |it| {
                &it.ejections
            }),
            ("first_byte_seconds", "Time to an answer's head", |it| {
                &it.first_byte
            }),
        ];
        for (name, help, get) in families {
            let is_shown = |it: &&Arc<Series>| name != "up" || it.up.get() >= 0;
            let mut shown = all.iter().filter(is_shown).peekable();
            let Some(first) = shown.peek() else { continue };
            let (name, kind) = (format!("adapter_upstream_{name}"), get(first).metric_type());
            let mut family = encoder.encode_descriptor(&name, help, None, kind)?;
            for series in shown {
                get(series).encode(family.encode_family(&series.labels)?)?;
            }
        }
        Ok(())
    }
}
