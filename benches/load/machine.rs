//! The machine that figures were measured on, since they mean nothing without it.

use std::{fs, process::Command, thread};

use serde::Serialize;

use crate::Result;

/// What a reader needs to place the figures.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) cores: usize,
    pub(crate) cpu: String,
    pub(crate) kernel: String,
    pub(crate) rustc: String,
}

// === impl Machine ===

impl Machine {
    pub(crate) fn this() -> Self {
        Self {
            cores: thread::available_parallelism().map_or(0, usize::from),
            cpu: cpu().unwrap_or_else(unknown),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
                .map_or_else(|_unreadable| unknown(), |text| text.trim().to_owned()),
            rustc: rustc().unwrap_or_else(unknown),
        }
    }
}

/// The files that this process and its children may open.
pub(crate) fn open_files() -> Result<u64> {
    let limits = fs::read_to_string("/proc/self/limits")
        .map_err(|error| format!("the benchmark reads /proc, so it runs on Linux only: {error}"))?;
    let soft = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .and_then(|line| line.split_whitespace().next())
        .ok_or("/proc/self/limits lacks the open files")?;
    match soft {
        "unlimited" => Ok(u64::MAX),
        number => Ok(number.parse()?),
    }
}

fn cpu() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Of the compiler in the package's directory, which is the one that cargo used.
fn rustc() -> Option<String> {
    let output = Command::new("rustc").arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (!text.is_empty()).then(|| text.trim().to_owned())
}

fn unknown() -> String {
    "unknown".to_owned()
}
