//! The programs of a node besides the kubelet and containerd: Debian's packages, unpacked into the user's cache
//! and not installed.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{Error, Trying, programs::cache_folder};

const PACKAGES: [&str; 3] = ["runc", "containernetworking-plugins", "busybox-static"];
const PROGRAMS: [&str; 2] = ["runc", "busybox"];
/// Of the packages' programs, those that containerd runs for a pod's network.
const NETWORK: [&str; 3] = ["bridge", "host-local", "loopback"];

/// The folder with these programs, and `cni/` with those for the network. Downloads the packages
/// where they have not been: 20 MB, once for each release of the system.
pub fn find_or_unpack() -> Result<PathBuf, Error> {
    let cache = cache_folder()?;
    let folder = cache.join(format!("node-{}", system()));
    if folder.exists() {
        return Ok(folder);
    }
    eprintln!("  packages of a node: {}", PACKAGES.join(", "));
    let new = cache.join(format!("node-new-{}", std::process::id()));
    let unpacked = new.join("unpacked");
    fs::create_dir_all(&unpacked).trying(|| format!("making {}", unpacked.display()))?;
    if download(&unpacked).is_err() {
        // An image of a system has no lists of packages.
        run(Command::new("apt-get").args(["update", "-qq"]))?;
        download(&unpacked)?;
    }
    for entry in fs::read_dir(&unpacked).trying(|| "reading what was downloaded".into())?.flatten()
    {
        if entry.path().extension().is_some_and(|extension| extension == "deb") {
            run(Command::new("dpkg").arg("-x").arg(entry.path()).arg(&unpacked))?;
        }
    }
    let (programs, network) = (new.join("programs"), new.join("programs/cni"));
    fs::create_dir_all(&network).trying(|| "making the programs' folder".into())?;
    let into = |folder: &Path, names: &[&str]| {
        names.iter().try_for_each(|name| {
            let program = find(&unpacked, name).ok_or_else(|| {
                Error::Build(format!("none of the packages {PACKAGES:?} has a program {name}"))
            })?;
            fs::copy(program, folder.join(name)).trying(|| format!("copying {name}"))?;
            Ok::<_, Error>(())
        })
    };
    into(&programs, &PROGRAMS)?;
    into(&network, &NETWORK)?;
    // Another process may have been faster.
    if !folder.exists() {
        fs::rename(&programs, &folder).trying(|| "putting the programs in place".into())?;
    }
    fs::remove_dir_all(&new).trying(|| "removing what was downloaded".into())?;
    Ok(folder)
}

fn download(to: &Path) -> Result<(), Error> {
    run(Command::new("apt-get").args(["download", "-q"]).args(PACKAGES).current_dir(to))
}

/// Runs a program; what it printed is told when it fails.
pub fn run(command: &mut Command) -> Result<(), Error> {
    let output = command.output().trying(|| format!("running {command:?}"))?;
    if output.status.success() {
        return Ok(());
    }
    let printed = String::from_utf8_lossy(&output.stderr);
    Err(Error::Build(format!("{command:?} failed: {}", printed.trim())))
}

/// A program of this name; not its completion for a shell, which has the same name.
fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().find_map(|entry| {
        let kind = entry.file_type().ok()?;
        if kind.is_dir() {
            return find(&entry.path(), name);
        }
        let runs = || entry.metadata().is_ok_and(|about| about.permissions().mode() & 0o111 != 0);
        (kind.is_file() && entry.file_name() == name && runs()).then(|| entry.path())
    })
}

/// The release of this system, such as `debian-12`.
fn system() -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        line.unwrap_or_default().trim_matches('"').to_owned()
    };
    format!("{}-{}-{}", value("ID="), value("VERSION_ID="), std::env::consts::ARCH)
}
