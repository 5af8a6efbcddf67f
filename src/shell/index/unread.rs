//! The part of the index that keeps what cannot be read.

use jiff::Timestamp;

use super::{Effects, Index, Listing, admission_kind, storage::entry};
use crate::{
    core::{
        observed::{Concerns, Uid, Unread, UnreadId},
        rest::News,
    },
    shell::{
        streams::{Flawed, Object, StreamId, View},
        views::storage::StorageView,
    },
};

impl Index {
    /// The objects that cannot be read.
    pub fn unread(&self) -> impl Iterator<Item = &Unread> {
        self.unread.values()
    }

    /// Those of them that are told: where there are policies, or claims that are retained.
    pub fn unread_of_interest(&self) -> impl Iterator<Item = &Unread> {
        let interest = self.with_interest();
        self.unread().filter(move |one| {
            one.namespace.is_empty() || interest.contains(one.namespace.as_str())
        })
    }

    /// Takes note of an object that cannot be read. What was known of it stands, as long as it is
    /// the same object.
    pub(super) fn skip(
        &mut self,
        plural: &'static str,
        object: Object,
        flawed: Flawed,
        now: Timestamp,
        effects: &mut Effects,
    ) {
        if self.is_foreign(&object) {
            return;
        }
        self.newest = self.newest.max(object.resource_version);
        if self.known(&object).is_some_and(|uid| *uid != object.uid) {
            self.remove(&object, now, effects);
        }
        effects.object_seen = Some((object.uid.clone(), object.resource_version));
        let unread = Unread {
            api_version: flawed.api_version,
            kind: flawed.kind,
            namespace: object.namespace.clone(),
            name: object.name.clone(),
            uid: object.uid.clone(),
            flaw: flawed.flaw.sentence,
            concerns: concerns(&object, &flawed.flaw.path),
        };
        let key = (plural, object.namespace.clone(), object.name.clone());
        if self.unread.get(&key) != Some(&unread) {
            self.spread(&key, Some(unread.clone()), effects);
        }
        // A policy that cannot be read is one that cannot be acted on.
        if let View::Policy(mut policy) = object.view {
            let known = self
                .namespace(&object.namespace)
                .and_then(|namespace| namespace.policies.get(&object.name));
            if let Some(known) = known {
                policy.status = known.status.clone();
            }
            policy.spec = Err(format!("the policy cannot be read: {}", unread.flaw));
            self.insert(Object { view: View::Policy(policy), ..object }, false, now, effects);
        }
    }

    /// An object can be read again, or is gone.
    pub(super) fn is_read(&mut self, plural: &'static str, object: &Object, effects: &mut Effects) {
        if self.unread.is_empty() {
            return;
        }
        let key = (plural, object.namespace.clone(), object.name.clone());
        if self.unread.contains_key(&key) {
            self.spread(&key, None, effects);
        }
    }

    /// What a complete list no longer names is gone, also if it could not be read.
    pub(super) fn drop_unlisted_unread(
        &mut self,
        stream: &StreamId,
        listed: &Listing,
        effects: &mut Effects,
    ) {
        let of_stream = |namespace: &String, name: &String| {
            let place = if namespace.is_empty() { name } else { namespace };
            stream.namespace.as_ref().is_none_or(|only| only == place)
        };
        self.drop_unread(effects, |(plural, namespace, name)| {
            *plural == stream.kind
                && of_stream(namespace, name)
                && !listed.names.contains(&(namespace.clone(), name.clone()))
        });
    }

    /// Forgets those of which this is so.
    pub(super) fn drop_unread(&mut self, effects: &mut Effects, gone: impl Fn(&UnreadId) -> bool) {
        let gone: Vec<_> = self.unread.keys().filter(|key| gone(key)).cloned().collect();
        gone.iter().for_each(|key| self.spread(key, None, effects));
    }

