//! What users do to one workload, step by step, to be played on the model and on a real cluster:
//! the states in which it settles must be the same. A real one is played in a namespace of its own
//! with pods that are ready at once, but for those that are never.

use std::time::Duration;

use serde_json::{Value, json};

use super::{condition, count, evict, is_ready, is_staying, name, ordinal, settle};
use crate::server::{Account, Server};

/// The name of the workload, and the value of its pods' label `app`.
pub const NAME: &str = "web";

/// One write by a user.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// Creates the workload.
    Create(Value),
    /// A JSON merge patch of it.
    Patch(Value),
    /// Deletes the pod of this place in [`in_order`].
    Evict(usize),
}

/// A workload's story.
#[derive(Debug, Clone, PartialEq)]
pub struct Script {
    /// What it is about.
    pub name: &'static str,
    /// Deployment or StatefulSet.
    pub kind: &'static str,
    /// What is done; before each the workload comes to rest.
    pub writes: Vec<Write>,
}

/// How far a workload's revisions are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revisions {
    /// So many ReplicaSets of a Deployment want pods.
    Sets(usize),
    /// Whether a StatefulSet's `currentRevision` is its `updateRevision`.
    Same(bool),
}

/// A workload at rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// `status.replicas`.
    pub replicas: i64,
    /// `status.updatedReplicas`.
    pub updated: i64,
    /// `status.availableReplicas`.
    pub available: i64,
    /// The images of its pods, sorted.
    pub images: Vec<String>,
    /// Of how many revisions they are.
    pub revisions: Revisions,
    /// The reason of a Deployment's condition Progressing; a StatefulSet has none.
    pub progressing: Option<String>,
    /// The server refused the write.
    pub refused: bool,
}

impl Settled {
    /// Reads it off the objects of a cluster: the workload, its pods, and its ReplicaSets.
    pub fn of<'a>(
        workload: &Value,
        pods: impl IntoIterator<Item = &'a Value>,
        sets: impl IntoIterator<Item = &'a Value>,
        refused: bool,
    ) -> Self {
        let status = &workload["status"];
        let mut images: Vec<_> = pods
            .into_iter()
            .filter(|pod| is_staying(pod))
            .map(|pod| image(pod).to_owned())
            .collect();
        images.sort();
        let revisions = match status["updateRevision"].is_null() {
            true => Revisions::Sets(
                sets.into_iter().filter(|set| count(&set["spec"]["replicas"]) > 0).count(),
            ),
            false => Revisions::Same(status["currentRevision"] == status["updateRevision"]),
        };
        Self {
            replicas: count(&status["replicas"]),
            updated: count(&status["updatedReplicas"]),
            available: count(&status["availableReplicas"]),
            images,
            revisions,
            progressing: progressing(workload),
            refused,
        }
    }
}

/// The reason of the condition Progressing, where it is no matter of luck.
fn progressing(workload: &Value) -> Option<String> {
    let reason = condition(workload, "Progressing")?["reason"].as_str()?;
    // With the strategy Recreate, the reason of the rollout before stays if the controller looks
    // between the end of the old pods and the new ReplicaSet.
    let is_stale = workload["spec"]["strategy"]["type"] == "Recreate"
        && reason == "NewReplicaSetAvailable"
        && count(&workload["status"]["availableReplicas"]) < count(&workload["spec"]["replicas"]);
    // Whether it sees the new ReplicaSet and that one's first pod at once is luck too.
    let is_under_way = is_stale || reason == "NewReplicaSetCreated";
    Some(if is_under_way { "ReplicaSetUpdated" } else { reason }.to_owned())
}

/// Pods in the order in which [`Write::Evict`] counts them: by image, ready ones first, then by
/// ordinal or name.
pub fn in_order<Pod: AsRef<Value>>(pods: &mut [Pod]) {
    pods.sort_by_cached_key(|pod| {
        let pod = pod.as_ref();
        (image(pod).to_owned(), !is_ready(pod), ordinal(pod), name(pod))
    });
}

