//! The figures of a run, and what is made of several samples.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::server::Kind;

/// What is measured of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Figure {
    /// CPU of the server, microseconds a chunk: 32 streams, one event a `write`.
    FlatCpu,
    /// Chunks that callers got a second.
    FlatRate,
    /// The same with sixteen events a `write`.
    BatchedCpu,
    BatchedRate,
    /// CPU of the server, microseconds a chunk: 1,000 streams, an event each 20 ms.
    PacedCpu,
    /// Chunks that callers got a second; 50,000 where the machine keeps up.
    PacedRate,
    /// Resident memory in MiB while these streams run.
    PacedMemory,
    /// CPU of the server, microseconds a unary call: 32 at once.
    UnaryCpu,
    /// Calls a second.
    UnaryRate,
    /// From a call to its first content, microseconds over the simulated vLLM's own; of `direct`, its own.
    FirstToken,
    /// KiB of memory a stream: 1,000 streams that are silent.
    IdleMemory,
}

/// Samples by server and figure.
#[derive(Debug, Default)]
pub(crate) struct Figures(BTreeMap<(Kind, Figure), Vec<f64>>);

// === impl Figures ===

impl Figures {
    pub(crate) fn add(&mut self, kind: Kind, figure: Figure, sample: f64) {
        self.0.entry((kind, figure)).or_default().push(sample);
    }

    /// `None` where it was not measured.
    pub(crate) fn median(&self, kind: Kind, figure: Figure) -> Option<f64> {
        self.0
            .get(&(kind, figure))
            .and_then(|samples| median(samples))
    }

    /// The median of the ratios to another server's figure, round by round, so that what else the machine did in a
    /// round falls on both.
    pub(crate) fn ratio(&self, kind: Kind, base: Kind, figure: Figure) -> Option<f64> {
        let samples = self.0.get(&(kind, figure))?.iter();
        let ratios = samples
            .zip(self.0.get(&(base, figure))?)
            .map(|(sample, base)| sample / base);
        median(&ratios.collect::<Vec<_>>())
    }

    /// By server, in its order; each with its figure and samples.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Kind, Figure, &[f64])> {
        self.0
            .iter()
            .map(|(&(kind, figure), samples)| (kind, figure, samples.as_slice()))
    }
}

/// The middle of the samples; of an even number, the mean of the two in the middle.
pub(crate) fn median(samples: &[f64]) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    match sorted.len() % 2 {
        1 => Some(upper),
        _ => Some((sorted[sorted.len() / 2 - 1] + upper) / 2.0),
    }
}
