use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use tonic::{Code, Request, Response, Status};

/// Tries again what is UNAVAILABLE, twice at most and as long as no answer has begun. tonic has no retry policy.
pub(crate) async fn retry<M: Clone, T>(
    message: &M,
    deadline: Instant,
    call: impl AsyncFn(Request<M>) -> Result<Response<T>, Status>,
) -> Result<Response<T>, Status> {
    let attempts = async {
        let mut backoffs = [0.5, 1.0].into_iter();
        loop {
            let mut request = Request::new(message.clone());
            request.set_timeout(deadline.saturating_duration_since(Instant::now()));
            let result = call(request).await;
            match result.as_ref().err().and_then(|status| wait(status, backoffs.next()?)) {
                Some(wait) => sleep(wait).await,
                None => return result,
            }
        }
    };
    match timeout_at(deadline, attempts).await {
        Ok(result) if result.is_ok() || Instant::now() < deadline => result,
        _ => Err(deadline_exceeded()),
    }
}

/// As long as the adapter says, or else up to the seconds of `backoff`. None: not again.
fn wait(status: &Status, backoff: f64) -> Option<Duration> {
    match status.metadata().get("grpc-retry-pushback-ms") {
        _ if status.code() != Code::Unavailable => None,
        Some(value) => value.to_str().ok()?.parse().ok().map(Duration::from_millis),
        None => Some(Duration::from_secs_f64(backoff * fastrand::f64())),
    }
}

pub(crate) fn deadline_exceeded() -> Status {
    Status::deadline_exceeded("the deadline passed")
}
