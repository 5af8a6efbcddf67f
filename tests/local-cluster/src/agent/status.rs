//! The status of a pod, as the kubelet reports it.

use std::time::Duration;

use k8s_openapi::{api::core::v1::Pod, jiff::Timestamp};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

/// The exit code of a container whose end nobody saw.
const LOST: i32 = 255;

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
    /// How often it was started.
    pub starts: u32,
    /// Whether it was started in this sandbox.
    pub begun: bool,
    /// Whether it passes its readiness probe.
    pub ready: bool,
}

impl ContainerState {
    /// It does not run, for this reason. How it ended is remembered.
    pub fn wait(&mut self, reason: &'static str, message: String) {
        if let State::Terminated(exit) =
            std::mem::replace(&mut self.state, State::Waiting(reason, message))
        {
            self.last = Some(exit);
        }
    }

    /// It runs from now on: only now a restart counts.
    pub fn run(&mut self) {
        if let State::Terminated(exit) =
            std::mem::replace(&mut self.state, State::Running(Timestamp::now()))
        {
            self.last = Some(exit);
        }
        (self.starts, self.begun) = (self.starts + 1, true);
    }

    /// It has ended with this exit code. How long it ran.
    pub fn terminate(&mut self, code: i32) -> Duration {
        let finished = Timestamp::now();
        let started = if let State::Running(since) = self.state { since } else { finished };
        self.state = State::Terminated(Exit { code, started, finished });
        self.ready = false;
        Duration::try_from(finished.duration_since(started)).unwrap_or_default()
    }

    /// Its node rebooted.
    pub fn lost(&mut self) {
        if let State::Running(started) = self.state {
            self.last = Some(Exit { code: LOST, started, finished: Timestamp::now() });
        }
        self.wait(if self.init { "PodInitializing" } else { "ContainerCreating" }, String::new());
        (self.begun, self.ready) = (false, false);
    }

    fn restarts(&self) -> u32 {
        self.starts.saturating_sub(1)
    }
}

/// Where a pod runs.
pub struct Sandbox<'a> {
    /// None before it stands.
    pub address: Option<&'a str>,
    /// When the kubelet saw the pod.
    pub began: Timestamp,
    /// All its containers have ended for good.
    pub ended: bool,
}

/// Reports a pod's status. Says whether the pod is still there.
pub async fn report(
    client: &Client,
    pod: &Pod,
    sandbox: &Sandbox<'_>,
    containers: &[ContainerState],
) -> bool {
    let api: Api<Pod> =
        Api::namespaced(client.clone(), pod.metadata.namespace.as_deref().unwrap_or_default());
    let body =
        json!({"metadata": {"uid": pod.metadata.uid}, "status": status(pod, sandbox, containers)});
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    match api.patch_status(name, &PatchParams::default(), &Patch::Strategic(body)).await {
        Ok(_) => true,
        Err(kube::Error::Api(status)) => !matches!(status.code, 404 | 409),
        Err(_) => true,
    }
}

