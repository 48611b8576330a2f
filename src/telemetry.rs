//! What operators see: the log, the metrics, the traces and the load report.

mod chain;
mod facts;
mod labels;
mod load;
pub mod logging;
mod metrics;
mod process;
mod record;
mod replicas;
mod traces;

use std::{error::Error, sync::Arc};

use http::{HeaderName, HeaderValue};

pub use chain::Chain;
pub(crate) use facts::{Attempt, Ended, Facts};
pub(crate) use labels::{Label, OTHER};
pub(crate) use load::LOAD_REPORT;
pub(crate) use metrics::{Metrics, result};
pub(crate) use record::Record;
pub(crate) use replicas::{Counted, Series};

/// What a server tells of its calls.
#[derive(Debug)]
pub(crate) struct Telemetry {
    pub(crate) metrics: Arc<Metrics>,
    tracing: traces::Tracing,
    load: load::Load,
}

impl Telemetry {
    /// Must be called where tasks run. `max_in_flight` is the limit of calls at once.
    pub(crate) fn start(
        max_in_flight: Option<usize>,
    ) -> Result<Self, Box<dyn Error + Send + Sync>> {
        Ok(Self {
            metrics: Arc::default(),
            tracing: traces::Tracing::start()?,
            load: load::Load::new(max_in_flight),
        })
    }

    /// A call of the method at `path` begins. `sent` is the trace context of its request.
    pub(crate) fn begin(
        self: &Arc<Self>,
        record: &Record,
        path: &str,
        sent: &[(HeaderName, HeaderValue)],
    ) {
        self.metrics.begin(path);
        // Probes would fill what is kept of calls.
        if !path.starts_with("/grpc.") {
            record.begin(self, path, sent);
        }
    }

    /// A call has ended.
    pub(crate) fn end(&self, record: &Record, ended: &Ended<'_>) -> Facts {
        let (facts, spans) = record.take();
        self.metrics.end(ended, &facts);
        if let Some(spans) = spans {
            spans.end(ended, &facts);
        }
        facts
    }

    /// The trailer of a call that ends.
    pub(crate) fn load_report(&self) -> HeaderValue {
        self.load.report(self.metrics.calls_in_flight.get())
    }

    /// Sends the spans that wait, as far as the collector takes them soon.
    pub(crate) async fn stop(&self) {
        self.tracing.stop().await;
    }
}
