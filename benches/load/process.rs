//! CPU time and memory of a process and its children, from `/proc`.

use std::{fs, io, time::Duration};

use crate::Result;

/// The CPU time, user and system, that a process and its children have used, to the nanosecond.
///
/// Summed over the threads that run, so threads that have ended are lost; the servers here keep theirs.
pub(crate) fn cpu(id: u32) -> Result<Duration> {
    let mut nanoseconds = 0;
    for process in family(id)? {
        for thread in fs::read_dir(format!("/proc/{process}/task"))? {
            // "schedstat" is time on a CPU, time waiting for one, and turns, in nanoseconds.
            let text = fs::read_to_string(thread?.path().join("schedstat"))?;
            let first = text.split(' ').next().unwrap_or_default();
            nanoseconds += first.trim().parse::<u64>()?;
        }
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// The resident memory of a process and its children in bytes; what they share counts for each.
pub(crate) fn resident(id: u32) -> Result<u64> {
    let mut kibibytes = 0;
    for process in family(id)? {
        // Exact, where "VmRSS" of "status" lags behind by some pages a thread.
        let text = fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("Rss:"));
        let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
        kibibytes += number
            .ok_or("/proc/PID/smaps_rollup has no Rss")?
            .parse::<u64>()?;
    }
    Ok(kibibytes * 1024)
}

/// A process and its children; nginx's workers are children of its master.
fn family(id: u32) -> Result<Vec<u32>> {
    let mut family = vec![id];
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(process) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if parent(process)? == Some(id) {
            family.push(process);
        }
    }
    Ok(family)
}

/// `None` where the process has ended.
fn parent(id: u32) -> Result<Option<u32>> {
    let text = match fs::read_to_string(format!("/proc/{id}/stat")) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        // ESRCH: it ended between opening and reading.
        Err(error) if error.raw_os_error() == Some(3) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    // After the name, which is in brackets and may hold anything: the state and the parent.
    let fields = text.rsplit_once(") ").map(|(_, fields)| fields);
    let parent = fields.and_then(|fields| fields.split(' ').nth(1)?.parse().ok());
    Ok(parent)
}
