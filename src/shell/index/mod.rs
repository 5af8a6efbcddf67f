//! What was seen, sorted by namespace: keeps the core's world up to date, and knows which
//! namespaces must be looked at again.

mod storage;
mod unread;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};

use self::storage::{Place, entry};
use super::{
    streams::{Object, Step, StreamId, View},
    views::{
        DefinitionView, Watched,
        storage::{Claims, StorageView},
    },
};
use crate::{
    api::UpgradePolicyStatus,
    core::{
        digest::Key,
        hold::enforced::Enforcement,
        notice::StorageObject,
        observed::{
            ConfigEntry, ConfigId, Namespace, Pod, Policy, Uid, Unreadables, storage::Storage,
        },
        reach::Reach,
        rest::{News, Readable},
    },
};

/// At most so many deleted ConfigMaps and Secrets are remembered in a namespace.
const TOMBSTONES: usize = 200;

/// All namespaces, as far as anything of interest is in them.
pub struct Index {
    key: &'static Key,
    own_namespace: String,
    reach: Reach,
    namespaces: HashMap<String, Namespace>,
    /// What has happened where since that was taken.
    news: BTreeMap<String, News>,
    /// What is read where, as far as it was asked for and still stands.
    readable: HashMap<String, Readable>,
    listing: HashMap<StreamId, Listing>,
    /// The newest version that any watch has shown.
    newest: u64,
    live: HashSet<StreamId>,
    /// The uid of our CRD, while it stands.
    definition: Option<Uid>,
    enforcement: Enforcement,
    storage: Storage,
    /// What cannot be read.
    unread: Unreadables,
}

/// What a list names so far. An object of a name that another one had before is another object.
#[derive(Default)]
struct Listing {
    names: HashSet<(String, String)>,
    uids: HashSet<Uid>,
}

/// What a step changed besides the world.
#[derive(Default)]
pub struct Effects {
    /// Policies, or claims that are retained, appeared or went.
    pub interest_changed: bool,
    /// Objects whose newest version was seen: uid and version.
    pub object_seen: Option<(Uid, u64)>,
    /// Objects that we write to and that are gone.
    pub gone: Vec<Uid>,
    /// Objects cannot be read, or can be again.
    pub unread_changed: bool,
}

impl Index {
    /// Nothing seen yet. Objects of `kube-system` and of the operator's own namespace are passed
    /// over: they are never governed. So are those beyond `reach`.
    pub fn new(
        key: &'static Key,
        own_namespace: String,
        reach: Reach,
        enforcement: Enforcement,
    ) -> Self {
        Self {
            key,
            own_namespace,
            reach,
            namespaces: HashMap::new(),
            news: BTreeMap::new(),
            readable: HashMap::new(),
            listing: HashMap::new(),
            newest: 0,
            live: HashSet::new(),
            definition: None,
            enforcement,
            storage: Storage::default(),
            unread: Unreadables::new(),
        }
    }

    /// A namespace.
    pub fn namespace(&self, name: &str) -> Option<&Namespace> {
        self.namespaces.get(name)
    }

    /// Our clock was set.
    pub fn clock_was_set(&mut self, by: SignedDuration) {
        self.namespaces
            .values_mut()
            .flat_map(|namespace| namespace.config.values_mut())
            .for_each(|entry| entry.clock_was_set(by));
    }

    /// The storage of the cluster.
    pub fn storage(&self) -> &Storage {
        &self.storage
    }

    /// The newest version that was seen of an object of storage.
    pub fn version_of(&self, namespace: &str, object: &StorageObject) -> Option<u64> {
        match object {
            StorageObject::Claim(name) => {
                Some(self.namespaces.get(namespace)?.claims.get(name)?.resource_version)
            }
            StorageObject::Volume(name) => Some(self.storage.volume(name)?.resource_version),
            StorageObject::Namespace(name) => {
                Some(self.storage.namespaces.get(name)?.resource_version)
            }
        }
    }

    /// The namespaces with policies, or with claims that are retained: whether those are used is
    /// read off their pods.
    pub fn with_interest(&self) -> BTreeSet<&str> {
        let of_interest = |namespace: &Namespace| {
            !namespace.policies.is_empty() || namespace.claims.values().any(|claim| claim.retained)
        };
        self.namespaces
            .iter()
            .filter(|(_, namespace)| of_interest(namespace))
            .map(|(name, _)| name.as_str())
            .collect()
    }

