//! What runs in the containers of a workload that sleeps, in place of the app: nothing. People can
//! run commands beside it with `kubectl exec`.
//!
//! It is one static program, since images without a shell and without libraries can sleep too. The
//! init container that admission adds copies it into a volume, and the other containers run it from
//! there.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
mod container;

const USAGE: &str =
    "lockkeeper-pause runs in containers of workloads that Lockkeeper has put to sleep.

  lockkeeper-pause                    wait until the container is terminated
  lockkeeper-pause install DIRECTORY  copy this program into a directory";

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let words: Vec<_> = arguments.iter().map(|word| word.to_str()).collect();
    #[cfg(target_os = "linux")]
    let done = match words[..] {
        [] => container::wait(),
        [Some("install"), Some(directory)] => container::install(directory.as_ref()),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    #[cfg(not(target_os = "linux"))]
    let done = Err::<(), _>(format!(
        "containers of this system cannot sleep ({} arguments)\n{USAGE}",
        words.len()
    ));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lockkeeper-pause: {error}");
            ExitCode::FAILURE
        }
    }
}
