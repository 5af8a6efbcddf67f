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
        let id = workload.id.clone();
        let before = namespace.workloads.insert(id.clone(), workload).map(|before| before.uid);
        effects.replaced(before.as_ref(), &object.uid);
        let mut news = News::of_workload(id, object.uid);
        news.add(News::of_workloads(before));
        Some(news)
    }

    fn remove(
        namespace: &mut Namespace,
        object: &Object<Self>,
        _now: Timestamp,
        effects: &mut Effects,
    ) -> News {
        let gone = namespace.workloads.remove(&object.view.id).map(|gone| gone.uid);
        effects.gone.extend(gone.clone());
        let mut news = News::due();
        news.add(News::of_workloads(gone));
        news
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