    /// How many policies there are.
    pub fn policies(&self) -> usize {
        self.namespaces.values().map(|namespace| namespace.policies.len()).sum()
    }

    /// The uid of our CRD, while it stands.
    pub fn definition(&self) -> Option<&str> {
        self.definition.as_deref()
    }

    /// What is known of the admission policies.
    pub fn enforcement(&self) -> &Enforcement {
        &self.enforcement
    }

    /// Something has happened in a namespace.
    pub fn tell(&mut self, namespace: &str, news: News) {
        if !news.of_config_alone() {
            self.readable.remove(namespace);
        }
        self.news.entry(namespace.to_owned()).or_default().add(news);
    }

    /// Anything may have happened anywhere.
    pub fn tell_all(&mut self) {
        // Also to those that are gone, of which something may be left to clear.
        let known: Vec<_> = self.namespaces.keys().chain(self.news.keys()).cloned().collect();
        self.news = known.into_iter().map(|name| (name, News::whole())).collect();
        self.readable.clear();
    }

    /// Whether the news concerns its namespace; one that is gone, of which something may be left to
    /// clear, all news concerns.
    pub fn concerns(&mut self, namespace: &str, news: &News) -> bool {
        let Some(seen) = self.namespaces.get(namespace) else { return true };
        !news.of_config_alone()
            || news.concern(
                self.readable.entry(namespace.to_owned()).or_insert_with(|| Readable::of(seen)),
            )
    }

    /// What has happened in each namespace since this was asked last.
    pub fn take_news(&mut self) -> BTreeMap<String, News> {
        std::mem::take(&mut self.news)
    }

    /// A policy's status was written: it is compared with that from now on, however late the watch
    /// shows it.
    pub fn wrote_status(
        &mut self,
        namespace: &str,
        name: &str,
        uid: &str,
        status: UpgradePolicyStatus,
    ) {
        let policy = self
            .namespaces
            .get_mut(namespace)
            .and_then(|namespace| namespace.policies.get_mut(name));
        if let Some(policy) = policy.filter(|policy| *policy.uid == *uid) {
            policy.status = status;
        }
    }

    /// Forgets what only the watches of a namespace tell.
    pub fn forget_pods(&mut self, name: &str, effects: &mut Effects) {
        if let Some(namespace) = self.namespaces.get_mut(name) {
            namespace.pods.clear();
            namespace.replica_sets.clear();
            namespace.controller_revisions.clear();
        }
        self.live
            .retain(|stream| !stream.is_of_interest() || stream.namespace.as_deref() != Some(name));
        let of_interest = |plural| StreamId { kind: plural, namespace: None }.is_of_interest();
        self.drop_unread(effects, |(plural, namespace, _)| {
            namespace == name && of_interest(plural)
        });
    }

    /// Takes in what a watch saw at this time.
    pub fn apply(&mut self, stream: &StreamId, step: Step, now: Timestamp) -> Effects {
        let mut effects = Effects::default();
        match step {
            Step::Restarted => {
                self.live.remove(stream);
                self.listing.insert(stream.clone(), Listing::default());
            }
            Step::Listed(object) => {
                if let Some(listing) = self.listing.get_mut(stream) {
                    listing.names.insert((object.namespace.clone(), object.name.clone()));
                    listing.uids.insert(object.uid.clone());
                }
                // After a watch was lost, a content that differs now was changed in the meantime.
                self.take_in(stream.kind, object, false, now, &mut effects);
            }
            Step::Unreadable => {}
            Step::NotServed => {
                if admission_kind(stream.kind).is_some()
                    && !std::mem::replace(&mut self.enforcement.unavailable, true)
                {
                    self.tell_all();
                }
            }
            Step::Complete => {
                let listed = self.listing.remove(stream).unwrap_or_default();
                self.drop_unlisted(stream, &listed, now, &mut effects);
                self.drop_unlisted_unread(stream, &listed, &mut effects);
                self.live.insert(stream.clone());
                match &stream.namespace {
                    Some(namespace) => self.tell(namespace, News::whole()),
                    None => self.tell_all(),
                }
            }
            Step::Applied(object) => {
                let live = self.live.contains(stream);
                self.take_in(stream.kind, object, live, now, &mut effects);
            }
            Step::Deleted(object) => {
                self.is_read(stream.kind, &object, &mut effects);
                self.remove(&object, now, &mut effects);
            }
        }
        effects
    }

