//! A container as it runs.

use std::{os::unix::process::ExitStatusExt, time::Duration};

use k8s_openapi::api::core::v1::Container;
use tokio::{process::Child, time::Instant};

/// For at least so long a container that ended is reported so, before it is restarted.
const SEEN_TERMINATED: Duration = Duration::from_millis(300);
/// The kubelet's are ten times as long: 10 s, doubled up to 300 s.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_secs(10);
/// What ran for so long did not crash too often.
const RAN_WELL: Duration = Duration::from_secs(20);

pub struct Run {
    pub container: Container,
    /// None before it starts, and for an image that is not known.
    pub process: Option<Child>,
    /// When to look at it again: to restart it, or to probe it.
    pub due: Option<Instant>,
    /// It has ended and is restarted; for so long it first waits as one that crashes too often.
    pub restart: Option<Duration>,
    pub readiness_failures: i32,
    pub liveness_failures: i32,
    backoff: Duration,
}

impl Run {
    pub fn new(container: Container) -> Self {
        let (readiness_failures, liveness_failures) = (0, 0);
        Self {
            container,
            process: None,
            due: None,
            restart: None,
            readiness_failures,
            liveness_failures,
            backoff: Duration::ZERO,
        }
    }

    /// It has ended after it ran for this long. The first restart comes at once; of later back-offs
    /// it is reported as terminated for the first half, and as waiting for the second.
    pub fn exited(&mut self, again: bool, ran: Duration) {
        (self.process, self.due, self.restart) = (None, None, None);
        if !again {
            return;
        }
        if ran >= RAN_WELL {
            self.backoff = Duration::ZERO;
        }
        let half = self.backoff / 2;
        self.restart = Some(half);
        self.due = Some(Instant::now() + half.max(SEEN_TERMINATED));
        self.backoff = (self.backoff * 2).clamp(FIRST_BACKOFF, LONGEST_BACKOFF);
    }

    /// SIGTERM.
    pub fn signal(&self) {
        let pid = self.process.as_ref().and_then(Child::id);
        if let Some(pid) =
            pid.and_then(|pid| rustix::process::Pid::from_raw(i32::try_from(pid).ok()?))
        {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
    }

    /// SIGKILL.
    pub async fn kill(&mut self) {
        if let Some(process) = &mut self.process {
            let _ = process.kill().await;
        }
        self.process = None;
    }

    /// SIGTERM, and SIGKILL at the end of the grace period. How it ended.
    pub async fn terminate(&mut self, grace: Duration) -> i32 {
        self.signal();
        let Some(process) = &mut self.process else { return 0 };
        if let Ok(status) = tokio::time::timeout(grace, process.wait()).await {
            return status.map_or(1, exit_code);
        }
        self.kill().await;
        137
    }
}

/// As the kubelet reports it: 128 and the signal's number if it was killed.
pub fn exit_code(status: std::process::ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}
