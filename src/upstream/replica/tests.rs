use clap::Parser as _;
use tokio::time::advance;

use super::*;
use crate::{
    config::{Args, Config},
    openai::error::ErrorBody,
    upstream::error::Refusal,
};

/// A replica that nothing is sent to.
pub(in crate::upstream) fn replica(label: &str, max_in_flight: Option<usize>) -> Replica {
    let config = Config::try_from_args(Args::parse_from([""])).unwrap();
    let client = Client::new(&config.upstream, config.limits).unwrap();
    let series = crate::telemetry::Metrics::default()
        .replicas
        .series("a", label);
    Replica::new(client, label.to_owned(), series, max_in_flight)
}

const SECOND: Duration = Duration::from_secs(1);
const HEALTHY: Result<StatusCode, Error> = Ok(StatusCode::OK);

fn unreachable() -> Error {
    Error::Connect("refused".into())
}

fn refusal(status: u16, retry_after: Option<Duration>) -> Error {
    Error::Refused(Refusal {
        status,
        body: ErrorBody::Foreign,
        retry_after,
    })
}

fn fail(replica: &Replica, error: &Error, n_times: usize) {
    for _ in 0..n_times {
        replica.record(Some(error));
    }
}

/// How long it stays out, in steps of a tenth of a second.
async fn time_out(replica: &Replica) -> Duration {
    let begun = Instant::now();
    while replica.is_out() {
        advance(SECOND / 10).await;
    }
    begun.elapsed()
}

#[tokio::test(start_paused = true)]
async fn three_failures_in_a_row_put_it_out_twice_as_long_each_time() {
    for error in [unreachable(), refusal(500, None), refusal(503, None)] {
        let replica = replica("r", None);
        fail(&replica, &error, 2);
        assert!(!replica.is_out());
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            // Of the first time, the third failure; later, the next one.
            fail(&replica, &error, 1);
            // Those that come while it is out prolong nothing.
            fail(&replica, &error, 5);
            let out = time_out(&replica).await;
            let (least, most) = (SECOND * seconds * 4 / 5, SECOND * seconds * 6 / 5);
            assert!(
                (least..=most + SECOND / 10).contains(&out),
                "{seconds}: {out:?}"
            );
        }
        replica.record(None);
        fail(&replica, &error, 2);
        assert!(!replica.is_out(), "a good answer forgets all");
        fail(&replica, &error, 1);
        assert!(time_out(&replica).await <= SECOND * 13 / 10);
    }
}

#[tokio::test(start_paused = true)]
async fn what_says_nothing_about_a_replica_does_not_put_it_out() {
    for error in [
        refusal(429, None),
        refusal(400, None),
        Error::Truncated(None),
        Error::Stalled(SECOND),
        Error::Redirected(301),
    ] {
        let replica = replica("r", None);
        fail(&replica, &error, 10);
        assert!(!replica.is_out(), "{error:?}");
    }
    let replica = replica("r", None);
    fail(&replica, &unreachable(), 2);
    fail(&replica, &refusal(429, None), 1);
    fail(&replica, &unreachable(), 1);
    assert!(replica.is_out(), "429 is no good answer either");
}

#[tokio::test(start_paused = true)]
async fn retry_after_rests_it_for_that_time_whatever_else_comes() {
    for status in [429, 503] {
        let replica = replica("r", None);
        fail(&replica, &refusal(status, Some(SECOND * 7)), 1);
        advance(SECOND).await;
        // Of a request that was sent before, and of a probe.
        replica.record(None);
        replica.probed(&HEALTHY);
        fail(&replica, &refusal(status, Some(SECOND)), 1);
        assert_eq!(time_out(&replica).await, SECOND * 6, "{status}");
        // A rest is no failure.
        fail(&replica, &unreachable(), 2);
        assert!(!replica.is_out());
    }
    let replica = replica("r", None);
    fail(&replica, &refusal(500, Some(SECOND * 7)), 1);
    assert!(!replica.is_out(), "another status may not ask for it");
}

#[tokio::test(start_paused = true)]
async fn a_good_probe_brings_back_what_did_not_answer_alone() {
    for (error, is_back) in [
        (unreachable(), true),
        (Error::FirstToken(SECOND), true),
        (refusal(500, None), false),
    ] {
        let replica = replica("r", None);
        fail(&replica, &error, 3);
        assert!(replica.is_out());
        replica.probed(&HEALTHY);
        assert_eq!(!replica.is_out(), is_back, "{error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_fails_its_probes_is_out_until_a_good_one() {
    for bad in [
        || Err(unreachable()),
        || Ok(StatusCode::SERVICE_UNAVAILABLE),
    ] {
        let replica = replica("r", None);
        for n in 0..5 {
            assert_eq!(replica.is_out(), n >= 3);
            replica.probed(&bad());
            advance(SECOND * 5).await;
        }
        advance(SECOND * 3600).await;
        assert!(replica.is_out());
        replica.probed(&HEALTHY);
        assert!(!replica.is_out());
        // Where all are out all are tried, and an answer counts for more than a probe.
        fail(&replica, &unreachable(), 3);
        replica.probed(&bad());
        replica.record(None);
        assert!(!replica.is_out());
    }
}
