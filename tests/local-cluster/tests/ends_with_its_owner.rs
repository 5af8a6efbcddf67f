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

/// Cgroups of clusters with real nodes.
fn cgroups() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from("/sys/fs/cgroup")];
    // Those of version 1 are one level down.
    for _ in 0..2 {
        let entries = folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten();
        let below: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        found.extend(
            below
                .iter()
                .filter(|path| {
                    path.file_name()
                        .is_some_and(|name| name.to_string_lossy().starts_with("lockkeeper-node-"))
                })
                .cloned(),
        );
        folders = below.into_iter().filter(|path| path.is_dir() && !path.is_symlink()).collect();
    }
    found
}

/// What the machine has that a node could leave behind.
fn interfaces_and_mounts() -> (Vec<String>, usize) {
    let interfaces = fs::read_dir("/sys/class/net").unwrap().flatten();
    let mut names: Vec<_> =
        interfaces.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    (names, fs::read_to_string("/proc/self/mountinfo").unwrap().lines().count())
}

#[test]
#[ignore = "needs real nodes: make node"]
fn nothing_of_a_real_node_is_left_when_its_owner_ends_in_either_way() {
    let before = interfaces_and_mounts();
    for signal in ["KILL", "TERM"] {
        let mut owner = Command::new(env!("CARGO_BIN_EXE_local-cluster"))
            .args(["up", "--real-node", "--nodes", "1"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(owner.stdout.take().unwrap()).lines().map_while(Result::ok);
        let enter = lines
            .find_map(|line| line.trim().strip_suffix(" kubectl get nodes").map(PathBuf::from))
            .unwrap();
        let folder = enter.parent().unwrap().to_owned();
        let nodes = Command::new(&enter).args(["kubectl", "get", "nodes", "-o", "name"]).output();
        assert_eq!(String::from_utf8_lossy(&nodes.unwrap().stdout).trim(), "node/node-1");
        assert!(working_in(&folder).len() >= 6, "the control plane, containerd and kubelet run");
        let own = format!("lockkeeper-node-{}", owner.id());
        assert!(cgroups().iter().any(|path| path.ends_with(&own)), "it has cgroups");
        let (signal_flag, pid) = (format!("-{signal}"), owner.id().to_string());
        assert!(Command::new("kill").args([&signal_flag, &pid]).status().unwrap().success());
        owner.wait().unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while !working_in(&folder).is_empty() {
            assert!(Instant::now() < deadline, "still there: {:?}", working_in(&folder));
            std::thread::yield_now();
        }
        assert_eq!(interfaces_and_mounts(), before, "no interface and no mount is left");
        if signal == "KILL" {
            // The next start removes what a killed owner could not.
            fs::remove_dir_all(folder).unwrap();
            continue;
        }
        assert!(!folder.exists(), "its files are gone");
        let left: Vec<_> = cgroups().into_iter().filter(|path| path.ends_with(&own)).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}
