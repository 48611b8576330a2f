//! The metrics of a server, and their text.
//!
//! Labels are names of the configuration, of the contract, or those that an upstream lists: what a caller writes is
//! never one, so that their number is bounded. A call looks up its handles once.

use std::{borrow::Cow, fmt, sync::Arc};

use prometheus_client::{
    encoding::{prometheus_text, text},
    metrics::{
        counter::Counter,
        family::{Family, MetricConstructor},
        gauge::Gauge,
        histogram::Histogram,
        info::Info,
    },
    registry::{Metric, Registry},
};

use super::{
    methods::{Method, Methods},
    process::Process,
    record::{Ended, Facts},
    replicas::Replicas,
};

/// In place of a name that a caller made up.
pub(crate) const OTHER: &str = "other";

/// The buckets of the GenAI conventions.
const SECONDS: [f64; 14] = [
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92,
];
const TOKENS: [f64; 14] = [
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1024.0,
    4096.0,
    16384.0,
    65536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];

pub(crate) type Label = Cow<'static, str>;
pub(super) type Labels<const N: usize> = [(&'static str, Label); N];
pub(super) type Histograms<const N: usize> = Family<Labels<N>, Histogram, Buckets>;
type Counters = Family<Labels<1>, Counter>;

/// The upper ends of a histogram's buckets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Buckets(&'static [f64]);

/// Everything that is counted.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    methods: Methods,
    errors: Counters,
    /// Calls that run, without those of gRPC's own services.
    pub(crate) calls_in_flight: Gauge,
    /// Connections that are open.
    pub(crate) connections: Gauge,
    /// Bytes that the requests' messages hold; set for each scrape.
    pub(crate) request_memory: Gauge,
    durations: Histograms<5>,
    first_chunks: Histograms<4>,
    chunks: Histograms<4>,
    tokens: Histograms<5>,
    finish_reasons: Counters,
    /// The series of the replicas.
    pub(crate) replicas: Replicas,
    caller_calls: Counters,
    caller_tokens: Counters,
    config_reloads: Counters,
    tls_reloads: Counters,
}

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(self.0.iter().copied())
    }
}

pub(super) fn histograms<const N: usize>(buckets: &'static [f64]) -> Histograms<N> {
    Family::new_with_constructor(Buckets(buckets))
}

/// Registers a metric. A counter's name is without the `_total`, and the help without the full stop, which are added.
pub(super) fn add<M: Metric + Clone>(to: &mut Registry, name: &str, help: &str, metric: M) -> M {
    to.register(name, help, metric.clone());
    metric
}

// === impl Metrics ===

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let to = &mut registry;
        let methods = Methods::new(to);
        let replicas = Replicas::default();
        to.register_collector(Box::new(replicas.clone()));
        to.register_collector(Box::new(Process::default()));
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        to.register("adapter_build", "The adapter's release", version);
        let counters = |to: &mut _, name, help| add(to, name, help, Counters::default());
        let gauge = |to: &mut _, name, help| add(to, name, help, Gauge::default());
        let operation = |what: &str| format!("gen_ai_client_operation_{what}_seconds");
        Self {
            methods,
            replicas,
            errors: counters(
                to,
                "adapter_errors",
                "Calls that failed, by the reason of ErrorInfo",
            ),
            calls_in_flight: gauge(to, "adapter_calls_in_flight", "Calls that run"),
            connections: gauge(to, "adapter_connections", "Connections that are open"),
            request_memory: gauge(
                to,
                "adapter_request_memory_bytes",
                "Memory of running requests",
            ),
            durations: add(
                to,
                &operation("duration"),
                "Time of an operation",
                histograms(&SECONDS),
            ),
            first_chunks: add(
                to,
                &operation("time_to_first_chunk"),
                "Time to a stream's first chunk",
                histograms(&SECONDS),
            ),
            chunks: add(
                to,
                &operation("time_per_output_chunk"),
                "Time between chunks of a stream",
                histograms(&SECONDS),
            ),
            tokens: add(
                to,
                "gen_ai_client_token_usage",
                "Tokens of an operation",
                histograms(&TOKENS),
            ),
            finish_reasons: counters(to, "adapter_finish_reason", "Choices that ended, by reason"),
            caller_calls: counters(
                to,
                "adapter_caller_calls",
                "Calls ended, by configured caller",
            ),
            caller_tokens: counters(
                to,
                "adapter_caller_tokens",
                "Tokens used, by configured caller",
            ),
            config_reloads: reloads(
                to,
                "adapter_config_reload",
                "Readings of a changed configuration",
            ),
            tls_reloads: reloads(to, "adapter_tls_reload", "Readings of changed TLS files"),
            registry,
        }
    }
}

