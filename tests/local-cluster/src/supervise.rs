//! Waits for what runs in a cluster, and for those who end it.

use std::process::{ExitCode, ExitStatus};

use tokio::signal::unix::{SignalKind, signal};

use crate::Error;

/// Until `work` is done, or somebody tells us to stop; on SIGUSR1 `revive` restarts what has ended.
/// None if it was stopped.
pub async fn supervise<T>(
    work: impl Future<Output = T>,
    mut revive: impl AsyncFnMut() -> Result<(), Error>,
) -> Option<T> {
    tokio::pin!(work);
    let (Ok(mut interrupt), Ok(mut terminate), Ok(mut told)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
        signal(SignalKind::user_defined1()),
    ) else {
        return None;
    };
    loop {
        tokio::select! {
            done = &mut work => return Some(done),
            _ = interrupt.recv() => return None,
            _ = terminate.recv() => return None,
            _ = told.recv() => {
                if let Err(error) = revive().await {
                    eprintln!("local-cluster: {error}");
                }
            }
        }
    }
}

/// As a process ended; a failure if that is not known.
pub fn exit_code(status: Option<ExitStatus>) -> ExitCode {
    let code = status.and_then(|status| status.code()).and_then(|code| u8::try_from(code).ok());
    code.map_or(ExitCode::FAILURE, ExitCode::from)
}
