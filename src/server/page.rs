//! The playground: three files that are built from `web/` and part of this program.

use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use tonic::body::Body;

/// The page may load its own files, speak to its own origin, and show pictures that it holds already; nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HEADERS: [(HeaderName, &str); 5] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    // A new version of the adapter may have a new page.
    (header::CACHE_CONTROL, "no-cache"),
];

/// The file at a path; 404 where there is none.
pub(super) fn file(path: &str) -> Response<Body> {
    let (content_type, bytes) = match path {
        "/" => (
            "text/html; charset=utf-8",
            &include_bytes!("../../web/dist/index.html")[..],
        ),
        "/app.js" => (
            "text/javascript; charset=utf-8",
            &include_bytes!("../../web/dist/app.js")[..],
        ),
        "/style.css" => (
            "text/css; charset=utf-8",
            &include_bytes!("../../web/dist/style.css")[..],
        ),
        _ => return empty(StatusCode::NOT_FOUND),
    };
    let mut response = Response::new(Body::new(http_body_util::Full::from(bytes)));
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A response without a body.
pub(super) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}
