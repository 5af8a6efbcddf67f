//! The watches. Each runs in a task of its own with a backoff of its own, so that a kind that is
//! not served slows no other; all of them tell one channel what they saw.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Api, Client,
    runtime::{
        WatchStreamExt,
        watcher::{self, watcher},
    },
};
use tokio::{
    sync::{mpsc, watch},
    task::AbortHandle,
};

use super::{
    clock,
    views::{
        AdmissionView, Canaries, ConfigMaps, ConfigView, ControllerRevisions, DaemonSets,
        DefinitionView, Definitions, Delegate, Deployments, MutatingBindings, MutatingPolicies,
        Pods, Policies, ReplicaSets, Rollouts, Secrets, StatefulSets, ValidatingBindings,
        ValidatingPolicies, Watched, Wire,
        lenient::{Flaw, Lenient},
        storage::{
            AutoscalerView, Autoscalers, Claims, CronJobs, DriverView, Drivers, Namespaces,
            StorageView, Volumes,
        },
    },
};
use crate::{
    api::crd,
    core::{
        observed::{
            ControllerRevision, Pod, Policy, ReplicaSet, Uid, Workload,
            storage::{Claim, CronJob, NamespaceObject, Volume},
        },
        reach::{Feature, Reach},
    },
    telemetry::metrics::Metrics,
};

/// Small pages keep the peak of memory low while a large cluster is listed.
const PAGE_SIZE: u32 = 100;

/// A watch that keeps failing is logged this often.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);
/// A watch whose resource is no longer served is listed again after this.
const RELIST_PAUSE: Duration = Duration::from_millis(500);

/// Which watch.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    /// The plural of the kind.
    pub kind: &'static str,
    /// The namespace, for a watch of one only.
    pub namespace: Option<String>,
}

impl StreamId {
    /// Whether it is watched only where policies or retained claims are.
    pub fn is_of_interest(&self) -> bool {
        [Pods::PLURAL, ReplicaSets::PLURAL, ControllerRevisions::PLURAL].contains(&self.kind)
    }
}

impl std::fmt::Display for StreamId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} in {namespace}", self.kind),
            None => f.write_str(self.kind),
        }
    }
}

/// Something that a watch saw.
pub struct Sighting {
    /// Which watch.
    pub stream: StreamId,
    /// What.
    pub step: Step,
}

/// What a watch can see.
pub enum Step {
    /// A list begins: what is not in it is gone.
    Restarted,
    /// An object of the list.
    Listed(Object),
    /// The list is complete.
    Complete,
    /// An object was added or modified.
    Applied(Object),
    /// An object was deleted.
    Deleted(Object),
    /// The API server does not serve the kind.
    NotServed,
    /// We may not read it in this namespace, which is gone perhaps, and our rights with it.
    Unreadable,
}

/// An object, and where it is.
pub struct Object {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: Uid,
    /// Its resourceVersion.
    pub resource_version: u64,
    /// What is kept of it. Of one that cannot be read, what that would be of the part that can.
    pub view: View,
    /// Set if it cannot be read.
    pub flawed: Option<Box<Flawed>>,
}

/// What an object is that cannot be read.
pub struct Flawed {
    /// Its API version.
    pub api_version: String,
    /// Its kind.
    pub kind: &'static str,
    /// What is wrong with it.
    pub flaw: Flaw,
}

/// What is kept of an object.
pub enum View {
    /// Of an UpgradePolicy.
    Policy(Box<Policy>),
    /// Of a Deployment, StatefulSet or DaemonSet.
    Workload(Box<Workload>),
    /// Of a ReplicaSet; none if no Deployment controls it.
    ReplicaSet(Option<ReplicaSet>),
    /// Of a ControllerRevision; none if no StatefulSet controls it.
    ControllerRevision(Option<ControllerRevision>),
    /// Of a Pod.
    Pod(Box<Pod>),
    /// Of a ConfigMap or Secret.
    Config(ConfigView),
    /// Of a Rollout or Canary.
    Delegate(Delegate),
    /// Of our CRD.
    Definition(DefinitionView),
    /// Of an admission policy or binding.
    Admission(AdmissionView),
    /// Of something that concerns storage.
    Storage(StorageView),
}

macro_rules! into_view {
    ($($from:ty => $variant:ident ($wrap:expr)),* $(,)?) => {
        $(impl From<$from> for View {
            fn from(view: $from) -> Self {
                Self::$variant(($wrap)(view))
            }
        })*
    };
}

