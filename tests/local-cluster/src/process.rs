//! Child processes that never outlive their owner.

use std::{
    ffi::OsStr,
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
};

use tokio::process::{Child, Command};

use crate::{Error, Trying};

/// Lines of a log that an error quotes.
const LOG_LINES: usize = 20;

/// A program of the control plane, with its log.
pub struct Program {
    name: String,
    log: PathBuf,
    child: Child,
}

/// A command that is killed when its owner dies, however that dies: `setpriv`, of Debian's essential util-linux, asks the kernel for it.
pub fn bound_command(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program).kill_on_drop(true).stdin(Stdio::null());
    command
}

impl Program {
    /// Starts a program; its output goes to `FOLDER/NAME.log`.
    pub fn start(path: &Path, folder: &Path, arguments: &[impl AsRef<OsStr>]) -> Result<Self, Error> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let log = folder.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log).trying(|| format!("opening {}", log.display()))?;
        let other = file.try_clone().trying(|| "sharing a log".into())?;
        let child = bound_command(path)
            .args(arguments)
            .current_dir(folder)
            .stdout(file)
            .stderr(other)
            .spawn()
            .trying(|| format!("starting {}", path.display()))?;
        Ok(Self { name, log, child })
    }

    /// An error if it has ended.
    pub fn check(&mut self) -> Result<(), Error> {
        match self.child.try_wait() {
            Ok(Some(status)) => Err(self.error(&format!("ended early ({status})"))),
            _ => Ok(()),
        }
    }

    /// An error about it, with the end of its log.
    pub fn error(&self, what: &str) -> Error {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        let end = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n");
        Error::Program { program: self.name.clone(), what: what.to_owned(), log: end }
    }

    /// Ends it at once: the API server would linger for a minute on SIGTERM, and nothing of the cluster is kept.
    pub async fn kill(&mut self) {
        let _ = self.child.kill().await;
    }
}
