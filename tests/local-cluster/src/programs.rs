//! The Go programs, built once into the user's cache.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};

use crate::{Error, Kubernetes, Trying};

/// The module of etcd and helm, which are the same for each version of Kubernetes.
const TOOLS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tools");
/// The module of containerd, which is the same for each version of the kubelet.
const CONTAINERD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/containerd");
const STRIPPED: &str = "-s -w";

/// The folder with kube-apiserver, kube-controller-manager, kube-scheduler, kubectl, etcd and helm.
#[derive(Debug, Clone)]
pub struct Programs {
    kubernetes: Kubernetes,
    folder: PathBuf,
    /// Where etcd and kube-apiserver come from, if `KUBEBUILDER_ASSETS` names a folder that has
    /// them, and no version was asked for.
    assets: Option<PathBuf>,
}

impl Programs {
    /// Finds the programs of a version, or of the main version, and builds them where they have not
    /// been: 10 to 20 minutes, and 2 GB, once for each version.
    ///
    /// # Errors
    /// When the build fails, or no version has this name.
    pub fn find_or_build(asked: Option<Kubernetes>) -> Result<Self, Error> {
        let assets = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
        let assets = assets.filter(|folder| {
            asked.is_none()
                && folder.join("etcd").exists()
                && folder.join("kube-apiserver").exists()
        });
        let kubernetes = match asked {
            Some(kubernetes) => kubernetes,
            None => "".parse().map_err(Error::Build)?,
        };
        let cache = cache_folder()?;
        fs::create_dir_all(&cache).trying(|| format!("making {}", cache.display()))?;
        let folder = cache.join(checksum(&kubernetes)?);
        once(&folder, |half_built| {
            // From here on a build takes minutes; the one of the tools is shared by all versions.
            let tools = cache.join(checksum_of(&[Path::new(TOOLS)], STRIPPED)?);
            once(&tools, |half_built| {
                eprintln!("building etcd and helm, once: this takes 2 to 5 minutes");
                go_build(Path::new(TOOLS), STRIPPED, half_built)?;
                fs::rename(half_built.join("server"), half_built.join("etcd"))
                    .trying(|| "naming etcd".into())
            })?;
            eprintln!(
                "building Kubernetes {kubernetes} (control plane and kubectl), once: this takes 10 to 20 minutes"
            );
            go_build(&kubernetes.module(), &kubernetes.link_flags(), half_built)?;
            ["etcd", "helm"].iter().try_for_each(|tool| {
                fs::hard_link(tools.join(tool), half_built.join(tool))
                    .trying(|| format!("putting {tool} in place"))
            })
        })?;
        Ok(Self { kubernetes, folder, assets })
    }

    /// The kubelet of their version, built where it has not been: some minutes, once.
    ///
    /// # Errors
    /// When the build fails, or there is no module for it.
    pub fn kubelet(&self) -> Result<PathBuf, Error> {
        let Some(module) = self.kubernetes.kubelet_module() else {
            let newest = Kubernetes::newest_with_kubelet();
            let newest = newest.map(|one| one.to_string()).unwrap_or_default();
            return Err(Error::NoRealNodes(format!(
                "no kubelet of Kubernetes {} can be built, but one of {newest}",
                self.kubernetes
            )));
        };
        let flags = self.kubernetes.link_flags();
        let folder = cache_folder()?.join(checksum_of(&[&module], &flags)?);
        once(&folder, |half_built| {
            eprintln!(
                "building the kubelet of Kubernetes {}, once: this takes 1 to 10 minutes",
                self.kubernetes
            );
            go_build(&module, &flags, half_built)
        })?;
        Ok(folder.join("kubelet"))
    }

    /// The folder with containerd, its shim and ctr, built where they have not been: some minutes,
    /// once. A kubelet of 1.37 or later needs containerd 2, which not every release of Debian has.
    ///
    /// # Errors
    /// When the build fails.
    pub fn containerd() -> Result<PathBuf, Error> {
        let module = Path::new(CONTAINERD);
        let folder = cache_folder()?.join(checksum_of(&[module], STRIPPED)?);
        once(&folder, |half_built| {
            eprintln!("building containerd, once: this takes 1 to 5 minutes");
            go_build(module, STRIPPED, half_built)
        })?;
        Ok(folder)
    }

