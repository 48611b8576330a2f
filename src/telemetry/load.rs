//! The load report of ORCA, which load balancers read (<https://github.com/cncf/xds>).

use std::sync::{Mutex, PoisonError};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderName, HeaderValue};
use prost::Message as _;
use tokio::time::{Duration, Instant};

use crate::proto::orca::OrcaLoadReport;

/// The trailer that carries it.
pub(crate) const LOAD_REPORT: HeaderName = HeaderName::from_static("endpoint-load-metrics-bin");

/// The time over which calls are counted.
const WINDOW: Duration = Duration::from_secs(1);

/// Calls a second, and the calls that may run at once.
#[derive(Debug)]
pub(crate) struct Load {
    max_in_flight: Option<usize>,
    /// When the window began, the calls that ended in it, and their rate in the one before.
    window: Mutex<(Instant, u32, Option<f64>)>,
}

impl Load {
    pub(crate) fn new(max_in_flight: Option<usize>) -> Self {
        let window = Mutex::new((Instant::now(), 0, None));
        Self {
            max_in_flight,
            window,
        }
    }

    /// The trailer of a call that ends, among that many that run.
    pub(crate) fn report(&self, n_in_flight: i64) -> HeaderValue {
        let report = OrcaLoadReport {
            rps_fractional: self.rate(),
            application_utilization: (self.max_in_flight)
                .map_or(0.0, |most| n_in_flight as f64 / most as f64),
            ..OrcaLoadReport::default()
        };
        // Envoy wants base64 of whole fours. Each value takes nine bytes or none, so that there is nothing to pad.
        let report = STANDARD.encode(report.encode_to_vec());
        HeaderValue::try_from(report).unwrap_or(HeaderValue::from_static(""))
    }

    /// Counts a call; returns calls a second.
    fn rate(&self) -> f64 {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let (begun, n_calls, rate) = &mut *window;
        *n_calls += 1;
        let elapsed = begun.elapsed().max(Duration::from_millis(1));
        let so_far = f64::from(*n_calls) / elapsed.as_secs_f64();
        if elapsed >= WINDOW {
            (*begun, *n_calls, *rate) = (Instant::now(), 0, Some(so_far));
        }
        rate.unwrap_or(so_far)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(report: &HeaderValue) -> OrcaLoadReport {
        assert_eq!(report.len() % 4, 0, "Envoy refuses it");
        let bytes = STANDARD.decode(report).unwrap();
        OrcaLoadReport::decode(&bytes[..]).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_report_tells_calls_a_second_and_their_share_of_the_limit() {
        let load = Load::new(Some(8));
        for _ in 0..50 {
            tokio::time::advance(Duration::from_millis(100)).await;
            let report = decoded(&load.report(2));
            assert!((9.9..=10.1).contains(&report.rps_fractional), "{report:?}");
            assert!((0.249..=0.251).contains(&report.application_utilization));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_report_is_whole_fours_of_base64_whatever_it_says() {
        for most in [None, Some(1), Some(3), Some(usize::MAX)] {
            let load = Load::new(most);
            for n_in_flight in [0, 1, 7] {
                let report = decoded(&load.report(n_in_flight));
                let is_known = most.is_some() && n_in_flight > 0;
                assert_eq!(report.application_utilization > 0.0, is_known);
            }
        }
    }
}
