//! Workloads and their revisions.

use jiff::Timestamp;

use super::{Effects, InNamespace, Listing, Seen};
use crate::{
    core::{
        observed::{Concerns, Namespace, Uid},
        rest::News,
    },
    shell::{
        streams::Object,
        views::{ControllerRevisions, ReplicaSets, Workloads},
    },
    workload::Kind,
};

impl<K: Kind> InNamespace for Workloads<K> {
    fn insert(
        namespace: &mut Namespace,
        object: Object<Self>,
        _seen: Seen,
        effects: &mut Effects,
    ) -> Option<News> {
        let workload = object.view;
        let before = namespace.workloads.insert(workload.id.clone(), workload);
        effects.replaced(before.as_ref().map(|before| &before.uid), &object.uid);
        Some(News::of_workloads([object.uid]))
    }

    fn remove(
        namespace: &mut Namespace,
        object: &Object<Self>,
        _now: Timestamp,
        effects: &mut Effects,
    ) -> News {
        let gone = namespace.workloads.remove(&object.view.id);
        effects.gone.extend(gone.map(|gone| gone.uid));
        News::due()
    }

    fn retain(namespace: &mut Namespace, listing: &Listing, _seen: Seen, effects: &mut Effects) {
        let Namespace { name, workloads, .. } = namespace;
        let gone = workloads
            .extract_if(.., |id, _| id.kind == K::KIND && !listing.names(name, &id.name))
            .map(|(_, workload)| workload.uid);
        effects.gone.extend(gone);
    }

    fn known<'a>(namespace: &'a Namespace, object: &Object<Self>) -> Option<&'a Uid> {
        Some(&namespace.workloads.get(&object.view.id)?.uid)
    }

    fn concerns(object: &Object<Self>, _path: &str) -> Concerns {
        Concerns::Workload(object.view.id.clone())
    }
}

impl InNamespace for ReplicaSets {
    fn insert(
        namespace: &mut Namespace,
        object: Object<Self>,
        _seen: Seen,
        _effects: &mut Effects,
    ) -> Option<News> {
        let set = object.view?;
        let before = namespace.replica_sets.insert(object.uid, set.clone());
        (before.as_ref() != Some(&set)).then(|| {
            let before = before.map(|before| before.deployment);
            News::of_workloads(before.into_iter().chain([set.deployment]))
        })
    }

    fn remove(
        namespace: &mut Namespace,
        object: &Object<Self>,
        _now: Timestamp,
        _effects: &mut Effects,
    ) -> News {
        let gone = namespace.replica_sets.remove(&object.uid);
        News::of_workloads(gone.map(|set| set.deployment))
    }

    fn retain(namespace: &mut Namespace, listing: &Listing, _seen: Seen, _effects: &mut Effects) {
        namespace.replica_sets.retain(|uid, _| listing.has(uid));
    }

    fn known<'a>(_namespace: &'a Namespace, _object: &Object<Self>) -> Option<&'a Uid> {
        None
    }

    fn concerns(object: &Object<Self>, path: &str) -> Concerns {
        of_controller(object.view.as_ref().map(|set| &set.deployment), path)
    }
}

impl InNamespace for ControllerRevisions {
    fn insert(
        namespace: &mut Namespace,
        object: Object<Self>,
        _seen: Seen,
        _effects: &mut Effects,
    ) -> Option<News> {
        let revision = object.view?;
        let before = namespace.controller_revisions.insert(object.uid, revision.clone());
        (before.as_ref() != Some(&revision)).then(|| {
            let before = before.map(|before| before.stateful_set);
            News::of_workloads(before.into_iter().chain([revision.stateful_set]))
        })
    }

    fn remove(
        namespace: &mut Namespace,
        object: &Object<Self>,
        _now: Timestamp,
        _effects: &mut Effects,
    ) -> News {
        let gone = namespace.controller_revisions.remove(&object.uid);
        News::of_workloads(gone.map(|revision| revision.stateful_set))
    }

    fn retain(namespace: &mut Namespace, listing: &Listing, _seen: Seen, _effects: &mut Effects) {
        namespace.controller_revisions.retain(|uid, _| listing.has(uid));
    }

    fn known<'a>(_namespace: &'a Namespace, _object: &Object<Self>) -> Option<&'a Uid> {
        None
    }

    fn concerns(object: &Object<Self>, path: &str) -> Concerns {
        of_controller(object.view.as_ref().map(|revision| &revision.stateful_set), path)
    }
}

/// Whom an object concerns that cannot be read, by what controls it.
pub fn of_controller(controller: Option<&Uid>, path: &str) -> Concerns {
    match controller {
        // Its owner may be the very thing that cannot be read.
        _ if path.starts_with("metadata.ownerReferences") => Concerns::AnyWorkload,
        Some(uid) => Concerns::ControlledBy(uid.clone()),
        None => Concerns::Nobody,
    }
}
