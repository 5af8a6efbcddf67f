//! The cgroups that the nodes' pods are in. They do not end with a process, so their owner removes
//! them.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{Error, Trying};

const ALL: &str = "/sys/fs/cgroup";
const PREFIX: &str = "lockkeeper-node-";
/// How often the removal of a cgroup is tried: it fails while a process in it is ending.
const TRIES: usize = 50;

/// The cgroups of one cluster. They are removed when this is dropped.
pub struct Cgroups {
    name: String,
}

impl Cgroups {
    /// Makes one for each node, in each hierarchy. Removes those of owners that were killed.
    pub fn make(nodes: usize) -> Result<Self, Error> {
        remove_forgotten();
        let cgroups = Self { name: format!("{PREFIX}{}", std::process::id()) };
        for hierarchy in hierarchies() {
            let own = hierarchy.join(&cgroups.name);
            pass_on(&hierarchy);
            for node in 1..=nodes {
                let of_node = own.join(node.to_string());
                fs::create_dir_all(&of_node)
                    .trying(|| format!("making the cgroup {}", of_node.display()))?;
                for (from, to) in [(&hierarchy, &own), (&own, &of_node)] {
                    copy_cpuset(from, to);
                }
            }
            pass_on(&own);
        }
        Ok(cgroups)
    }

    /// Its name below the root of each hierarchy.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        for hierarchy in places() {
            let own = hierarchy.join(&self.name);
            for _ in 0..TRIES {
                if remove(&own) {
                    break;
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    }
}

/// The mounted hierarchies of version 1, or the one of version 2.
fn hierarchies() -> Vec<PathBuf> {
    let all = Path::new(ALL);
    if all.join("cgroup.controllers").exists() {
        return vec![all.to_owned()];
    }
    let mounted = fs::read_dir(all).into_iter().flatten().flatten().map(|entry| entry.path());
    mounted.filter(|path| path.join("tasks").exists()).collect()
}

/// Where any can be: with version 1, runc also makes some in the hierarchy without controllers.
fn places() -> Vec<PathBuf> {
    let all = Path::new(ALL);
    let below = fs::read_dir(all).into_iter().flatten().flatten().map(|entry| entry.path());
    below.filter(|path| path.is_dir()).chain([all.to_owned()]).collect()
}

/// With version 2, lets the cgroups below have what this one has. What is refused here, the kubelet
/// complains about.
fn pass_on(cgroup: &Path) {
    let controllers = fs::read_to_string(cgroup.join("cgroup.controllers")).unwrap_or_default();
    for controller in controllers.split_whitespace() {
        let _ = fs::write(cgroup.join("cgroup.subtree_control"), format!("+{controller}"));
    }
}

/// With version 1, a new cgroup has no CPUs and no memory.
fn copy_cpuset(from: &Path, to: &Path) {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if let Ok(value) = fs::read(from.join(file))
            && from.join("tasks").exists()
        {
            let _ = fs::write(to.join(file), value);
        }
    }
}

/// Removes those of owners that no longer run.
fn remove_forgotten() {
    for hierarchy in places() {
        for entry in fs::read_dir(hierarchy).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Some(owner) = name.strip_prefix(PREFIX)
                && !Path::new("/proc").join(owner).exists()
            {
                remove(&entry.path());
            }
        }
    }
}

/// Removes a cgroup and those in it; whether it is gone.
fn remove(cgroup: &Path) -> bool {
    for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove(&entry.path());
        }
    }
    fs::remove_dir(cgroup).is_ok() || !cgroup.exists()
}
