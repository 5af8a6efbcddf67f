//! What concerns storage.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{Effects, InNamespace, Index, Indexed, Listing, Seen, Sight, entry};
use crate::{
    core::{
        observed::Concerns,
        observed::storage::concerns,
        observed::{Namespace, Uid},
        rest::News,
    },
    shell::{
        streams::Object,
        views::storage::{Claims, Drivers, Namespaces, Volumes},
    },
};

/// It concerns the storage of its namespace.
pub fn here<K: crate::shell::views::Watched>(object: &Object<K>) -> Concerns {
    Concerns::Storage([object.namespace.clone()].into())
}

impl InNamespace for Claims {
    fn insert(
        namespace: &mut Namespace,
        object: Object<Self>,
        _seen: Seen,
        effects: &mut Effects,
    ) -> Option<News> {
        let claim = object.view;
        let before = namespace.claims.insert(object.name, claim.clone());
        effects.replaced(before.as_ref().map(|before| &before.uid), &claim.uid);
        let retained = before.as_ref().is_some_and(|before| before.retained);
        effects.interest_changed |= retained != claim.retained;
        (before != Some(claim)).then(News::whole)
    }

    fn remove(
        namespace: &mut Namespace,
        object: &Object<Self>,
        _now: Timestamp,
        effects: &mut Effects,
    ) -> News {
        let gone = namespace.claims.remove(&object.name);
        effects.replaced(gone.as_ref().map(|claim| &claim.uid), &object.uid);
        effects.gone.push(object.uid.clone());
        effects.interest_changed |= gone.is_some_and(|claim| claim.retained);
        News::whole()
    }

    fn retain(namespace: &mut Namespace, listing: &Listing, _seen: Seen, effects: &mut Effects) {
        let Namespace { name, claims, .. } = namespace;
        for (_, claim) in claims.extract_if(.., |claim, _| !listing.names(name, claim)) {
            effects.interest_changed |= claim.retained;
            effects.gone.push(claim.uid);
        }
    }

    fn known<'a>(namespace: &'a Namespace, object: &Object<Self>) -> Option<&'a Uid> {
        Some(&namespace.claims.get(&object.name)?.uid)
    }

    fn concerns(object: &Object<Self>, _path: &str) -> Concerns {
        here(object)
    }
}

impl Indexed for Volumes {
    fn insert(index: &mut Index, object: Object<Self>, sight: Sight, effects: &mut Effects) {
        if Self::is_foreign(index, &object) {
            return Self::remove(index, &object, sight.now, effects);
        }
        // Data that is kept is counted also when nothing else is left of its namespace.
        if let Some(provenance) = object.view.provenance() {
            entry(&mut index.namespaces, &provenance.namespace);
        }
        let before = index.storage.volume(&object.name).map(|before| &before.uid);
        effects.replaced(before, &object.uid);
        let concerned = index.storage.insert(object.view);
        index.tell_each(&concerned, News::whole);
    }

    fn remove(index: &mut Index, object: &Object<Self>, _now: Timestamp, effects: &mut Effects) {
        let known = index.storage.volume(&object.name).map(|known| &known.uid);
        effects.replaced(known, &object.uid);
        effects.gone.push(object.uid.clone());
        let concerned = index.storage.remove(&object.name);
        index.tell_each(&concerned, News::whole);
    }

    fn retain(
        index: &mut Index,
        _only: Option<&str>,
        listing: &Listing,
        _now: Timestamp,
        effects: &mut Effects,
    ) {
        let gone: Vec<_> = index
            .storage
            .volumes()
            .filter(|volume| !listing.names("", &volume.name))
            .map(|volume| (volume.name.clone(), volume.uid.clone()))
            .collect();
        for (name, uid) in gone {
            index.storage.remove(&name);
            effects.gone.push(uid);
        }
    }

    fn known<'a>(index: &'a Index, object: &Object<Self>) -> Option<&'a Uid> {
        Some(&index.storage.volume(&object.name)?.uid)
    }

    fn concerns(object: &Object<Self>, path: &str) -> Concerns {
        match concerns(&object.view) {
            of if of.is_empty() && !path.starts_with("spec") => Concerns::Nobody,
            of => Concerns::Storage(of),
        }
    }

    /// One of a namespace that is out of reach.
    fn is_foreign(index: &Index, object: &Object<Self>) -> bool {
        concerns(&object.view).iter().any(|namespace| !index.reach.covers(namespace))
    }
}

impl Indexed for Namespaces {
    fn insert(index: &mut Index, object: Object<Self>, _sight: Sight, effects: &mut Effects) {
        // It is judged also when nothing is in it.
        if object.view.protected && !index.passed_over(&object.name) {
            entry(&mut index.namespaces, &object.name);
        }
        let before = index.storage.namespaces.insert(object.name.clone(), object.view);
        effects.replaced(before.as_ref().map(|before| &before.uid), &object.uid);
        index.tell(&object.name, News::whole());
        index.drop_if_empty(&object.name);
    }

    fn remove(index: &mut Index, object: &Object<Self>, _now: Timestamp, effects: &mut Effects) {
        let gone = index.storage.namespaces.remove(&object.name);
        effects.replaced(gone.as_ref().map(|gone| &gone.uid), &object.uid);
        effects.gone.push(object.uid.clone());
        index.tell(&object.name, News::whole());
        index.drop_if_empty(&object.name);
    }

    fn retain(
        index: &mut Index,
        only: Option<&str>,
        listing: &Listing,
        _now: Timestamp,
        effects: &mut Effects,
    ) {
        let unlisted =
            |name: &str| only.is_none_or(|only| only == name) && !listing.names("", name);
        let gone = index.storage.namespaces.extract_if(.., |name, _| unlisted(name));
        effects.gone.extend(gone.map(|(_, namespace)| namespace.uid));
    }

    fn known<'a>(index: &'a Index, object: &Object<Self>) -> Option<&'a Uid> {
        Some(&index.storage.namespaces.get(&object.name)?.uid)
    }

    fn concerns(object: &Object<Self>, _path: &str) -> Concerns {
        Concerns::Storage([object.name.clone()].into())
    }

    fn is_foreign(index: &Index, object: &Object<Self>) -> bool {
        index.passed_over(&object.name)
    }
}

impl Indexed for Drivers {
    fn insert(index: &mut Index, object: Object<Self>, _sight: Sight, _effects: &mut Effects) {
        let attaches = object.view;
        if index.storage.drivers.insert(object.name, attaches) != Some(attaches) {
            index.tell_all();
        }
    }

    fn remove(index: &mut Index, object: &Object<Self>, _now: Timestamp, _effects: &mut Effects) {
        if index.storage.drivers.remove(&object.name).is_some() {
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
        index.storage.drivers.retain(|name, _| listing.names("", name));
    }

    fn known<'a>(_index: &'a Index, _object: &Object<Self>) -> Option<&'a Uid> {
        None
    }

    /// What is known of any volume may be wrong.
    fn concerns(_object: &Object<Self>, _path: &str) -> Concerns {
        Concerns::Storage(BTreeSet::new())
    }
}