    fn passed_over(&self, namespace: &str) -> bool {
        namespace == "kube-system"
            || namespace == self.own_namespace
            || !namespace.is_empty() && !self.reach.covers(namespace)
    }

    fn take_in(
        &mut self,
        plural: &'static str,
        mut object: Object,
        live: bool,
        now: Timestamp,
        effects: &mut Effects,
    ) {
        match object.flawed.take() {
            Some(flawed) => self.skip(plural, object, *flawed, now, effects),
            None => {
                self.is_read(plural, &object, effects);
                self.insert(object, live, now, effects);
            }
        }
    }

    fn insert(&mut self, object: Object, live: bool, now: Timestamp, effects: &mut Effects) {
        let object = match object.view {
            View::Definition(DefinitionView(uid)) => {
                if std::mem::replace(&mut self.definition, uid.clone()) != uid {
                    self.tell_all();
                }
                return;
            }
            View::Admission(admission) => {
                if self.enforcement.observe(admission.kind, &object.name, Some(admission.spec)) {
                    self.tell_all();
                }
                return;
            }
            _ => object,
        };
        self.newest = self.newest.max(object.resource_version);
        if self.passed_over(&object.namespace) {
            return;
        }
        let object = match object.view {
            View::Storage(view) => {
                if view.namespaces().iter().any(|namespace| !self.reach.covers(namespace)) {
                    return self.remove(
                        &Object { view: View::Storage(view), ..object },
                        now,
                        effects,
                    );
                }
                effects.object_seen = Some((object.uid.clone(), object.resource_version));
                if let StorageView::Claim(claim) = &view {
                    let before = self
                        .namespaces
                        .get(&object.namespace)
                        .and_then(|one| one.claims.get(&object.name));
                    effects.interest_changed =
                        before.is_some_and(|before| before.retained) != claim.retained;
                }
                let place =
                    Place { namespace: &object.namespace, name: &object.name, uid: &object.uid };
                let concerned =
                    storage::insert(&mut self.storage, &mut self.namespaces, place, view);
                return concerned.iter().for_each(|namespace| self.tell(namespace, News::whole()));
            }
            _ => object,
        };
        let namespace = entry(&mut self.namespaces, &object.namespace);
        let news = match object.view {
            View::Policy(mut policy) => {
                if let Ok(spec) = &mut policy.spec {
                    policy.switched_off = self.reach.limit(spec);
                }
                if policy.spec.is_ok() && policy.windows.never_opens(now) {
                    policy.spec =
                        Err("spec.gates.windows: within the next 5 years no change could go through, because the Deny windows cover \
                                       every Allow window; change one of them"
                            .to_owned());
                }
                let same = |before: &Policy| {
                    before.uid == policy.uid
                        && before.generation == policy.generation
                        && before.spec == policy.spec
                };
                let only_status = namespace.policies.get(&object.name).is_some_and(same);
                effects.interest_changed |=
                    namespace.policies.insert(object.name, *policy).is_none();
                Some(if only_status { News::due() } else { News::whole() })
            }
            View::Workload(workload) => {
                effects.object_seen = Some((object.uid.clone(), object.resource_version));
                let before = namespace.workloads.insert(workload.id.clone(), *workload);
                effects
                    .gone
                    .extend(before.map(|before| before.uid).filter(|uid| *uid != object.uid));
                Some(News::of_workloads([object.uid]))
            }
            View::ReplicaSet(Some(set)) => {
                let before = namespace.replica_sets.insert(object.uid, set.clone());
                (before.as_ref() != Some(&set)).then(|| {
                    let owners =
                        before.map(|before| before.deployment).into_iter().chain([set.deployment]);
                    News::of_workloads(owners)
                })
            }
            View::ControllerRevision(Some(revision)) => {
                let before = namespace.controller_revisions.insert(object.uid, revision.clone());
                (before.as_ref() != Some(&revision)).then(|| {
                    let owners = before
                        .map(|before| before.stateful_set)
                        .into_iter()
                        .chain([revision.stateful_set]);
                    News::of_workloads(owners)
                })
            }
            View::ReplicaSet(None)
            | View::ControllerRevision(None)
            | View::Definition(_)
            | View::Admission(_)
            | View::Storage(_) => None,
            View::Pod(mut pod) => {
                pod.created_version = match namespace.pods.get(&object.uid) {
                    Some(known) => known.created_version,
                    None => live.then_some(object.resource_version),
                };
                let before = namespace.pods.insert(object.uid, (*pod).clone());
                (before.as_ref() != Some(&pod))
                    .then(|| of_pods(namespace, before.iter().chain([&*pod])))
            }
            View::Config(view) => {
                let ignored = view.ignored;
                let id = view.id.clone();
                let changed = match namespace.config.get_mut(&id) {
                    Some(entry) => {
                        let mut version = view.bind(&object.namespace, self.key, Some(now));
                        // A write that only removes a key moves no time that the object would show.
                        if entry
                            .versions()
                            .last()
                            .is_some_and(|last| version.written <= last.written)
                        {
                            version.written = now;
                        }
                        let changed = entry.observe(version);
                        std::mem::replace(&mut entry.ignored, ignored) != ignored || changed
                    }
                    None => {
                        let seen = live.then_some(now);
                        let entry =
                            ConfigEntry::new(view.bind(&object.namespace, self.key, seen), ignored);
                        namespace.config.insert(id.clone(), entry);
                        true
                    }
                };
                changed.then(|| News::of_config(id))
            }
            View::Delegate((delegate, Some(workload))) => {
                let before = namespace.delegates.insert(delegate, workload.clone());
                (before != Some(workload)).then(News::whole)
            }
            View::Delegate((delegate, None)) => {
                namespace.delegates.remove(&delegate).map(|_| News::whole())
            }
        };
        if let Some(news) = news {
            self.tell(&object.namespace, news);
        }
    }

