//! The running test once more, as a process of its own that can be killed.

use std::{env, process::Stdio};

use tokio::process::{Child, Command};

/// Tells the second process what it is for.
const ROLE: &str = "ADAPTER_TEST_ROLE";

/// The second process; dropping it kills it.
pub(crate) struct Twin(Child);

/// What this process is for; `None` in the test itself.
pub(crate) fn role() -> Option<String> {
    env::var(ROLE).ok()
}

// === impl Twin ===

impl Twin {
    /// Runs the test of that full name again.
    pub(crate) fn start(test: &str, role: &str) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        command
            .args(["--exact", test])
            .env(ROLE, role)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        Self(command.spawn().unwrap())
    }

    /// As `kill -9` does.
    pub(crate) async fn kill(mut self) {
        self.0.kill().await.unwrap();
    }
}
