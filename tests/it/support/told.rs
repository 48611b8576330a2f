//! What a status tells a program.

use tonic::{Code, Status};
use tonic_types::StatusExt;

/// The code, the reason, and the paths of the fields that are to be mended.
pub(crate) type Told = (Code, String, Vec<String>);

/// What the error of a call tells; a call that ends well fails the test.
#[track_caller]
pub(crate) fn told<T: std::fmt::Debug>(answer: Result<T, Status>) -> Told {
    let status = answer.expect_err("the call ends well");
    let details = status.get_error_details();
    let reason = details.error_info().expect("ErrorInfo").reason.clone();
    assert!(details.request_info().is_some(), "{status:?}");
    let violations = details.bad_request().map(|it| it.field_violations.clone());
    let fields = violations.unwrap_or_default().into_iter();
    let fields = fields.map(|violation| violation.field).collect();
    (status.code(), reason, fields)
}

/// What an error is to tell.
pub(crate) fn telling(code: Code, reason: &str, fields: &[&str]) -> Told {
    let fields = fields.iter().map(|field| (*field).to_owned()).collect();
    (code, reason.to_owned(), fields)
}
