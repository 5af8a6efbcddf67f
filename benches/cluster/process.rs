//! What the kernel says of this machine and of a process on it.

use std::{fs, process::Command, time::Duration};

use jiff::Zoned;

/// The machine, how busy it is, and the date.
pub fn machine() -> String {
    let first = |file: &str, field: &str| {
        let text = fs::read_to_string(file).unwrap();
        let line = text.lines().find(|line| line.starts_with(field)).unwrap_or_default();
        line.split_once(':').map_or_else(String::new, |(_, value)| value.trim().to_owned())
    };
    let cores = std::thread::available_parallelism().unwrap();
    let memory = first("/proc/meminfo", "MemTotal").trim_end_matches(" kB").parse::<f64>().unwrap()
        / (1 << 20) as f64;
    let load = fs::read_to_string("/proc/loadavg").unwrap();
    let load = load.split(' ').next().unwrap();
    let kernel = Command::new("uname")
        .arg("-sr")
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    format!(
        "{}, {cores} cores, {memory:.0} GiB, {}; {}; load before {load}",
        first("/proc/cpuinfo", "model name"),
        kernel.unwrap_or_default(),
        Zoned::now().strftime("%Y-%m-%d %H:%M %Z"),
    )
}

/// The time that a process has spent on processors, all its threads together.
pub fn cpu(pid: u32) -> Duration {
    // In nanoseconds, where /proc/PID/stat has hundredths of a second.
    let on_processor = |folder: fs::DirEntry| {
        let text = fs::read_to_string(folder.path().join("schedstat")).unwrap_or_default();
        text.split(' ').next().and_then(|time| time.parse::<u64>().ok()).unwrap_or_default()
    };
    Duration::from_nanos(
        fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten().map(on_processor).sum(),
    )
}

/// A field of `/proc/PID/status`, in MiB.
pub fn memory(pid: u32, field: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}
