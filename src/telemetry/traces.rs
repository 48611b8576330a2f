//! Traces by OpenTelemetry: a SERVER span for each call, and a CLIENT span for each attempt at a replica.
//!
//! They say who was asked for which model, how long it took and how it ended; never what was asked or answered.

use std::{collections::HashMap, error::Error, sync::LazyLock, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::{
    Array, Context, Key, KeyValue, Value,
    propagation::TextMapPropagator,
    trace::{Span as _, SpanKind, Status, TraceContextExt, Tracer as _, TracerProvider as _},
};
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{SdkTracer, SdkTracerProvider, Span},
};
use tokio::task::spawn_blocking;

use super::{
    facts::{Attempt, Ended, Facts},
    metrics::is_served,
};
use crate::config;

const NAME: &str = env!("CARGO_PKG_NAME");

/// Longest time to send the last spans before the process ends.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// The codes that are errors of the server, by the conventions for RPCs.
const SERVER_ERRORS: [i32; 6] = [2, 4, 12, 13, 14, 15];

static PROPAGATOR: LazyLock<TraceContextPropagator> = LazyLock::new(TraceContextPropagator::new);

/// Sends spans to the collector that the environment names; nothing where it names none.
///
/// The SDK sends batches from a thread of its own, and drops what a slow collector leaves no room for.
#[derive(Debug)]
pub(super) struct Tracing(Option<(SdkTracerProvider, SdkTracer)>);

/// The spans of a call. Dropping them ends them.
#[derive(Debug)]
pub(super) struct Spans {
    tracer: SdkTracer,
    server: Span,
    /// Of the last attempt.
    client: Option<Span>,
}

impl Tracing {
    pub(super) fn start() -> Result<Self, Box<dyn Error + Send + Sync>> {
        if !config::exports_traces()? {
            return Ok(Self(None));
        }
        let exporter = SpanExporter::builder().with_tonic().build()?;
        let mut resource = Resource::builder();
        let name = Resource::builder()
            .build()
            .get(&Key::from_static_str("service.name"));
        if name.is_none_or(|name| name.as_str().starts_with("unknown_service")) {
            resource = resource.with_service_name(NAME);
        }
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource.with_attribute(version).build())
            .build();
        let tracer = provider.tracer(NAME);
        Ok(Self(Some((provider, tracer))))
    }

    pub(super) async fn stop(&self) {
        if let Some((provider, _)) = self.0.clone() {
            // Without a collector there is nobody to tell.
            let _ = spawn_blocking(move || provider.shutdown_with_timeout(STOP_TIMEOUT)).await;
        }
    }

    /// The spans of a call that begins, whose request has that trace context.
    pub(super) fn spans(&self, path: &str, sent: &[(HeaderName, HeaderValue)]) -> Option<Spans> {
        let (_, tracer) = self.0.as_ref()?;
        let text = |(name, value): &(HeaderName, HeaderValue)| {
            Some((name.to_string(), value.to_str().ok()?.to_owned()))
        };
        let sent: HashMap<_, _> = sent.iter().filter_map(text).collect();
        let parent = PROPAGATOR.extract_with_context(&Context::new(), &sent);
        let name = if is_served(path) {
            path.trim_start_matches('/')
        } else {
            "_OTHER"
        };
        let attributes = [("rpc.system.name", "grpc"), ("rpc.method", name)];
        let span = tracer
            .span_builder(name.to_owned())
            .with_kind(SpanKind::Server);
        let span = span
            .with_attributes(attributes.map(|(key, value)| KeyValue::new(key, value.to_owned())));
        let (server, tracer) = (span.start_with_context(tracer, &parent), tracer.clone());
        Some(Spans {
            tracer,
            server,
            client: None,
        })
    }
}

impl Spans {
    /// Another attempt, where the one before has failed.
    pub(super) fn attempt(&mut self, attempt: &Attempt) {
        if let Some(mut before) = self.client.take() {
            before.set_status(Status::error("another replica is asked"));
        }
        let parent = Context::new().with_remote_span_context(self.server.span_context().clone());
        let (model, [upstream, replica]) = (&attempt.model, attempt.series.names());
        let attributes = [
            ("gen_ai.operation.name", attempt.operation),
            ("gen_ai.provider.name", "vllm"),
            ("gen_ai.request.model", model),
            ("adapter.upstream", upstream),
            ("adapter.replica", replica),
        ];
        let name = format!("{} {model}", attempt.operation);
        let span = self.tracer.span_builder(name).with_kind(SpanKind::Client);
        let span = span
            .with_attributes(attributes.map(|(key, value)| KeyValue::new(key, value.to_owned())));
        self.client = Some(span.start_with_context(&self.tracer, &parent));
    }

    pub(super) fn inject(&self, headers: &mut HeaderMap) {
        let span = self.client.as_ref().unwrap_or(&self.server);
        let context = Context::new().with_remote_span_context(span.span_context().clone());
        let mut sent = HashMap::new();
        PROPAGATOR.inject_context(&context, &mut sent);
        for (name, value) in sent {
            if let (Ok(name), Ok(value)) =
                (HeaderName::try_from(name), HeaderValue::try_from(value))
            {
                headers.insert(name, value);
            }
        }
    }

    pub(super) fn trace_id(&self) -> String {
        self.server.span_context().trace_id().to_string()
    }

    pub(super) fn end(mut self, ended: &Ended<'_>, facts: &Facts) {
        if let (Some(client), Some(attempt)) = (&mut self.client, &facts.attempt) {
            let reasons = facts
                .finish_reasons
                .iter()
                .map(|it| it.clone().into())
                .collect();
            let n_tokens = |n: Option<i32>| n.map(|n| Value::I64(n.into()));
            for (key, value) in [
                (
                    "gen_ai.response.model",
                    Some(attempt.labels[1].to_string().into()),
                ),
                (
                    "gen_ai.response.finish_reasons",
                    Some(Value::Array(Array::String(reasons))),
                ),
                (
                    "gen_ai.response.time_to_first_chunk",
                    facts.first_chunk.map(Value::F64),
                ),
                ("gen_ai.usage.input_tokens", n_tokens(facts.prompt_tokens)),
                (
                    "gen_ai.usage.output_tokens",
                    n_tokens(facts.completion_tokens),
                ),
            ] {
                client.set_attributes(value.map(|value| KeyValue::new(key, value)));
            }
            fail(client, ended, ended.code != 0);
        }
        let code = KeyValue::new("rpc.response.status_code", ended.code_names().1);
        self.server.set_attribute(code);
        fail(&mut self.server, ended, SERVER_ERRORS.contains(&ended.code));
    }
}

fn fail(span: &mut Span, ended: &Ended<'_>, is_error: bool) {
    if is_error {
        span.set_attribute(KeyValue::new("error.type", ended.reason));
        span.set_status(Status::error(ended.reason));
    }
}
