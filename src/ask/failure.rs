//! Why there is no whole answer: what is told, and the exit code.

use std::{error::Error, fmt, io, iter};

use serde_json::{Value, json};
use tonic::{Code, Status};
use tonic_types::StatusExt;

pub(super) const EXIT_CUT: u8 = 2;
const EXIT_FAILED: u8 = 1;
// Of BSD's sysexits, as far as it has them.
const EXIT_USAGE: u8 = 64;
const EXIT_UNREACHABLE: u8 = 69;
const EXIT_TRY_AGAIN: u8 = 75;
/// As a shell counts SIGINT.
pub(super) const EXIT_INTERRUPTED: u8 = 130;

/// Why there is no whole answer. Texts are empty where there is nothing to tell.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) exit: u8,
    message: String,
    pub(super) hint: String,
    refusal: Option<Box<Refusal>>,
}

/// What the adapter told beside the message.
#[derive(Debug, Default)]
struct Refusal {
    /// That of `google.rpc.ErrorInfo`.
    reason: String,
    /// gRPC's name of the code.
    code: String,
    /// Paths of wrong fields, each with what is wrong.
    fields: Vec<(String, String)>,
    request_id: String,
}

// === impl Failure ===

impl Failure {
    fn new(exit: u8, message: impl fmt::Display) -> Self {
        Self {
            exit,
            message: message.to_string(),
            hint: String::new(),
            refusal: None,
        }
    }

    /// A flag or a file cannot be used.
    pub(super) fn usage(name: &str, fault: impl fmt::Display) -> Self {
        Self::new(EXIT_USAGE, format!("{name}: {fault}"))
    }

    pub(super) fn interrupted() -> Self {
        Self::new(EXIT_INTERRUPTED, "stopped")
    }

    /// Nothing listens at the address, or no adapter.
    pub(super) fn unreachable(address: &str, error: &(dyn Error + 'static)) -> Self {
        let cause = iter::successors(Some(error), |&error| error.source()).last();
        let message = format!(
            "no adapter answers at {address}: {}",
            cause.unwrap_or(error)
        );
        Self {
            hint: "start one with `vllm-grpc-adapter demo` or `vllm-grpc-adapter --upstream URL`, or say with --address where it is".to_owned(),
            ..Self::new(EXIT_UNREACHABLE, message)
        }
    }

    /// The call ended with that status.
    pub(super) fn refused(address: &str, status: &Status) -> Self {
        let details = status.get_error_details();
        let Some(info) = details.error_info() else {
            // Every adapter gives a reason, so that this comes of the connection or of another server.
            return Self::unreachable(address, status);
        };
        let fields = details.bad_request().into_iter();
        let fields = fields.flat_map(|it| &it.field_violations);
        let after = details.retry_info().and_then(|it| it.retry_delay);
        let after = after.map(|after| format!("try again in {:.1} s", after.as_secs_f32()));
        let request_id = details.request_info().map(|it| it.request_id.clone());
        let refusal = Refusal {
            reason: info.reason.clone(),
            code: name(status.code()),
            fields: fields
                .map(|it| (it.field.clone(), it.description.clone()))
                .collect(),
            request_id: request_id.unwrap_or_default(),
        };
        Self {
            hint: hint(&info.reason).map_or(after.unwrap_or_default(), str::to_owned),
            refusal: Some(Box::new(refusal)),
            ..Self::new(exit(status.code()), status.message())
        }
    }

    /// Whether the adapter gave that reason.
    pub(super) fn has_reason(&self, reason: &str) -> bool {
        self.refusal.as_ref().is_some_and(|it| it.reason == reason)
    }

    /// As lines of text.
    pub(super) fn lines(&self) -> String {
        let mut lines = format!("{}\n", self.message);
        let mut line = |name: &str, text: &str| {
            if !text.is_empty() {
                lines += &format!("  {name:<8} {text}\n");
            }
        };
        let refusal = self.refusal.as_deref();
        for (field, description) in refusal.into_iter().flat_map(|it| &it.fields) {
            match self.message.contains(description) {
                true => line("field", field),
                false => line("field", &format!("{field}: {description}")),
            }
        }
        if let Some(Refusal { reason, code, .. }) = refusal {
            line("reason", &format!("{reason} ({code})"));
        }
        line("hint", &self.hint);
        line("request", refusal.map_or("", |it| &it.request_id));
        lines
    }

    /// As JSON, with the same.
    pub(super) fn json(&self) -> Value {
        let refusal = self.refusal.as_deref();
        let fields = refusal.into_iter().flat_map(|it| &it.fields);
        let fields = fields.map(|it| json!({"field": it.0, "description": it.1}));
        json!({"error": {
            "message": self.message,
            "reason": refusal.map(|it| &it.reason),
            "code": refusal.map(|it| &it.code),
            "fields": fields.collect::<Vec<_>>(),
            "hint": self.hint,
            "request_id": refusal.map(|it| &it.request_id),
        }})
    }
}

/// The output cannot be written, or the input read.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(EXIT_FAILED, error)
    }
}

fn exit(code: Code) -> u8 {
    match code {
        Code::InvalidArgument
        | Code::NotFound
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::Unimplemented => EXIT_USAGE,
        Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded | Code::Aborted => {
            EXIT_TRY_AGAIN
        }
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::AlreadyExists
        | Code::Internal
        | Code::DataLoss => EXIT_FAILED,
    }
}

/// `NOT_FOUND` of `NotFound`.
fn name(code: Code) -> String {
    let mut name = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.extend(letter.to_uppercase());
    }
    name
}

/// What the person at the terminal may do, where the reason tells.
fn hint(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "UPSTREAM_CONNECT" | "UPSTREAM_DNS" => {
            "no vLLM answers the adapter: start `vllm serve`, or correct the adapter's --upstream"
        }
        "UPSTREAM_MISROUTED" => {
            "the adapter's --upstream is not a base URL of a vLLM: it ends in /v1"
        }
        "UPSTREAM_AUTH" => {
            "vLLM refuses the adapter's key: start the adapter with vLLM's --api-key in OPENAI_API_KEY"
        }
        "CONTEXT_LENGTH_EXCEEDED" => {
            "ask for less: prompt and answer are longer than the model's context"
        }
        "REQUEST_TOO_LARGE" => "send less, or raise the adapter's --max-request-bytes",
        _ => return None,
    })
}