fn status(pod: &Pod, sandbox: &Sandbox, containers: &[ContainerState]) -> Value {
    let of = |init: bool| {
        containers.iter().filter(|one| one.init == init).map(container).collect::<Vec<_>>()
    };
    let initialized = containers.iter().filter(|one| one.init).all(|one| match &one.state {
        // A sidecar that is restarted has been up before.
        _ if one.stays => one.begun,
        State::Terminated(exit) => exit.code == 0,
        State::Running(_) | State::Waiting(..) => false,
    });
    let phase = phase(pod, containers, initialized, sandbox.ended);
    let ready = containers
        .iter()
        .filter(|one| one.stays)
        .all(|one| one.ready && matches!(one.state, State::Running(_)));
    let now = second(Timestamp::now());
    let condition = |kind: &str, holds: bool| {
        let status = if holds { "True" } else { "False" };
        let before = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let same = before
            .filter(|before| before.type_ == kind && before.status == status)
            .find_map(|before| before.last_transition_time.clone());
        let reason = match (kind, phase) {
            _ if holds => Value::Null,
            ("Ready" | "ContainersReady", "Succeeded") => json!("PodCompleted"),
            ("Ready" | "ContainersReady", "Failed") => json!("PodFailed"),
            ("Initialized", _) => json!("ContainersNotInitialized"),
            ("PodReadyToStartContainers", _) => Value::Null,
            _ => json!("ContainersNotReady"),
        };
        let time = same.map_or(json!(now), |time| json!(time));
        let generation = pod.metadata.generation;
        json!({"type": kind, "status": status, "reason": reason, "lastTransitionTime": time, "observedGeneration": generation})
    };
    // A list that is patched keeps what it had, unless told otherwise.
    let addresses = [json!({"$patch": "replace"})]
        .into_iter()
        .chain(sandbox.address.map(|address| json!({"ip": address})));
    json!({
        "phase": phase,
        "observedGeneration": pod.metadata.generation,
        "podIP": sandbox.address,
        "podIPs": addresses.collect::<Vec<_>>(),
        "hostIP": "127.0.0.1",
        "hostIPs": [{"ip": "127.0.0.1"}],
        "startTime": second(sandbox.began),
        "conditions": [
            condition("PodReadyToStartContainers", sandbox.address.is_some() && !sandbox.ended), condition("Initialized", initialized), condition("Ready", ready && initialized),
            condition("ContainersReady", ready && initialized), condition("PodScheduled", true),
        ],
        "initContainerStatuses": of(true),
        "containerStatuses": of(false),
        "qosClass": pod.status.as_ref().and_then(|status| status.qos_class.clone()),
    })
}

fn phase(pod: &Pod, containers: &[ContainerState], initialized: bool, ended: bool) -> &'static str {
    let main: Vec<_> = containers.iter().filter(|one| !one.init).collect();
    let policy =
        pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()).unwrap_or("Always");
    let exits: Vec<_> = main
        .iter()
        .filter_map(
            |one| if let State::Terminated(exit) = &one.state { Some(exit.code) } else { None },
        )
        .collect();
    let init_failed = policy == "Never"
        && containers
            .iter()
            .any(|one| one.init && matches!(&one.state, State::Terminated(exit) if exit.code != 0));
    match policy {
        _ if init_failed => "Failed",
        // Of a pod that ends, what was never started counts as failed.
        _ if ended && exits.len() == main.len() && exits.iter().all(|code| *code == 0) => {
            "Succeeded"
        }
        _ if ended => "Failed",
        "Never" | "OnFailure"
            if exits.len() == main.len() && exits.iter().all(|code| *code == 0) =>
        {
            "Succeeded"
        }
        "Never" if exits.len() == main.len() => "Failed",
        _ if initialized && main.iter().any(|one| one.begun) => "Running",
        _ => "Pending",
    }
}

fn container(one: &ContainerState) -> Value {
    let running = matches!(one.state, State::Running(_));
    let state = match &one.state {
        State::Waiting(reason, message) => {
            json!({"waiting": {"reason": reason, "message": message}, "running": null, "terminated": null})
        }
        State::Running(since) => {
            json!({"running": {"startedAt": second(*since)}, "waiting": null, "terminated": null})
        }
        State::Terminated(exit) => {
            json!({"terminated": terminated(exit), "running": null, "waiting": null})
        }
    };
    json!({
        "name": one.name,
        "image": one.image,
        "imageID": format!("process://{}", one.image),
        "containerID": if one.starts > 0 { json!(format!("process://{}-{}", one.name, one.restarts())) } else { json!("") },
        "ready": if one.stays { one.ready && running } else { matches!(&one.state, State::Terminated(exit) if exit.code == 0) },
        "started": running,
        "restartCount": one.restarts(),
        "state": state,
        "lastState": one.last.as_ref().map_or(json!({}), |exit| json!({"terminated": terminated(exit)})),
    })
}

fn terminated(exit: &Exit) -> Value {
    let reason = match exit.code {
        0 => "Completed",
        LOST => "Unknown",
        _ => "Error",
    };
    json!({"exitCode": exit.code, "reason": reason, "startedAt": second(exit.started), "finishedAt": second(exit.finished)})
}

/// Kubernetes writes these times in whole seconds.
fn second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}