into_view!(
    Policy => Policy (Box::new),
    Workload => Workload (Box::new),
    Option<ReplicaSet> => ReplicaSet (std::convert::identity),
    Pod => Pod (Box::new),
    ConfigView => Config (std::convert::identity),
    Delegate => Delegate (std::convert::identity),
    Option<ControllerRevision> => ControllerRevision (std::convert::identity),
    DefinitionView => Definition (std::convert::identity),
    AdmissionView => Admission (std::convert::identity),
    Claim => Storage (|view| StorageView::Claim(Box::new(view))),
    Volume => Storage (|view| StorageView::Volume(Box::new(view))),
    NamespaceObject => Storage (|view| StorageView::Namespace(Box::new(view))),
    DriverView => Storage (|view: DriverView| StorageView::Driver(view.0)),
    CronJob => Storage (StorageView::CronJob),
    AutoscalerView => Storage (|view: AutoscalerView| StorageView::Autoscaler(view.0)),
);

/// Which watches are not complete yet, by name; shared with the readiness probe.
#[derive(Clone, Default)]
pub struct Pending(watch::Sender<BTreeSet<String>>);

impl Pending {
    /// Waits for this.
    pub fn add(&self, what: impl Into<String>) {
        self.0.send_if_modified(|all| all.insert(what.into()));
    }

    /// Waits for it no longer.
    pub fn remove(&self, what: &str) {
        self.0.send_if_modified(|all| all.remove(what));
    }

    /// What is waited for.
    pub fn list(&self) -> Vec<String> {
        self.0.borrow().iter().cloned().collect()
    }

    /// Returns when nothing is waited for.
    pub async fn nothing(&self) {
        // It fails only when all senders are gone, of which this is one.
        let _ = self.0.subscribe().wait_for(BTreeSet::is_empty).await;
    }
}

/// The watches that run.
pub struct Streams {
    client: Client,
    seen: mpsc::Sender<Sighting>,
    metrics: Arc<Metrics>,
    pending: Pending,
    complete: HashMap<StreamId, bool>,
    /// Those that cannot be completed. Only their own namespaces wait for them.
    unreadable: HashSet<StreamId>,
    of_namespace: BTreeMap<String, Vec<AbortHandle>>,
    /// How many watches of a namespace have no list yet.
    unread: BTreeMap<String, usize>,
}

impl Streams {
    /// Starts the watches that are needed to reach so far. Pods and revisions are watched by
    /// namespace, where there are policies.
    pub fn start(
        client: Client,
        reach: &Reach,
        seen: mpsc::Sender<Sighting>,
        metrics: Arc<Metrics>,
        pending: Pending,
    ) -> Self {
        let mut streams = Self {
            client,
            seen,
            metrics,
            pending,
            complete: HashMap::new(),
            unreadable: HashSet::new(),
            of_namespace: BTreeMap::new(),
            unread: BTreeMap::new(),
        };
        let all = watcher::Config::default().page_size(PAGE_SIZE);
        streams.spawn::<Definitions>(
            None,
            all.clone().fields(&format!("metadata.name={}", crd::NAME)),
            true,
        );
        streams.spawn::<MutatingPolicies>(None, all.clone(), true);
        streams.spawn::<MutatingBindings>(None, all.clone(), true);
        streams.spawn::<ValidatingPolicies>(None, all.clone(), true);
        streams.spawn::<ValidatingBindings>(None, all.clone(), true);
        if reach.has(Feature::Volumes) {
            streams.spawn::<Volumes>(None, all.clone(), true);
            streams.spawn::<Drivers>(None, all.clone(), true);
        }
        match reach.namespaces.is_empty() {
            true => streams.start_in(None, reach, &all),
            false => reach
                .namespaces
                .iter()
                .for_each(|namespace| streams.start_in(Some(namespace), reach, &all)),
        }
        streams
    }

    /// Starts the watches of one namespace, or of all.
    fn start_in(&mut self, namespace: Option<&str>, reach: &Reach, all: &watcher::Config) {
        self.spawn::<Policies>(namespace, all.clone(), true);
        self.spawn::<Deployments>(namespace, all.clone(), true);
        self.spawn::<StatefulSets>(namespace, all.clone(), true);
        self.spawn::<DaemonSets>(namespace, all.clone(), true);
        if reach.has(Feature::Config) {
            self.spawn::<ConfigMaps>(namespace, all.clone(), true);
            // Helm keeps its releases in Secrets, many and large, that no pod reads.
            self.spawn::<Secrets>(namespace, all.clone().fields("type!=helm.sh/release.v1"), true);
        }
        if reach.has(Feature::Volumes) {
            // What is left of policies, releases and namespaces that are gone is found again.
            self.spawn::<Claims>(namespace, all.clone(), true);
            self.spawn::<CronJobs>(namespace, all.clone(), true);
            self.spawn::<Autoscalers>(namespace, all.clone(), true);
            let only = namespace.map(|name| format!("metadata.name={name}"));
            self.spawn::<Namespaces>(
                namespace,
                only.map_or(all.clone(), |only| all.clone().fields(&only)),
                true,
            );
        }
        // Nobody waits for these two: most clusters do not serve them.
        self.spawn::<Rollouts>(namespace, all.clone(), false);
        self.spawn::<Canaries>(namespace, all.clone(), false);
    }

