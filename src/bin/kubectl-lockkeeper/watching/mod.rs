//! A namespace that is kept up to date by one watch for each kind that matters. What may be listed
//! and not watched is listed now and then.

#[cfg(test)]
mod tests;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    pin::pin,
    time::Duration,
};

use futures::{FutureExt, Stream, StreamExt, future::LocalBoxFuture};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{
    Api, Resource, ResourceExt,
    core::{NamespaceResourceScope, PartialObjectMeta},
    runtime::watcher::{self, Config, Event, watcher},
};
use lockkeeper::{
    api::{ConfigKind, UpgradePolicy, WorkloadKind},
    core::observed::{Workload, WorkloadId},
    shell::{
        clock,
        views::{
            ControllerRevisions, DaemonSets, Deployments, Pods, ReplicaSets, StatefulSets, Watched,
            Wire,
            lenient::{FromText, Lenient},
        },
    },
};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use crate::cluster::{Cluster, Failure, Objects, Seen, failure, read};

/// Pause after a watch broke, doubled each time until it is the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// What may not be watched is listed this often.
const BETWEEN_LISTS: Duration = Duration::from_secs(5);

/// What is watched.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// All namespaces, instead of that of the cluster's connection.
    pub all_namespaces: bool,
    /// One workload, and the kinds that matter to it.
    pub only: Option<WorkloadId>,
    /// Workloads with these labels.
    pub labels: Option<String>,
    /// Only workloads and policies: neither pods nor revisions nor config.
    pub only_workloads: bool,
}

/// Objects as their watches see them.
pub struct Watching<'a> {
    cluster: &'a Cluster,
    scope: Scope,
    policies: Kept<UpgradePolicy>,
    deployments: Kept<Wire<Deployments>>,
    stateful_sets: Kept<Wire<StatefulSets>>,
    daemon_sets: Kept<Wire<DaemonSets>>,
    pods: Kept<Wire<Pods>>,
    replica_sets: Kept<Wire<ReplicaSets>>,
    controller_revisions: Kept<Wire<ControllerRevisions>>,
    config_maps: Kept<PartialObjectMeta<ConfigMap>>,
    secrets: Kept<PartialObjectMeta<Secret>>,
    /// What pods read: only that is looked at.
    read: RefCell<BTreeSet<(ConfigKind, String)>>,
    news: watch::Sender<()>,
}

/// The objects of a kind.
struct Kept<T> {
    what: &'static str,
    /// By namespace and name.
    objects: RefCell<BTreeMap<(String, String), T>>,
    /// Those that cannot be read and were named, with what is wrong.
    named: RefCell<BTreeSet<String>>,
    /// None until the first list is complete or refused.
    state: RefCell<Option<Result<(), Failure>>>,
}

impl<'a> Watching<'a> {
    /// Watches nothing before it is run.
    pub fn new(cluster: &'a Cluster, scope: Scope) -> Self {
        Self {
            cluster,
            scope,
            policies: Kept::new("UpgradePolicies"),
            deployments: Kept::new(Deployments::PLURAL),
            stateful_sets: Kept::new(StatefulSets::PLURAL),
            daemon_sets: Kept::new(DaemonSets::PLURAL),
            pods: Kept::new(Pods::PLURAL),
            replica_sets: Kept::new(ReplicaSets::PLURAL),
            controller_revisions: Kept::new(ControllerRevisions::PLURAL),
            config_maps: Kept::new("configmaps"),
            secrets: Kept::new("secrets"),
            read: RefCell::default(),
            news: watch::Sender::new(()),
        }
    }

    /// Whether kinds of which this is true matter.
    fn matters(&self, of: impl Fn(WorkloadKind) -> bool) -> bool {
        self.scope.only.as_ref().is_none_or(|only| of(only.kind))
    }

    /// Whether this kind of workload matters.
    fn wants<W: Watched>(&self) -> bool {
        self.matters(|kind| kind.as_str() == W::KIND)
    }

