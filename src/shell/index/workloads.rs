//! Workloads.

use jiff::Timestamp;

use super::{Effects, InNamespace, Listing, Seen};
use crate::{
    core::{
        observed::{Concerns, Namespace, Uid},
        rest::News,
    },
    shell::{streams::Object, views::Workloads},
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

/// Whom an object concerns that cannot be read, by what controls it.
pub fn of_controller(controller: Option<&Uid>, path: &str) -> Concerns {
    match controller {
        // Its owner may be the very thing that cannot be read.
        _ if path.starts_with("metadata.ownerReferences") => Concerns::AnyWorkload,
        Some(uid) => Concerns::ControlledBy(uid.clone()),
        None => Concerns::Nobody,
    }
}
