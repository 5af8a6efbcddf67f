//! Kinds that are kept by uid, each in its own part of a namespace.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Effects, InNamespace, Listing, Seen, storage::here, workloads::of_controller};
use crate::{
    core::{
        observed::storage::CronJob,
        observed::{
            Concerns, ControllerRevision, HasOwner, Namespace, Owned, ReplicaSet, Uid, WorkloadId,
        },
        rest::News,
    },
    shell::{
        streams::Object,
        views::{
            ControllerRevisions, ReplicaSets, Watched,
            storage::{Autoscalers, CronJobs},
        },
    },
};

/// A kind whose objects a namespace keeps by uid.
pub trait ByUid: Watched {
    /// What is kept of one.
    type Kept: Clone + PartialEq;

    /// Those of a namespace.
    fn kept(namespace: &mut Namespace) -> &mut impl Kept<Self::Kept>;

    /// What is kept of one that was read; none if it is nothing to us.
    fn of(view: Self::View) -> Option<Self::Kept>;

    /// What a change of these means.
    fn news<'a>(changed: impl Iterator<Item = &'a Self::Kept>) -> News
    where
        Self::Kept: 'a;

    /// Whom one concerns of which only a part can be read; `path` is where it cannot.
    fn concerns(object: &Object<Self>, path: &str) -> Concerns;
}

/// Where objects are kept by uid.
pub trait Kept<V> {
    /// Keeps one; what was kept of it before.
    fn put(&mut self, uid: Uid, value: V) -> Option<V>;
    /// Forgets one; what was kept of it.
    fn take(&mut self, uid: &Uid) -> Option<V>;
    /// Forgets those that a list does not name.
    fn keep(&mut self, listing: &Listing);
}

impl<V: HasOwner> Kept<V> for Owned<V> {
    fn put(&mut self, uid: Uid, value: V) -> Option<V> {
        self.insert(uid, value)
    }

    fn take(&mut self, uid: &Uid) -> Option<V> {
        self.remove(uid)
    }

    fn keep(&mut self, listing: &Listing) {
        self.retain(|uid, _| listing.has(uid));
    }
}

impl<V> Kept<V> for BTreeMap<Uid, V> {
    fn put(&mut self, uid: Uid, value: V) -> Option<V> {
        self.insert(uid, value)
    }

    fn take(&mut self, uid: &Uid) -> Option<V> {
        self.remove(uid)
    }

    fn keep(&mut self, listing: &Listing) {
        self.retain(|uid, _| listing.has(uid));
    }
}

impl<K: ByUid> InNamespace for K {
    fn insert(
        namespace: &mut Namespace,
        object: Object<Self>,
        _seen: Seen,
        _effects: &mut Effects,
    ) -> Option<News> {
        let now = K::of(object.view);
        let before = match now.clone() {
            Some(now) => K::kept(namespace).put(object.uid, now),
            None => K::kept(namespace).take(&object.uid),
        };
        (before != now).then(|| K::news(before.iter().chain(&now)))
    }

    fn remove(
        namespace: &mut Namespace,
        object: &Object<Self>,
        _now: Timestamp,
        _effects: &mut Effects,
    ) -> News {
        let gone = K::kept(namespace).take(&object.uid);
        K::news(gone.iter())
    }

    fn retain(namespace: &mut Namespace, listing: &Listing, _seen: Seen, _effects: &mut Effects) {
        K::kept(namespace).keep(listing);
    }

    fn known<'a>(_namespace: &'a Namespace, _object: &Object<Self>) -> Option<&'a Uid> {
        None
    }

    fn concerns(object: &Object<Self>, path: &str) -> Concerns {
        <K as ByUid>::concerns(object, path)
    }
}

impl ByUid for ReplicaSets {
    type Kept = ReplicaSet;

    fn kept(namespace: &mut Namespace) -> &mut impl Kept<ReplicaSet> {
        &mut namespace.replica_sets
    }

    fn of(view: Option<ReplicaSet>) -> Option<ReplicaSet> {
        view
    }

    fn news<'a>(changed: impl Iterator<Item = &'a ReplicaSet>) -> News {
        News::of_workloads(changed.map(|set| set.deployment.clone()))
    }

    fn concerns(object: &Object<Self>, path: &str) -> Concerns {
        of_controller(object.view.as_ref().map(|set| &set.deployment), path)
    }
}

impl ByUid for ControllerRevisions {
    type Kept = ControllerRevision;

    fn kept(namespace: &mut Namespace) -> &mut impl Kept<ControllerRevision> {
        &mut namespace.controller_revisions
    }

    fn of(view: Option<ControllerRevision>) -> Option<ControllerRevision> {
        view
    }

    fn news<'a>(changed: impl Iterator<Item = &'a ControllerRevision>) -> News {
        News::of_workloads(changed.map(|revision| revision.stateful_set.clone()))
    }

    fn concerns(object: &Object<Self>, path: &str) -> Concerns {
        of_controller(object.view.as_ref().map(|revision| &revision.stateful_set), path)
    }
}

impl ByUid for CronJobs {
    type Kept = CronJob;

    fn kept(namespace: &mut Namespace) -> &mut impl Kept<CronJob> {
        &mut namespace.cron_jobs
    }

    fn of(view: CronJob) -> Option<CronJob> {
        Some(view)
    }

    fn news<'a>(_changed: impl Iterator<Item = &'a CronJob>) -> News {
        News::whole()
    }

    fn concerns(object: &Object<Self>, _path: &str) -> Concerns {
        here(object)
    }
}

impl ByUid for Autoscalers {
    type Kept = (WorkloadId, u32);

    fn kept(namespace: &mut Namespace) -> &mut impl Kept<(WorkloadId, u32)> {
        &mut namespace.autoscalers
    }

    fn of(view: Option<(WorkloadId, u32)>) -> Option<(WorkloadId, u32)> {
        view
    }

    fn news<'a>(_changed: impl Iterator<Item = &'a (WorkloadId, u32)>) -> News {
        News::whole()
    }

    fn concerns(object: &Object<Self>, _path: &str) -> Concerns {
        here(object)
    }
}
