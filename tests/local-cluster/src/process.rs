//! Child processes that never outlive their owner.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
};

use tokio::process::{Child, Command};

use crate::{Error, Trying};

/// Lines of a log that an error quotes.
const LOG_LINES: usize = 20;

/// Notes the process of a running program as `NAME.pid` beside its log, so that a test can end or
/// freeze it.
pub fn note(log: &Path, child: &Child) -> std::io::Result<()> {
    let Some(pid) = child.id() else { return Ok(()) };
    // Put in place at once: nobody reads half of it.
    let half = log.with_extension("pid.new");
    std::fs::write(&half, pid.to_string())?;
    std::fs::rename(half, log.with_extension("pid"))
}

/// A program of the control plane, with its log.
pub struct Program {
    path: PathBuf,
    folder: PathBuf,
    arguments: Vec<String>,
    child: Child,
}

/// A command that is killed when its owner dies, however that dies: `setpriv`, of Debian's
/// essential util-linux, asks the kernel for it.
pub fn bound_command(program: &Path) -> Command {
    bound(&[], program)
}

/// The same, for a program whose memory is limited to so many bytes: if it asks for more, it ends,
/// as a container does at its limit.
pub fn limited_command(program: &Path, memory: u64) -> Command {
    bound(&["prlimit", &format!("--data={memory}"), "--"], program)
}

fn bound(through: &[&str], program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "--"])
        .args(through)
        .arg(program)
        .kill_on_drop(true)
        .stdin(Stdio::null());
    command
}

impl Program {
    /// Starts a program; its output goes to `FOLDER/NAME.log`.
    pub fn start(path: &Path, folder: &Path, arguments: Vec<String>) -> Result<Self, Error> {
        let child = spawn(path, folder, &arguments)?;
        Ok(Self { path: path.to_owned(), folder: folder.to_owned(), arguments, child })
    }

    /// Starts it again if it has ended.
    pub fn revive(&mut self) -> Result<(), Error> {
        if self.check().is_err() {
            self.child = spawn(&self.path, &self.folder, &self.arguments)?;
        }
        Ok(())
    }

    /// From its next start on, it is the program of this name in another folder.
    pub fn replace_by(&mut self, path: impl FnOnce(&str) -> PathBuf) {
        self.path = path(&name_of(&self.path));
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
        let log = std::fs::read_to_string(log_of(&self.path, &self.folder)).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        let end = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n");
        Error::Program { program: name_of(&self.path), what: what.to_owned(), log: end }
    }

    /// Ends it at once: the API server would linger for a minute on SIGTERM, and nothing of the
    /// cluster is kept.
    pub async fn kill(&mut self) {
        let _ = self.child.kill().await;
    }
}

fn name_of(program: &Path) -> String {
    program.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn log_of(program: &Path, folder: &Path) -> PathBuf {
    folder.join(format!("{}.log", name_of(program)))
}

fn spawn(path: &Path, folder: &Path, arguments: &[String]) -> Result<Child, Error> {
    let log = log_of(path, folder);
    let file = File::options()
        .create(true)
        .append(true)
        .open(&log)
        .trying(|| format!("opening {}", log.display()))?;
    let other = file.try_clone().trying(|| "sharing a log".into())?;
    let child = bound_command(path)
        .args(arguments)
        .current_dir(folder)
        .stdout(file)
        .stderr(other)
        .spawn()
        .trying(|| format!("starting {}", path.display()))?;
    note(&log, &child).trying(|| format!("noting the process of {}", path.display()))?;
    Ok(child)
}
