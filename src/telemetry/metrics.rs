//! The metrics of a server, and their text.
//!
//! Labels are names of the configuration, of the contract, or those that an upstream lists: what a caller writes is
//! never one, so that their number is bounded.

use std::{collections::HashMap, sync::LazyLock};

use prometheus_client::{
    encoding::{prometheus_text, text},
    metrics::{
        counter::Counter,
        family::{Family, MetricConstructor},
        gauge::Gauge,
        histogram::Histogram,
        info::Info,
    },
    registry::Registry,
};

use super::{
    facts::{Ended, Facts},
    labels::{Label, Labels, OTHER},
    process::Process,
    replicas::Replicas,
};
use crate::proto::DESCRIPTORS;

type Counters = Family<Labels, Counter>;
type Histograms = Family<Labels, Histogram, Buckets>;

/// Upper ends of buckets: of times by the conventions for GenAI, and of calls; a token count's are powers of four.
const SECONDS: Buckets = Buckets(0.01, 2.0);
const CALL_SECONDS: Buckets = Buckets(0.005, 2.5);
const TOKENS: Buckets = Buckets(1.0, 4.0);

/// Fourteen buckets: the first, and the ratio of two.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Buckets(f64, f64);

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new((0..14).map(|n| self.0 * self.1.powi(n)))
    }
}

/// Each has its name, to which the text adds the `_total` of a counter, and its help, without the full stop.
macro_rules! metrics {
    ($($field:ident: $type:ty = $new:expr, $name:literal, $help:literal;)+) => {
        /// Everything that is counted.
        #[derive(Debug)]
        pub(crate) struct Metrics {
            registry: Registry,
            pub(crate) replicas: Replicas,
            $(pub(crate) $field: $type,)+
        }

        impl Default for Metrics {
            fn default() -> Self {
                let (mut registry, replicas) = (Registry::default(), Replicas::default());
                registry.register_collector(Box::new(replicas.clone()));
                registry.register_collector(Box::new(Process::default()));
                let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
                registry.register("adapter_build", "The release of the adapter", version);
                $(
                    let $field: $type = $new;
                    registry.register($name, $help, $field.clone());
                )+
                Self { registry, replicas, $($field,)+ }
            }
        }
    };
}

metrics! {
    started: Counters = Family::default(), "grpc_server_started", "Calls begun";
    handled: Counters = Family::default(), "grpc_server_handled", "Calls ended, by status";
    handling: Histograms = Family::new_with_constructor(CALL_SECONDS), "grpc_server_handling_seconds", "Time of a call";
    errors: Counters = Family::default(), "adapter_errors", "Calls that failed, by the reason of ErrorInfo";
    calls_in_flight: Gauge = Gauge::default(), "adapter_calls_in_flight", "Calls that run";
    connections: Gauge = Gauge::default(), "adapter_connections", "Connections that are open";
    request_memory: Gauge = Gauge::default(), "adapter_request_memory_bytes", "Memory of the requests of running calls";
    durations: Histograms = Family::new_with_constructor(SECONDS),
        "gen_ai_client_operation_duration_seconds", "Time of an operation";
    first_chunks: Histograms = Family::new_with_constructor(SECONDS),
        "gen_ai_client_operation_time_to_first_chunk_seconds", "Time to the first chunk of a stream";
    chunks: Histograms = Family::new_with_constructor(SECONDS),
        "gen_ai_client_operation_time_per_output_chunk_seconds", "Time between two chunks of a stream";
    tokens: Histograms = Family::new_with_constructor(TOKENS),
        "gen_ai_client_token_usage", "Tokens of an operation";
    finish_reasons: Counters = Family::default(), "adapter_finish_reason", "Choices that ended, by reason";
    caller_calls: Counters = Family::default(), "adapter_caller_calls", "Calls ended, by configured caller";
    caller_tokens: Counters = Family::default(), "adapter_caller_tokens", "Tokens used, by configured caller";
    config_reloads: Counters = reloads(), "adapter_config_reload", "Readings of a changed configuration";
    tls_reloads: Counters = reloads(), "adapter_tls_reload", "Readings of changed TLS files";
}

