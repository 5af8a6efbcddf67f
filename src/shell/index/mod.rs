//! What was seen, sorted by namespace: keeps the core's world up to date, and knows which
//! namespaces must be looked at again.

mod admission;
mod by_uid;
mod config;
mod delegates;
mod kinds;
mod pods;
mod policies;
mod snapshots;
mod storage;
mod unread;
mod workloads;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};

pub use self::kinds::{InNamespace, Indexed, Listing, Seen, Sight};
use super::streams::{Object, Step, StreamId};
use crate::{
    api::UpgradePolicyStatus,
    core::{
        digest::Key,
        hold::{enforced::Enforcement, probe::Answer},
        later,
        notice::StorageObject,
        observed::Unreadables,
        observed::snapshots::Served,
        observed::storage::Storage,
        observed::{Namespace, Uid},
        reach::{Feature, Reach},
        rest::News,
    },
};

/// All namespaces, as far as anything of interest is in them.
pub struct Index {
    key: &'static Key,
    own_namespace: String,
    reach: Reach,
    namespaces: HashMap<String, Namespace>,
    /// What has happened where since that was taken.
    news: BTreeMap<String, News>,
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
    /// When deleted ConfigMaps and Secrets were last looked through.
    looked_through: Option<Timestamp>,
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

impl Effects {
    /// An object of this name is gone if it had another uid.
    fn replaced(&mut self, before: Option<&Uid>, now: &Uid) {
        self.gone.extend(before.filter(|before| *before != now).cloned());
    }
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
        let mut storage = Storage::default();
        if !reach.has(Feature::Snapshots) {
            storage.snapshots.served = Served::SwitchedOff;
        }
        Self {
            key,
            own_namespace,
            reach,
            namespaces: HashMap::new(),
            news: BTreeMap::new(),
            listing: HashMap::new(),
            newest: 0,
            live: HashSet::new(),
            definition: None,
            enforcement,
            storage,
            unread: Unreadables::new(),
            looked_through: None,
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
        self.looked_through = None;
    }

    /// Forgets ConfigMaps and Secrets that were deleted some time ago and that nothing reads. All
    /// workloads must have been listed.
    pub fn forget_deleted_config(&mut self, now: Timestamp) {
        if self.looked_through.is_some_and(|last| now < later(last, config::REMEMBERED)) {
            return;
        }
        self.looked_through = Some(now);
        let mut of_nothing = Vec::new();
        for (name, namespace) in &mut self.namespaces {
            if config::forget_deleted(namespace, now) && namespace.is_empty() {
                of_nothing.push(name.clone());
            }
        }
        of_nothing.iter().for_each(|name| self.drop_if_empty(name));
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

    /// Takes note of what came of asking who judges writes.
    pub fn judges_answered(&mut self, answer: &Answer) {
        if self.enforcement.observe_answer(answer) {
            self.tell_all();
        }
    }

    /// Forgets what came of asking who judges writes.
    pub fn forget_judges(&mut self) {
        self.enforcement.forget_answers();
    }

    /// Something has happened in a namespace.
    pub fn tell(&mut self, namespace: &str, news: News) {
        self.news.entry(namespace.to_owned()).or_default().add(news);
    }

    /// The same of each of these namespaces.
    fn tell_each(&mut self, namespaces: &BTreeSet<String>, news: fn() -> News) {
        namespaces.iter().for_each(|namespace| self.tell(namespace, news()));
    }

    /// Anything may have happened anywhere.
    pub fn tell_all(&mut self) {
        // Also to those that are gone, of which something may be left to clear.
        let known: Vec<_> = self.namespaces.keys().chain(self.news.keys()).cloned().collect();
        self.news = known.into_iter().map(|name| (name, News::whole())).collect();
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

    /// Forgets what the watch of a kind told of a namespace in which it no longer runs.
    pub fn forget<K: Indexed>(&mut self, namespace: &str, now: Timestamp, effects: &mut Effects) {
        let (only, nothing) = (Some(namespace), Listing::default());
        K::retain(self, only, &nothing, now, effects);
        self.retain_unread::<K>(only, &nothing, effects);
        self.live.remove(&StreamId::of::<K>(only));
    }

    /// Takes in what the watch of a kind, in one namespace or everywhere, saw at this time.
    pub fn apply<K: Indexed>(
        &mut self,
        namespace: Option<&str>,
        step: Step<K>,
        now: Timestamp,
    ) -> Effects {
        let mut effects = Effects::default();
        let stream = StreamId::of::<K>(namespace);
        match step {
            Step::Restarted => {
                self.live.remove(&stream);
                self.listing.insert(stream, Listing::default());
            }
            Step::Listed(object) => {
                if let Some(listing) = self.listing.get_mut(&stream) {
                    listing.add(&object);
                }
                self.take_in(object, Sight { now, live: false }, &mut effects);
            }
            Step::Unreadable => {}
            Step::NotServed => K::not_served(self),
            Step::Complete => self.complete::<K>(stream, now, &mut effects),
            Step::Applied(object) => {
                let live = self.live.contains(&stream);
                self.take_in(object, Sight { now, live }, &mut effects);
            }
            Step::Deleted(object) => {
                self.is_read(&object, &mut effects);
                K::remove(self, &object, now, &mut effects);
            }
        }
        effects
    }

    fn take_in<K: Indexed>(&mut self, mut object: Object<K>, sight: Sight, effects: &mut Effects) {
        self.newest = self.newest.max(object.resource_version);
        if self.passed_over(&object.namespace) {
            return;
        }
        effects.object_seen = Some((object.uid.clone(), object.resource_version));
        match object.flaw.take() {
            Some(flaw) => self.skip(object, flaw, sight, effects),
            None => {
                self.is_read(&object, effects);
                K::insert(self, object, sight, effects);
            }
        }
    }

    /// Forgets a namespace of which nothing is known any longer. One that bears a mark of ours is
    /// still judged, or the mark would stay.
    fn drop_if_empty(&mut self, name: &str) {
        let Some(namespace) = self.namespaces.get(name) else { return };
        let object = self.storage.namespaces.get(name);
        let is_marked = object.is_some_and(|object| object.protected);
        if namespace.is_empty() && !is_marked && self.storage.of_namespace(name).next().is_none() {
            self.namespaces.remove(name);
            self.tell(name, News::whole());
        }
    }

    /// A list is complete: what it does not name is gone.
    fn complete<K: Indexed>(&mut self, stream: StreamId, now: Timestamp, effects: &mut Effects) {
        let listing = self.listing.remove(&stream).unwrap_or_default();
        let only = stream.namespace();
        K::retain(self, only, &listing, now, effects);
        self.retain_unread::<K>(only, &listing, effects);
        match only {
            Some(namespace) => self.tell(namespace, News::whole()),
            None => self.tell_all(),
        }
        self.live.insert(stream);
    }

    fn passed_over(&self, namespace: &str) -> bool {
        namespace == "kube-system"
            || namespace == self.own_namespace
            || !namespace.is_empty() && !self.reach.covers(namespace)
    }
}

/// A namespace of which something is known.
fn entry<'a>(namespaces: &'a mut HashMap<String, Namespace>, name: &str) -> &'a mut Namespace {
    let empty = || Namespace { name: name.into(), ..Namespace::default() };
    namespaces.entry(name.to_owned()).or_insert_with(empty)
}
