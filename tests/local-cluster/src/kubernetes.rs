//! The versions of Kubernetes that can be built here: one Go module for each.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    str::FromStr,
};

/// Where the modules of the control plane are, in folders with the names of versions.
pub(crate) const MODULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/controlplane");
/// Where the modules of the kubelet are, in the same way.
const KUBELETS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/kubelet");
/// The version that everything is tested on.
const MAIN: &str = "1.37";
/// Each module names its version in a line that begins with this.
const REQUIRED: &str = "k8s.io/kubernetes v";

/// A version of Kubernetes that can be built here, such as 1.36.3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kubernetes {
    minor: u16,
    version: String,
}

impl Kubernetes {
    /// All of them, the oldest first.
    pub fn all() -> Vec<Self> {
        let folders = fs::read_dir(MODULES).into_iter().flatten().flatten();
        let mut all: Vec<_> = folders.filter_map(|folder| Self::of(&folder.path())).collect();
        all.sort_by_key(|one| one.minor);
        all
    }

    /// What a module builds.
    fn of(module: &Path) -> Option<Self> {
        let name = module.file_name()?.to_str()?;
        let minor = name.strip_prefix("1.")?.parse().ok()?;
        let text = fs::read_to_string(module.join("go.mod")).ok()?;
        let version = text.lines().find_map(|line| line.trim().strip_prefix(REQUIRED))?;
        let version = version.split_whitespace().next()?.to_owned();
        Some(Self { minor, version })
    }

    /// The minor version, such as `1.36`.
    pub fn name(&self) -> String {
        format!("1.{}", self.minor)
    }

    /// As the API server and the nodes report it, such as `v1.36.3`.
    pub fn reported(&self) -> String {
        format!("v{}", self.version)
    }

    pub(crate) fn module(&self) -> PathBuf {
        Path::new(MODULES).join(self.name())
    }

    /// The newest version that real nodes can have.
    pub fn newest_with_kubelet() -> Option<Self> {
        Self::all().into_iter().rfind(|one| one.kubelet_module().is_some())
    }

    pub(crate) fn kubelet_module(&self) -> Option<PathBuf> {
        Some(Path::new(KUBELETS).join(self.name())).filter(|module| module.exists())
    }

    pub(crate) fn link_flags(&self) -> String {
        let (package, minor, reported) =
            ("k8s.io/component-base/version", self.minor, self.reported());
        format!(
            "-s -w -X {package}.gitVersion={reported} -X {package}.gitMajor=1 -X {package}.gitMinor={minor}"
        )
    }
}

/// As a user names it: `1.36`, `v1.36.3`, or nothing for the main version.
impl FromStr for Kubernetes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let asked = text.strip_prefix('v').unwrap_or(text);
        let asked = if asked.is_empty() { MAIN } else { asked };
        let all = Self::all();
        all.iter().find(|one| one.name() == asked || one.version == asked).cloned().ok_or_else(
            || {
                let known: Vec<_> = all.iter().map(ToString::to_string).collect();
                format!("there is no module for Kubernetes {asked}, only for {}", known.join(", "))
            },
        )
    }
}

impl fmt::Display for Kubernetes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.version)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_version_is_named_by_its_minor_or_in_full_and_without_a_name_it_is_the_main_one() {
        let main: Kubernetes = "".parse().unwrap();
        assert_eq!(main.name(), MAIN);
        for name in [main.name(), main.to_string(), main.reported()] {
            assert_eq!(name.parse::<Kubernetes>().unwrap(), main);
        }
        let refused = "1.12".parse::<Kubernetes>().unwrap_err();
        assert!(refused.contains(&main.to_string()), "{refused}");
        assert!("1.36.0".parse::<Kubernetes>().is_err());
    }

    #[test]
    fn every_module_builds_the_version_that_its_folder_names() {
        let all = Kubernetes::all();
        assert_eq!(all.len(), fs::read_dir(MODULES).unwrap().count() - 1, "besides module.sh");
        for one in &all {
            assert!(one.version.starts_with(&format!("{}.", one.name())), "{one:?}");
            let sums = fs::read_to_string(one.module().join("go.sum")).unwrap();
            let of_version = format!("k8s.io/kubernetes {} h1:", one.reported());
            assert!(sums.contains(&of_version));
            if let Some(module) = one.kubelet_module() {
                let sums = fs::read_to_string(module.join("go.sum")).unwrap();
                assert!(sums.contains(&of_version), "{}", module.display());
            }
        }
    }
}
