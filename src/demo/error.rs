//! What vLLM answers when it refuses.

use hyper::StatusCode;
use serde::Serialize;

/// A refusal: its status, and what its body says.
#[derive(Debug, PartialEq)]
pub(super) struct Rejection {
    pub(super) status: StatusCode,
    message: String,
    kind: &'static str,
    param: Option<String>,
}

/// The body of a refusal, in vLLM's order.
#[derive(Serialize)]
struct Body<'a> {
    error: Error<'a>,
}

#[derive(Serialize)]
struct Error<'a> {
    message: &'a str,
    r#type: &'a str,
    param: Option<&'a str>,
    code: u16,
}

// === impl Rejection ===

impl Rejection {
    /// A body that does not have the right shape, as pydantic puts it. `location` is `body.temperature` or the like.
    pub(super) fn malformed(kind: &str, location: &str, reason: &str, input: &str) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            message: format!(
                "1 validation error:\n  {{'type': '{kind}', 'loc': '{location}', 'msg': '{reason}', 'input': '{input}'}}"
            ),
            kind: "Bad Request",
            param: Some(location.to_owned()),
        }
    }

    /// A body that is not sent as JSON.
    pub(super) fn media_type() -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            message:
                "1 validation error:\n  Unsupported Media Type: Only 'application/json' is allowed"
                    .to_owned(),
            kind: "Bad Request",
            param: None,
        }
    }

    /// A value that vLLM does not take.
    pub(super) fn value(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            message: message.into(),
            kind: "BadRequestError",
            param: None,
        }
    }

    /// A value that vLLM does not take, of a parameter that it names.
    pub(super) fn parameter(message: &str, parameter: &str) -> Self {
        Self {
            param: Some(parameter.to_owned()),
            ..Self::value(format!("{message} (parameter={parameter})"))
        }
    }

    /// The same, with the value.
    pub(super) fn parameter_value(message: &str, parameter: &str, value: &str) -> Self {
        Self {
            param: Some(parameter.to_owned()),
            ..Self::value(format!("{message} (parameter={parameter}, value={value})"))
        }
    }

    /// A model that is not served.
    pub(super) fn model(name: &str) -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            message: format!(
                "The model `{name}` does not exist. Valid aliases: {}.",
                super::MODEL
            ),
            kind: "NotFoundError",
            param: Some("model".to_owned()),
        }
    }

    pub(super) fn body(&self) -> String {
        let body = Body {
            error: Error {
                message: &self.message,
                r#type: self.kind,
                param: self.param.as_deref(),
                code: self.status.as_u16(),
            },
        };
        serde_json::to_string(&body).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_has_the_body_that_vllm_sends() {
        for (rejection, body) in [
            (
                Rejection::model("nope"),
                r#"{"error":{"message":"The model `nope` does not exist. Valid aliases: demo.","type":"NotFoundError","param":"model","code":404}}"#,
            ),
            (
                Rejection::parameter_value(
                    "temperature must be non-negative, got -1.0.",
                    "temperature",
                    "-1.0",
                ),
                r#"{"error":{"message":"temperature must be non-negative, got -1.0. (parameter=temperature, value=-1.0)","type":"BadRequestError","param":"temperature","code":400}}"#,
            ),
            (
                Rejection::malformed(
                    "missing",
                    "body.messages",
                    "Field required",
                    "<dict of 1 items>",
                ),
                r#"{"error":{"message":"1 validation error:\n  {'type': 'missing', 'loc': 'body.messages', 'msg': 'Field required', 'input': '<dict of 1 items>'}","type":"Bad Request","param":"body.messages","code":400}}"#,
            ),
            (
                Rejection::value("n must be at least 1, got 0."),
                r#"{"error":{"message":"n must be at least 1, got 0.","type":"BadRequestError","param":null,"code":400}}"#,
            ),
        ] {
            assert_eq!(rejection.body(), body);
        }
    }
}
