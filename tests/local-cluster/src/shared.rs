//! The cluster that all tests of a run share.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

/// Names the kubeconfig of the cluster to use.
pub const KUBECONFIG: &str = "LOCKKEEPER_TEST_KUBECONFIG";
/// Names the folder with kubectl and helm.
pub const BIN: &str = "LOCKKEEPER_TEST_BIN";
/// The process that restarts the API server on SIGUSR1.
pub const SUPERVISOR: &str = "LOCKKEEPER_TEST_SUPERVISOR";

/// The cluster of this run: one that `local-cluster run` started around the tests, or an existing one that the environment names.
#[derive(Debug)]
pub struct Shared {
    /// Its administrator's kubeconfig.
    pub kubeconfig: PathBuf,
    /// The folder with kubectl and helm.
    pub bin: PathBuf,
    supervisor: Option<u32>,
}

/// The cluster of this run.
///
/// # Panics
/// When there is none; the message says how to get one.
pub fn shared() -> &'static Shared {
    static SHARED: OnceLock<Shared> = OnceLock::new();
    SHARED.get_or_init(|| {
        let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
        let Some(kubeconfig) = variable(KUBECONFIG) else {
            panic!("these tests need a cluster: run them with `make test`, or `cargo run -p local-cluster -- run -- cargo test …`");
        };
        let supervisor = std::env::var(SUPERVISOR).ok().and_then(|pid| pid.parse().ok());
        Shared { kubeconfig, bin: variable(BIN).unwrap_or_default(), supervisor }
    })
}

impl Shared {
    /// The path of kubectl or helm.
    pub fn program(&self, name: &str) -> PathBuf {
        if self.bin.as_os_str().is_empty() { PathBuf::from(name) } else { self.bin.join(name) }
    }

    /// A command of kubectl or helm against this cluster.
    pub fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.program(name));
        command.env("KUBECONFIG", &self.kubeconfig);
        command
    }

    /// Tells the supervisor to kill the API server and start it anew. Returns false on a cluster that is not ours.
    ///
    /// # Errors
    /// When the supervisor cannot be told.
    pub fn restart_api_server(&self) -> std::io::Result<bool> {
        let Some(pid) = self.supervisor.and_then(|pid| rustix::process::Pid::from_raw(i32::try_from(pid).ok()?)) else { return Ok(false) };
        rustix::process::kill_process(pid, rustix::process::Signal::USR1)?;
        Ok(true)
    }

    /// The process of a program of the control plane. None on a cluster that is not ours.
    pub fn process(&self, program: &str) -> Option<u32> {
        let supervisor = self.supervisor?.to_string();
        let is_it = |pid: &u32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let parent = |rest: &str| rest.split_whitespace().nth(1).is_some_and(|parent| parent == supervisor);
            stat.rsplit_once(')').is_some_and(|(name, rest)| name.ends_with(&format!("({program}")) && parent(rest))
        };
        let all = std::fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        all.into_iter().find(is_it)
    }

    /// Starts a program of this machine against this cluster; it ends with this process.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(&self, program: &Path, arguments: &[&str], log: std::fs::File) -> std::io::Result<Child> {
        Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program)
            .args(arguments)
            .env("KUBECONFIG", &self.kubeconfig)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
    }
}