    fn remove(&mut self, object: &Object, now: Timestamp, effects: &mut Effects) {
        match &object.view {
            View::Definition(_) => {
                self.definition = None;
                return self.tell_all();
            }
            View::Admission(admission) => {
                self.enforcement.observe(admission.kind, &object.name, None);
                return self.tell_all();
            }
            View::Storage(view) => {
                effects.gone.push(object.uid.clone());
                let claims =
                    self.namespaces.get(&object.namespace).map(|namespace| &namespace.claims);
                let retained = claims
                    .and_then(|claims| claims.get(&object.name))
                    .is_some_and(|claim| claim.retained);
                effects.interest_changed |= matches!(view, StorageView::Claim(_)) && retained;
                let place =
                    Place { namespace: &object.namespace, name: &object.name, uid: &object.uid };
                let concerned =
                    storage::remove(&mut self.storage, &mut self.namespaces, place, view);
                return concerned.iter().for_each(|namespace| self.tell(namespace, News::whole()));
            }
            _ => {}
        }
        let Some(namespace) = self.namespaces.get_mut(&object.namespace) else { return };
        let news = match &object.view {
            View::Policy(_) => {
                effects.interest_changed |= namespace.policies.remove(&object.name).is_some();
                News::whole()
            }
            View::Workload(workload) => {
                if let Some(gone) = namespace.workloads.remove(&workload.id) {
                    effects.gone.push(gone.uid);
                }
                News::due()
            }
            View::ReplicaSet(_) => News::of_workloads(
                namespace.replica_sets.remove(&object.uid).map(|set| set.deployment),
            ),
            View::ControllerRevision(_) => News::of_workloads(
                namespace
                    .controller_revisions
                    .remove(&object.uid)
                    .map(|revision| revision.stateful_set),
            ),
            View::Definition(_) | View::Admission(_) | View::Storage(_) => News::due(),
            View::Pod(_) => {
                let gone = namespace.pods.remove(&object.uid);
                of_pods(namespace, gone.iter())
            }
            View::Config(view) => {
                let version = view.deleted(now);
                match namespace.config.get_mut(&view.id) {
                    Some(entry) => drop(entry.observe(version)),
                    None => drop(
                        namespace.config.insert(view.id.clone(), ConfigEntry::new(version, false)),
                    ),
                }
                bury(namespace);
                News::of_config(view.id.clone())
            }
            View::Delegate((delegate, _)) => {
                namespace.delegates.remove(delegate);
                News::whole()
            }
        };
        if namespace.is_empty() && self.storage.of_namespace(&object.namespace).next().is_none() {
            self.namespaces.remove(&object.namespace);
            return self.tell(&object.namespace, News::whole());
        }
        self.tell(&object.namespace, news);
    }

