//! A namespace of one's own, the operator that all share, and how tests wait.

mod governed;
mod http;
mod operator;
pub mod plugin;
mod service;
mod shop;
mod workloads;

use std::{
    fmt::Debug,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
    core::{ApiResource, GroupVersionKind},
};
use local_cluster::shared;
use serde_json::{Value, json};

pub use self::{
    http::{finish_work, http, http_get, start_work, switch},
    operator::{
        OperatorAlone, address_of, admission_is_current, holder, leader, metrics, operator,
        operator_address, operator_alone, replicas, written,
    },
    service::{Service, Way, webhook_service},
    shop::Shop,
};

/// No condition is waited for longer than this.
const PATIENCE: Duration = Duration::from_secs(300);

/// Runs kubectl; its output. It must succeed.
pub fn kubectl(arguments: &[&str]) -> String {
    let mut command = shared().command("kubectl");
    command.args(arguments);
    run(command)
}

/// Runs kubectl with something on its standard input; all that it said.
pub fn kubectl_with(arguments: &[&str], input: &str) -> Said {
    let mut command = shared().command("kubectl");
    command.args(arguments);
    said_with(command, input)
}

/// Runs a program with something on its standard input; all that it said.
pub fn said_with(mut command: Command, input: &str) -> Said {
    use std::io::Write;
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // One that does not read it may have ended.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Said { success: output.status.success(), text }
}

fn run(mut command: Command) -> String {
    let output = command.output().unwrap();
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?} failed:\n{out}{err}");
    out.into_owned()
}

pub async fn client() -> Client {
    let text = std::fs::read_to_string(&shared().kubeconfig).unwrap();
    let config = Config::from_custom_kubeconfig(
        Kubeconfig::from_yaml(&text).unwrap(),
        &KubeConfigOptions::default(),
    )
    .await
    .unwrap();
    Client::try_from(config).unwrap()
}

/// Waits for something, and says what was last seen if it does not come.
pub async fn eventually<T: Debug, F: Future<Output = T>>(
    what: &str,
    mut look: impl FnMut() -> F,
    mut holds: impl FnMut(&T) -> bool,
) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let seen = look().await;
        if holds(&seen) {
            return seen;
        }
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}; last seen: {seen:#?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The same for what blocks.
fn eventually_now<T: Debug>(
    what: &str,
    mut look: impl FnMut() -> T,
    mut holds: impl FnMut(&T) -> bool,
) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let seen = look();
        if holds(&seen) {
            return seen;
        }
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}; last seen: {seen:#?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Whether the message of an attention entry or a condition has all these words.
pub fn says_all(entry: &Value, words: &[&str]) -> bool {
    let message = entry["message"].as_str().unwrap_or_default();
    words.iter().all(|words| message.contains(words))
}

/// An annotation of ours.
pub fn mark(object: &Value, name: &str) -> Option<String> {
    object["metadata"]["annotations"][format!("lockkeeper.dev/{name}")].as_str().map(str::to_owned)
}

/// An environment variable from one key of a ConfigMap.
pub fn env(variable: &str, config_map: &str, key: &str) -> Value {
    json!([{"name": variable, "valueFrom": {"configMapKeyRef": {"name": config_map, "key": key}}}])
}

pub fn resource(kind: &str) -> ApiResource {
    let (group, version) = match kind {
        "Deployment" | "StatefulSet" | "DaemonSet" | "ControllerRevision" | "ReplicaSet" => {
            ("apps", "v1")
        }
        "UpgradePolicy" => ("lockkeeper.dev", "v1alpha1"),
        "Event" => ("events.k8s.io", "v1"),
        "VolumeSnapshot" | "VolumeSnapshotContent" => ("snapshot.storage.k8s.io", "v1"),
        "StorageClass" | "VolumeAttachment" | "CSIDriver" => ("storage.k8s.io", "v1"),
        _ => ("", "v1"),
    };
    let mut resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    if kind == "UpgradePolicy" {
        resource.plural = "upgradepolicies".into();
    }
    resource
}

/// The two kinds of workloads that can be held.
pub const HOLDABLE: [&str; 2] = ["Deployment", "StatefulSet"];

/// The name of a workload of this kind that is changed in this way.
pub fn named(way: &str, kind: &str) -> String {
    format!("{way}-{}", kind.to_lowercase())
}

/// What came of a command.
#[derive(Debug)]
pub struct Said {
    pub success: bool,
    pub text: String,
}
