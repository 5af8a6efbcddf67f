//! A namespace as the operator would see it.

use std::{borrow::Cow, collections::BTreeMap};

use lockkeeper::{
    api::{Attention, Mode, Phase, UpgradePolicy, status::ATTENTION_LIMIT},
    core::{
        calendar::Windows,
        governs::{Standing, governance},
        hold::governance::GovernanceMark,
        observed::{Namespace, Pod, Policy, Uid, Workload, WorkloadId, policy::check_spec},
        rollout::progress,
    },
    shell::views::{
        ControllerRevisions, DaemonSets, Deployments, Pods, ReplicaSets, StatefulSets, Watched,
        Wire,
    },
    workload::{uid, written},
};

use super::Failure;

/// A namespace as the operator would see it, without what pods read.
pub struct Seen {
    /// Its objects.
    pub world: Namespace,
    /// Its policies as they are, by name.
    pub policies: Vec<UpgradePolicy>,
}

/// The objects of a namespace, or of all, as they were read.
#[derive(Default)]
pub struct Objects {
    /// Its policies.
    pub policies: Vec<UpgradePolicy>,
    /// Its Deployments.
    pub deployments: Vec<Wire<Deployments>>,
    /// Its StatefulSets.
    pub stateful_sets: Vec<Wire<StatefulSets>>,
    /// Its DaemonSets.
    pub daemon_sets: Vec<Wire<DaemonSets>>,
    /// Its pods.
    pub pods: Vec<Wire<Pods>>,
    /// The ReplicaSets.
    pub replica_sets: Vec<Wire<ReplicaSets>>,
    /// The ControllerRevisions.
    pub controller_revisions: Vec<Wire<ControllerRevisions>>,
}

fn views<K: Watched>(wires: Vec<Wire<K>>) -> impl Iterator<Item = (Uid, K::View)> {
    wires.into_iter().map(|wire| (uid(&wire.metadata), K::view(&wire.metadata, wire.body)))
}

impl Seen {
    /// What the operator would see of a namespace with these objects.
    pub fn new(namespace: &str, objects: Objects) -> Self {
        let mut world = Namespace { name: namespace.into(), ..Namespace::default() };
        for policy in &objects.policies {
            let policy = view_of(policy);
            world.policies.insert(policy.name.clone(), policy);
        }
        let workloads = views(objects.deployments)
            .chain(views(objects.stateful_sets))
            .chain(views(objects.daemon_sets));
        world.workloads = workloads.map(|(_, workload)| (workload.id.clone(), workload)).collect();
        world.pods = views(objects.pods).collect();
        world.replica_sets =
            views(objects.replica_sets).filter_map(|(uid, set)| Some((uid, set?))).collect();
        world.controller_revisions = views(objects.controller_revisions)
            .filter_map(|(uid, revision)| Some((uid, revision?)))
            .collect();
        Self { world, policies: objects.policies }
    }

    /// The same of each namespace that has policies or workloads among these objects.
    pub fn by_namespace(objects: Objects) -> Vec<Self> {
        fn place<K: kube::ResourceExt>(
            all: Vec<K>,
            into: &mut BTreeMap<String, Objects>,
            field: impl Fn(&mut Objects) -> &mut Vec<K>,
        ) {
            for one in all {
                field(into.entry(one.namespace().unwrap_or_default()).or_default()).push(one);
            }
        }
        let mut found = BTreeMap::new();
        place(objects.policies, &mut found, |objects| &mut objects.policies);
        place(objects.deployments, &mut found, |objects| &mut objects.deployments);
        place(objects.stateful_sets, &mut found, |objects| &mut objects.stateful_sets);
        place(objects.daemon_sets, &mut found, |objects| &mut objects.daemon_sets);
        found.into_iter().map(|(namespace, objects)| Self::new(&namespace, objects)).collect()
    }

    /// A workload of the namespace.
    pub fn workload(&self, id: &WorkloadId) -> Result<&Workload, Failure> {
        let not_found =
            || Failure::NotFound { workload: id.clone(), namespace: self.world.name.to_string() };
        self.world.workloads.get(id).ok_or_else(not_found)
    }

    /// The workloads that a policy governs or observes, each with its policy's name.
    pub fn governed(&self) -> Vec<(&Workload, String)> {
        let governance = governance(&self.world);
        let of = |workload: &Workload| match governance.standings.get(&workload.id) {
            _ if workload.governed.stands() => {
                Some(GovernanceMark::on(workload).map_or("-", |mark| &mark.policy).to_owned())
            }
            Some(Standing::Governed(policy, spec)) if spec.mode == Mode::Observe => {
                Some(policy.name.clone())
            }
            _ => None,
        };
        self.world
            .workloads
            .values()
            .filter_map(|workload| Some((workload, of(workload)?)))
            .collect()
    }

    /// The policy that observes a workload, if one does.
    pub fn observer(&self, workload: &Workload) -> Option<&Policy> {
        match governance(&self.world).standings.get(&workload.id)? {
            Standing::Governed(policy, spec) if spec.mode == Mode::Observe => {
                self.world.policies.get(&policy.name)
            }
            _ => None,
        }
    }

    /// What a policy's status says of a workload; none if it is up to date.
    pub fn attention(&self, workload: &WorkloadId) -> Option<&Attention> {
        let mut all = self
            .policies
            .iter()
            .filter_map(|policy| policy.status.as_ref())
            .flat_map(|status| &status.attention);
        all.find(|one| one.kind == workload.kind && one.name == workload.name)
    }

    /// Whether the status of a workload's policy may leave it out although it is not up to date: it
    /// names only so many.
    pub fn is_cut(&self, workload: &Workload) -> bool {
        let policy =
            GovernanceMark::on(workload).and_then(|mark| self.world.policies.get(&*mark.policy));
        policy.is_some_and(|policy| policy.status.attention.len() == ATTENTION_LIMIT)
    }

    /// The pods of a workload.
    pub fn pods(&self, workload: &Workload) -> Vec<&Pod> {
        self.world.pods_by_workload().remove(&*workload.uid).unwrap_or_default()
    }

    /// A workload as it may be judged, and the value of the revision label that pods of its newest
    /// template carry.
    pub fn judged<'a>(&'a self, workload: &'a Workload) -> (Cow<'a, Workload>, Option<&'a str>) {
        let newest = self.world.newest_replica_sets().remove(&*workload.uid);
        progress::seen(
            workload,
            newest,
            &self.world.sets_by_deployment().remove(&*workload.uid).unwrap_or_default(),
        )
    }
}

/// Why a workload is not up to date. Of a change that waits, without who made it and without
/// commands, which are told in their place; an operator of an earlier version has written all that
/// into one message.
pub fn why_not(attention: &Attention) -> &str {
    let waits = matches!(attention.phase, Phase::Held | Phase::Waiting);
    let hold = attention.hold.as_ref().filter(|hold| waits && !hold.message.is_empty());
    hold.map_or(&attention.message, |hold| &hold.message)
}

fn view_of(policy: &UpgradePolicy) -> Policy {
    let (spec, windows) = match check_spec(policy.spec.clone()) {
        Ok((spec, windows)) => (Ok(spec), windows),
        Err(error) => (Err(error), Windows::default()),
    };
    Policy {
        name: policy.metadata.name.clone().unwrap_or_default(),
        uid: uid(&policy.metadata),
        generation: policy.metadata.generation.unwrap_or_default(),
        written: written(&policy.metadata),
        spec,
        switched_off: Vec::new(),
        windows,
        status: policy.status.clone().unwrap_or_default(),
    }
}
