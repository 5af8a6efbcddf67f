//! What it does in a container.

use std::{fs, io, os::unix::fs::PermissionsExt, path::Path};

use rustix::process::WaitOptions;
use signal_hook::{
    consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH},
    iterator::Signals,
};

/// Its name, wherever it stands.
const NAME: &str = "lockkeeper-pause";
/// The containers run it under whatever user their images name.
const FOR_ALL: u32 = 0o555;

/// What tells a container to stop. The image of the app says which signal that is, and the first
/// process of a container ignores those that it does not listen to: nginx has SIGQUIT, httpd
/// SIGWINCH, and systemd SIGRTMIN+3, which is 37.
const STOP: [i32; 8] = [SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2, SIGWINCH, 37];

/// Copies this program into a directory.
///
/// # Errors
/// Where it cannot be written there.
pub fn install(directory: &Path) -> Result<(), String> {
    let (ours, place) = ("/proc/self/exe", directory.join(NAME));
    let copied = || {
        // A container that restarts finds the copy of its last run, which nobody may write to.
        match fs::remove_file(&place) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::copy(ours, &place)?;
        fs::set_permissions(&place, fs::Permissions::from_mode(FOR_ALL))
    };
    copied().map_err(|error| format!("copying this program to {}: {error}", place.display()))
}

/// Waits until the container is told to stop. As the first process of its container it inherits what
/// `kubectl exec` leaves behind, and must wait for it to end.
///
/// # Errors
/// Where signals cannot be listened to.
pub fn wait() -> Result<(), String> {
    let mut signals = Signals::new(STOP.iter().chain(&[SIGCHLD]))
        .map_err(|error| format!("listening for signals: {error}"))?;
    println!(
        "This container sleeps: its app does not run. Lockkeeper starts the app when the maintenance of its workload ends."
    );
    for signal in signals.forever() {
        if signal != SIGCHLD {
            break;
        }
        // One signal may stand for several.
        while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {}
    }
    Ok(())
}
