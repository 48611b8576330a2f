//! The head of an answer, and of a request; pure.

use std::mem::MaybeUninit;

use bytes::{Buf as _, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use httparse::ParserConfig;

use super::{Malformed, framing::Framing};
use crate::upstream::content::Pieces;

/// As many headers as an answer may have; vLLM sends six.
const MAX_HEADERS: usize = 100;

/// The head of an answer.
#[derive(Debug)]
pub(super) struct Head {
    /// Its status and headers.
    pub(super) response: Response<()>,
    /// How its body is delimited.
    pub(super) framing: Framing,
    /// Whether the connection may be used again.
    pub(super) keeps_alive: bool,
}

/// The request as it is sent. Its target is in origin form, and its host is among its headers.
pub(in crate::upstream) fn encode(request: Request<Pieces>) -> Pieces {
    let (parts, body) = request.into_parts();
    let mut head = Vec::with_capacity(512);
    let target = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    for part in [parts.method.as_str(), " ", target, " HTTP/1.1\r\n"] {
        head.extend_from_slice(part.as_bytes());
    }
    for (name, value) in &parts.headers {
        add(&mut head, name, value);
    }
    let length = body.remaining();
    if length > 0 {
        add(&mut head, &header::CONTENT_LENGTH, &length.into());
    }
    head.extend_from_slice(b"\r\n");
    body.after(Bytes::from(head))
}

fn add(head: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
        head.extend_from_slice(part);
    }
}

/// Reads the head that `bytes` begin with, and tells its length; `None` where it is not whole.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Head, usize)>, Malformed> {
    let mut headers = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut []);
    let parsed = ParserConfig::default()
        .parse_response_with_uninit_headers(&mut response, bytes, &mut headers)
        .map_err(Malformed::Head)?;
    let httparse::Status::Complete(length) = parsed else {
        return Ok(None);
    };
    let status = response.code.unwrap_or_default();
    let status = StatusCode::from_u16(status)
        .map_err(|_invalid| Malformed::Head(httparse::Error::Status))?;
    let is_http_1_1 = response.version == Some(1);
    let headers = header_map(response.headers)?;
    let framing = framing(status, &headers, is_http_1_1)?;
    let keeps_alive = is_http_1_1 && framing != Framing::ToEnd && !says_close(&headers);
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    let head = Head {
        response,
        framing,
        keeps_alive,
    };
    Ok(Some((head, length)))
}

fn header_map(headers: &[httparse::Header<'_>]) -> Result<HeaderMap, Malformed> {
    let mut map = HeaderMap::with_capacity(headers.len());
    for header in headers {
        let name = HeaderName::from_bytes(header.name.as_bytes())
            .map_err(|_invalid| Malformed::Head(httparse::Error::HeaderName))?;
        let value = HeaderValue::from_bytes(header.value)
            .map_err(|_invalid| Malformed::Head(httparse::Error::HeaderValue))?;
        map.append(name, value);
    }
    Ok(map)
}

/// RFC 9112, section 6.3, strictly: an answer whose length can be read in two ways is refused.
fn framing(
    status: StatusCode,
    headers: &HeaderMap,
    is_http_1_1: bool,
) -> Result<Framing, Malformed> {
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Malformed::Upgrade);
    }
    if status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
    {
        return Ok(Framing::Length(0));
    }
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let mut encodings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let (length, encoding) = (lengths.next(), encodings.next());
    match (length, encoding) {
        (None, None) => Ok(Framing::ToEnd),
        (Some(length), None) if lengths.all(|other| other == length) => content_length(length),
        (Some(_), _) => Err(Malformed::ContentLength),
        (None, Some(encoding)) => {
            let is_chunked = encoding.as_bytes().eq_ignore_ascii_case(b"chunked");
            if is_chunked && is_http_1_1 && encodings.next().is_none() {
                Ok(Framing::chunked())
            } else {
                Err(Malformed::TransferEncoding)
            }
        }
    }
}

fn content_length(value: &HeaderValue) -> Result<Framing, Malformed> {
    // A number alone: `parse` would take a sign, too.
    let text = value.to_str().ok();
    text.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|text| text.parse().ok())
        .map(Framing::Length)
        .ok_or(Malformed::ContentLength)
}

