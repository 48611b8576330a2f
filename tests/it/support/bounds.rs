//! What only `tests/faults.sh` asks of the tests.

/// Whether upper bounds of time, CPU time and memory are checked, which hold on a quiet machine alone.
///
/// Then tests also make as many calls as `docs/FAULTS.md` says, and fewer otherwise.
pub(crate) fn checks_bounds() -> bool {
    std::env::var_os("ADAPTER_TEST_BOUNDS").is_some()
}

/// One of two numbers: where bounds are checked, and elsewhere.
pub(crate) fn scaled<T>(whole: T, scaled_down: T) -> T {
    if checks_bounds() { whole } else { scaled_down }
}
