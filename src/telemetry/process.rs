//! The process itself, as Prometheus's own client libraries tell of it, read at each scrape.

use std::{fmt, fs, sync::atomic::Ordering::Relaxed, time::SystemTime};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
};
use rustix::{
    param::{clock_ticks_per_second, page_size},
    process::{Resource, getrlimit},
};

use super::logging::LINES_DROPPED;

/// Tells of this process; where there is no `/proc`, zeros.
#[derive(Debug)]
pub(super) struct Process(SystemTime);

impl Default for Process {
    fn default() -> Self {
        Self(SystemTime::now())
    }
}

/// Each with its help; the first two are counters.
const METRICS: [(&str, &str); 8] = [
    ("adapter_log_lines_dropped", "Lines that nobody read"),
    ("process_cpu_seconds", "CPU time"),
    ("process_max_fds", "Most open descriptors"),
    ("process_open_fds", "Open descriptors"),
    ("process_resident_memory_bytes", "Memory"),
    ("process_start_time_seconds", "Start, since 1970"),
    ("process_threads", "Threads"),
    ("process_virtual_memory_bytes", "Virtual memory"),
];

impl Process {
    /// In the order of [`METRICS`].
    fn values(&self) -> [f64; 8] {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        // By the numbers of proc_pid_stat(5). The second is the name, which may hold anything.
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let fields: Vec<_> = fields.split(' ').collect();
        let field = |n: usize| fields.get(n - 2)?.parse::<f64>().ok();
        let field = |n| field(n).unwrap_or_default();
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let begun = self.0.duration_since(SystemTime::UNIX_EPOCH);
        [
            LINES_DROPPED.load(Relaxed) as f64,
            (field(14) + field(15)) / clock_ticks_per_second() as f64,
            limit as f64,
            fs::read_dir("/proc/self/fd").map_or(0, Iterator::count) as f64,
            field(24) * page_size() as f64,
            begun.unwrap_or_default().as_secs_f64(),
            field(20),
            field(23),
        ]
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for (n, ((name, help), value)) in METRICS.into_iter().zip(self.values()).enumerate() {
            let (counter, gauge) = (ConstCounter::new(value), ConstGauge::new(value));
            let metric: &dyn EncodeMetric = if n < 2 { &counter } else { &gauge };
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)?;
        }
        Ok(())
    }
}
