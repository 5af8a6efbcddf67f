//! ConfigMaps and Secrets, with the contents that they had while they were watched.

use jiff::Timestamp;

use super::{Effects, InNamespace, Listing, Seen};
use crate::{
    core::{
        observed::{Concerns, ConfigEntry, ConfigId, Namespace, Uid},
        rest::News,
    },
    shell::{
        streams::Object,
        views::{ConfigBody, ConfigView, Configs},
    },
};

/// At most so many deleted ConfigMaps and Secrets are remembered in a namespace.
const TOMBSTONES: usize = 200;

impl<B: ConfigBody> InNamespace for Configs<B> {
    fn insert(
        namespace: &mut Namespace,
        object: Object<Self>,
        seen: Seen,
        _effects: &mut Effects,
    ) -> Option<News> {
        let id = object.view.id.clone();
        let changed = match namespace.config.get_mut(&id) {
            Some(entry) => observe(entry, object.view, &object.namespace, seen),
            None => {
                let (ignored, at) = (object.view.ignored, seen.live.then_some(seen.now));
                let version = object.view.bind(&object.namespace, seen.key, at);
                namespace.config.insert(id.clone(), ConfigEntry::new(version, ignored));
                true
            }
        };
        changed.then(|| News::of_config(id))
    }

    fn remove(
        namespace: &mut Namespace,
        object: &Object<Self>,
        now: Timestamp,
        _effects: &mut Effects,
    ) -> News {
        let (id, version) = (&object.view.id, object.view.deleted(now));
        match namespace.config.get_mut(id) {
            Some(entry) => drop(entry.observe(version)),
            None => drop(namespace.config.insert(id.clone(), ConfigEntry::new(version, false))),
        }
        bury(namespace);
        News::of_config(id.clone())
    }

    fn retain(namespace: &mut Namespace, listing: &Listing, seen: Seen, _effects: &mut Effects) {
        let Namespace { name, config, .. } = namespace;
        let unlisted = config
            .iter_mut()
            .filter(|(id, _)| id.kind == B::KIND && !listing.names(name, &id.name));
        for (_, entry) in unlisted.filter(|(_, entry)| entry.content().is_some()) {
            let Some(mut gone) = entry.versions().last().cloned() else { continue };
            gone.content = None;
            // Nobody saw when it went: before everything that is seen from now on.
            gone.resource_version = seen.newest;
            (gone.written, gone.seen) = (seen.now, Some(seen.now));
            entry.observe(gone);
        }
        bury(namespace);
    }

    fn known<'a>(_namespace: &'a Namespace, _object: &Object<Self>) -> Option<&'a Uid> {
        None
    }

    fn concerns(object: &Object<Self>, _path: &str) -> Concerns {
        Concerns::Readers(object.view.id.clone())
    }
}

/// Takes note of what a known object is now. After a watch was lost, a content that differs now was
/// changed in the meantime. Returns whether anything changed.
fn observe(entry: &mut ConfigEntry, view: ConfigView, namespace: &str, seen: Seen) -> bool {
    let ignored = view.ignored;
    let mut version = view.bind(namespace, seen.key, Some(seen.now));
    // A write that only removes a key moves no time that the object would show.
    if entry.versions().last().is_some_and(|last| version.written <= last.written) {
        version.written = seen.now;
    }
    let changed = entry.observe(version);
    std::mem::replace(&mut entry.ignored, ignored) != ignored || changed
}

/// Forgets the oldest of too many deleted objects.
fn bury(namespace: &mut Namespace) {
    let dead = |entry: &ConfigEntry| entry.content().is_none();
    while namespace.config.values().filter(|entry| dead(entry)).count() > TOMBSTONES {
        let age = |entry: &ConfigEntry| entry.versions().last().map(|version| version.written);
        let oldest: Option<ConfigId> = namespace
            .config
            .iter()
            .filter(|(_, entry)| dead(entry))
            .min_by_key(|(_, entry)| age(entry))
            .map(|(id, _)| id.clone());
        let Some(oldest) = oldest else { return };
        namespace.config.remove(&oldest);
    }
}
