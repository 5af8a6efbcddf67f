//! What concerns snapshots of volumes.

use jiff::Timestamp;

use super::{Effects, InNamespace, Index, Indexed, Listing, Seen, Sight};
use crate::{
    core::{
        observed::{Concerns, Namespace, Uid, snapshots::Served},
        rest::News,
    },
    shell::{
        streams::Object,
        views::snapshots::{SnapshotClasses, SnapshotContents, VolumeSnapshots},
    },
};

impl InNamespace for VolumeSnapshots {
    fn insert(
        namespace: &mut Namespace,
        object: Object<Self>,
        _seen: Seen,
        _effects: &mut Effects,
    ) -> Option<News> {
        let snapshot = object.view;
        let before = namespace.snapshots.insert(object.name, snapshot.clone());
        (before != Some(snapshot)).then(News::whole)
    }

    fn remove(
        namespace: &mut Namespace,
        object: &Object<Self>,
        _now: Timestamp,
        _effects: &mut Effects,
    ) -> News {
        namespace.snapshots.remove(&object.name);
        News::whole()
    }

    fn retain(namespace: &mut Namespace, listing: &Listing, _seen: Seen, _effects: &mut Effects) {
        let Namespace { name, snapshots, .. } = namespace;
        snapshots.retain(|snapshot, _| listing.names(name, snapshot));
    }

    fn known<'a>(namespace: &'a Namespace, object: &Object<Self>) -> Option<&'a Uid> {
        Some(&namespace.snapshots.get(&object.name)?.uid)
    }

    fn concerns(_object: &Object<Self>, _path: &str) -> Concerns {
        Concerns::Nobody
    }
}

impl Indexed for SnapshotClasses {
    fn insert(index: &mut Index, object: Object<Self>, _sight: Sight, _effects: &mut Effects) {
        let class = object.view;
        let before = index.storage.snapshots.classes.insert(object.name, class.clone());
        if before != Some(class) {
            index.tell_all();
        }
    }

    fn remove(index: &mut Index, object: &Object<Self>, _now: Timestamp, _effects: &mut Effects) {
        if index.storage.snapshots.classes.remove(&object.name).is_some() {
            index.tell_all();
        }
    }

    fn retain(
        index: &mut Index,
        _only: Option<&str>,
        listing: &Listing,
        _now: Timestamp,
        _effects: &mut Effects,
    ) {
        // Of the three kinds this one needs no namespace, so it is listed once in any case.
        index.storage.snapshots.served = Served::Yes;
        index.storage.snapshots.classes.retain(|name, _| listing.names("", name));
    }

    fn known<'a>(_index: &'a Index, _object: &Object<Self>) -> Option<&'a Uid> {
        None
    }

    fn concerns(_object: &Object<Self>, _path: &str) -> Concerns {
        Concerns::Nobody
    }

    fn not_served(index: &mut Index) {
        if std::mem::replace(&mut index.storage.snapshots.served, Served::No) != Served::No {
            index.tell_all();
        }
    }
}

impl Indexed for SnapshotContents {
    fn insert(index: &mut Index, object: Object<Self>, _sight: Sight, _effects: &mut Effects) {
        if Self::is_foreign(index, &object) {
            return;
        }
        let content = object.view;
        let namespace = content.namespace.clone();
        let before = index.storage.snapshots.contents.insert(object.name, content.clone());
        if before != Some(content) {
            index.tell(&namespace, News::whole());
        }
    }

    fn remove(index: &mut Index, object: &Object<Self>, _now: Timestamp, _effects: &mut Effects) {
        if let Some(gone) = index.storage.snapshots.contents.remove(&object.name) {
            index.tell(&gone.namespace, News::whole());
        }
    }

    fn retain(
        index: &mut Index,
        _only: Option<&str>,
        listing: &Listing,
        _now: Timestamp,
        _effects: &mut Effects,
    ) {
        index.storage.snapshots.contents.retain(|name, _| listing.names("", name));
    }

    fn known<'a>(index: &'a Index, object: &Object<Self>) -> Option<&'a Uid> {
        Some(&index.storage.snapshots.contents.get(&object.name)?.uid)
    }

    fn concerns(_object: &Object<Self>, _path: &str) -> Concerns {
        Concerns::Nobody
    }

    /// One of a snapshot of a namespace that is out of reach.
    fn is_foreign(index: &Index, object: &Object<Self>) -> bool {
        index.passed_over(&object.view.namespace)
    }
}
