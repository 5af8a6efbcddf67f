//! The operator that all tests share, and those that have it for themselves.

use std::sync::{Once, RwLock, RwLockReadGuard, RwLockWriteGuard};

use local_cluster::shared;

use super::{eventually, http_get, kubectl, run};

/// Tests that need the operator to go on hold it for reading; those that stop it, for writing.
static OPERATOR: RwLock<()> = RwLock::new(());

static INSTALLED: Once = Once::new();

/// The operator as it is installed; it goes on while this is held.
pub fn operator() -> RwLockReadGuard<'static, ()> {
    let guard = OPERATOR.read().unwrap_or_else(|poisoned| poisoned.into_inner());
    INSTALLED.call_once(|| helm(&[]));
    guard
}

/// The operator, for a test that stops it or sets it up otherwise. It is as it was when this is
/// dropped.
pub struct OperatorAlone {
    _guard: RwLockWriteGuard<'static, ()>,
}

pub fn operator_alone() -> OperatorAlone {
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    assert!(
        test.ends_with("_exclusively"),
        "{test}: by this ending of its name it is run before the others, which it would make wait"
    );
    let guard = OPERATOR.write().unwrap_or_else(|poisoned| poisoned.into_inner());
    INSTALLED.call_once(|| helm(&[]));
    OperatorAlone { _guard: guard }
}

impl OperatorAlone {
    /// Scales it to nothing, and waits until its pod is gone.
    pub fn stop(&self) {
        kubectl(&["scale", "deployment/lockkeeper", "-n", "lockkeeper-system", "--replicas=0"]);
        kubectl(&[
            "wait",
            "--for=delete",
            "pod",
            "-l",
            "app.kubernetes.io/name=lockkeeper",
            "-n",
            "lockkeeper-system",
            "--timeout=30s",
        ]);
    }

    /// Starts it, and waits until it is ready.
    pub fn start(&self) {
        kubectl(&["scale", "deployment/lockkeeper", "-n", "lockkeeper-system", "--replicas=2"]);
        ready();
    }

    /// Ends one of its replicas without a word.
    pub fn kill_one(&self, pod: &str) {
        match shared().container("lockkeeper-system", pod, "lockkeeper") {
            Some(process) => process.kill().unwrap(),
            // Not the local cluster. Its node may tell it to stop first.
            None => drop(kubectl(&[
                "delete",
                "pod",
                pod,
                "-n",
                "lockkeeper-system",
                "--grace-period=0",
                "--force",
            ])),
        }
    }

    /// Ends one of its replicas without a word, with its pod.
    pub fn lose_one(&self, pod: &str) {
        kubectl(&["delete", "pod", pod, "-n", "lockkeeper-system", "--grace-period=0", "--force"]);
    }

    /// Tells one of its replicas to stop.
    pub fn stop_one(&self, pod: &str) {
        kubectl(&["delete", "pod", pod, "-n", "lockkeeper-system", "--wait=false"]);
    }

    /// Ends all its replicas without a word.
    pub fn kill(&self) {
        kubectl(&[
            "delete",
            "pod",
            "-l",
            "app.kubernetes.io/name=lockkeeper",
            "-n",
            "lockkeeper-system",
            "--grace-period=0",
            "--force",
        ]);
    }

    /// Waits until it is ready.
    pub fn ready(&self) {
        ready();
    }

    /// Upgrades the release with these values.
    pub fn set(&self, values: &[&str]) {
        helm(values);
    }
}

impl Drop for OperatorAlone {
    fn drop(&mut self) {
        let restored = std::panic::catch_unwind(|| helm(&[]));
        // A second panic would end all tests without a word about the first.
        if let Err(why) = restored
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(why);
        }
    }
}

fn helm(values: &[&str]) {
    // One whose uninstallation was refused can only be uninstalled, as helm has it.
    let history = shared()
        .command("helm")
        .args(["status", "lockkeeper", "-n", "lockkeeper-system"])
        .output()
        .unwrap();
    if String::from_utf8_lossy(&history.stdout).contains("STATUS: uninstalling") {
        let mut command = shared().command("helm");
        command.args(["uninstall", "lockkeeper", "-n", "lockkeeper-system", "--no-hooks"]);
        run(command);
    }
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/lockkeeper");
    let mut command = shared().command("helm");
    command.args([
        "upgrade",
        "--install",
        "lockkeeper",
        chart,
        "-n",
        "lockkeeper-system",
        "--create-namespace",
        "--force-conflicts",
    ]);
    command.args(["--set", "settings.logLevel=info\\,lockkeeper=debug"]);
    for value in values {
        command.args(["--set", value]);
    }
    run(command);
    ready();
}

fn ready() {
    kubectl(&[
        "rollout",
        "status",
        "deployment/lockkeeper",
        "-n",
        "lockkeeper-system",
        "--timeout=60s",
    ]);
}

/// The names of the operator's pods.
pub fn replicas() -> Vec<String> {
    let names = "jsonpath={.items[*].metadata.name}";
    let names = kubectl(&[
        "get",
        "pods",
        "-n",
        "lockkeeper-system",
        "-l",
        "app.kubernetes.io/name=lockkeeper",
        "-o",
        names,
    ]);
    names.split_whitespace().map(str::to_owned).collect()
}

/// The name of the pod that acts, by the Lease; empty when it was let go.
pub fn leader() -> String {
    holder().split('_').next().unwrap_or_default().to_owned()
}

/// The process that acts, by the Lease; empty when it was let go.
pub fn holder() -> String {
    let holder = "jsonpath={.spec.holderIdentity}";
    kubectl(&[
        "get",
        "lease",
        "lockkeeper",
        "-n",
        "lockkeeper-system",
        "--ignore-not-found",
        "-o",
        holder,
    ])
}

/// The address of a pod of the operator's; empty if it has none, or is gone.
pub fn address_of(pod: &str) -> String {
    kubectl(&[
        "get",
        "pod",
        pod,
        "-n",
        "lockkeeper-system",
        "--ignore-not-found",
        "-o",
        "jsonpath={.status.podIP}",
    ])
}

/// Where the replica that acts answers, once there is one.
pub async fn operator_address() -> String {
    let acting = || async { Some(leader()).filter(|leader| replicas().contains(leader)) };
    address_of(&eventually("a replica acts", acting, Option::is_some).await.unwrap_or_default())
}

/// What a replica has written or tried to write, by its own account.
pub fn written(address: &str) -> Vec<String> {
    let metrics = http_get(address, "/metrics").unwrap_or_default();
    let writes = metrics.lines().filter(|line| {
        line.starts_with("lockkeeper_actions_total") && !line.contains("outcome=\"NotSent\"")
    });
    writes.map(str::to_owned).collect()
}