impl Metrics {
    /// The text of all metrics with its content type: OpenMetrics where the scraper takes it, or Prometheus's older one.
    pub(crate) fn encode(&self, accept: &str) -> (&'static str, String) {
        let mut all = String::new();
        let is_open = accept.contains("openmetrics");
        // Writing to memory does not fail.
        let (content_type, _written) = if is_open {
            let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            (content_type, text::encode(&mut all, &self.registry))
        } else {
            let content_type = "text/plain; version=0.0.4; charset=utf-8";
            (
                content_type,
                prometheus_text::encode(&mut all, &self.registry),
            )
        };
        (content_type, all)
    }

    pub(super) fn begin(&self, path: &str) {
        self.started.get_or_create(&method(path)).inc();
    }

    pub(super) fn end(&self, ended: &Ended<'_>, facts: &Facts) {
        let mut labels = method(ended.path);
        self.handling.get_or_create(&labels).observe(ended.seconds);
        labels.push(("grpc_code", ended.code_names().0.into()));
        self.handled.get_or_create(&labels).inc();
        if !ended.reason.is_empty() {
            count(&self.errors, "reason", ended.reason.into());
        }
        for reason in &facts.finish_reasons {
            count(&self.finish_reasons, "finish_reason", reason.clone().into());
        }
        let tokens = [facts.prompt_tokens, facts.completion_tokens];
        if let Some((attempt, begun)) = facts.attempt.as_ref().zip(facts.begun) {
            let mut labels = attempt.labels();
            if let Some(seconds) = facts.first_chunk {
                self.first_chunks.get_or_create(&labels).observe(seconds);
            }
            for (kind, tokens) in ["input", "output"].into_iter().zip(tokens) {
                if let Some(n_tokens) = tokens {
                    labels.push(("gen_ai_token_type", kind.into()));
                    self.tokens.get_or_create(&labels).observe(n_tokens.into());
                    labels.pop();
                }
            }
            labels.push(("error_type", ended.reason.into()));
            let seconds = begun.elapsed().as_secs_f64();
            self.durations.get_or_create(&labels).observe(seconds);
        }
        if let Some(caller) = ended.caller {
            let labels = vec![("caller", Label::Owned(caller.to_owned()))];
            self.caller_calls.get_or_create(&labels).inc();
            let n_tokens = tokens
                .into_iter()
                .flatten()
                .map(i32::unsigned_abs)
                .sum::<u32>();
            self.caller_tokens
                .get_or_create(&labels)
                .inc_by(n_tokens.into());
        }
    }
}

fn count(counters: &Counters, name: &'static str, value: Label) {
    counters.get_or_create(&vec![(name, value)]).inc();
}

/// Both results are there from the start, so that the first failure is an increase.
fn reloads() -> Counters {
    let reloads = Counters::default();
    for is_good in [true, false] {
        reloads.get_or_create(&result(is_good)).inc_by(0);
    }
    reloads
}

/// The label of how a reload ended.
pub(crate) fn result(is_good: bool) -> Labels {
    vec![("result", if is_good { "success" } else { "failure" }.into())]
}

/// The methods that are served, by path, with what go-grpc-middleware calls their types.
static METHODS: LazyLock<HashMap<String, &'static str>> = LazyLock::new(|| {
    let mut types = HashMap::new();
    for version in ["v1", "v1alpha"] {
        let path = format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo");
        types.insert(path, "bidi_stream");
    }
    for file in &DESCRIPTORS.file {
        for service in &file.service {
            for method in &service.method {
                let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                let is_stream = method.server_streaming();
                types.insert(path, if is_stream { "server_stream" } else { "unary" });
            }
        }
    }
    types
});

/// Whether a method is served at that path, which is the caller's text.
pub(super) fn is_served(path: &str) -> bool {
    METHODS.contains_key(path)
}

fn method(path: &str) -> Labels {
    let names = path.trim_start_matches('/').split_once('/');
    let (kind, names) = match (METHODS.get(path), names) {
        (Some(kind), Some((service, method))) => (*kind, [service, method].map(str::to_owned)),
        _ => (OTHER, [OTHER, OTHER].map(str::to_owned)),
    };
    let [service, method] = names.map(Label::Owned);
    vec![
        ("grpc_type", kind.into()),
        ("grpc_service", service),
        ("grpc_method", method),
    ]
}