fn says_close(headers: &HeaderMap) -> bool {
    headers.get_all(header::CONNECTION).iter().any(|value| {
        let mut options = value.as_bytes().split(|&byte| byte == b',');
        options.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(request: Request<Pieces>) -> String {
        let mut pieces = encode(request);
        let bytes = pieces.copy_to_bytes(pieces.remaining());
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    fn head(lines: &str) -> Result<Head, Malformed> {
        let text = format!("HTTP/1.1 200 OK\r\n{lines}\r\n");
        let (head, length) = parse(text.as_bytes())?.unwrap();
        assert_eq!(length, text.len());
        Ok(head)
    }

    #[test]
    fn a_head_gives_status_headers_and_framing() {
        let text = "HTTP/1.1 404 Not Found\r\nserver: uvicorn\r\nContent-Length: 12\r\n\r\nrest";
        let (head, length) = parse(text.as_bytes()).unwrap().unwrap();
        assert_eq!(length, text.len() - 4);
        assert_eq!(head.response.status(), 404);
        assert_eq!(head.response.headers()["server"], "uvicorn");
        assert_eq!(head.framing, Framing::Length(12));
        assert!(head.keeps_alive);
    }

    #[test]
    fn a_head_that_is_not_whole_is_waited_for() {
        let text = "HTTP/1.1 200 OK\r\nserver: uvicorn\r\n\r\n";
        for end in 0..text.len() {
            assert!(parse(&text.as_bytes()[..end]).unwrap().is_none(), "{end}");
        }
    }

    #[test]
    fn what_is_no_head_is_refused() {
        for text in [
            "hello\r\n\r\n",
            "HTTP/2 200 OK\r\n\r\n",
            "HTTP/1.1 2000 OK\r\n\r\n",
            "HTTP/1.1 099 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
            "HTTP/1.1 200 OK\r\na: b\r\n c\r\n\r\n",
            "HTTP/1.1 200 OK\r\na : b\r\n\r\n",
            "HTTP/1.1 200 OK\r\na: b\0\r\n\r\n",
        ] {
            let fault = parse(text.as_bytes()).map(|head| head.is_some());
            assert!(
                matches!(fault, Err(Malformed::Head(_))),
                "{text:?}: {fault:?}"
            );
        }
        let many = "a: b\r\n".repeat(MAX_HEADERS + 1);
        let fault = head(&many).unwrap_err();
        assert_eq!(fault, Malformed::Head(httparse::Error::TooManyHeaders));
    }

    #[test]
    fn the_length_is_told_in_one_way() {
        for (lines, framing) in [
            ("", Ok(Framing::ToEnd)),
            ("content-length: 0\r\n", Ok(Framing::Length(0))),
            ("content-length: 7\r\n", Ok(Framing::Length(7))),
            (
                "content-length: 7\r\ncontent-length: 7\r\n",
                Ok(Framing::Length(7)),
            ),
            (
                "content-length: 7\r\ncontent-length: 8\r\n",
                Err(Malformed::ContentLength),
            ),
            ("content-length: 7, 7\r\n", Err(Malformed::ContentLength)),
            ("content-length: +7\r\n", Err(Malformed::ContentLength)),
            ("content-length: -7\r\n", Err(Malformed::ContentLength)),
            ("content-length:\r\n", Err(Malformed::ContentLength)),
            (
                "content-length: 99999999999999999999\r\n",
                Err(Malformed::ContentLength),
            ),
            ("transfer-encoding: Chunked\r\n", Ok(Framing::chunked())),
            (
                "transfer-encoding: gzip, chunked\r\n",
                Err(Malformed::TransferEncoding),
            ),
            (
                "transfer-encoding: identity\r\n",
                Err(Malformed::TransferEncoding),
            ),
            (
                "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
                Err(Malformed::TransferEncoding),
            ),
            (
                "transfer-encoding: chunked\r\ncontent-length: 7\r\n",
                Err(Malformed::ContentLength),
            ),
        ] {
            assert_eq!(head(lines).map(|head| head.framing), framing, "{lines:?}");
        }
    }

    #[test]
    fn a_status_without_a_body_has_none() {
        for status in ["100 Continue", "103 Early Hints", "204 No Content"] {
            let text = format!("HTTP/1.1 {status}\r\ncontent-length: 5\r\n\r\n");
            let (head, _) = parse(text.as_bytes()).unwrap().unwrap();
            assert_eq!(head.framing, Framing::Length(0), "{status}");
        }
        let upgrade = parse(b"HTTP/1.1 101 Switching Protocols\r\n\r\n");
        assert_eq!(upgrade.unwrap_err(), Malformed::Upgrade);
    }

    #[test]
    fn a_connection_is_kept_unless_the_upstream_says_so() {
        for (lines, keeps_alive) in [
            ("", true),
            ("connection: keep-alive\r\n", true),
            ("connection: close\r\n", false),
            ("connection: x, Close\r\n", false),
        ] {
            let lines = format!("content-length: 0\r\n{lines}");
            assert_eq!(head(&lines).unwrap().keeps_alive, keeps_alive, "{lines:?}");
        }
        assert!(!head("").unwrap().keeps_alive);
        let (old, _) = parse(b"HTTP/1.0 200 OK\r\n\r\n").unwrap().unwrap();
        assert!(!old.keeps_alive);
    }

    #[test]
    fn a_request_is_sent_with_its_length() {
        let request = Request::post("/v1/models?a=b")
            .header("host", "vllm:8000")
            .body(Pieces::from_iter([Bytes::from_static(b"{}")]))
            .unwrap();
        assert_eq!(
            sent(request),
            "POST /v1/models?a=b HTTP/1.1\r\nhost: vllm:8000\r\ncontent-length: 2\r\n\r\n{}"
        );
        let request = Request::get("/version").body(Pieces::default()).unwrap();
        assert_eq!(sent(request), "GET /version HTTP/1.1\r\n\r\n");
    }
}
