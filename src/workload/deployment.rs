use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use super::{Kind, is_governed, number, observed, quoted};
use crate::{
    api::WorkloadKind,
    core::observed::{Ordinals, RolloutState, UserHold},
    marks::Marks,
};

/// The controller's number for the newest revision, on Deployments and ReplicaSets.
pub const REVISION: &str = "deployment.kubernetes.io/revision";

/// `apps/v1` Deployment.
#[derive(Clone, Debug)]
pub struct Deployment;

impl Kind for Deployment {
    const KIND: WorkloadKind = WorkloadKind::Deployment;

    /// The condition Progressing keeps the reason NewReplicaSetAvailable once a rollout is
    /// complete, whatever becomes of its pods later. With the strategy Recreate it keeps it into
    /// the next rollout as well, which then names another ReplicaSet.
    fn rollout(
        meta: &ObjectMeta,
        marks: &Marks,
        (spec, status): (&Value, &Value),
        moved: Timestamp,
    ) -> RolloutState {
        let find = |kind: &str| {
            status["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)
        };
        let progressing = find("Progressing").unwrap_or(&Value::Null);
        let failure = find("ReplicaFailure").filter(|condition| condition["status"] == "True");
        let complete =
            progressing["reason"] == "NewReplicaSetAvailable" && progressing["status"] == "True";
        let updated_at: Option<Timestamp> =
            progressing["lastUpdateTime"].as_str().and_then(|time| time.parse().ok());
        RolloutState {
            observed: observed(meta, status),
            wanted: spec["replicas"].as_u64().map_or(1, |_| number(&spec["replicas"])),
            current: number(&status["replicas"]),
            updated: number(&status["updatedReplicas"]),
            available: number(&status["availableReplicas"]),
            completed: rolled_out(progressing).zip(updated_at),
            complete,
            min_ready: number(&spec["minReadySeconds"]),
            failure: failure.and_then(|condition| Some(quoted(condition["message"].as_str()?))),
            // While it is held, or in maintenance, admission notes what its manifest asks for.
            held: match is_governed(meta)
                && (marks.hold.get().is_some()
                    || marks.in_maintenance.get().is_some()
                    || marks.declared_paused.stands())
            {
                true => marks.declared_paused.get() == Some(&true),
                false => spec["paused"] == true,
            }
            .then_some(UserHold::Paused),
            revision: None,
            settled: None,
            number: meta.annotations.as_ref().and_then(|all| all.get(REVISION)?.parse().ok()),
            ordinals: Ordinals::default(),
            moved: updated_at.map_or(moved, |time| time.max(moved)),
        }
    }
}

/// The ReplicaSet that the condition says has progressed to the end: `ReplicaSet "web-5d4f" has
/// successfully progressed.`
fn rolled_out(progressing: &Value) -> Option<Box<str>> {
    let name = progressing["message"].as_str()?.strip_prefix("ReplicaSet \"")?.split('"').next()?;
    Some(name.into())
}
