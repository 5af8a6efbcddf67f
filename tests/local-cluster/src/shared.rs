//! The cluster that all tests of a run share.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

/// Names the kubeconfig of the cluster to use.
pub const KUBECONFIG: &str = "LOCKKEEPER_TEST_KUBECONFIG";
/// Names the folder with kubectl and helm.
pub const BIN: &str = "LOCKKEEPER_TEST_BIN";
/// The process that, on SIGUSR1, restarts what has ended of the control plane.
pub const SUPERVISOR: &str = "LOCKKEEPER_TEST_SUPERVISOR";

/// Names the folder of a cluster with real nodes.
pub const REAL_NODE: &str = "LOCKKEEPER_TEST_REAL_NODE";

/// The cluster of this run: one that `local-cluster run` started around the tests, or an existing
/// one that the environment names.
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
            panic!("these tests need a cluster: run them with `make test`, or `target/debug/local-cluster run -- cargo test …`");
        };
        let supervisor = std::env::var(SUPERVISOR).ok().and_then(|pid| pid.parse().ok());
        Shared { kubeconfig, bin: variable(BIN).unwrap_or_default(), supervisor }
    })
}

/// A process of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process(Pid);

impl Process {
    fn noted(file: &Path) -> Option<Self> {
        Pid::from_raw(std::fs::read_to_string(file).ok()?.parse().ok()?).map(Self)
    }

    /// Its id.
    pub fn id(self) -> u32 {
        self.0.as_raw_nonzero().get().unsigned_abs()
    }

    /// Ends it, as the kernel does when there is no memory left: without a word. It has ended when
    /// this returns.
    ///
    /// # Errors
    /// When it has ended already.
    pub fn kill(self) -> std::io::Result<()> {
        kill_process(self.0, Signal::KILL)?;
        while self.runs() {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Whether it has not ended; its owner may not know yet that it has.
    fn runs(self) -> bool {
        let state = std::fs::read_to_string(format!("/proc/{}/stat", self.id()));
        state.is_ok_and(|state| {
            state.rsplit(')').next().is_some_and(|rest| !rest.trim_start().starts_with(['Z', 'X']))
        })
    }

    /// Stops it where it is, its connections open, until what this returns is dropped.
    ///
    /// # Errors
    /// When it has ended.
    pub fn freeze(self) -> std::io::Result<Frozen> {
        kill_process(self.0, Signal::STOP)?;
        Ok(Frozen(self.0))
    }
}

/// A process that stands still. It goes on when this is dropped.
#[derive(Debug)]
pub struct Frozen(Pid);

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::CONT);
    }
}

/// Programs of the control plane are gone. They are started again when this is dropped.
#[derive(Debug)]
pub struct Outage(Pid);

impl Drop for Outage {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::USR1);
    }
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

    /// A program of the control plane. None on a cluster that is not ours.
    pub fn control_plane(&self, program: &str) -> Option<Process> {
        self.supervisor
            .and_then(|_| Process::noted(&self.kubeconfig.with_file_name(format!("{program}.pid"))))
    }

    /// The process of a pod's container that runs as one. None on a cluster that is not ours.
    pub fn container(&self, namespace: &str, pod: &str, container: &str) -> Option<Process> {
        let folder = self.kubeconfig.with_file_name("pods").join(namespace).join(pod);
        self.supervisor.and_then(|_| Process::noted(&folder.join(format!("{container}.pid"))))
    }

    /// Ends programs of the control plane without a word; they have their ports and their data when
    /// they come back. None on a cluster that is not ours.
    ///
    /// # Errors
    /// When one has ended already.
    pub fn outage(&self, programs: &[&str]) -> std::io::Result<Option<Outage>> {
        let Some(supervisor) =
            self.supervisor.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?))
        else {
            return Ok(None);
        };
        let outage = Outage(supervisor);
        programs
            .iter()
            .filter_map(|program| self.control_plane(program))
            .try_for_each(Process::kill)?;
        Ok(Some(outage))
    }

    /// Starts a program of this machine against this cluster; it ends with this process.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(
        &self,
        program: &Path,
        arguments: &[&str],
        log: std::fs::File,
    ) -> std::io::Result<Child> {
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
