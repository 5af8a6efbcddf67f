use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use super::{Kind, declared, number, observed};
use crate::{
    api::{WorkloadKind, marks},
    core::observed::{Ordinals, RolloutState, UserHold},
};

/// The partition by which admission holds all pods.
pub const HELD: u32 = 2_147_483_647;

/// `apps/v1` StatefulSet.
pub struct StatefulSet;

impl Kind for StatefulSet {
    const KIND: WorkloadKind = WorkloadKind::StatefulSet;

    /// `updatedReplicas` counts nothing once the update is complete on some versions, so equal
    /// revisions count as all updated.
    fn rollout(meta: &ObjectMeta, spec: &Value, status: &Value, moved: Timestamp) -> RolloutState {
        let revision = status["updateRevision"].as_str();
        let complete = revision.is_some() && revision == status["currentRevision"].as_str();
        let current = number(&status["replicas"]);
        let strategy = &spec["updateStrategy"];
        let partition = match declared(meta, marks::DECLARED_PARTITION, step(meta).is_some()) {
            Some(declared) => {
                declared.parse().ok().filter(|declared| *declared <= HELD).unwrap_or(0)
            }
            None => number(&strategy["rollingUpdate"]["partition"]),
        };
        RolloutState {
            observed: observed(meta, status),
            wanted: spec["replicas"].as_u64().map_or(1, |_| number(&spec["replicas"])),
            current,
            updated: if complete { current } else { number(&status["updatedReplicas"]) },
            available: number(&status["availableReplicas"]),
            complete,
            completed: None,
            min_ready: number(&spec["minReadySeconds"]),
            failure: None,
            held: match strategy["type"].as_str() {
                Some("OnDelete") => Some(UserHold::OnDelete),
                _ => (partition > 0).then_some(UserHold::Partition(partition)),
            },
            revision: revision.map(Into::into),
            settled: status["currentRevision"].as_str().map(Into::into),
            number: None,
            ordinals: Ordinals {
                start: number(&spec["ordinals"]["start"]),
                declared: partition,
                step: step(meta),
            },
            moved,
        }
    }
}

/// How far our walk through the pods is; garbage is none, as in admission.
fn step(meta: &ObjectMeta) -> Option<u32> {
    meta.labels.as_ref()?.get(marks::GOVERNED)?;
    let step = meta.annotations.as_ref()?.get(marks::PARTITION)?;
    step.parse().ok().filter(|step| *step <= HELD)
}