    /// Whether ReplicaSets matter.
    fn wants_replica_sets(&self) -> bool {
        !self.scope.only_workloads && self.matters(WorkloadKind::has_replica_sets)
    }

    /// Whether ControllerRevisions matter. Those of DaemonSets are looked at too.
    fn wants_revisions(&self) -> bool {
        !self.scope.only_workloads && self.matters(|kind| !kind.has_replica_sets())
    }

    /// Watches, as long as it is polled.
    pub async fn run(&self) -> Infallible {
        let all = Config::default();
        let mut workloads = Config::default();
        if let Some(only) = &self.scope.only {
            workloads = workloads.fields(&format!("metadata.name={}", only.name));
        }
        if let Some(labels) = &self.scope.labels {
            workloads = workloads.labels(labels);
        }
        let with_pods = !self.scope.only_workloads;
        let watches: [(bool, LocalBoxFuture<'_, Infallible>); 9] = [
            (true, self.follow(&self.policies, all.clone()).boxed_local()),
            (
                self.wants::<Deployments>(),
                self.follow(&self.deployments, workloads.clone()).boxed_local(),
            ),
            (
                self.wants::<StatefulSets>(),
                self.follow(&self.stateful_sets, workloads.clone()).boxed_local(),
            ),
            (self.wants::<DaemonSets>(), self.follow(&self.daemon_sets, workloads).boxed_local()),
            (with_pods, self.follow(&self.pods, all.clone()).boxed_local()),
            (self.wants_replica_sets(), self.follow(&self.replica_sets, all.clone()).boxed_local()),
            (self.wants_revisions(), self.follow(&self.controller_revisions, all).boxed_local()),
            (with_pods, self.follow_config(&self.config_maps, ConfigKind::ConfigMap).boxed_local()),
            (with_pods, self.follow_config(&self.secrets, ConfigKind::Secret).boxed_local()),
        ];
        let watches =
            watches.into_iter().filter_map(|(wanted, following)| wanted.then_some(following));
        futures::future::select_all(watches).await.0
    }

    /// Tells when something has changed.
    pub fn news(&self) -> watch::Receiver<()> {
        self.news.subscribe()
    }

    /// What was seen; none while the first lists are not complete.
    ///
    /// # Errors
    /// Says what cannot be read just now.
    pub fn objects(&self) -> Option<Result<Objects, Failure>> {
        let if_wanted = |wanted: bool, state: Option<Result<(), Failure>>| {
            if wanted { state } else { Some(Ok(())) }
        };
        let states = [
            self.policies.state(),
            if_wanted(self.wants::<Deployments>(), self.deployments.state()),
            if_wanted(self.wants::<StatefulSets>(), self.stateful_sets.state()),
            if_wanted(self.wants::<DaemonSets>(), self.daemon_sets.state()),
            if_wanted(!self.scope.only_workloads, self.pods.state()),
            if_wanted(self.wants_replica_sets(), self.replica_sets.state()),
            if_wanted(self.wants_revisions(), self.controller_revisions.state()),
        ];
        let states: Result<Vec<()>, Failure> =
            states.into_iter().collect::<Option<Vec<_>>>()?.into_iter().collect();
        Some(states.map(|_| Objects {
            policies: self.policies.all(),
            deployments: self.deployments.all(),
            stateful_sets: self.stateful_sets.all(),
            daemon_sets: self.daemon_sets.all(),
            pods: self.pods.all(),
            replica_sets: self.replica_sets.all(),
            controller_revisions: self.controller_revisions.all(),
        }))
    }

    /// The same of one namespace.
    pub fn seen(&self) -> Option<Result<Seen, Failure>> {
        Some(self.objects()?.map(|objects| Seen::new(&self.cluster.namespace, objects)))
    }

    /// The newest write of the ConfigMaps and Secrets that a workload reads by name; none before
    /// they were looked at. Their content is not read.
    pub fn newest_config_write(&self, workload: &Workload) -> Option<Option<Timestamp>> {
        let mut newest = None;
        let mut known = true;
        for reference in
            workload.template.references.iter().filter(|reference| !reference.is_glob())
        {
            if self.read.borrow_mut().insert((reference.kind, reference.name.clone())) {
                known = false;
            }
            let (state, written) = match reference.kind {
                ConfigKind::ConfigMap => (
                    self.config_maps.state(),
                    self.config_maps.written(&self.cluster.namespace, &reference.name),
                ),
                ConfigKind::Secret => (
                    self.secrets.state(),
                    self.secrets.written(&self.cluster.namespace, &reference.name),
                ),
            };
            known &= state.is_some();
            newest = newest.max(written);
        }
        if !known {
            self.news.send_replace(());
        }
        known.then_some(newest)
    }

    async fn follow<T>(&self, kept: &Kept<T>, config: Config) -> Infallible
    where
        T: FromText + Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        let api: Api<Lenient<T>> = match self.scope.all_namespaces {
            true => Api::all(self.cluster.client.clone()),
            false => Api::namespaced(self.cluster.client.clone(), &self.cluster.namespace),
        };
        let mut pause = FIRST_PAUSE;
        loop {
            let begun = clock::moment();
            let error = kept.until_broken(watcher(api.clone(), config.clone()), &self.news).await;
            if begun.elapsed() > LONGEST_PAUSE {
                pause = FIRST_PAUSE;
            }
            pause = kept.after(error, pause, &self.news).await;
        }
    }

