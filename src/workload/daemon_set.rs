use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use super::{Kind, number, observed};
use crate::{
    api::WorkloadKind,
    core::observed::{Ordinals, RolloutState, UserHold},
    marks::Marks,
};

/// `apps/v1` DaemonSet.
#[derive(Clone, Debug)]
pub struct DaemonSet;

/// The API server counts a DaemonSet's templates here, and its controller labels the pods with the
/// count.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

impl Kind for DaemonSet {
    const KIND: WorkloadKind = WorkloadKind::DaemonSet;

    fn rollout(
        meta: &ObjectMeta,
        _: &Marks,
        (spec, status): (&Value, &Value),
        moved: Timestamp,
    ) -> RolloutState {
        RolloutState {
            observed: observed(meta, status),
            wanted: number(&status["desiredNumberScheduled"]),
            current: number(&status["currentNumberScheduled"]),
            updated: number(&status["updatedNumberScheduled"]),
            available: number(&status["numberAvailable"]),
            complete: false,
            completed: None,
            min_ready: number(&spec["minReadySeconds"]),
            failure: None,
            held: (spec["updateStrategy"]["type"] == "OnDelete").then_some(UserHold::OnDelete),
            revision: meta
                .annotations
                .as_ref()
                .and_then(|all| Some(all.get(TEMPLATE_GENERATION)?.as_str().into())),
            settled: None,
            number: None,
            ordinals: Ordinals::default(),
            moved,
        }
    }
}