impl Metrics {
    /// The text of all metrics and its content type: OpenMetrics where the scraper takes it, and Prometheus's own.
    pub(crate) fn encode(&self, accept: &str) -> (&'static str, String) {
        let mut metrics = String::new();
        let (content_type, written): (_, fmt::Result) = match accept.contains("openmetrics") {
            true => (
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
                text::encode(&mut metrics, &self.registry),
            ),
            false => (
                "text/plain; version=0.0.4; charset=utf-8",
                prometheus_text::encode(&mut metrics, &self.registry),
            ),
        };
        // Writing to memory does not fail.
        let _ = written;
        (content_type, metrics)
    }

    /// The method that stands at a path.
    pub(crate) fn method(&self, path: &str) -> Arc<Method> {
        self.methods.of(path)
    }

    /// The configuration was read again, or has faults.
    pub(crate) fn config_reloaded(&self, is_good: bool) {
        self.config_reloads.get_or_create(&result(is_good)).inc();
    }

    /// The TLS files were read again, or have faults.
    pub(crate) fn tls_reloaded(&self, is_good: bool) {
        self.tls_reloads.get_or_create(&result(is_good)).inc();
    }

    /// What the chunks of a stream are observed by.
    pub(super) fn chunks(&self, facts: &Facts) -> Histogram {
        self.chunks.get_or_create_owned(&facts.labels())
    }

    /// A call has ended.
    pub(super) fn end(&self, ended: &Ended<'_>, facts: &Facts) {
        ended.method.end(ended.code, ended.seconds);
        if !ended.reason.is_empty() {
            self.errors
                .get_or_create(&[("reason", ended.reason.into())])
                .inc();
        }
        for &reason in &facts.finish_reasons {
            self.finish_reasons
                .get_or_create(&[("finish_reason", reason.into())])
                .inc();
        }
        let tokens = [
            ("input", facts.prompt_tokens),
            ("output", facts.completion_tokens),
        ];
        if let Some(begun) = facts.begun {
            let labels = facts.labels();
            if let Some(seconds) = facts.first_chunk {
                self.first_chunks.get_or_create(&labels).observe(seconds);
            }
            let [a, b, c, d] = labels;
            let mut labels = [a, b, c, d, ("error_type", ended.reason.into())];
            let seconds = begun.elapsed().as_secs_f64();
            self.durations.get_or_create(&labels).observe(seconds);
            for (kind, n_tokens) in tokens {
                if let Some(n_tokens) = n_tokens {
                    labels[4] = ("gen_ai_token_type", kind.into());
                    self.tokens.get_or_create(&labels).observe(n_tokens.into());
                }
            }
        }
        if let Some(caller) = ended.caller {
            let labels = [("caller", Label::Owned(caller.to_owned()))];
            self.caller_calls.get_or_create(&labels).inc();
            let n_tokens = tokens
                .iter()
                .filter_map(|(_, n)| u64::try_from((*n)?).ok())
                .sum();
            self.caller_tokens.get_or_create(&labels).inc_by(n_tokens);
        }
    }
}

/// Both results are there from the start, so that the first failure is an increase.
fn reloads(to: &mut Registry, name: &str, help: &str) -> Counters {
    let reloads = add(to, name, help, Counters::default());
    for is_good in [true, false] {
        reloads.get_or_create(&result(is_good)).inc_by(0);
    }
    reloads
}

fn result(is_good: bool) -> Labels<1> {
    [("result", if is_good { "success" } else { "failure" }.into())]
}