    /// Watches, from now on, pods and revisions of exactly these namespaces; returns those no
    /// longer watched.
    pub fn follow(&mut self, namespaces: &BTreeSet<&str>) -> Vec<String> {
        let gone: Vec<_> = self
            .of_namespace
            .keys()
            .filter(|known| !namespaces.contains(known.as_str()))
            .cloned()
            .collect();
        for namespace in &gone {
            for handle in self.of_namespace.remove(namespace).into_iter().flatten() {
                handle.abort();
            }
            let ended: Vec<_> = self
                .complete
                .keys()
                .filter(|stream| {
                    stream.is_of_interest() && stream.namespace.as_ref() == Some(namespace)
                })
                .cloned()
                .collect();
            for stream in ended {
                self.completed(&stream);
                self.complete.remove(&stream);
            }
        }
        for namespace in namespaces {
            if !self.of_namespace.contains_key(*namespace) {
                let all = watcher::Config::default().page_size(PAGE_SIZE);
                let sets = self.spawn::<ReplicaSets>(Some(namespace), all.clone(), true);
                let revisions =
                    self.spawn::<ControllerRevisions>(Some(namespace), all.clone(), true);
                let pods = self.spawn::<Pods>(Some(namespace), all, true);
                self.of_namespace.insert((*namespace).to_owned(), vec![sets, revisions, pods]);
            }
        }
        gone
    }

    /// Notes that a watch cannot have its list. Nobody but its namespace waits for it any more.
    pub fn unreadable(&mut self, stream: &StreamId) {
        self.pending.remove(&stream.to_string());
        self.unreadable.insert(stream.clone());
    }

    /// Notes that a watch has its list. Returns whether it was the first time.
    pub fn completed(&mut self, stream: &StreamId) -> bool {
        self.unreadable.remove(stream);
        match self.complete.get_mut(stream) {
            Some(complete) if !*complete => {
                *complete = true;
                self.pending.remove(&stream.to_string());
                if let Some(namespace) = &stream.namespace {
                    self.read(namespace);
                }
                true
            }
            _ => false,
        }
    }

    /// Whether a watch is one that still runs.
    pub fn runs(&self, stream: &StreamId) -> bool {
        !stream.is_of_interest()
            || stream
                .namespace
                .as_ref()
                .is_some_and(|namespace| self.of_namespace.contains_key(namespace))
    }

    /// Whether the watches that were started first have their lists.
    pub fn cluster_ready(&self) -> bool {
        let awaited =
            |stream: &StreamId| !stream.is_of_interest() && !self.unreadable.contains(stream);
        self.complete.iter().filter(|(stream, _)| awaited(stream)).all(|(_, complete)| *complete)
    }

    /// Whether the watches of a namespace, if there are any, have theirs.
    pub fn namespace_ready(&self, namespace: &str) -> bool {
        !self.unread.contains_key(namespace)
    }

    /// The namespaces whose watches do not all have their lists yet.
    pub fn unread(&self) -> impl Iterator<Item = &str> {
        self.unread.keys().map(String::as_str)
    }

    fn read(&mut self, namespace: &str) {
        if let Some(count) = self.unread.get_mut(namespace) {
            *count -= 1;
            if *count == 0 {
                self.unread.remove(namespace);
            }
        }
    }

    fn spawn<K: Watched>(
        &mut self,
        namespace: Option<&str>,
        config: watcher::Config,
        awaited: bool,
    ) -> AbortHandle
    where
        View: From<K::View>,
    {
        let stream = StreamId { kind: K::PLURAL, namespace: namespace.map(str::to_owned) };
        if awaited {
            self.pending.add(stream.to_string());
            self.complete.insert(stream.clone(), false);
            if let Some(namespace) = namespace {
                *self.unread.entry(namespace.to_owned()).or_default() += 1;
            }
        }
        let api: Api<Lenient<Wire<K>>> = match namespace.filter(|_| K::PLURAL != Namespaces::PLURAL)
        {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        };
        let task = watch(api, config, stream, self.seen.clone(), self.metrics.clone(), awaited);
        tokio::spawn(task).abort_handle()
    }
}

