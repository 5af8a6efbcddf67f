//! A cluster whose nodes are real: a kubelet, containerd, runc and a bridge each, in network, mount
//! and process namespaces of their own. Nothing in them reaches anything but themselves. They, their
//! mounts and their interfaces end with their first process, which ends with the process that
//! started it, however that ends.

mod cgroups;
mod images;
mod inside;
mod node;
mod packages;

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};

pub use inside::inside;

use self::cgroups::Cgroups;
use crate::{
    Error, Programs, Trying,
    certificates::Authority,
    cluster::{temporary_folder, write_kubeconfigs},
    exit_code,
    process::bound_command,
};

const NAMESPACES: [&str; 5] = ["--mount", "--net", "--pid", "--fork", "--mount-proc"];

/// What the cluster has besides its control plane.
#[derive(Debug, Clone)]
pub struct RealNodes {
    /// How many nodes.
    pub nodes: usize,
    /// Images that each node has, as tarballs in the OCI layout.
    pub images: Vec<PathBuf>,
    /// What runs in the cluster's network. Empty: the cluster runs until it is told to stop.
    pub command: Vec<String>,
}

/// What the first process in the namespaces is told.
#[derive(Debug, Serialize, Deserialize)]
struct Plan {
    /// The folder of the control plane's programs, kubectl and helm.
    programs: PathBuf,
    kubelet: PathBuf,
    /// The folder of containerd, runc and `cni/`.
    containerd: PathBuf,
    tools: PathBuf,
    images: Vec<PathBuf>,
    nodes: usize,
    cgroup: String,
}

impl Plan {
    const FILE: &str = "plan.json";

    fn write(&self, folder: &Path) -> Result<(), Error> {
        let text = serde_json::to_string(self).unwrap_or_default();
        std::fs::write(folder.join(Self::FILE), text).trying(|| "writing the plan".into())
    }

    fn read(folder: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(folder.join(Self::FILE))
            .trying(|| "reading the plan".into())?;
        serde_json::from_str(&text).map_err(|error| Error::Build(error.to_string()))
    }
}

/// Whether real nodes can run on this machine.
///
/// # Errors
/// When they cannot: why, and what they need.
pub fn possible() -> Result<(), Error> {
    let tried = |program: &str, arguments: &[&str]| {
        packages::run(Command::new(program).args(arguments))
            .map_err(|error| Error::NoRealNodes(error.to_string()))
    };
    if !rustix::process::geteuid().is_root() {
        return Err(Error::NoRealNodes("this is not root".into()));
    }
    tried(
        "unshare",
        &[&NAMESPACES[..], &["--propagation", "private", "mount", "-t", "tmpfs", "none", "/run"]]
            .concat(),
    )?;
    tried("ip", &["-V"])?;
    tried("apt-get", &["--version"])
}

/// Starts a cluster with real nodes, runs the command in it, and ends it; exits as the command did.
///
/// # Errors
/// When a program cannot be built or started, or does not
/// become ready.
pub async fn run(programs: Programs, wanted: RealNodes) -> Result<ExitCode, Error> {
    let (programs, kubelet, containerd, tools) = tokio::task::spawn_blocking(move || {
        let (kubelet, containerd) = (programs.kubelet()?, Programs::containerd()?);
        let tools = packages::find_or_unpack()?;
        Ok::<_, Error>((programs.folder().to_owned(), kubelet, containerd, tools))
    })
    .await
    .map_err(|error| Error::Build(error.to_string()))??;
    let folder = temporary_folder()?;
    let path = folder.path();
    let own = std::env::current_exe().trying(|| "finding this program".into())?;
    certificates(path, wanted.nodes)?;
    let mut all_images = images::write(path, &tools, &own.with_file_name("sample-app"))?;
    for image in &wanted.images {
        let image = image.canonicalize().trying(|| format!("finding {}", image.display()))?;
        all_images.push(image);
    }
    let cgroups = Cgroups::make(wanted.nodes)?;
    let cgroup = cgroups.name().to_owned();
    let search = search_path(&[&programs, &containerd, &tools])?;
    Plan { programs, kubelet, containerd, tools, images: all_images, nodes: wanted.nodes, cgroup }
        .write(path)?;
    // The shell is the namespace's first process: it also takes care of processes that lose their
    // parents, as containerd's do.
    let mut first = bound_command(Path::new("unshare"));
    first
        .args(NAMESPACES)
        .args(["--kill-child", "--propagation", "private", "--"])
        .args(["/bin/sh", "-c", "\"$@\" & wait $!", "sh"])
        .arg(&own)
        .arg("inside")
        .arg(path)
        .arg("--")
        .args(&wanted.command)
        .env("PATH", &search);
    let mut first = first.spawn().trying(|| "starting unshare".into())?;
    if let Some(pid) = first.id() {
        write_entrance(path, pid, &search)?;
    }
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return Ok(ExitCode::FAILURE);
    };
    let status = tokio::select! {
        status = first.wait() => status.ok(),
        _ = interrupt.recv() => None,
        _ = terminate.recv() => None,
    };
    if status.is_none() {
        end(&mut first).await;
    }
    Ok(exit_code(status))
}

/// Ends all processes in the namespaces.
async fn end(first: &mut tokio::process::Child) {
    let inside = first.id().and_then(|pid| {
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
        Pid::from_raw(children.split_whitespace().next()?.parse().ok()?)
    });
    if let Some(inside) = inside {
        // `unshare` ends when it has; then nothing is left in them.
        let _ = kill_process(inside, Signal::KILL);
    } else {
        let _ = first.start_kill();
    }
    let _ = first.wait().await;
}

fn certificates(folder: &Path, nodes: usize) -> Result<(), Error> {
    let authority = Authority::new(folder)?;
    authority.server(
        "server",
        &[
            "127.0.0.1",
            inside::API_SERVER,
            "localhost",
            "kubernetes.default",
            "kubernetes.default.svc",
        ],
    )?;
    authority.key_pair("service-account")?;
    let nodes = (1..=nodes).map(|number| format!("node-{number}"));
    let of_nodes =
        nodes.map(|name| (name.clone(), format!("system:node:{name}"), Some("system:nodes")));
    write_kubeconfigs(folder, &authority, &format!("https://{}:443", inside::API_SERVER), of_nodes)
}

fn search_path(first: &[&Path]) -> Result<std::ffi::OsString, Error> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = first.iter().map(|folder| folder.to_path_buf()).chain(std::env::split_paths(&path));
    std::env::join_paths(all).map_err(|error| Error::Build(error.to_string()))
}

/// Writes `FOLDER/in`, by which a command runs in the namespaces.
fn write_entrance(folder: &Path, pid: u32, search: &std::ffi::OsStr) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt;
    let script = format!(
        "#!/bin/sh\n# Runs a command in the cluster's namespaces: in COMMAND...\n\
         exec nsenter --target {pid} --mount --net --pid=/proc/{pid}/ns/pid_for_children \
         env -C \"$PWD\" PATH='{}' KUBECONFIG='{}/admin.kubeconfig' \"$@\"\n",
        search.to_string_lossy(),
        folder.display()
    );
    let path = folder.join("in");
    std::fs::write(&path, script)
        .and_then(|()| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)))
        .trying(|| format!("writing {}", path.display()))
}
