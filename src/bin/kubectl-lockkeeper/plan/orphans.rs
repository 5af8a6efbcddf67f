//! Pods that a new workload takes for its own, as after `kubectl delete --cascade=orphan`. A new
//! workload is not held, so those that are of another template than its own end without being
//! asked.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::SelectorExt;
use lockkeeper::{
    core::observed::{Namespace, Pod, WorkloadId, policy::selector},
    workload::template_digest,
};
use serde_json::Value;

use crate::cluster::controller;

/// Pods that nobody owns, or that a ReplicaSet has which nobody owns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Orphans {
    /// How many a new workload takes over.
    pub pods: usize,
    /// Some of them may be of another template.
    pub differ: bool,
}

/// The pods that a new StatefulSet finds under the names of its own.
pub fn of_stateful_set(namespace: &Namespace, id: &WorkloadId) -> Orphans {
    let own = |pod: &&Pod| {
        pod.ordinal().is_some_and(|ordinal| *pod.name == format!("{}-{ordinal}", id.name))
    };
    let pods = namespace
        .pods
        .values()
        .filter(|pod| pod.controller.is_none() && !pod.finished)
        .filter(own)
        .count();
    Orphans { pods, differ: pods > 0 }
}

/// The pods of the ReplicaSets that a new Deployment selects. `sets` are those of its namespace.
pub fn of_deployment(deployment: &Value, sets: &[Value]) -> Orphans {
    let template = template_digest(&deployment["spec"]["template"]);
    let selects =
        serde_json::from_value::<LabelSelector>(deployment["spec"]["selector"].clone()).ok();
    let Some(selects) = selects.and_then(|selects| selector(&selects).ok()) else {
        return Orphans::default();
    };
    let mut found = Orphans::default();
    for set in sets.iter().filter(|set| is_orphan(set)) {
        let labels: BTreeMap<String, String> =
            serde_json::from_value(set["metadata"]["labels"].clone()).unwrap_or_default();
        let pods = set["status"]["replicas"]
            .as_u64()
            .and_then(|pods| usize::try_from(pods).ok())
            .unwrap_or_default();
        if pods > 0 && selects.matches(&labels) {
            found.pods += pods;
            found.differ |= template_digest(&set["spec"]["template"]) != template;
        }
    }
    found
}

fn is_orphan(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_null() && controller(object).is_none()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn template(image: &str, hash: Option<&str>) -> Value {
        let mut template = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "app", "image": image}]}});
        if let Some(hash) = hash {
            template["metadata"]["labels"]["pod-template-hash"] = json!(hash);
        }
        template
    }

    /// A ReplicaSet that nobody owns, with two pods.
    fn orphan(image: &str) -> Value {
        let metadata = json!({"name": format!("web-{image}"), "labels": {"app": "web", "pod-template-hash": image}});
        json!({"metadata": metadata, "spec": {"replicas": 2, "template": template(image, Some(image))}, "status": {"replicas": 2}})
    }

    #[test]
    fn a_deployment_takes_over_what_nobody_owns_and_it_selects() {
        let owned = |field: &str| {
            let mut set = orphan("v1");
            set["metadata"]["ownerReferences"] =
                json!([{"kind": "Deployment", "name": "web", "uid": "u", field: true}]);
            set
        };
        let mut others = orphan("v1");
        others["metadata"]["labels"]["app"] = json!("other");
        let (mut empty, mut going) = (orphan("v1"), orphan("v1"));
        empty["status"]["replicas"] = json!(0);
        going["metadata"]["deletionTimestamp"] = json!("2026-11-29T10:00:00Z");
        let by_label = json!({"matchLabels": {"app": "web"}});
        let by_expression = json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["web", "shop"]}]});
        for (selector, sets, pods, differ) in [
            (&by_label, vec![], 0, false),
            (&by_label, vec![orphan("v2")], 2, false),
            (&by_label, vec![orphan("v1")], 2, true),
            (&by_expression, vec![orphan("v1")], 2, true),
            (&by_label, vec![orphan("v1"), orphan("v2")], 4, true),
            (&by_label, vec![owned("controller")], 0, false),
            (&by_label, vec![owned("blockOwnerDeletion")], 2, true),
            (&by_label, vec![others, empty, going], 0, false),
        ] {
            let deployment =
                json!({"spec": {"selector": selector, "template": template("v2", None)}});
            assert_eq!(of_deployment(&deployment, &sets), Orphans { pods, differ }, "{sets:?}");
        }
    }
}