fn image(pod: &Value) -> &str {
    pod["spec"]["containers"][0]["image"].as_str().unwrap_or_default()
}

/// Plays a script: after each write the state in which everything settles. Some seconds pass
/// between writes, as they would.
pub fn run(script: &Script, server: &mut Server) -> Vec<Settled> {
    const USER: Account = Account { user: "dev", manager: "kubectl", verbs: &[] };
    let mut settled = Vec::with_capacity(script.writes.len());
    for write in &script.writes {
        server.advance(Duration::from_secs(2));
        let refused = match write {
            Write::Create(object) => server.create(USER, script.kind, object.clone()).is_err(),
            Write::Patch(patch) => server
                .update(USER, script.kind, NAME, |object| json_patch::merge(object, patch))
                .is_err(),
            Write::Evict(place) => {
                let mut pods = server.list("Pod");
                in_order(&mut pods);
                !pods.get(*place).is_some_and(|pod| evict(server, &name(pod)))
            }
        };
        settle(server);
        let workload = server.get(script.kind, NAME).unwrap_or_default();
        let (pods, sets) = (server.list("Pod"), server.list("ReplicaSet"));
        settled.push(Settled::of(
            &workload,
            pods.iter().map(AsRef::as_ref),
            sets.iter().map(AsRef::as_ref),
            refused,
        ));
    }
    settled
}

fn container(image: &str) -> Value {
    json!({"spec": {"containers": [{"name": "app", "image": image}]}})
}

fn create(replicas: i64, more: Value) -> Write {
    let labels = json!({"app": NAME});
    let mut template = container("v1");
    template["metadata"] = json!({"labels": labels});
    let mut spec =
        json!({"replicas": replicas, "selector": {"matchLabels": labels}, "template": template});
    json_patch::merge(&mut spec, &more);
    Write::Create(
        json!({"apiVersion": "apps/v1", "metadata": {"name": NAME, "labels": labels}, "spec": spec}),
    )
}

fn spec(patch: Value) -> Write {
    Write::Patch(json!({"spec": patch}))
}

fn with_image(image: &str, mut patch: Value) -> Write {
    patch["template"] = container(image);
    spec(patch)
}

fn update(image: &str) -> Write {
    with_image(image, json!({}))
}

/// An image whose pods are never ready; `None` after it puts that right again.
fn broken(image: Option<&str>) -> Write {
    let never = image.map(|_| "never");
    let mut template = container(image.unwrap_or("v1"));
    template["metadata"] = json!({"annotations": {super::READY: never}});
    spec(json!({"template": template}))
}

fn scale(replicas: i64) -> Write {
    spec(json!({"replicas": replicas}))
}

fn hold(image: &str) -> Write {
    with_image(image, json!({"paused": true}))
}

fn resume() -> Write {
    spec(json!({"paused": null}))
}

fn partition(partition: i64) -> Value {
    json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": partition}}})
}

fn above_all() -> Value {
    partition(crate::admission::HELD)
}

