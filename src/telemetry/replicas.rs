//! The series of replicas.

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

use super::metrics::Labels;

/// The upper buckets of the time to an answer's head.
const BUCKETS: [f64; 12] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// The series by upstream and replica. Those of a removed replica go with the last who counts there, and a replica
/// that is made anew by a reload counts on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Replicas(Arc<Mutex<BTreeMap<Labels<2>, Weak<Series>>>>);

/// What is counted of one replica.
#[derive(Debug)]
pub(crate) struct Series {
    pub(super) labels: Labels<2>,
    pub(crate) in_flight: Gauge,
    /// 1 where it answered when it was last asked for its health, 0 where it did not; negative, and not shown, before.
    pub(crate) up: Gauge,
    pub(crate) attempts: Counter,
    /// Calls that went to another replica after it failed.
    pub(crate) failovers: Counter,
    pub(crate) ejections: Counter,
    /// Seconds to the head of its answer.
    pub(crate) first_byte: Histogram,
}

impl Replicas {
    /// Those of a replica; all with the same names are one.
    pub(crate) fn series(&self, upstream: &str, replica: &str) -> Arc<Series> {
        let labels = [
            ("upstream", upstream.to_owned().into()),
            ("replica", replica.to_owned().into()),
        ];
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
            first_byte: Histogram::new(BUCKETS),
        });
        series.up.set(-1);
        all.insert(labels, Arc::downgrade(&series));
        series
    }
}

impl Series {
    pub(crate) fn upstream(&self) -> &str {
        &self.labels[0].1
    }

    pub(crate) fn replica(&self) -> &str {
        &self.labels[1].1
    }
}

impl Collector for Replicas {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_labels, series| series.strong_count() > 0);
        let all: Vec<_> = all.values().filter_map(Weak::upgrade).collect();
        type Get = fn(&Series) -> &dyn EncodeMetric;
        let families: [(&str, &str, Get); 6] = [
            ("in_flight", "Requests that a replica has", |it| {
                &it.in_flight
            }),
            ("up", "Whether a replica answers to probes", |it| &it.up),
            ("attempts", "Requests sent to a replica", |it| &it.attempts),
            ("failovers", "Calls that went on to another replica", |it| {
                &it.failovers
            }),
            ("ejections", "Times that a replica was left out", |it| {
                &it.ejections
            }),
            (
                "first_byte_seconds",
                "Time to the head of an answer",
                |it| &it.first_byte,
            ),
        ];
        for (name, help, get) in families {
            let mut shown = all
                .iter()
                .filter(|it| name != "up" || it.up.get() >= 0)
                .peekable();
            let Some(first) = shown.peek() else { continue };
            let name = format!("adapter_upstream_{name}");
            let kind = get(first).metric_type();
            let mut family = encoder.encode_descriptor(&name, help, None, kind)?;
            for series in shown {
                get(series).encode(family.encode_family(&series.labels)?)?;
            }
        }
        Ok(())
    }
}