    /// What a complete list no longer names is gone.
    fn drop_unlisted(
        &mut self,
        stream: &StreamId,
        listed: &Listing,
        now: Timestamp,
        effects: &mut Effects,
    ) {
        if stream.kind == "customresourcedefinitions" {
            self.definition.take_if(|_| listed.names.is_empty());
            return;
        }
        if let Some(kind) = admission_kind(stream.kind) {
            if stream.kind == "mutatingadmissionpolicies" {
                self.enforcement.unavailable = false;
            }
            return self
                .enforcement
                .keep_only(kind, |name| listed.names.contains(&(String::new(), name.to_owned())));
        }
        if storage::drop_unlisted(&mut self.storage, &mut self.namespaces, stream, listed) {
            effects.interest_changed |= stream.kind == Claims::PLURAL;
            return;
        }
        for (name, namespace) in &mut self.namespaces {
            if stream.namespace.as_ref().is_some_and(|only| only != name) {
                continue;
            }
            let there = |object: &str| listed.names.contains(&(name.clone(), object.to_owned()));
            match stream.kind {
                "upgradepolicies" => {
                    let before = namespace.policies.len();
                    namespace.policies.retain(|policy, _| there(policy));
                    effects.interest_changed |= namespace.policies.len() != before;
                }
                "deployments" | "statefulsets" | "daemonsets" => {
                    namespace.workloads.retain(|id, workload| {
                        let of_stream = plural_is(&id.kind.to_string(), stream.kind);
                        let keep = !of_stream || there(&id.name);
                        if !keep {
                            effects.gone.push(workload.uid.clone());
                        }
                        keep
                    })
                }
                "pods" => namespace.pods.retain(|uid, _| listed.uids.contains(uid)),
                "configmaps" | "secrets" => {
                    unlist_config(namespace, stream, there, (self.newest, now))
                }
                "controllerrevisions" => {
                    namespace.controller_revisions.retain(|uid, _| listed.uids.contains(uid))
                }
                "replicasets" => namespace.replica_sets.retain(|uid, _| listed.uids.contains(uid)),
                // The delegates.
                _ => namespace
                    .delegates
                    .retain(|(kind, delegate), _| !plural_is(kind, stream.kind) || there(delegate)),
            }
        }
    }
}

/// The kind of an admission stream.
fn admission_kind(plural: &str) -> Option<&'static str> {
    match plural {
        "mutatingadmissionpolicies" => Some("MutatingAdmissionPolicy"),
        "mutatingadmissionpolicybindings" => Some("MutatingAdmissionPolicyBinding"),
        "validatingadmissionpolicies" => Some("ValidatingAdmissionPolicy"),
        "validatingadmissionpolicybindings" => Some("ValidatingAdmissionPolicyBinding"),
        _ => None,
    }
}

fn plural_is(kind: &str, plural: &str) -> bool {
    let singular = plural
        .strip_suffix("ies")
        .map_or_else(|| plural.trim_end_matches('s').to_owned(), |stem| format!("{stem}y"));
    kind.eq_ignore_ascii_case(&singular)
}

fn unlist_config(
    namespace: &mut Namespace,
    stream: &StreamId,
    there: impl Fn(&str) -> bool,
    (newest, now): (u64, Timestamp),
) {
    for (id, entry) in &mut namespace.config {
        if !plural_is(&id.kind.to_string(), stream.kind)
            || there(&id.name)
            || entry.content().is_none()
        {
            continue;
        }
        let Some(mut gone) = entry.versions().last().cloned() else { continue };
        gone.content = None;
        // Nobody saw when it went: before everything that is seen from now on.
        gone.resource_version = newest;
        (gone.written, gone.seen) = (now, Some(now));
        entry.observe(gone);
    }
    bury(namespace);
}

/// News of the workloads to which these pods belong.
fn of_pods<'a>(namespace: &Namespace, pods: impl Iterator<Item = &'a Pod>) -> News {
    let controllers = pods.filter_map(|pod| pod.controller.as_ref());
    News::of_workloads(
        controllers
            .map(|uid| namespace.replica_sets.get(uid).map_or(uid, |set| &set.deployment).clone()),
    )
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
