//! The part of the index that keeps what concerns storage.

use std::collections::{BTreeSet, HashMap};

use super::Listing;
use crate::{
    core::observed::{Namespace, Uid, storage::Storage},
    shell::{streams::StreamId, views::storage::StorageView},
};

/// Where an object is, and which one it is.
pub struct Place<'a> {
    /// Its namespace; empty for an object of the cluster.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its uid.
    pub uid: &'a Uid,
}

/// Takes in an object as it is now. Returns the namespaces to look at again.
pub fn insert(
    storage: &mut Storage,
    namespaces: &mut HashMap<String, Namespace>,
    place: Place,
    view: StorageView,
) -> BTreeSet<String> {
    let here = || BTreeSet::from([place.namespace.to_owned()]);
    match view {
        StorageView::Claim(claim) => {
            let changed = entry(namespaces, place.namespace)
                .claims
                .insert(claim.name.clone(), (*claim).clone())
                .as_ref()
                != Some(&*claim);
            if changed { here() } else { BTreeSet::new() }
        }
        StorageView::CronJob(job) => {
            entry(namespaces, place.namespace).cron_jobs.insert(place.uid.clone(), job);
            here()
        }
        StorageView::Autoscaler(Some(target)) => {
            let changed = entry(namespaces, place.namespace)
                .autoscalers
                .insert(place.uid.clone(), target.clone())
                .as_ref()
                != Some(&target);
            if changed { here() } else { BTreeSet::new() }
        }
        StorageView::Autoscaler(None) => {
            entry(namespaces, place.namespace).autoscalers.remove(place.uid);
            here()
        }
        StorageView::Volume(volume) => {
            // Data that is kept is counted also when nothing else is left of its namespace.
            if let Some(provenance) = volume.provenance() {
                entry(namespaces, &provenance.namespace);
            }
            storage.insert(*volume)
        }
        StorageView::Namespace(namespace) => {
            let name = namespace.name.clone();
            storage.namespaces.insert(name.clone(), *namespace);
            [name].into()
        }
        StorageView::Driver(attaches) => {
            match storage.drivers.insert(place.name.to_owned(), attaches) {
                Some(before) if before == attaches => BTreeSet::new(),
                _ => namespaces.keys().cloned().collect(),
            }
        }
    }
}

/// A namespace of which something is known.
pub fn entry<'a>(namespaces: &'a mut HashMap<String, Namespace>, name: &str) -> &'a mut Namespace {
    let empty = || Namespace { name: name.into(), ..Namespace::default() };
    namespaces.entry(name.to_owned()).or_insert_with(empty)
}

/// An object is gone. Returns the namespaces to look at again.
pub fn remove(
    storage: &mut Storage,
    namespaces: &mut HashMap<String, Namespace>,
    place: Place,
    view: &StorageView,
) -> BTreeSet<String> {
    match view {
        StorageView::Volume(volume) => return storage.remove(&volume.name),
        StorageView::Namespace(_) => drop(storage.namespaces.remove(place.name)),
        StorageView::Driver(_) => drop(storage.drivers.remove(place.name)),
        StorageView::Claim(_) | StorageView::CronJob(_) | StorageView::Autoscaler(_) => {
            if let Some(namespace) = namespaces.get_mut(place.namespace) {
                match view {
                    StorageView::CronJob(_) => drop(namespace.cron_jobs.remove(place.uid)),
                    StorageView::Autoscaler(_) => drop(namespace.autoscalers.remove(place.uid)),
                    _ => drop(namespace.claims.remove(place.name)),
                }
            }
        }
    }
    let name = if place.namespace.is_empty() { place.name } else { place.namespace };
    [name.to_owned()].into()
}

/// What a complete list no longer names is gone. Returns whether the stream is one of storage.
pub fn drop_unlisted(
    storage: &mut Storage,
    namespaces: &mut HashMap<String, Namespace>,
    stream: &StreamId,
    listed: &Listing,
) -> bool {
    let there = |namespace: &str, name: &str| {
        listed.names.contains(&(namespace.to_owned(), name.to_owned()))
    };
    // One namespace, or all.
    let of_stream =
        |namespace: &str| stream.namespace.as_ref().is_none_or(|only| only == namespace);
    let here = namespaces.values_mut().filter(|one| of_stream(&one.name));
    match stream.kind {
        "persistentvolumes" => {
            let gone: Vec<_> = storage
                .volumes()
                .map(|volume| volume.name.clone())
                .filter(|name| !there("", name))
                .collect();
            gone.iter().for_each(|name| drop(storage.remove(name)));
        }
        "namespaces" => storage.namespaces.retain(|name, _| !of_stream(name) || there("", name)),
        "csidrivers" => storage.drivers.retain(|name, _| there("", name)),
        "persistentvolumeclaims" => here.for_each(|Namespace { name, claims, .. }| {
            claims.retain(|claim, _| there(name, claim))
        }),
        "cronjobs" => here.for_each(|one| one.cron_jobs.retain(|uid, _| listed.uids.contains(uid))),
        "horizontalpodautoscalers" => {
            here.for_each(|one| one.autoscalers.retain(|uid, _| listed.uids.contains(uid)))
        }
        _ => return false,
    }
    true
}
