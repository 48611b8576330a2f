//! Upper bounds of time, CPU time and memory, which hold only on a machine that does nothing else.

/// Whether the tests check them; `tests/faults.sh` sets the variable.
pub(crate) fn checks_bounds() -> bool {
    std::env::var_os("ADAPTER_TEST_BOUNDS").is_some()
}
