//! What runs in a container that sleeps.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

const PAUSE: &str = env!("CARGO_BIN_EXE_lockkeeper-pause");

/// The image of the app names the signal that stops it, and most are not SIGTERM.
#[test]
fn p18_a_container_that_sleeps_stops_by_the_signal_that_its_image_names() {
    let signals =
        [Signal::TERM, Signal::INT, Signal::QUIT, Signal::WINCH, Signal::USR1, Signal::HUP];
    for signal in signals {
        let mut child = Command::new(PAUSE).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("its app does not run"), "{line}");
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0), "{signal:?}");
    }
}

#[test]
fn it_installs_itself_also_where_it_was_installed_before_for_everybody() {
    use std::os::unix::fs::PermissionsExt;
    let folder = std::env::temp_dir().join(format!("lockkeeper-pause-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let place = folder.join("lockkeeper-pause");
    for _ in 0..2 {
        let done = Command::new(PAUSE).arg("install").arg(&folder).status().unwrap();
        assert!(done.success());
        assert_eq!(std::fs::metadata(&place).unwrap().permissions().mode() & 0o777, 0o555);
        // What is installed installs too.
        let help = Command::new(&place).arg("help").output().unwrap();
        assert_eq!(help.status.code(), Some(2));
    }
    std::fs::remove_dir_all(&folder).unwrap();
    let missing = Command::new(PAUSE).arg("install").arg(&folder).output().unwrap();
    let said = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(said.contains("copying this program to") && !missing.status.success(), "{said}");
}
