//! The table of what is watched. A row names a kind; the compiler asks for the rest: what is read
//! of it ([`Watched`](crate::shell::views::Watched)), and what it changes in what is known
//! ([`Indexed`]).

use jiff::Timestamp;
use kube::runtime::watcher::Config;

use super::Streams;
use crate::{
    api::crd,
    core::{
        hold::judges::WEBHOOK,
        reach::{Feature, Reach},
    },
    shell::{
        index::{Effects, Index, Indexed},
        views::{
            Canaries, ConfigMaps, ControllerRevisions, DaemonSets, Definitions, Deployments,
            MutatingBindings, MutatingPolicies, MutatingWebhooks, Pods, Policies, ReplicaSets,
            Rollouts, Secrets, StatefulSets, ValidatingBindings, ValidatingPolicies,
            snapshots::{SnapshotClasses, SnapshotContents, VolumeSnapshots},
            storage::{Autoscalers, Claims, CronJobs, Drivers, Namespaces, Volumes},
        },
    },
};

/// Small pages keep the peak of memory low while a large cluster is listed.
const PAGE_SIZE: u32 = 100;

/// Everything that is watched.
pub const WATCHES: [Watch; 26] = [
    Watch::of::<Definitions>(Place::Cluster).named(crd::NAME),
    Watch::of::<MutatingPolicies>(Place::Cluster),
    Watch::of::<MutatingBindings>(Place::Cluster),
    Watch::of::<MutatingWebhooks>(Place::Cluster).named(WEBHOOK.1),
    Watch::of::<ValidatingPolicies>(Place::Cluster),
    Watch::of::<ValidatingBindings>(Place::Cluster),
    Watch::of::<Policies>(Place::Reach),
    Watch::of::<Deployments>(Place::Reach),
    Watch::of::<StatefulSets>(Place::Reach),
    Watch::of::<DaemonSets>(Place::Reach),
    Watch::of::<ConfigMaps>(Place::Reach).needs(Feature::Config),
    // Helm keeps its releases in Secrets, many and large, that no pod reads.
    Watch::of::<Secrets>(Place::Reach).needs(Feature::Config).fields("type!=helm.sh/release.v1"),
    // What is left of policies, releases and namespaces that are gone is found again.
    Watch::of::<Volumes>(Place::Cluster).needs(Feature::Volumes),
    Watch::of::<Drivers>(Place::Cluster).needs(Feature::Volumes),
    Watch::of::<Claims>(Place::Reach).needs(Feature::Volumes),
    Watch::of::<CronJobs>(Place::Reach).needs(Feature::Volumes),
    Watch::of::<Autoscalers>(Place::Reach).needs(Feature::Volumes),
    Watch::of::<Namespaces>(Place::Namespaces).needs(Feature::Volumes),
    // Many clusters do not serve them.
    Watch::of::<SnapshotClasses>(Place::Cluster).needs(Feature::Snapshots),
    Watch::of::<SnapshotContents>(Place::Cluster).needs(Feature::Snapshots),
    Watch::of::<VolumeSnapshots>(Place::Reach).needs(Feature::Snapshots),
    // Nothing waits for these two: most clusters do not serve them.
    Watch::of::<Rollouts>(Place::Reach).optional(),
    Watch::of::<Canaries>(Place::Reach).optional(),
    Watch::of::<ReplicaSets>(Place::Interest),
    Watch::of::<ControllerRevisions>(Place::Interest),
    Watch::of::<Pods>(Place::Interest),
];

/// Where a kind is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Once, whatever the reach: its objects are those of the cluster.
    Cluster,
    /// In each namespace of the reach, or once if that is all of them.
    Reach,
    /// The objects of the namespaces of the reach themselves.
    Namespaces,
    /// In each namespace where there are policies, or claims that are retained.
    Interest,
}

/// A kind that is watched, where, and when.
#[derive(Clone, Copy)]
pub struct Watch {
    /// The plural of its kind.
    pub plural: &'static str,
    /// Where.
    pub place: Place,
    /// Whether nothing is decided before its list is complete.
    pub awaited: bool,
    feature: Option<Feature>,
    only: Only,
    start: fn(&mut Streams, &Watch, Option<&str>),
    forget: fn(&mut Index, &str, Timestamp, &mut Effects),
}

/// Which objects of a kind.
#[derive(Clone, Copy)]
enum Only {
    All,
    Name(&'static str),
    Fields(&'static str),
}

impl Watch {
    const fn of<K: Indexed>(place: Place) -> Self {
        Self {
            plural: K::PLURAL,
            place,
            awaited: true,
            feature: None,
            only: Only::All,
            start: Streams::spawn::<K>,
            forget: Index::forget::<K>,
        }
    }

    const fn needs(self, feature: Feature) -> Self {
        Self { feature: Some(feature), ..self }
    }

    const fn named(self, name: &'static str) -> Self {
        Self { only: Only::Name(name), ..self }
    }

    const fn fields(self, selector: &'static str) -> Self {
        Self { only: Only::Fields(selector), ..self }
    }

    const fn optional(self) -> Self {
        Self { awaited: false, ..self }
    }

    /// Whether an installation of this reach watches it.
    pub fn is_needed(&self, reach: &Reach) -> bool {
        self.feature.is_none_or(|feature| reach.has(feature))
    }

    /// Starts it in one namespace, or everywhere.
    pub fn start(&self, streams: &mut Streams, namespace: Option<&str>) {
        (self.start)(streams, self, namespace);
    }

    /// Forgets what it told of a namespace in which it no longer runs.
    pub fn forget(
        &self,
        index: &mut Index,
        namespace: &str,
        now: Timestamp,
        effects: &mut Effects,
    ) {
        (self.forget)(index, namespace, now, effects);
    }

    /// The namespace in whose path it runs.
    pub fn path<'a>(&self, namespace: Option<&'a str>) -> Option<&'a str> {
        namespace.filter(|_| self.place != Place::Namespaces)
    }

    /// What it asks the API server for.
    pub fn config(&self, namespace: Option<&str>) -> Config {
        let all = Config::default().page_size(PAGE_SIZE);
        match (self.place, namespace, self.only) {
            (Place::Namespaces, Some(name), _) | (_, _, Only::Name(name)) => {
                all.fields(&format!("metadata.name={name}"))
            }
            (_, _, Only::Fields(selector)) => all.fields(selector),
            (_, _, Only::All) => all,
        }
    }
}
