//! A namespace, with all that was observed in it.

use std::collections::{BTreeMap, HashMap};

use crate::core::observed::{
    config_object::ConfigEntry,
    ids::{ConfigId, Uid, WorkloadId},
    owned::Owned,
    pod::Pod,
    policy::Policy,
    revision::{ControllerRevision, ReplicaSet},
    snapshots::Snapshot,
    storage::{Claim, CronJob},
    unread::Unreadables,
    workload::{Container, Workload},
};

/// One namespace.
#[derive(Debug, Default, Clone)]
pub struct Namespace {
    /// Its name.
    pub name: Box<str>,
    /// Its policies by name.
    pub policies: BTreeMap<String, Policy>,
    /// Its workloads.
    pub workloads: BTreeMap<WorkloadId, Workload>,
    /// Its ReplicaSets by uid.
    pub replica_sets: Owned<ReplicaSet>,
    /// The revisions of its StatefulSets by uid.
    pub controller_revisions: Owned<ControllerRevision>,
    /// Its pods by uid.
    pub pods: Owned<Pod>,
    /// Its ConfigMaps and Secrets, as digests, those deleted lately included.
    pub config: BTreeMap<ConfigId, ConfigEntry>,
    /// Deployments that an Argo Rollout or a Flagger Canary acts on, with its kind and name.
    pub delegates: BTreeMap<(String, String), WorkloadId>,
    /// Its claims by name.
    pub claims: BTreeMap<String, Claim>,
    /// Snapshots of their volumes by name.
    pub snapshots: BTreeMap<String, Snapshot>,
    /// Its CronJobs by uid.
    pub cron_jobs: BTreeMap<Uid, CronJob>,
    /// What each HorizontalPodAutoscaler scales, and up to how many pods, by its uid.
    pub autoscalers: BTreeMap<Uid, (WorkloadId, u32)>,
    /// Its objects that cannot be read. Where one was known before, what was known of it stands
    /// above.
    pub unread: Unreadables,
}

impl Namespace {
    /// The pods of each workload by the workload's uid: those that it controls, or that a
    /// ReplicaSet of its controls. One that has finished is among them only while it is being
    /// deleted: its node still has its volumes mounted.
    pub fn pods_by_workload(&self) -> HashMap<&str, Vec<&Pod>> {
        let mut pods: HashMap<&str, Vec<&Pod>> = HashMap::new();
        for pod in self.pods.values().filter(|pod| holds_its_place(pod)) {
            let Some(controller) = pod.controller.as_ref() else { continue };
            let workload =
                self.replica_sets.get(controller).map_or(controller, |set| &set.deployment);
            pods.entry(workload).or_default().push(pod);
        }
        pods
    }

    /// Those of one workload, by its uid, in the order of their uids.
    pub fn pods_of(&self, workload: &str) -> Vec<&Pod> {
        let of_sets = self.replica_sets.of(workload).flat_map(|(set, _)| self.pods.of(set));
        let all = self.pods.of(workload).chain(of_sets);
        let mut pods: Vec<_> = all.filter(|(_, pod)| holds_its_place(pod)).collect();
        pods.sort_by_key(|(uid, _)| *uid);
        pods.into_iter().map(|(_, pod)| pod).collect()
    }

    /// The ReplicaSets of one Deployment, by its uid.
    pub fn sets_of(&self, deployment: &str) -> Vec<&ReplicaSet> {
        self.replica_sets.of(deployment).map(|(_, set)| set).collect()
    }

    /// The containers of the template that this pod of the workload was made from: its first one
    /// first, init containers last. What admission added to the pod is not among them. Empty where
    /// the template is not known.
    pub fn containers_of_template<'a>(
        &'a self,
        workload: &'a Workload,
        pod: &Pod,
    ) -> &'a [Container] {
        if let Some(set) = pod.controller.as_ref().and_then(|uid| self.replica_sets.get(uid)) {
            return &set.containers;
        }
        let revisions = self.controller_revisions.of(&workload.uid);
        let mut of_pod = revisions.filter(|(_, one)| pod.revision.as_deref() == Some(&*one.name));
        of_pod.next().map_or(&*workload.template.containers, |(_, one)| &*one.containers)
    }

    /// The value of the revision label that the newest pods of each Deployment carry, by the
    /// Deployment's uid.
    pub fn newest_replica_sets(&self) -> HashMap<&str, &ReplicaSet> {
        let mut newest: HashMap<&str, &ReplicaSet> = HashMap::new();
        for set in self.replica_sets.values() {
            let known = newest.entry(&set.deployment).or_insert(set);
            if set.number > known.number {
                *known = set;
            }
        }
        newest
    }

    /// The ReplicaSets of each Deployment by the Deployment's uid.
    pub fn sets_by_deployment(&self) -> HashMap<&str, Vec<&ReplicaSet>> {
        let mut sets: HashMap<&str, Vec<&ReplicaSet>> = HashMap::new();
        for set in self.replica_sets.values() {
            sets.entry(&set.deployment).or_default().push(set);
        }
        sets
    }

    /// Whether nothing is known of it but perhaps revisions without pods.
    pub fn is_empty(&self) -> bool {
        let Self {
            name: _,
            policies,
            workloads,
            replica_sets: _,
            controller_revisions: _,
            pods,
            config,
            delegates,
            claims,
            snapshots,
            cron_jobs,
            autoscalers,
            unread,
        } = self;
        policies.is_empty()
            && workloads.is_empty()
            && pods.is_empty()
            && config.is_empty()
            && delegates.is_empty()
            && claims.is_empty()
            && snapshots.is_empty()
            && cron_jobs.is_empty()
            && autoscalers.is_empty()
            && unread.is_empty()
    }
}

/// One that has finished counts only while it is being deleted: its node still has its volumes
/// mounted.
fn holds_its_place(pod: &Pod) -> bool {
    !pod.finished || pod.terminating.is_some()
}
