//! Answers that are read whole, up to a limit.

use std::{future::poll_fn, time::Duration};

use http::{HeaderMap, HeaderName, Response, StatusCode, header};
use memchr::memmem;

use super::{
    attempt::Attempt,
    body::Body,
    error::{Error, Refusal},
};
use crate::openai::error::ErrorBody;

/// As much of an error's body as is read; vLLM's longest are some KiB.
const MAX_ERROR_BYTES: usize = 64 * 1024;

/// Time for the body of an error: its status says enough without it.
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(2);

/// Longest `Retry-After` that is believed.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// The text of a JSON body, which is a whole answer.
#[derive(Debug)]
pub(crate) struct Answer(String);

impl Answer {
    /// Reads a JSON body, which may hold an error although its status is 200 (vLLM up to 0.17).
    pub(super) async fn receive(
        response: Response<Body>,
        limit: usize,
        attempt: &Attempt,
    ) -> Result<Self, Error> {
        if !has_type(response.headers(), "application/json") {
            return Err(wrong_type(response.headers()));
        }
        let mut body = response.into_body();
        let bytes = read(&mut body, limit).await?;
        let text = String::from_utf8(bytes).map_err(|error| Error::protocol(error.utf8_error()))?;
        attempt.check(&text)?;
        body.release();
        // Most bodies are answers without the word, and are not parsed twice.
        if memmem::find(text.as_bytes(), br#""error""#).is_some()
            && let Some(error) = ErrorBody::find(&text).map_err(|error| Error::from_json(&error))?
        {
            return Err(Error::from_error_body(error));
        }
        Ok(Self(text))
    }

    /// The body, read as that type. A body that ends too early was cut.
    pub(crate) fn read<'a, T: serde::Deserialize<'a>>(&'a self) -> Result<T, Error> {
        serde_json::from_str(&self.0).map_err(|error| Error::from_json(&error))
    }

    /// The body as it came.
    pub(crate) fn text(&self) -> &str {
        &self.0
    }
}

/// Passes an answer with status 200, and makes any other an error.
pub(super) async fn successful(response: Response<Body>) -> Result<Response<Body>, Error> {
    let status = response.status();
    if status.is_redirection() {
        return Err(Error::Redirected(status.as_u16()));
    }
    if status.is_informational() {
        return Err(Error::protocol("an upgrade that was not asked for"));
    }
    if status == StatusCode::OK {
        return match response.headers().get(header::CONTENT_ENCODING) {
            Some(encoding) if encoding != "identity" => {
                Err(Error::protocol("a content encoding that was not asked for"))
            }
            _ => Ok(response),
        };
    }
    Err(Error::Refused(Refusal {
        status: status.as_u16(),
        retry_after: retry_after(response.headers()),
        body: error_body(response).await,
    }))
}

/// Whether the body has that media type, with any parameters.
pub(super) fn has_type(headers: &HeaderMap, media_type: &str) -> bool {
    let value = headers.get(header::CONTENT_TYPE);
    let value = value.and_then(|value| value.to_str().ok()?.split(';').next());
    value.is_some_and(|value| value.trim().eq_ignore_ascii_case(media_type))
}

/// The error of a body whose media type is not the one that was asked for.
pub(super) fn wrong_type(headers: &HeaderMap) -> Error {
    let value = headers.get(header::CONTENT_TYPE);
    let value = value.and_then(|value| value.to_str().ok());
    Error::protocol(format!("content type `{:.80}`", value.unwrap_or_default()))
}

/// Reads an error's body; one that is cut, late or too long is [`ErrorBody::Foreign`].
pub(super) async fn error_body(response: Response<Body>) -> ErrorBody {
    let mut body = response.into_body();
    let read = read(&mut body, MAX_ERROR_BYTES);
    let Ok(Ok(bytes)) = tokio::time::timeout(ERROR_BODY_TIMEOUT, read).await else {
        return ErrorBody::Foreign;
    };
    body.release();
    ErrorBody::read(&bytes)
}

async fn read(body: &mut Body, limit: usize) -> Result<Vec<u8>, Error> {
    let what = "body";
    let length = usize::try_from(body.length().unwrap_or_default()).unwrap_or(usize::MAX);
    if length > limit {
        return Err(Error::TooLarge { what, limit });
    }
    let mut bytes = Vec::with_capacity(length);
    while let Some(data) = poll_fn(|cx| body.poll_data(cx)).await.transpose()? {
        if bytes.len() + data.len() > limit {
            return Err(Error::TooLarge { what, limit });
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

/// The delay that the upstream asks for.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = only(headers, header::RETRY_AFTER)?;
    let after = if value.bytes().all(|byte| byte.is_ascii_digit()) {
        // What no number holds is beyond every limit.
        value.parse().map_or(MAX_RETRY_AFTER, Duration::from_secs)
    } else {
        // Counted from the same clock, since that may differ from ours.
        let date = httpdate::parse_http_date(value).ok()?;
        let now = httpdate::parse_http_date(only(headers, header::DATE)?).ok()?;
        date.duration_since(now).unwrap_or_default()
    };
    Some(after.min(MAX_RETRY_AFTER))
}

/// The text of a header that comes once; one that comes twice contradicts itself.
fn only(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?.trim();
    (values.next().is_none() && !value.is_empty()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "Sun, 22 Nov 2026 17:00:00 GMT";

    #[track_caller]
    fn check(values: &[&str], date: Option<&str>, seconds: Option<u64>) {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::RETRY_AFTER, value.parse().unwrap());
        }
        if let Some(date) = date {
            headers.insert(header::DATE, date.parse().unwrap());
        }
        assert_eq!(
            retry_after(&headers),
            seconds.map(Duration::from_secs),
            "{values:?}"
        );
    }

    #[test]
    fn a_delay_is_at_most_a_minute_and_garbage_is_none() {
        check(&[], Some(NOW), None);
        check(&["5"], None, Some(5));
        check(&["99999999999999999999999"], None, Some(60));
        check(&["Sun, 22 Nov 2026 17:00:09 GMT"], Some(NOW), Some(9));
        check(&["Sunday, 22-Nov-26 17:00:09 GMT"], Some(NOW), Some(9));
        check(&["Sun, 22 Nov 2026 17:09:00 GMT"], Some(NOW), Some(60));
        check(&["Sun, 22 Nov 2026 16:00:00 GMT"], Some(NOW), Some(0));
        // Without the upstream's clock a date says nothing.
        check(&["Sun, 22 Nov 2026 17:00:09 GMT"], None, None);
        for garbage in ["", "-1", "+1", "1.5", "1e12", "soon", "22 Nov 2026"] {
            check(&[garbage], Some(NOW), None);
        }
        check(&["5", "6"], None, None);
    }

    /// What is made of a body with status 200.
    async fn received(body: &str) -> Result<Answer, Error> {
        let response = Response::builder().header(header::CONTENT_TYPE, "application/json");
        let body = Body::Reqwest(body.to_owned().into());
        let attempt = Attempt::new(&http::HeaderValue::from_static("mine"));
        Answer::receive(response.body(body).unwrap(), 1 << 20, &attempt).await
    }

    #[tokio::test]
    async fn an_error_beside_an_answer_is_an_error() {
        let long = "x".repeat(2 * MAX_ERROR_BYTES);
        let answer = format!(r#""choices":[{{"finish_reason":"error","text":"{long}"}}]"#);
        for (member, is_answer) in [
            (r#""error":null"#, true),
            (r#""object":"text_completion""#, true),
            (r#""error":{"message":"m","code":400}"#, false),
            (r#""error":"busy""#, false),
            (r#""error":7"#, false),
            (r#""error":[]"#, false),
            (r#""object":"error","message":"m""#, false),
            // Twice is malformed.
            (r#""error":null,"error":{"message":"m"}"#, false),
        ] {
            let received = received(&format!("{{{answer},{member}}}")).await;
            assert_eq!(received.is_ok(), is_answer, "{member}");
        }
        let cut = received(&format!("{{\"error\":null,{answer}")).await;
        assert!(matches!(cut, Err(Error::Truncated(None))), "{cut:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_whose_body_does_not_come_is_reported_by_its_head() {
        let never = http_body_util::StreamBody::new(tokio_stream::pending::<
            Result<hyper::body::Frame<bytes::Bytes>, std::convert::Infallible>,
        >());
        let response = Response::builder()
            .status(429)
            .header(header::RETRY_AFTER, "5");
        let body = Body::Reqwest(reqwest::Body::wrap(never));
        let begun = tokio::time::Instant::now();
        let error = successful(response.body(body).unwrap()).await.unwrap_err();
        let Error::Refused(refusal) = error else {
            panic!("{error:?}");
        };
        assert_eq!((refusal.status, refusal.body), (429, ErrorBody::Foreign));
        assert_eq!(refusal.retry_after, Some(Duration::from_secs(5)));
        assert_eq!(begun.elapsed(), ERROR_BODY_TIMEOUT);
    }
}