/// All scripts.
pub fn all() -> Vec<Script> {
    let recreate = json!({"strategy": {"type": "Recreate", "rollingUpdate": null}});
    let on_delete = json!({"updateStrategy": {"type": "OnDelete", "rollingUpdate": null}});
    let no_surge = json!({"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}});
    let none = || json!({});
    let deployments = [
        (
            "rolled out and reverted",
            vec![create(3, none()), update("v2"), update("v1"), update("v2")],
        ),
        (
            "held, scaled, evicted, released",
            vec![
                create(2, none()),
                hold("v2"),
                scale(4),
                Write::Evict(0),
                scale(1),
                hold("v3"),
                resume(),
            ],
        ),
        ("held and reverted", vec![create(2, none()), hold("v2"), update("v1"), resume()]),
        ("created paused", vec![create(2, json!({"paused": true})), scale(3), resume()]),
        (
            "paused midway",
            vec![
                create(4, none()),
                broken(Some("v2")),
                spec(json!({"paused": true})),
                scale(8),
                scale(2),
                Write::Evict(0),
                broken(None),
                resume(),
            ],
        ),
        (
            "paused midway, with a third template",
            vec![
                create(4, none()),
                broken(Some("v2")),
                hold("v3"),
                scale(7),
                broken(None),
                resume(),
            ],
        ),
        (
            "recreated",
            vec![create(2, recreate.clone()), update("v2"), broken(Some("v3")), broken(None)],
        ),
        (
            "held, then to be recreated",
            vec![create(2, none()), hold("v2"), spec(recreate), scale(3), resume()],
        ),
        ("one replica surges", vec![create(1, none()), broken(Some("v2")), broken(None)]),
        ("no surge", vec![create(2, no_surge), broken(Some("v2")), scale(4), broken(None)]),
        (
            "Recreate with rollingUpdate is refused",
            vec![create(1, none()), spec(json!({"strategy": {"type": "Recreate"}}))],
        ),
        (
            "held, to zero and back",
            vec![create(2, none()), hold("v2"), scale(0), scale(2), resume()],
        ),
        (
            "reverted, then held, to zero and back",
            vec![
                create(2, none()),
                update("v2"),
                update("v1"),
                hold("v3"),
                scale(0),
                scale(2),
                resume(),
            ],
        ),
        (
            "held without history, to zero and back",
            vec![
                create(2, json!({"revisionHistoryLimit": 0})),
                hold("v2"),
                scale(0),
                scale(2),
                resume(),
            ],
        ),
        (
            "scaled and changed in one write",
            vec![
                create(2, none()),
                with_image("v2", json!({"replicas": 5})),
                with_image("v3", json!({"replicas": 1})),
            ],
        ),
    ];
    let sets = [
        (
            "rolled out and reverted",
            vec![create(3, none()), update("v2"), update("v1"), update("v2")],
        ),
        (
            "held by the largest partition",
            vec![
                create(2, none()),
                with_image("v2", above_all()),
                scale(4),
                Write::Evict(1),
                scale(1),
                spec(partition(0)),
            ],
        ),
        (
            "held by as many as there are",
            vec![
                create(2, none()),
                with_image("v2", partition(2)),
                scale(4),
                Write::Evict(0),
                spec(partition(0)),
            ],
        ),
        (
            "stepped down",
            vec![
                create(3, none()),
                with_image("v2", above_all()),
                spec(partition(2)),
                Write::Evict(0),
                spec(partition(1)),
                spec(partition(0)),
            ],
        ),
        (
            "ordinals that start later",
            vec![
                create(3, json!({"ordinals": {"start": 5}})),
                with_image("v2", above_all()),
                spec(partition(2)),
                spec(partition(0)),
            ],
        ),
        (
            "held and reverted",
            vec![
                create(2, none()),
                with_image("v2", above_all()),
                update("v1"),
                spec(partition(0)),
            ],
        ),
        (
            "stuck behind a broken pod",
            vec![create(3, none()), broken(Some("v2")), broken(None), Write::Evict(2)],
        ),
        (
            "Parallel, behind a broken pod",
            vec![
                create(3, json!({"podManagementPolicy": "Parallel"})),
                broken(Some("v2")),
                broken(None),
                Write::Evict(2),
            ],
        ),
        (
            "OnDelete",
            vec![create(2, on_delete), update("v2"), Write::Evict(0), scale(3), Write::Evict(0)],
        ),
        (
            "held, to zero and back",
            vec![
                create(2, none()),
                with_image("v2", above_all()),
                scale(0),
                scale(2),
                spec(partition(0)),
            ],
        ),
        (
            "its service name is refused",
            vec![create(1, none()), spec(json!({"serviceName": "other"}))],
        ),
    ];
    let named = |kind: &'static str| move |(name, writes)| Script { name, kind, writes };
    deployments
        .into_iter()
        .map(named("Deployment"))
        .chain(sets.into_iter().map(named("StatefulSet")))
        .collect()
}
