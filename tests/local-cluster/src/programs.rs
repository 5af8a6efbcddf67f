//! The Go programs, built once into the user's cache.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use sha2::{Digest, Sha256};

use crate::{Error, Trying};

const KUBERNETES: (&str, &str, &str) = ("v1.36.3", "1", "36");
const MODULES: [&str; 2] = ["controlplane", "tools"];

/// The folder with kube-apiserver, kube-controller-manager, kube-scheduler, kubectl, etcd and helm.
#[derive(Debug, Clone)]
pub struct Programs {
    folder: PathBuf,
    /// Where etcd and kube-apiserver come from, if `KUBEBUILDER_ASSETS` names a folder that has
    /// them.
    assets: Option<PathBuf>,
}

impl Programs {
    /// Finds the programs, and builds them where they have not been: some minutes, and 2 GB, once.
    ///
    /// # Errors
    /// When the build fails.
    pub fn find_or_build() -> Result<Self, Error> {
        let modules = Path::new(env!("CARGO_MANIFEST_DIR"));
        let cache = cache_folder()?;
        fs::create_dir_all(&cache).trying(|| format!("making {}", cache.display()))?;
        let folder = cache.join(checksum(modules)?);
        let lock = File::create(cache.join("lock")).trying(|| "making the lock file".into())?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)
            .map_err(|error| Error::Build(error.to_string()))?;
        if !folder.exists() {
            build(modules, &folder)?;
        }
        let assets = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
        let assets = assets.filter(|folder| {
            folder.join("etcd").exists() && folder.join("kube-apiserver").exists()
        });
        Ok(Self { folder, assets })
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

fn cache_folder() -> Result<PathBuf, Error> {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let base = base.ok_or_else(|| {
        Error::Build("neither XDG_CACHE_HOME nor HOME is set, so there is no cache folder".into())
    })?;
    Ok(base.join("lockkeeper").join("local-cluster"))
}

/// Of the modules' sums and of how they are built.
fn checksum(modules: &Path) -> Result<String, Error> {
    let mut sum = Sha256::new();
    for file in MODULES.iter().flat_map(|module| {
        [modules.join(module).join("go.mod"), modules.join(module).join("go.sum")]
    }) {
        sum.update(fs::read(&file).trying(|| format!("reading {}", file.display()))?);
    }
    sum.update(link_flags());
    Ok(sum.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

fn link_flags() -> String {
    let (version, major, minor) = KUBERNETES;
    let package = "k8s.io/component-base/version";
    format!(
        "-s -w -X {package}.gitVersion={version} -X {package}.gitMajor={major} -X {package}.gitMinor={minor}"
    )
}

fn build(modules: &Path, folder: &Path) -> Result<(), Error> {
    eprintln!(
        "building etcd, the Kubernetes control plane, kubectl and helm, once: this takes 5 to 15 minutes"
    );
    let half_built = folder.with_extension("building");
    if half_built.exists() {
        fs::remove_dir_all(&half_built).trying(|| "removing a half-built folder".into())?;
    }
    fs::create_dir_all(&half_built).trying(|| "making the programs' folder".into())?;
    for module in MODULES {
        eprintln!("  go build: {module}");
        let built = Command::new("go")
            .args(["build", "-trimpath", "-ldflags", &link_flags(), "-o"])
            .arg(&half_built)
            .arg("tool")
            .current_dir(modules.join(module))
            .env("CGO_ENABLED", "0")
            .status()
            .trying(|| "running go (is Go installed?)".into())?;
        if !built.success() {
            return Err(Error::Build(format!(
                "go build of {module} failed; what it printed stands above"
            )));
        }
    }
    fs::rename(half_built.join("server"), half_built.join("etcd"))
        .trying(|| "naming etcd".into())?;
    fs::rename(&half_built, folder).trying(|| "putting the programs in place".into())
}
