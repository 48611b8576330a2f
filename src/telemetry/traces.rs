//! Traces by OpenTelemetry: a SERVER span for each call, and a CLIENT span for each attempt at a replica.
//!
//! They say who was asked for what model, how long it took and how it ended; never what was asked or answered.

use std::{error::Error, sync::LazyLock, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::{
    Array, Context, Key, KeyValue, StringValue, Value,
    propagation::{Extractor, Injector, TextMapPropagator},
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
    methods::{Method, code_names},
    record::{Attempt, Ended, Facts},
};
use crate::config;

const NAME: &str = env!("CARGO_PKG_NAME");

/// Longest time to send the last spans before the process ends.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

static PROPAGATOR: LazyLock<TraceContextPropagator> = LazyLock::new(TraceContextPropagator::new);

/// The codes by which a call has failed for the server, by the RPC conventions.
const SERVER_ERRORS: [i32; 6] = [2, 4, 12, 13, 14, 15];

/// Sends spans to the collector that the environment names; nothing where it names none.
///
/// The SDK sends them in batches, from a thread of its own. Where the collector is slow, those that do not fit in its
/// queue are dropped.
#[derive(Debug)]
pub(crate) struct Tracing(Option<(SdkTracerProvider, SdkTracer)>);

/// The spans of a call. Dropping them ends them.
#[derive(Debug)]
pub(super) struct Spans {
    tracer: SdkTracer,
    server: Span,
    /// Of the last attempt.
    client: Option<Span>,
}

// === impl Tracing ===

impl Tracing {
    /// Must be called where tasks run.
    pub(crate) fn start() -> Result<Self, Box<dyn Error + Send + Sync>> {
        if !config::exports_traces()? {
            return Ok(Self(None));
        }
        let exporter = SpanExporter::builder().with_tonic().build()?;
        let found = Resource::builder().build();
        let name = found.get(&Key::from_static_str("service.name"));
        let is_named = name.is_some_and(|name| !name.as_str().starts_with("unknown_service"));
        let resource = Resource::builder();
        let resource = if is_named {
            resource
        } else {
            resource.with_service_name(NAME)
        };
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource.with_attribute(version).build())
            .build();
        let tracer = provider.tracer(NAME);
        Ok(Self(Some((provider, tracer))))
    }

    /// Sends what waits, as far as the collector takes it soon.
    pub(crate) async fn stop(&self) {
        if let Some((provider, _)) = &self.0 {
            let provider = provider.clone();
            // Without a collector there is nobody to tell.
            let _ = spawn_blocking(move || provider.shutdown_with_timeout(STOP_TIMEOUT)).await;
        }
    }

    /// The spans of a call that begins, whose request has that trace context.
    pub(super) fn spans(
        &self,
        method: &Method,
        sent: &[(HeaderName, HeaderValue)],
    ) -> Option<Spans> {
        let (_, tracer) = self.0.as_ref()?;
        let parent = PROPAGATOR.extract_with_context(&Context::new(), &Sent(sent));
        let name = if method.is_known() {
            method.name.clone()
        } else {
            "_OTHER".to_owned()
        };
        let server = tracer
            .span_builder(name.clone())
            .with_kind(SpanKind::Server)
            .with_attributes([
                KeyValue::new("rpc.system.name", "grpc"),
                KeyValue::new("rpc.method", name),
            ])
            .start_with_context(tracer, &parent);
        Some(Spans {
            tracer: tracer.clone(),
            server,
            client: None,
        })
    }
}

// === impl Spans ===

impl Spans {
    /// Ends the attempt before, which must have failed.
    pub(super) fn attempt(&mut self, attempt: &Attempt) {
        if let Some(mut before) = self.client.take() {
            before.set_status(Status::error("another replica is asked"));
        }
        let parent = self.server.span_context().clone();
        let parent = Context::new().with_remote_span_context(parent);
        let (operation, model) = (attempt.operation, attempt.model.clone());
        let span = self
            .tracer
            .span_builder(format!("{operation} {model}").trim_end().to_owned());
        let attributes = [
            KeyValue::new("gen_ai.operation.name", operation),
            KeyValue::new("gen_ai.provider.name", "vllm"),
            KeyValue::new("gen_ai.request.model", model),
            KeyValue::new("adapter.upstream", attempt.series.upstream().to_owned()),
            KeyValue::new("adapter.replica", attempt.series.replica().to_owned()),
        ];
        let span = span.with_kind(SpanKind::Client).with_attributes(attributes);
        self.client = Some(span.start_with_context(&self.tracer, &parent));
    }

    pub(super) fn inject(&self, headers: &mut HeaderMap) {
        let span = self.client.as_ref().unwrap_or(&self.server);
        let context = Context::new().with_remote_span_context(span.span_context().clone());
        PROPAGATOR.inject_context(&context, &mut Headers(headers));
    }

    pub(super) fn trace_id(&self) -> String {
        self.server.span_context().trace_id().to_string()
    }

    pub(super) fn end(mut self, ended: &Ended<'_>, facts: &Facts) {
        if let Some(mut client) = self.client.take() {
            let numbers = [
                (
                    "gen_ai.usage.input_tokens",
                    facts.prompt_tokens.map(|n| Value::I64(n.into())),
                ),
                (
                    "gen_ai.usage.output_tokens",
                    facts.completion_tokens.map(|n| Value::I64(n.into())),
                ),
                (
                    "gen_ai.response.time_to_first_chunk",
                    facts.first_chunk.map(Value::F64),
                ),
            ];
            for (key, value) in numbers {
                if let Some(value) = value {
                    client.set_attribute(KeyValue::new(key, value));
                }
            }
            if let Some(model) = facts.attempt.as_ref().map(|it| it.models[1].to_string()) {
                client.set_attribute(KeyValue::new("gen_ai.response.model", model));
            }
            if !facts.finish_reasons.is_empty() {
                let reasons = facts
                    .finish_reasons
                    .iter()
                    .map(|it| StringValue::from(*it))
                    .collect();
                let reasons = Value::Array(Array::String(reasons));
                client.set_attribute(KeyValue::new("gen_ai.response.finish_reasons", reasons));
            }
            fail(&mut client, ended, ended.code != 0);
        }
        let code = code_names(ended.code).1;
        self.server
            .set_attribute(KeyValue::new("rpc.response.status_code", code));
        fail(&mut self.server, ended, SERVER_ERRORS.contains(&ended.code));
    }
}

fn fail(span: &mut Span, ended: &Ended<'_>, is_error: bool) {
    if is_error {
        span.set_attribute(KeyValue::new("error.type", ended.reason));
        span.set_status(Status::error(ended.reason));
    }
}

/// The trace context of a request, as it came.
struct Sent<'a>(&'a [(HeaderName, HeaderValue)]);

struct Headers<'a>(&'a mut HeaderMap);

impl Extractor for Sent<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(name, _)| name == key)?;
        value.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _)| name.as_str()).collect()
    }
}

impl Injector for Headers<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(key), HeaderValue::try_from(value)) {
            self.0.insert(name, value);
        }
    }
}
