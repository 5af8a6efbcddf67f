use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use super::{Kind, is_governed, number, observed};
use crate::{
    api::WorkloadKind,
    core::observed::{Ordinals, RolloutState, UserHold},
    marks::Marks,
};

/// `apps/v1` StatefulSet.
#[derive(Clone, Debug)]
pub struct StatefulSet;

impl Kind for StatefulSet {
    const KIND: WorkloadKind = WorkloadKind::StatefulSet;

    /// `updatedReplicas` counts nothing once the update is complete on some versions, so equal
    /// revisions count as all updated.
    fn rollout(
        meta: &ObjectMeta,
        marks: &Marks,
        (spec, status): (&Value, &Value),
        moved: Timestamp,
    ) -> RolloutState {
        let revision = status["updateRevision"].as_str();
        let complete = revision.is_some() && revision == status["currentRevision"].as_str();
        let current = number(&status["replicas"]);
        let strategy = &spec["updateStrategy"];
        let step = marks.partition.get().filter(|_| is_governed(meta)).map(|step| step.0);
        // While it is held, its pods go one by one, or it is in maintenance, admission notes what
        // its manifest asks for.
        let noted = marks.hold.get().is_some()
            || marks.in_maintenance.get().is_some()
            || marks.declared_partition.stands();
        let partition = match is_governed(meta) && (noted || step.is_some()) {
            true => marks.declared_partition.get().map_or(0, |declared| declared.0),
            false => number(&strategy["rollingUpdate"]["partition"]),
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
                step,
            },
            moved,
        }
    }
}
