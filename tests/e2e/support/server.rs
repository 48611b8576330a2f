//! A vLLM that a test starts, to kill it.

use std::{
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use tokio::{
    process::Child,
    sync::{Mutex, MutexGuard},
};

use super::{vllm::Vllm, within};

/// A vLLM needs gigabytes and seconds of two cores to start, so one test at a time starts any.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// A vLLM: an API server, and the engine as its child process.
pub(crate) struct Server {
    pub(crate) vllm: Vllm,
    api_server: u32,
    engine: u32,
    child: Child,
}

/// The turn of a test that starts vLLMs, to be held as long as they run.
pub(crate) async fn turn() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().await
}

impl Server {
    /// Starts one of that kind, with what `tests/vllm/vllm.sh install` put into the directory.
    pub(crate) async fn start(directory: &str, kind: &str, port: u16) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vllm/vllm.sh");
        let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("vllm-{port}.log"));
        let output = File::create(&log).unwrap();
        // The script ends as the API server itself, so the child is that.
        let mut child = tokio::process::Command::new(script)
            .args(["serve", directory, kind, &port.to_string()])
            .env_remove("VLLM_API_KEY")
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let vllm = Vllm::own(format!("http://127.0.0.1:{port}/v1"));
        within(Duration::from_secs(600), "vLLM serves", || {
            let has_ended = child.try_wait().unwrap().is_some();
            assert!(!has_ended, "vLLM ended, see {}", log.display());
            vllm.is_healthy()
        })
        .await;
        let api_server = child.id().unwrap();
        let engine = engine_of(api_server);
        Self {
            vllm,
            api_server,
            engine,
            child,
        }
    }

    pub(crate) fn kill_engine(&self) {
        signal("-KILL", self.engine);
    }

    /// It lives on, and does nothing.
    pub(crate) fn stop_engine(&self) {
        signal("-STOP", self.engine);
    }

    pub(crate) fn kill_api_server(&self) {
        signal("-KILL", self.api_server);
    }

    /// Kills both, and waits until the port refuses.
    pub(crate) async fn kill(&mut self) {
        self.kill_api_server();
        self.kill_engine();
        self.child.wait().await.unwrap();
    }

    pub(crate) fn terminate_api_server(&self) {
        signal("-TERM", self.api_server);
    }
}

impl Drop for Server {
    /// An engine outlives an API server that was killed.
    fn drop(&mut self) {
        signal("-KILL", self.engine);
    }
}

/// The child process that calls itself the engine.
fn engine_of(api_server: u32) -> u32 {
    let is_its_engine = |pid: &u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.starts_with("Name:\tVLLM::Engine")
            && status.contains(&format!("\nPPid:\t{api_server}\n"))
    };
    let processes = fs::read_dir("/proc").unwrap();
    let pids = processes.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    pids.into_iter().find(is_its_engine).expect("an engine")
}

fn signal(name: &str, pid: u32) {
    let pid = pid.to_string();
    // It may be gone already.
    let _sent = Command::new("kill")
        .args([name, &pid])
        .stderr(Stdio::null())
        .status();
}
