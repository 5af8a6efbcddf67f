//! ConfigMaps and Secrets, with the contents that they had while they were watched.

use std::time::Duration;

use jiff::Timestamp;

use super::{Effects, InNamespace, Listing, Seen};
use crate::{
    core::{
        later,
        observed::{Concerns, ConfigEntry, Namespace, Uid},
        rest::{News, Readable},
    },
    shell::{
        streams::Object,
        views::{ConfigBody, ConfigView, Configs},
    },
};

/// Maximum number of deleted ConfigMaps and Secrets that are remembered in a namespace.
const TOMBSTONES: usize = 200;
/// One that nothing reads is remembered for this long: a workload that reads it may be seen only
/// later, for it comes on another watch.
pub const REMEMBERED: Duration = Duration::from_secs(600);

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
            // Its deletion was not seen: it came before everything that is seen from now on.
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

/// Whether it was deleted.
fn is_deleted(entry: &ConfigEntry) -> bool {
    entry.content().is_none()
}

/// When that was seen; of one that still exists, when it was last changed.
fn seen_at(entry: &ConfigEntry) -> Option<Timestamp> {
    entry.versions().last().map(|version| version.seen.unwrap_or(version.written))
}

/// Forgets the oldest of too many deleted objects, those first that nothing reads.
fn bury(namespace: &mut Namespace) {
    let deleted =
        |namespace: &Namespace| namespace.config.values().filter(|e| is_deleted(e)).count();
    if deleted(namespace) <= TOMBSTONES {
        return;
    }
    let read = Readable::of_workloads(namespace);
    let of = |namespace: &Namespace, is_read: bool| {
        let all = namespace.config.iter().filter(|(_, entry)| is_deleted(entry));
        let mut of: Vec<_> = all
            .filter(|(id, _)| read.names(id) == is_read)
            .map(|(id, entry)| (seen_at(entry), id.clone()))
            .collect();
        of.sort();
        of
    };
    // More than one at a time: what is read is looked for seldom.
    let spare = deleted(namespace) - TOMBSTONES / 2;
    for (_, id) in of(namespace, false).into_iter().take(spare) {
        namespace.config.remove(&id);
    }
    let spare = deleted(namespace).saturating_sub(TOMBSTONES);
    for (_, id) in of(namespace, true).into_iter().take(spare) {
        namespace.config.remove(&id);
    }
}

/// Forgets what was deleted some time ago and what nothing reads: no pod can have started with it.
/// What is read is still known: pods from before its deletion are older than what it is now.
/// Returns whether anything was forgotten.
pub fn forget_deleted(namespace: &mut Namespace, now: Timestamp) -> bool {
    let is_old = |entry: &ConfigEntry| {
        is_deleted(entry) && seen_at(entry).is_none_or(|seen| later(seen, REMEMBERED) <= now)
    };
    // What a policy that cannot be read asks for is not known.
    let is_unread = namespace.policies.values().any(|policy| policy.spec.is_err());
    if is_unread || !namespace.config.values().any(is_old) {
        return false;
    }
    let read = Readable::of_workloads(namespace);
    let before = namespace.config.len();
    namespace.config.retain(|id, entry| !is_old(entry) || read.names(id));
    namespace.config.len() != before
}
