//! Errors, in the envelope of a recorded vLLM 0.32.

use serde_json::json;

/// A refusal: its HTTP status, and its body.
#[derive(Debug, PartialEq)]
pub(crate) struct Error {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Error {
    /// `param` is the request's field that is wrong.
    pub(crate) fn new(status: u16, message: impl ToString, param: Option<&str>) -> Self {
        let (message, param) = (json!(message.to_string()), json!(param));
        let kind = match status {
            404 => "NotFoundError",
            500.. => "InternalServerError",
            _ => "BadRequestError",
        };
        let body = format!(
            r#"{{"error":{{"message":{message},"type":"{kind}","param":{param},"code":{status}}}}}"#
        );
        Self { status, body }
    }
}