    /// Their version.
    pub fn kubernetes(&self) -> &Kubernetes {
        &self.kubernetes
    }

    /// The folder, for `PATH`.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The path of a program.
    pub fn path(&self, program: &str) -> PathBuf {
        match &self.assets {
            Some(assets) if matches!(program, "etcd" | "kube-apiserver") => assets.join(program),
            _ => self.folder.join(program),
        }
    }
}

pub(crate) fn cache_folder() -> Result<PathBuf, Error> {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let base = base.ok_or_else(|| {
        Error::Build("neither XDG_CACHE_HOME nor HOME is set, so there is no cache folder".into())
    })?;
    Ok(base.join("lockkeeper").join("local-cluster"))
}

/// Of all that decides what is built.
fn checksum(kubernetes: &Kubernetes) -> Result<String, Error> {
    checksum_of(&[&kubernetes.module(), Path::new(TOOLS)], &kubernetes.link_flags())
}

/// Of the modules' sums and of how they are built.
fn checksum_of(modules: &[&Path], link_flags: &str) -> Result<String, Error> {
    let mut sum = Sha256::new();
    for file in modules.iter().flat_map(|module| [module.join("go.mod"), module.join("go.sum")]) {
        sum.update(fs::read(&file).trying(|| format!("reading {}", file.display()))?);
    }
    sum.update(link_flags);
    Ok(sum.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

/// Builds a folder that is not there. A folder that is there is whole; nobody waits for the build
/// of another.
fn once(folder: &Path, build: impl FnOnce(&Path) -> Result<(), Error>) -> Result<(), Error> {
    if folder.exists() {
        return Ok(());
    }
    let lock = File::create(folder.with_extension("lock")).trying(|| "making a lock".into())?;
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)
        .map_err(|error| Error::Build(error.to_string()))?;
    if folder.exists() {
        return Ok(());
    }
    let half_built = folder.with_extension("building");
    if half_built.exists() {
        fs::remove_dir_all(&half_built).trying(|| "removing a half-built folder".into())?;
    }
    fs::create_dir_all(&half_built).trying(|| "making the programs' folder".into())?;
    build(&half_built)?;
    fs::rename(&half_built, folder).trying(|| "putting the programs in place".into())
}

/// Tells of a build that takes minutes how far it is.
const TELL_EVERY: Duration = Duration::from_secs(20);

fn go(module: &Path) -> Command {
    let mut go = Command::new("go");
    go.current_dir(module).env("CGO_ENABLED", "0");
    go
}

fn go_build(module: &Path, link_flags: &str, into: &Path) -> Result<(), Error> {
    let running = || "running go (is Go installed?)".to_owned();
    // What is in Go's own cache is not compiled, so this is the most that can be.
    let listed = go(module).args(["list", "-deps", "tool"]).output().trying(running)?;
    let most = String::from_utf8_lossy(&listed.stdout).lines().count();
    let mut build = go(module)
        .args(["build", "-v", "-trimpath", "-ldflags", link_flags, "-o"])
        .arg(into)
        .arg("tool")
        .stderr(Stdio::piped())
        .spawn()
        .trying(running)?;
    let (begun, mut told, mut compiled) = (Instant::now(), Instant::now(), 0_usize);
    let printed = build.stderr.take().map(BufReader::new);
    for line in printed.into_iter().flat_map(BufRead::lines).map_while(Result::ok) {
        // With -v, go prints the path of each package that it compiles, and nothing else of them.
        if line.contains(char::is_whitespace) || line.starts_with('#') {
            eprintln!("{line}");
            continue;
        }
        compiled += 1;
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            let seconds = begun.elapsed().as_secs();
            eprintln!("  {compiled} of at most {most} packages compiled after {seconds} s");
        }
    }
    if build.wait().trying(running)?.success() {
        return Ok(());
    }
    Err(Error::Build(format!(
        "go build of {} failed; what it printed stands above",
        module.display()
    )))
}