async fn watch<K: Watched>(
    api: Api<Lenient<Wire<K>>>,
    config: watcher::Config,
    stream: StreamId,
    seen: mpsc::Sender<Sighting>,
    metrics: Arc<Metrics>,
    awaited: bool,
) where
    View: From<K::View>,
{
    let open = || watcher(api.clone(), config.clone()).default_backoff().boxed();
    let mut events = open();
    let mut complained: Option<std::time::Instant> = None;
    let mut unreadable = false;
    loop {
        let step = match events.try_next().await {
            Ok(Some(event)) => match step(event) {
                Some(step) => {
                    if matches!(step, Step::Complete) {
                        unreadable = false;
                        if complained.take().is_some() && awaited {
                            tracing::info!(watch = %stream, "the watch works again");
                        }
                    }
                    step
                }
                None => {
                    metrics.watch_failed(stream.kind);
                    tracing::warn!(watch = %stream, "the watch told of an object without a name, uid or version that can be read; everything is listed again");
                    tokio::time::sleep(RELIST_PAUSE).await;
                    events = open();
                    continue;
                }
            },
            // What it told is lost, and its text may be that of a Secret.
            Err(watcher::Error::WatchFailed(kube::Error::SerdeError(_))) => {
                metrics.watch_failed(stream.kind);
                tracing::warn!(watch = %stream, "the watch told something that is no JSON; everything is listed again");
                tokio::time::sleep(RELIST_PAUSE).await;
                events = open();
                continue;
            }
            Ok(None) => return,
            Err(watcher::Error::InitialListFailed(kube::Error::Api(status)))
                if awaited && status.code == 404 =>
            {
                Step::NotServed
            }
            // It was served before: only a new list tells whether it still is.
            Err(error) if awaited && is_gone(&error) => {
                tracing::warn!(watch = %stream, error = %super::errors::with_causes(&error), "the watch is no longer served; it is listed again");
                tokio::time::sleep(RELIST_PAUSE).await;
                events = open();
                continue;
            }
            Err(error) => {
                if awaited {
                    metrics.watch_failed(stream.kind);
                    let now = clock::moment();
                    if complained.is_none_or(|last| now.duration_since(last) > COMPLAIN_EVERY) {
                        complained = Some(now);
                        tracing::warn!(watch = %stream, error = %super::errors::with_causes(&error), "the watch failed; it is tried again until it works");
                    }
                }
                if !awaited
                    || stream.namespace.is_none()
                    || !is_forbidden(&error)
                    || std::mem::replace(&mut unreadable, true)
                {
                    continue;
                }
                Step::Unreadable
            }
        };
        if seen.send(Sighting { stream: stream.clone(), step }).await.is_err() {
            return;
        }
    }
}

/// Whether the API server does not know the resource of a watch that had its list.
fn is_gone(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status.code == 404,
        watcher::Error::WatchError(status) => status.code == 404,
        _ => false,
    }
}

fn is_forbidden(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::InitialListFailed(kube::Error::Api(status)) if status.code == 403)
}

/// What a watch saw; none if it is about an object of which nobody can tell which one it is.
fn step<K: Watched>(event: watcher::Event<Lenient<Wire<K>>>) -> Option<Step>
where
    View: From<K::View>,
{
    Some(match event {
        watcher::Event::Init => Step::Restarted,
        watcher::Event::InitApply(read) => Step::Listed(lenient(read)?),
        watcher::Event::InitDone => Step::Complete,
        watcher::Event::Apply(read) => Step::Applied(lenient(read)?),
        watcher::Event::Delete(read) => Step::Deleted(lenient(read)?),
    })
}

/// What is kept of an object on the wire that may be one that cannot be read; none if nobody can
/// tell which one it is.
pub fn lenient<K: Watched>(read: Lenient<Wire<K>>) -> Option<Object>
where
    View: From<K::View>,
{
    let unreadable = match read.read() {
        Ok(wire) => return Some(object(wire)),
        Err(unreadable) => unreadable,
    };
    let rest = object(unreadable.rest::<K>()?);
    let api_version = if K::GROUP.is_empty() {
        K::VERSION.to_owned()
    } else {
        format!("{}/{}", K::GROUP, K::VERSION)
    };
    Some(Object {
        flawed: Some(Box::new(Flawed { api_version, kind: K::KIND, flaw: unreadable.flaw })),
        ..rest
    })
}

/// What is kept of an object on the wire.
pub fn object<K: Watched>(wire: Wire<K>) -> Object
where
    View: From<K::View>,
{
    let meta: ObjectMeta = wire.metadata;
    let view = K::view(&meta, wire.body).into();
    Object {
        uid: crate::workload::uid(&meta),
        resource_version: crate::workload::resource_version(&meta),
        namespace: meta.namespace.unwrap_or_default(),
        name: meta.name.unwrap_or_default(),
        view,
        flawed: None,
    }
}
