//! The scenarios, how long they are measured, and the figures that each gives.

use std::time::Duration;

use clap::ValueEnum;

use crate::{
    Result,
    bench::Bench,
    figure::Figure,
    plan::Pace,
    server::{Kind, Launch},
};

/// Streams of the scenarios that go flat out, and unary calls at once.
const FEW: usize = 32;
/// Streams of the paced and of the idle scenario.
const MANY: usize = 1000;

const KIB: f64 = 1024.0;
const MIB: f64 = 1024.0 * KIB;

/// What is measured at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// 32 streams as fast as they go, one event a `write`.
    Flat,
    /// The same with sixteen events a `write`.
    Batched,
    /// 1,000 streams with an event each 20 ms.
    Paced,
    /// Unary calls, 32 at once.
    Unary,
    /// Streams one after the other, timed to their first content.
    FirstToken,
    /// 1,000 streams that are silent.
    Idle,
}

/// How long and how often is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    pub(crate) rounds: usize,
    /// Before a window, at full load.
    pub(crate) warm_up: Duration,
    pub(crate) window: Duration,
    /// Calls that are timed to their first content.
    calls: usize,
}

/// Measures one scenario of one server, from its start to its end.
pub(crate) fn run(
    scenario: Scenario,
    kind: Kind,
    launch: &Launch,
    effort: &Effort,
) -> Result<Vec<(Figure, f64)>> {
    let pace = match scenario {
        Scenario::Batched => Pace::BATCHED,
        Scenario::Paced => Pace::PACED,
        Scenario::Idle => Pace::IDLE,
        Scenario::Flat | Scenario::Unary | Scenario::FirstToken => Pace::FLAT,
    };
    let bench = Bench::start(kind, launch, pace)?;
    bench.check()?;
    let samples = match scenario {
        Scenario::Flat => {
            let load = bench.streams(FEW, effort)?;
            vec![(Figure::FlatCpu, load.cpu), (Figure::FlatRate, load.rate)]
        }
        Scenario::Batched => {
            let load = bench.streams(FEW, effort)?;
            vec![
                (Figure::BatchedCpu, load.cpu),
                (Figure::BatchedRate, load.rate),
            ]
        }
        Scenario::Paced => {
            let load = bench.streams(MANY, effort)?;
            vec![
                (Figure::PacedCpu, load.cpu),
                (Figure::PacedRate, load.rate),
                (Figure::PacedMemory, load.memory.map(|bytes| bytes / MIB)),
            ]
        }
        Scenario::Unary => {
            let load = bench.unary_calls(FEW, effort)?;
            vec![(Figure::UnaryCpu, load.cpu), (Figure::UnaryRate, load.rate)]
        }
        Scenario::FirstToken => {
            let added = bench.first_token(effort.calls)?;
            vec![(Figure::FirstToken, Some(added))]
        }
        Scenario::Idle => {
            let bytes = bench.idle(MANY)?;
            vec![(Figure::IdleMemory, bytes.map(|bytes| bytes / KIB))]
        }
    };
    let taken = |(figure, sample): (Figure, Option<f64>)| Some((figure, sample?));
    Ok(samples.into_iter().filter_map(taken).collect())
}

// === impl Scenario ===

impl Scenario {
    pub(crate) const ALL: [Self; 6] = [
        Self::Flat,
        Self::Batched,
        Self::Paced,
        Self::Unary,
        Self::FirstToken,
        Self::Idle,
    ];
}

// === impl Effort ===

impl Effort {
    pub(crate) const FULL: Self = Self {
        rounds: 5,
        warm_up: Duration::from_millis(300),
        window: Duration::from_millis(1000),
        calls: 300,
    };
    pub(crate) const QUICK: Self = Self {
        rounds: 1,
        warm_up: Duration::from_millis(100),
        window: Duration::from_millis(200),
        calls: 50,
    };
}
