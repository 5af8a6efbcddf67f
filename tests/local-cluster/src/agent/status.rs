//! The status of a pod, as the kubelet reports it.

use k8s_openapi::{api::core::v1::Pod, jiff::Timestamp};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

/// Where a container is.
#[derive(Debug, Clone, PartialEq)]
pub enum State {
    /// Not running, for this reason.
    Waiting(&'static str, String),
    /// Running since.
    Running(Timestamp),
    /// Ended.
    Terminated(Exit),
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Exit {
    /// Its exit code; 128 and the signal's number if it was killed.
    pub code: i32,
    /// When it had been started.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
}

/// A container's status.
#[derive(Debug, Clone)]
pub struct ContainerState {
    /// Its name.
    pub name: String,
    /// Its image.
    pub image: String,
    /// Whether it is an init container, and whether it goes on running as a sidecar.
    pub init: bool,
    /// Whether it goes on running, init container or not.
    pub stays: bool,
    /// Where it is.
    pub state: State,
    /// How it ended before.
    pub last: Option<Exit>,
    /// How often it was started anew.
    pub restarts: u32,
    /// Whether it passes its readiness probe.
    pub ready: bool,
}

/// Reports a pod's status. Says whether the pod is still there.
pub async fn report(client: &Client, pod: &Pod, address: &str, containers: &[ContainerState], started: Timestamp) -> bool {
    let api: Api<Pod> = Api::namespaced(client.clone(), pod.metadata.namespace.as_deref().unwrap_or_default());
    let body = json!({"metadata": {"uid": pod.metadata.uid}, "status": status(pod, address, containers, started)});
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    match api.patch_status(name, &PatchParams::default(), &Patch::Strategic(body)).await {
        Ok(_) => true,
        Err(kube::Error::Api(status)) => !matches!(status.code, 404 | 409),
        Err(_) => true,
    }
}

fn status(pod: &Pod, address: &str, containers: &[ContainerState], started: Timestamp) -> Value {
    let of = |init: bool| containers.iter().filter(|one| one.init == init).map(container).collect::<Vec<_>>();
    let initialized = containers.iter().filter(|one| one.init).all(|one| match &one.state {
        State::Terminated(exit) => exit.code == 0,
        State::Running(_) => one.stays,
        State::Waiting(..) => false,
    });
    let ready = containers.iter().filter(|one| one.stays).all(|one| one.ready && matches!(one.state, State::Running(_)));
    let now = second(Timestamp::now());
    let condition = |kind: &str, holds: bool| {
        let status = if holds { "True" } else { "False" };
        let before = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let same =
            before.filter(|before| before.type_ == kind && before.status == status).find_map(|before| before.last_transition_time.clone());
        let reason = if holds || kind == "PodScheduled" { Value::Null } else { json!("ContainersNotReady") };
        json!({"type": kind, "status": status, "reason": reason, "lastTransitionTime": same.map_or(json!(now), |time| json!(time))})
    };
    json!({
        "phase": phase(pod, containers, initialized),
        "podIP": address,
        "podIPs": [{"ip": address}],
        "hostIP": "127.0.0.1",
        "hostIPs": [{"ip": "127.0.0.1"}],
        "startTime": second(started),
        "conditions": [
            condition("PodReadyToStartContainers", true), condition("Initialized", initialized), condition("Ready", ready && initialized),
            condition("ContainersReady", ready && initialized), condition("PodScheduled", true),
        ],
        "initContainerStatuses": of(true),
        "containerStatuses": of(false),
        "qosClass": pod.status.as_ref().and_then(|status| status.qos_class.clone()),
    })
}

fn phase(pod: &Pod, containers: &[ContainerState], initialized: bool) -> &'static str {
    let main: Vec<_> = containers.iter().filter(|one| !one.init).collect();
    let policy = pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()).unwrap_or("Always");
    let exits: Vec<_> =
        main.iter().filter_map(|one| if let State::Terminated(exit) = &one.state { Some(exit.code) } else { None }).collect();
    let init_failed =
        policy == "Never" && containers.iter().any(|one| one.init && matches!(&one.state, State::Terminated(exit) if exit.code != 0));
    match policy {
        _ if init_failed => "Failed",
        "Never" | "OnFailure" if exits.len() == main.len() && exits.iter().all(|code| *code == 0) => "Succeeded",
        "Never" if exits.len() == main.len() => "Failed",
        _ if initialized
            && main.iter().any(|one| {
                !matches!(one.state, State::Waiting("ContainerCreating" | "PodInitializing" | "CreateContainerConfigError", _))
            }) =>
        {
            "Running"
        }
        _ => "Pending",
    }
}

fn container(one: &ContainerState) -> Value {
    let running = matches!(one.state, State::Running(_));
    let state = match &one.state {
        State::Waiting(reason, message) => json!({"waiting": {"reason": reason, "message": message}, "running": null, "terminated": null}),
        State::Running(since) => json!({"running": {"startedAt": second(*since)}, "waiting": null, "terminated": null}),
        State::Terminated(exit) => json!({"terminated": terminated(exit), "running": null, "waiting": null}),
    };
    json!({
        "name": one.name,
        "image": one.image,
        "imageID": format!("process://{}", one.image),
        "containerID": if one.restarts > 0 || running { json!(format!("process://{}-{}", one.name, one.restarts)) } else { json!("") },
        "ready": if one.stays { one.ready && running } else { matches!(&one.state, State::Terminated(exit) if exit.code == 0) },
        "started": running,
        "restartCount": one.restarts,
        "state": state,
        "lastState": one.last.as_ref().map_or(json!({}), |exit| json!({"terminated": terminated(exit)})),
    })
}

fn terminated(exit: &Exit) -> Value {
    let reason = if exit.code == 0 { "Completed" } else { "Error" };
    json!({"exitCode": exit.code, "reason": reason, "startedAt": second(exit.started), "finishedAt": second(exit.finished)})
}

/// Kubernetes writes these times in whole seconds.
fn second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}