    /// Watches the metadata of config that pods read. Who may not list it, may perhaps get what is
    /// read by its name; who may not do that either, still may wait.
    async fn follow_config<T>(
        &self,
        kept: &Kept<PartialObjectMeta<T>>,
        kind: ConfigKind,
    ) -> Infallible
    where
        T: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug
            + Send
            + 'static,
    {
        let api: Api<PartialObjectMeta<T>> =
            Api::namespaced(self.cluster.client.clone(), &self.cluster.namespace);
        let names = || {
            self.read
                .borrow()
                .iter()
                .filter(|(of, _)| *of == kind)
                .map(|(_, name)| name.clone())
                .collect::<Vec<_>>()
        };
        let mut news = self.news.subscribe();
        while names().is_empty() {
            // The sender is ours, so this does not fail.
            let _ = news.changed().await;
        }
        let mut pause = FIRST_PAUSE;
        loop {
            let error =
                kept.until_broken(watcher(api.clone(), Config::default()), &self.news).await;
            if !is_forbidden_list(&error) {
                pause = kept.after(error, pause, &self.news).await;
                continue;
            }
            for name in names() {
                let found = api.get_opt(&name).await.ok().flatten();
                let key = (self.cluster.namespace.clone(), name);
                match found {
                    Some(object) => drop(kept.objects.borrow_mut().insert(key, object)),
                    None => drop(kept.objects.borrow_mut().remove(&key)),
                }
            }
            kept.stands(Ok(()), &self.news);
            tokio::time::sleep(BETWEEN_LISTS).await;
        }
    }
}

impl<T: ResourceExt<DynamicType = ()>> Kept<T> {
    fn new(what: &'static str) -> Self {
        Self {
            what,
            objects: RefCell::default(),
            named: RefCell::default(),
            state: RefCell::default(),
        }
    }

    fn state(&self) -> Option<Result<(), Failure>> {
        self.state.borrow().clone()
    }

    fn all(&self) -> Vec<T>
    where
        T: Clone,
    {
        self.objects.borrow().values().cloned().collect()
    }

    /// When an object was last written.
    fn written(&self, namespace: &str, name: &str) -> Option<Timestamp> {
        self.objects
            .borrow()
            .get(&(namespace.to_owned(), name.to_owned()))?
            .managed_fields()
            .iter()
            .filter_map(|entry| Some(entry.time.as_ref()?.0))
            .max()
    }

