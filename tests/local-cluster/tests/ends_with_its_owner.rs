//! However the cluster's owner dies, nothing of the cluster stays behind.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Processes that work in this folder.
fn working_in(folder: &Path) -> Vec<PathBuf> {
    let processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    processes
        .filter(|process| {
            fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd.starts_with(folder))
        })
        .collect()
}

#[test]
fn no_process_outlives_an_owner_that_is_killed() {
    let mut owner = Command::new(env!("CARGO_BIN_EXE_local-cluster"))
        .args(["up", "--nodes", "1"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Read from until the end: it would not outlive a pipe that nobody reads.
    let mut lines = BufReader::new(owner.stdout.take().unwrap()).lines().map_while(Result::ok);
    let kubeconfig = lines
        .find_map(|line| line.trim().strip_prefix("export KUBECONFIG=").map(PathBuf::from))
        .unwrap();
    let folder = kubeconfig.parent().unwrap().to_owned();
    assert!(working_in(&folder).len() >= 4, "etcd, API server, scheduler and controllers run");
    owner.kill().unwrap();
    owner.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !working_in(&folder).is_empty() {
        assert!(Instant::now() < deadline, "still there: {:?}", working_in(&folder));
        std::thread::yield_now();
    }
    fs::remove_dir_all(folder).unwrap();
}