    /// Lets those know whom it concerns that an object cannot be read, or no longer stands unread.
    fn spread(&mut self, key: &UnreadId, now: Option<Unread>, effects: &mut Effects) {
        effects.unread_changed = true;
        let before = match &now {
            Some(unread) => self.unread.insert(key.clone(), unread.clone()),
            None => self.unread.remove(key),
        };
        let (plural, namespace, name) = key;
        if let Some(kind) = admission_kind(plural) {
            self.enforcement.observe_unread(kind, name, now.map(|unread| unread.flaw));
            return self.tell_all();
        }
        let known = match namespace.is_empty() {
            true => &mut self.storage.unread,
            false => &mut entry(&mut self.namespaces, namespace).unread,
        };
        match &now {
            Some(unread) => drop(known.insert(key.clone(), unread.clone())),
            None => drop(known.remove(key)),
        }
        if !namespace.is_empty() {
            return self.tell(namespace, News::whole());
        }
        for one in before.iter().chain(&now) {
            match &one.concerns {
                Concerns::Storage(of) if of.is_empty() => self.tell_all(),
                Concerns::Storage(of) => {
                    of.iter().for_each(|namespace| self.tell(namespace, News::whole()))
                }
                _ => {}
            }
        }
    }

    /// Whether an object is passed over when it can be read.
    fn is_foreign(&self, object: &Object) -> bool {
        self.passed_over(&object.namespace)
            || match &object.view {
                View::Admission(admission) => {
                    !self.enforcement.expects(admission.kind, &object.name)
                }
                View::Storage(StorageView::Namespace(_)) => self.passed_over(&object.name),
                View::Storage(view) => {
                    view.namespaces().iter().any(|namespace| !self.reach.covers(namespace))
                }
                _ => false,
            }
    }

    /// The uid of the object of this kind and name that is known, where that is kept by name.
    fn known(&self, object: &Object) -> Option<&Uid> {
        let namespace = self.namespaces.get(&object.namespace);
        match &object.view {
            View::Policy(_) => Some(&namespace?.policies.get(&object.name)?.uid),
            View::Workload(workload) => Some(&namespace?.workloads.get(&workload.id)?.uid),
            View::Storage(StorageView::Claim(_)) => Some(&namespace?.claims.get(&object.name)?.uid),
            View::Storage(StorageView::Volume(_)) => Some(&self.storage.volume(&object.name)?.uid),
            View::Storage(StorageView::Namespace(_)) => {
                Some(&self.storage.namespaces.get(&object.name)?.uid)
            }
            _ => None,
        }
    }
}

/// Whom an object concerns of which only a part can be read.
fn concerns(object: &Object, path: &str) -> Concerns {
    let here = || Concerns::Storage([object.namespace.clone()].into());
    let controlled = |by: Option<&Uid>| match by {
        // Its owner may be the very thing that cannot be read.
        _ if path.starts_with("metadata.ownerReferences") => Concerns::AnyWorkload,
        Some(uid) => Concerns::ControlledBy(uid.clone()),
        None => Concerns::Nobody,
    };
    match &object.view {
        View::Workload(workload) => Concerns::Workload(workload.id.clone()),
        View::ReplicaSet(set) => controlled(set.as_ref().map(|set| &set.deployment)),
        View::ControllerRevision(revision) => {
            controlled(revision.as_ref().map(|revision| &revision.stateful_set))
        }
        View::Pod(pod) => controlled(pod.controller.as_ref()),
        View::Config(config) => Concerns::Readers(config.id.clone()),
        View::Delegate((_, Some(workload))) => Concerns::Workload(workload.clone()),
        View::Storage(
            StorageView::Claim(_) | StorageView::CronJob(_) | StorageView::Autoscaler(_),
        ) => here(),
        View::Storage(StorageView::Namespace(_)) => Concerns::Storage([object.name.clone()].into()),
        View::Storage(view @ StorageView::Volume(_)) => match view.namespaces() {
            of if of.is_empty() && !path.starts_with("spec") => Concerns::Nobody,
            of => Concerns::Storage(of),
        },
        View::Storage(StorageView::Driver(_)) => {
            Concerns::Storage(std::collections::BTreeSet::new())
        }
        View::Policy(_) | View::Delegate((_, None)) | View::Definition(_) | View::Admission(_) => {
            Concerns::Nobody
        }
    }
}
