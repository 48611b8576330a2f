//! Whole bodies, read up to a limit.

use std::{future::poll_fn, time::Duration};

use http::{HeaderMap, HeaderName, Response, StatusCode, header};
use memchr::memmem;

use super::{
    error::{Error, Malformed, Refusal},
    pool::Body,
};
use crate::openai::error::ErrorBody;

/// As much of an error's body as is read; vLLM's longest are some KiB.
const MAX_ERROR_BYTES: usize = 64 * 1024;

/// Longest `Retry-After` that is believed.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// Passes an answer with status 200, and makes any other an error.
pub(super) async fn successful(response: Response<Body>) -> Result<Response<Body>, Error> {
    let status = response.status();
    if status.is_redirection() {
        return Err(Error::Redirected(status.as_u16()));
    }
    if status == StatusCode::OK {
        let encoding = response.headers().get(header::CONTENT_ENCODING);
        return match encoding.filter(|encoding| encoding.as_bytes() != b"identity") {
            Some(encoding) => Err(Error::Protocol(Malformed::ContentEncoding(printable(
                encoding.as_bytes(),
            )))),
            None => Ok(response),
        };
    }
    let retry_after = retry_after(response.headers());
    let body = error_body(response).await;
    Err(Error::Refused(Refusal {
        status: status.as_u16(),
        body,
        retry_after,
    }))
}

/// The media type, in lower case and without parameters.
pub(super) fn media_type(response: &Response<Body>) -> String {
    let value = response.headers().get(header::CONTENT_TYPE);
    let value = value
        .map(|value| printable(value.as_bytes()))
        .unwrap_or_default();
    value
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase()
}

/// Reads a JSON body, which may tell of an error although its status is 200 (vLLM up to 0.17).
pub(super) async fn json(response: Response<Body>, limit: usize) -> Result<Json, Error> {
    let media_type = media_type(&response);
    if media_type != "application/json" {
        return Err(Error::Protocol(Malformed::ContentType(media_type)));
    }
    let body = read(response.into_body(), limit).await?;
    // Most bodies are answers, which need not be read twice to know it.
    if body.len() <= MAX_ERROR_BYTES && memmem::find(&body, br#""error""#).is_some() {
        match ErrorBody::read(&body) {
            ErrorBody::Foreign | ErrorBody::Detail => {}
            told @ (ErrorBody::Engine(_) | ErrorBody::Gate(_)) => {
                return Err(Error::from_error_body(told));
            }
        }
    }
    match String::from_utf8(body) {
        Ok(text) => Ok(Json(text)),
        Err(_invalid) => Err(Error::Protocol(Malformed::Utf8)),
    }
}

/// The text of a JSON body.
#[derive(Debug)]
pub(crate) struct Json(String);

impl Json {
    /// The body, read as that type. A body that ends too early was cut.
    pub(crate) fn read<'a, T: serde::Deserialize<'a>>(&'a self) -> Result<T, Error> {
        serde_json::from_str(&self.0).map_err(|error| {
            if error.is_eof() {
                Error::Truncated(None)
            } else {
                Error::Protocol(Malformed::Json(error.into()))
            }
        })
    }

    /// The body as it came.
    pub(crate) fn text(&self) -> &str {
        &self.0
    }
}

/// What an error's body says; one that is cut or too long is [`ErrorBody::Foreign`].
pub(super) async fn error_body(response: Response<Body>) -> ErrorBody {
    match read(response.into_body(), MAX_ERROR_BYTES).await {
        Ok(body) => ErrorBody::read(&body),
        Err(_unreadable) => ErrorBody::Foreign,
    }
}

async fn read(mut body: Body, limit: usize) -> Result<Vec<u8>, Error> {
    let too_large = Error::TooLarge {
        what: "body",
        limit,
    };
    let length = body
        .length()
        .and_then(|length| usize::try_from(length).ok());
    if length.is_some_and(|length| length > limit) {
        return Err(too_large);
    }
    let mut bytes = Vec::with_capacity(length.unwrap_or_default());
    while poll_fn(|context| body.poll_read(context, |data| bytes.extend_from_slice(data)))
        .await
        .map_err(Error::from_body)?
    {
        if bytes.len() > limit {
            return Err(too_large);
        }
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

/// The printable start of a header's value.
fn printable(value: &[u8]) -> String {
    value
        .iter()
        .take(80)
        .map(|&byte| {
            if byte.is_ascii_graphic() || byte == b' ' {
                char::from(byte)
            } else {
                '?'
            }
        })
        .collect()
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
}
