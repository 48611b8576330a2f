//! The process itself, as Prometheus's own client libraries tell of it, read at each scrape.

use std::{
    fmt, fs,
    sync::atomic::Ordering::Relaxed,
    time::{SystemTime, UNIX_EPOCH},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
};
use rustix::{
    param,
    process::{Resource, getrlimit},
};

use super::logging::LINES_DROPPED;

/// Tells of this process; of what `/proc` does not say it tells 0.
#[derive(Debug)]
pub(super) struct Process {
    begun: SystemTime,
}

impl Default for Process {
    fn default() -> Self {
        Self {
            begun: SystemTime::now(),
        }
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html, whose third field comes after the program's name.
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let fields: Vec<f64> = (fields.split_whitespace().skip(1))
            .map(|field| field.parse().unwrap_or_default())
            .collect();
        let field = |number: usize| fields.get(number - 4).copied().unwrap_or_default();
        let n_open = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        let most_open = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let begun = self.begun.duration_since(UNIX_EPOCH).unwrap_or_default();
        let ticks = param::clock_ticks_per_second() as f64;
        let counters = [
            (
                "process_cpu_seconds",
                "CPU time",
                (field(14) + field(15)) / ticks,
            ),
            (
                "adapter_log_lines_dropped",
                "Lines of the log that nobody read",
                LINES_DROPPED.load(Relaxed) as f64,
            ),
        ];
        for (name, help, value) in counters {
            let metric = ConstCounter::new(value);
            let kind = metric.metric_type();
            metric.encode(encoder.encode_descriptor(name, help, None, kind)?)?;
        }
        let page = param::page_size() as f64;
        let gauges = [
            (
                "process_resident_memory_bytes",
                "Resident memory",
                field(24) * page,
            ),
            ("process_virtual_memory_bytes", "Virtual memory", field(23)),
            ("process_threads", "Threads", field(20)),
            ("process_open_fds", "Open descriptors", n_open as f64),
            ("process_max_fds", "Most open descriptors", most_open as f64),
            (
                "process_start_time_seconds",
                "Start, since 1970",
                begun.as_secs_f64(),
            ),
        ];
        for (name, help, value) in gauges {
            let metric = ConstGauge::new(value);
            let kind = metric.metric_type();
            metric.encode(encoder.encode_descriptor(name, help, None, kind)?)?;
        }
        Ok(())
    }
}
