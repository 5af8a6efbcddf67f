//! What the process itself uses, under the names that all Prometheus clients give it. Linux has it
//! in /proc, which needs no rights and is there in a container without files too. Elsewhere nothing
//! is served.

use std::fmt::Error;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
};

/// Reads it each time that metrics are requested.
#[derive(Debug)]
pub struct Process;

/// What was read: name, help and value. The first is a counter, the others are gauges.
struct Usage {
    counter: (&'static str, &'static str, f64),
    gauges: Vec<(&'static str, &'static str, f64)>,
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), Error> {
        let Some(usage) = read() else { return Ok(()) };
        let (name, help, value) = usage.counter;
        let counter = ConstCounter::new(value);
        counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        for (name, help, value) in usage.gauges {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}

#[cfg(target_os = "linux")]
fn read() -> Option<Usage> {
    let process = procfs::process::Process::myself().ok()?;
    let stat = process.stat().ok()?;
    let seconds = |ticks: u64| ticks as f64 / procfs::ticks_per_second() as f64;
    let counter = (
        "process_cpu_seconds",
        "CPU time that the process has used",
        seconds(stat.utime.saturating_add(stat.stime)),
    );
    let mut gauges = vec![
        (
            "process_resident_memory_bytes",
            "Memory of the process",
            stat.rss.saturating_mul(procfs::page_size()) as f64,
        ),
        (
            "process_virtual_memory_bytes",
            "Addresses that the process has reserved",
            stat.vsize as f64,
        ),
        ("process_threads", "Threads of the process", stat.num_threads as f64),
    ];
    let boot = procfs::boot_time_secs().ok();
    gauges.extend(boot.map(|boot| {
        (
            "process_start_time_seconds",
            "When the process started, in seconds since 1970",
            boot as f64 + seconds(stat.starttime),
        )
    }));
    gauges.extend(
        process
            .fd_count()
            .ok()
            .map(|count| ("process_open_fds", "Files and connections that are open", count as f64)),
    );
    let limit = process.limits().ok().map(|limits| limits.max_open_files.soft_limit);
    if let Some(procfs::process::LimitValue::Value(limit)) = limit {
        gauges.push((
            "process_max_fds",
            "How many files and connections may be open",
            limit as f64,
        ));
    }
    Some(Usage { counter, gauges })
}

#[cfg(not(target_os = "linux"))]
fn read() -> Option<Usage> {
    None
}
