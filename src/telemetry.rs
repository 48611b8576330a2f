//! What operators see: the log, the metrics, the traces and the load report.

mod chain;
mod load;
pub mod logging;
mod methods;
mod metrics;
mod process;
mod record;
mod replicas;
mod traces;

use std::{error::Error, sync::Arc};

use http::{HeaderName, HeaderValue};

pub use chain::Chain;
pub(crate) use load::LOAD_REPORT;
pub(crate) use methods::Method;
pub(crate) use metrics::{Label, Metrics, OTHER};
pub(crate) use record::{Attempt, Ended, Facts, Record};
pub(crate) use replicas::Series;

use load::Load;
use traces::Tracing;

pub(crate) type BoxError = Box<dyn Error + Send + Sync>;

/// What a server tells of its calls.
#[derive(Debug)]
pub(crate) struct Telemetry {
    pub(crate) metrics: Arc<Metrics>,
    tracing: Tracing,
    load: Load,
}

impl Telemetry {
    /// Must be called where tasks run. `max_in_flight` is the limit of calls at once.
    ///
    /// # Errors
    ///
    /// Variables of OpenTelemetry that cannot be used.
    pub(crate) fn start(max_in_flight: Option<usize>) -> Result<Self, BoxError> {
        Ok(Self {
            metrics: Arc::default(),
            tracing: Tracing::start()?,
            load: Load::new(max_in_flight),
        })
    }

    /// A call begins. `sent` is the trace context of its request; gRPC's own services have no spans.
    pub(crate) fn begin(
        &self,
        record: &Record,
        path: &str,
        is_standard: bool,
        sent: &[(HeaderName, HeaderValue)],
    ) -> Arc<Method> {
        let method = self.metrics.method(path);
        method.start();
        if !is_standard {
            self.metrics.calls_in_flight.inc();
            record.begin(&self.metrics, self.tracing.spans(&method, sent), sent);
        }
        method
    }

    /// A call has ended.
    pub(crate) fn end(&self, record: &Record, ended: &Ended<'_>, is_standard: bool) -> Facts {
        if !is_standard {
            self.metrics.calls_in_flight.dec();
        }
        let mut facts = record.take();
        self.metrics.end(ended, &facts);
        if let Some(spans) = facts.spans.take() {
            spans.end(ended, &facts);
        }
        facts
    }

    /// The trailer of a call that ends.
    pub(crate) fn load_report(&self) -> HeaderValue {
        self.load.report(self.metrics.calls_in_flight.get())
    }

    /// Sends the spans that wait.
    pub(crate) async fn stop(&self) {
        self.tracing.stop().await;
    }
}
