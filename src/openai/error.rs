//! Error bodies, in every shape that vLLM and the proxies before it send.

use serde::Deserialize;
use serde_json::value::RawValue;

/// What an error body says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ErrorBody {
    /// `{"error":{…}}`, or the flat object of vLLM before 0.10.1: the engine itself speaks.
    Engine(EngineError),
    /// `{"error":"…"}`: vLLM's key check and its scaling, which run before any route.
    Gate(String),
    /// `{"detail":"…"}`, or nothing where vLLM's front end is the one in Rust: its router has no such route or method.
    Router,
    /// Anything else, as a proxy's page. It is not vLLM's word.
    Foreign,
}

/// `ErrorInfo` (vLLM 0.33).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct EngineError {
    pub(crate) message: String,
    /// The word for the kind, as `BadRequestError`.
    pub(crate) kind: String,
    /// The request's field, as `temperature` or `body.temperature`.
    pub(crate) param: Option<String>,
    /// The HTTP status; a word on servers that follow OpenAI.
    pub(crate) code: Option<Code>,
}

/// `code`: vLLM sends the HTTP status as a number, older ones and other servers a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    Status(u16),
    Word(String),
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    object: Option<String>,
    #[serde(borrow)]
    detail: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Fields<'a> {
    message: Option<String>,
    r#type: Option<String>,
    param: Option<String>,
    #[serde(borrow)]
    code: Option<&'a RawValue>,
}

impl ErrorBody {
    /// Reads a body; what is no error object is [`ErrorBody::Foreign`].
    pub(crate) fn read(body: &[u8]) -> Self {
        if body.is_empty() {
            return Self::Router;
        }
        let Some(envelope) = std::str::from_utf8(body)
            .ok()
            .and_then(|text| serde_json::from_str::<Envelope<'_>>(text).ok())
        else {
            return Self::Foreign;
        };
        match envelope.error {
            Some(error) => Self::read_error(error.get()),
            None if envelope.object.as_deref() == Some("error") => Self::read_fields(body),
            None if envelope
                .detail
                .is_some_and(|detail| detail.get().starts_with('"')) =>
            {
                Self::Router
            }
            None => Self::Foreign,
        }
    }

    /// The error that an answer holds, whatever stands beside it; fails where the answer is no JSON object.
    pub(crate) fn find(answer: &str) -> serde_json::Result<Option<Self>> {
        let envelope: Envelope<'_> = serde_json::from_str(answer)?;
        Ok(match envelope.error {
            Some(error) => Some(Self::read_error(error.get())),
            None if envelope.object.as_deref() == Some("error") => {
                Some(Self::read_fields(answer.as_bytes()))
            }
            None => None,
        })
    }

    /// Reads the value of an `error` member.
    pub(crate) fn read_error(json: &str) -> Self {
        match serde_json::from_str::<String>(json) {
            Ok(text) => Self::Gate(text),
            Err(_no_string) => Self::read_fields(json.as_bytes()),
        }
    }

    fn read_fields(json: &[u8]) -> Self {
        let Ok(fields) = serde_json::from_slice::<Fields<'_>>(json) else {
            return Self::Foreign;
        };
        Self::Engine(EngineError {
            message: fields.message.unwrap_or_default(),
            kind: fields.r#type.unwrap_or_default(),
            param: fields.param.filter(|param| !param.is_empty()),
            code: fields.code.and_then(|code| Code::read(code.get())),
        })
    }

    /// The HTTP status that the body itself names.
    pub(crate) fn status(&self) -> Option<u16> {
        match self {
            Self::Engine(EngineError {
                code: Some(Code::Status(status)),
                ..
            }) => Some(*status),
            Self::Engine(_) | Self::Gate(_) | Self::Router | Self::Foreign => None,
        }
    }
}

impl Code {
    fn read(json: &str) -> Option<Self> {
        if let Ok(status) = serde_json::from_str::<u16>(json) {
            return Some(Self::Status(status));
        }
        let word = serde_json::from_str::<String>(json).ok()?;
        Some(word.parse().map_or(Self::Word(word), Self::Status))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engine(message: &str, kind: &str, param: Option<&str>, code: Option<Code>) -> ErrorBody {
        ErrorBody::Engine(EngineError {
            message: message.to_owned(),
            kind: kind.to_owned(),
            param: param.map(str::to_owned),
            code,
        })
    }

    #[test]
    fn every_shape_is_read() {
        let rows: [(&str, ErrorBody); 12] = [
            // vLLM since 0.10.1.
            (
                r#"{"error":{"message":"m","type":"BadRequestError","param":"stop","code":400}}"#,
                engine(
                    "m",
                    "BadRequestError",
                    Some("stop"),
                    Some(Code::Status(400)),
                ),
            ),
            // vLLM 0.6 to 0.10.0.
            (
                r#"{"object":"error","message":"m","type":"NotFoundError","param":null,"code":404}"#,
                engine("m", "NotFoundError", None, Some(Code::Status(404))),
            ),
            // The same inside an event of a stream.
            (
                r#"{"error":{"object":"error","message":"m","type":"t","param":null,"code":"500"}}"#,
                engine("m", "t", None, Some(Code::Status(500))),
            ),
            // OpenAI and those who follow it.
            (
                r#"{"error":{"message":"m","type":"t","code":"content_filter"}}"#,
                engine(
                    "m",
                    "t",
                    None,
                    Some(Code::Word("content_filter".to_owned())),
                ),
            ),
            (r#"{"error":{}}"#, engine("", "", None, None)),
            (
                r#"{"error":"Unauthorized"}"#,
                ErrorBody::Gate("Unauthorized".to_owned()),
            ),
            (r#"{"detail":"Not Found"}"#, ErrorBody::Router),
            (r#"{"detail":[{"loc":["body"]}]}"#, ErrorBody::Foreign),
            (r#"{"error":7}"#, ErrorBody::Foreign),
            ("<html>502</html>", ErrorBody::Foreign),
            ("", ErrorBody::Router),
            (r#"{"error":{"message":"cut o"#, ErrorBody::Foreign),
        ];
        for (body, read) in rows {
            assert_eq!(ErrorBody::read(body.as_bytes()), read, "{body}");
        }
        assert_eq!(ErrorBody::read(b"\"\xff\""), ErrorBody::Foreign);
    }
}
