//! Why there is no whole answer: what is told, and the exit code.

use std::{collections::BTreeMap, error::Error, fmt::Display, io, iter};

use serde_json::{Value, json};
use tonic::{
    Code::{
        self, Aborted, DeadlineExceeded, FailedPrecondition, InvalidArgument, NotFound,
        PermissionDenied, ResourceExhausted, Unauthenticated, Unavailable, Unimplemented,
    },
    Status,
};
use tonic_types::StatusExt;

const FAILED: u8 = 1;
pub(super) const CUT: u8 = 2;
// Of BSD's sysexits, as far as it has them.
const USAGE: u8 = 64;
const UNREACHABLE: u8 = 69;
const TRY_AGAIN: u8 = 75;
/// As a shell counts SIGINT.
pub(super) const INTERRUPTED: u8 = 130;

/// Why there is no whole answer.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) exit: u8,
    message: String,
    /// What is told beside it, by its name.
    facts: Vec<(&'static str, String)>,
}

// === impl Failure ===

impl Failure {
    fn new(exit: u8, message: impl Display) -> Self {
        Self {
            exit,
            message: message.to_string(),
            facts: Vec::new(),
        }
    }

    pub(super) fn with(mut self, name: &'static str, text: impl Into<String>) -> Self {
        self.facts.push((name, text.into()));
        self
    }

    /// A flag or a file cannot be used.
    pub(super) fn usage(name: &str, fault: impl Display) -> Self {
        Self::new(USAGE, format!("{name}: {fault}"))
    }

    pub(super) fn interrupted() -> Self {
        Self::new(INTERRUPTED, "stopped")
    }

    /// Nothing listens at the address, or no adapter.
    pub(super) fn unreachable(address: &str, error: &(dyn Error + 'static)) -> Self {
        let cause = iter::successors(Some(error), |&error| error.source()).last();
        let message = format!(
            "no adapter answers at {address}: {}",
            cause.unwrap_or(error)
        );
        let hint = "start one by `vllm-grpc-adapter demo` or `vllm-grpc-adapter --upstream URL`, or name its --address";
        Self::new(UNREACHABLE, message).with("hint", hint)
    }

    /// The call ended with that status.
    pub(super) fn refused(address: &str, status: &Status) -> Self {
        let details = status.get_error_details();
        let Some(info) = details.error_info() else {
            // Every adapter gives a reason, so that this comes of the connection or of another server.
            return Self::unreachable(address, status);
        };
        let mut failure = Self::new(exit(status.code()), status.message());
        let violations = details.bad_request().map(|it| &it.field_violations[..]);
        // The message says what is wrong with them.
        let fields = violations.unwrap_or_default().iter();
        let fields: Vec<_> = fields.map(|it| it.field.as_str()).collect();
        if !fields.is_empty() {
            failure = failure.with("field", fields.join(", "));
        }
        failure = failure.with("reason", &info.reason);
        let after = details.retry_info().and_then(|it| it.retry_delay);
        let after = after.map(|after| format!("try again in {:.1} s", after.as_secs_f32()));
        if let Some(hint) = hint(&info.reason).map(str::to_owned).or(after) {
            failure = failure.with("hint", hint);
        }
        match details.request_info() {
            Some(request) => failure.with("request", &request.request_id),
            None => failure,
        }
    }

    /// Whether the adapter gave that reason.
    pub(super) fn has_reason(&self, reason: &str) -> bool {
        let mut facts = self.facts.iter();
        facts.any(|(name, text)| *name == "reason" && text == reason)
    }

    /// As lines of text.
    pub(super) fn lines(&self) -> String {
        let facts = self.facts.iter();
        let facts = facts.map(|(name, text)| format!("  {name:<8} {text}\n"));
        iter::once(format!("{}\n", self.message))
            .chain(facts)
            .collect()
    }

    /// As JSON, with the same.
    pub(super) fn json(&self) -> Value {
        let facts = self.facts.iter().map(|(name, text)| (*name, text));
        let all = iter::once(("message", &self.message)).chain(facts);
        json!({"error": all.collect::<BTreeMap<_, _>>()})
    }
}

/// The output cannot be written, or the input read.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(FAILED, error)
    }
}

fn exit(code: Code) -> u8 {
    if matches!(
        code,
        InvalidArgument
            | NotFound
            | FailedPrecondition
            | PermissionDenied
            | Unauthenticated
            | Unimplemented
    ) {
        return USAGE;
    }
    match matches!(
        code,
        Unavailable | ResourceExhausted | DeadlineExceeded | Aborted
    ) {
        true => TRY_AGAIN,
        false => FAILED,
    }
}

/// What the person at the terminal may do, where the reason tells.
fn hint(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "UPSTREAM_CONNECT" | "UPSTREAM_DNS" => {
            "no vLLM answers the adapter: start `vllm serve`, or correct the adapter's --upstream"
        }
        "UPSTREAM_MISROUTED" => {
            "the adapter's --upstream is no base URL of a vLLM, which ends in /v1"
        }
        "UPSTREAM_AUTH" => {
            "vLLM refuses the adapter's key: start the adapter with vLLM's in OPENAI_API_KEY"
        }
        _ => return None,
    })
}
