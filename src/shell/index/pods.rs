//! Pods.

use jiff::Timestamp;

use super::{Effects, InNamespace, Listing, Seen, workloads::of_controller};
use crate::{
    core::{
        observed::{Concerns, Namespace, Pod, Uid},
        rest::News,
    },
    shell::{streams::Object, views::Pods},
};

impl InNamespace for Pods {
    fn insert(
        namespace: &mut Namespace,
        object: Object<Self>,
        seen: Seen,
        _effects: &mut Effects,
    ) -> Option<News> {
        let mut pod = object.view;
        let version = object.resource_version;
        let known = namespace.pods.get(&object.uid);
        pod.created_version = match known {
            Some(known) => known.created_version,
            None => seen.live.then_some(version),
        };
        pod.started_version = match known {
            Some(known) if known.started == pod.started && known.restarts == pod.restarts => {
                known.started_version
            }
            _ => Some(version),
        };
        let before = namespace.pods.insert(object.uid, pod.clone());
        (before.as_ref() != Some(&pod)).then(|| of_pods(namespace, before.iter().chain([&pod])))
    }

    fn remove(
        namespace: &mut Namespace,
        object: &Object<Self>,
        _now: Timestamp,
        _effects: &mut Effects,
    ) -> News {
        let gone = namespace.pods.remove(&object.uid);
        of_pods(namespace, gone.iter())
    }

    fn retain(namespace: &mut Namespace, listing: &Listing, _seen: Seen, _effects: &mut Effects) {
        namespace.pods.retain(|uid, _| listing.has(uid));
    }

    fn known<'a>(_namespace: &'a Namespace, _object: &Object<Self>) -> Option<&'a Uid> {
        None
    }

    fn concerns(object: &Object<Self>, path: &str) -> Concerns {
        of_controller(object.view.controller.as_ref(), path)
    }
}

/// News of the workloads to which these pods belong.
fn of_pods<'a>(namespace: &Namespace, pods: impl Iterator<Item = &'a Pod>) -> News {
    let controllers = pods.filter_map(|pod| pod.controller.as_ref());
    News::of_workloads(
        controllers
            .map(|uid| namespace.replica_sets.get(uid).map_or(uid, |set| &set.deployment).clone()),
    )
}