    fn stands(&self, state: Result<(), Failure>, news: &watch::Sender<()>) {
        *self.state.borrow_mut() = Some(state);
        news.send_replace(());
    }

    /// Takes in what a watch sees, until it breaks.
    async fn until_broken<L>(
        &self,
        events: impl Stream<Item = watcher::Result<Event<L>>>,
        news: &watch::Sender<()>,
    ) -> watcher::Error
    where
        L: Into<Lenient<T>> + Resource<DynamicType = ()>,
        T: Clone,
    {
        let mut events = pin!(events);
        let mut listed = BTreeMap::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => listed.clear(),
                Ok(Event::InitApply(object)) => {
                    let key = key(&object);
                    // What was known of one that cannot be read stands.
                    let object = self
                        .read(object.into())
                        .or_else(|| self.objects.borrow().get(&key).cloned());
                    listed.extend(object.map(|object| (key, object)));
                }
                Ok(Event::InitDone) => {
                    *self.objects.borrow_mut() = std::mem::take(&mut listed);
                    self.stands(Ok(()), news);
                }
                Ok(Event::Apply(object)) => {
                    let key = key(&object);
                    self.objects
                        .borrow_mut()
                        .extend(self.read(object.into()).map(|object| (key, object)));
                    news.send_replace(());
                }
                Ok(Event::Delete(object)) => {
                    self.objects.borrow_mut().remove(&key(&object));
                    news.send_replace(());
                }
                Err(error) => return error,
            }
        }
        watcher::Error::NoResourceVersion
    }

    /// An object; one that cannot be read is named on standard error, once.
    fn read(&self, object: Lenient<T>) -> Option<T> {
        read(self.what, object, |warning| {
            if self.named.borrow_mut().insert(warning.clone()) {
                eprintln!("{warning}");
            }
        })
    }

    /// What a broken watch means, and a pause before the kind is listed and watched again. The next
    /// pause, should that break at once.
    async fn after(
        &self,
        error: watcher::Error,
        pause: Duration,
        news: &watch::Sender<()>,
    ) -> Duration {
        let (trouble, pause, next) = match broken(self.what, &error) {
            // What was seen stands, and a list makes it complete again.
            Broken::Cut => (None, pause, LONGEST_PAUSE.min(pause * 2)),
            Broken::NotWatchable => (None, BETWEEN_LISTS, FIRST_PAUSE),
            Broken::Failed(trouble) => (Some(trouble), pause, LONGEST_PAUSE.min(pause * 2)),
        };
        if let Some(trouble) = trouble {
            self.stands(Err(trouble), news);
        }
        tokio::time::sleep(pause).await;
        next
    }
}

fn key(object: &impl ResourceExt) -> (String, String) {
    (object.namespace().unwrap_or_default(), object.name_any())
}

/// Why a watch ended.
#[derive(Debug)]
enum Broken {
    /// The connection is gone, or what it knows is too old to go on from: it is listed again.
    Cut,
    /// It may be listed, and not watched.
    NotWatchable,
    /// Why.
    Failed(Failure),
}

fn broken(what: &str, error: &watcher::Error) -> Broken {
    use watcher::Error as W;
    match error {
        W::WatchError(status) if status.code == 410 => Broken::Cut,
        W::WatchFailed(_) => Broken::Cut,
        W::WatchStartFailed(kube::Error::Api(status)) if matches!(status.code, 403 | 405) => {
            Broken::NotWatchable
        }
        W::InitialListFailed(error) | W::WatchStartFailed(error) => {
            Broken::Failed(failure(what, error))
        }
        W::WatchError(status) => Broken::Failed(Failure::Api {
            what: format!("cannot read {what}"),
            why: status.message.clone(),
        }),
        W::NoResourceVersion => Broken::NotWatchable,
    }
}

fn is_forbidden_list(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::InitialListFailed(kube::Error::Api(status)) if status.code == 403)
}
