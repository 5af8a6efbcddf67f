//! Carries out actions: one request an object at a time, each in a task of its own, so that nobody
//! waits for anybody.

mod send;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::events::v1::Event;
use kube::{
    Api, Client,
    api::{ListParams, Patch as Body, PatchParams},
};
use rand::RngExt;
use serde_json::json;
use tokio::sync::{Semaphore, mpsc, watch};

use self::send::{leads, newest_failure, send, send_snapshot, send_storage};
use super::{
    clock::{self, shifted},
    errors::{Class, Error, within},
    lease::Term,
    views::lenient::Lenient,
    write::Written,
};
use crate::{
    api::{UpgradePolicy, UpgradePolicyStatus, marks},
    core::{
        conversation::Report,
        hold::probe::Answer,
        later,
        memory::{Activity, Trouble},
        notice::Notice,
        observed::{Uid, WorkloadId},
        request::{Patch, Purpose, Release, SnapshotRequest, StoragePatch},
    },
    workload::without_random_names,
};

/// Requests under way at once for objects with which nothing is wrong.
const CONCURRENT: usize = 48;
/// Requests under way at once for objects whose last request failed: they must not take the others'
/// places.
const CONCURRENT_RETRIES: usize = 16;
/// Requests under way at once about claims and volumes: the adoption of many must not make a
/// release late.
const CONCURRENT_STORAGE: usize = 16;
/// Look-ups of events under way at once: a refusal may concern a thousand workloads.
const CONCURRENT_LOOKUPS: usize = 4;
/// What begins to end pods is sent within this time after it was decided on, or not at all.
const CONSENT: Duration = Duration::from_secs(2);
/// Pauses after failures.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// After a conflict.
const CONFLICT_PAUSE: Duration = Duration::from_millis(50);
/// Maximum number of events that are read of one workload.
const EVENTS: u32 = 50;
/// An event so much older than the lack of pods tells of it.
const EVENT_SLACK: Duration = Duration::from_secs(5);
/// An accepted write that the watch does not show for this long is waited for no longer.
const UNSEEN_LIMIT: Duration = Duration::from_secs(30);

/// A request that has ended.
pub struct Completion {
    /// The namespace it was made in.
    pub namespace: String,
    /// The object's uid.
    pub uid: Uid,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a request.
pub enum Outcome {
    /// A workload's patch.
    Patch(Box<Patch>, Vec<Notice>, Result<Written, Error>),
    /// A patch of an object of storage.
    Storage(Box<StoragePatch>, Option<Notice>, Result<Written, Error>),
    /// A snapshot that was created, or whose content was kept.
    Snapshot(Box<SnapshotRequest>, Result<Written, Error>),
    /// What pods answered.
    Heard(Box<Report>),
    /// Why a controller cannot create pods, if its events tell.
    Found(Option<Box<str>>),
    /// Who judges writes.
    Probed(Answer),
    /// A policy's status, by the policy's name.
    Status(String, Box<UpgradePolicyStatus>, Result<(), Error>),
}

#[derive(Default)]
struct Slot {
    namespace: String,
    activity: Activity,
    failures: u32,
    /// Conflicts in a row.
    conflicts: u32,
    /// The version that the watch must show before the object is free again, and until when that is
    /// waited for.
    awaited: Option<(u64, Timestamp)>,
    busy: bool,
}

/// Statuses are written without waiting for the watch to show them.
#[derive(Default)]
struct StatusSlot {
    busy: bool,
    failures: u32,
    retry_at: Option<Timestamp>,
    last_write: Option<Timestamp>,
}

/// What is under way, by object.
pub struct Executor {
    client: Client,
    term: watch::Receiver<Term>,
    done: mpsc::UnboundedSender<Completion>,
    fresh: Arc<Semaphore>,
    retries: Arc<Semaphore>,
    storage: Arc<Semaphore>,
    slots: HashMap<Uid, Slot>,
    activities: HashMap<Uid, Activity>,
    statuses: HashMap<Uid, StatusSlot>,
    under_way: usize,
    lookups: Arc<Semaphore>,
    /// Whose events are looked for, or are to be.
    looking: HashSet<Uid>,
}

impl Executor {
    /// Nothing under way. `client` must not retry: that is done here, where it is
    /// seen. Nothing is sent outside of `term`.
    pub fn new(
        client: Client,
        done: mpsc::UnboundedSender<Completion>,
        term: watch::Receiver<Term>,
    ) -> Self {
        Self {
            client,
            term,
            done,
            fresh: Arc::new(Semaphore::new(CONCURRENT)),
            retries: Arc::new(Semaphore::new(CONCURRENT_RETRIES)),
            storage: Arc::new(Semaphore::new(CONCURRENT_STORAGE)),
            slots: HashMap::new(),
            activities: HashMap::new(),
            statuses: HashMap::new(),
            under_way: 0,
            lookups: Arc::new(Semaphore::new(CONCURRENT_LOOKUPS)),
            looking: HashSet::new(),
        }
    }

    /// What is being done about each workload that anything is done about.
    pub fn activities(&self) -> &HashMap<Uid, Activity> {
        &self.activities
    }

    /// Requests that have no answer yet.
    pub fn under_way(&self) -> usize {
        self.under_way
    }

    /// Makes a request, unless one for this object is under way. `notices` are what its success
    /// means.
    pub fn patch(&mut self, namespace: &str, patch: Patch, notices: Vec<Notice>) {
        let Some(lane) = self.take(namespace, &patch.uid, begins(&patch)) else { return };
        let (client, done, namespace) =
            (self.client.clone(), self.done.clone(), namespace.to_owned());
        let (term, number, decided) =
            (self.term.clone(), self.term.borrow().number, clock::moment());
        tokio::spawn(async move {
            let result = match lane.acquire().await {
                // A pod that agreed may have begun something since, or said no to another replica.
                Ok(_permit) if term.borrow().number != number => Err(Error::NotLeading),
                Ok(_permit)
                    if begins(&patch) && clock::moment().duration_since(decided) > CONSENT =>
                {
                    Err(Error::Late)
                }
                Ok(_permit) => send(&client, &term, &namespace, &patch).await,
                Err(_) => Err(Error::Timeout),
            };
            let uid = patch.uid.clone();
            // Nobody listens any more when the operator stops.
            let _ = done.send(Completion {
                namespace,
                uid,
                outcome: Outcome::Patch(Box::new(patch), notices, result),
            });
        });
    }

    /// Makes a request about an object of storage, unless one for it is under way. `notice` is what
    /// its success means.
    pub fn storage(&mut self, namespace: &str, patch: StoragePatch, notice: Option<Notice>) {
        if self.take(namespace, &patch.uid, false).is_none() {
            return;
        }
        let lane = self.storage.clone();
        let (client, done, namespace, term) =
            (self.client.clone(), self.done.clone(), namespace.to_owned(), self.term.clone());
        let number = self.term.borrow().number;
        tokio::spawn(async move {
            let result = match lane.acquire().await {
                Ok(_permit) if term.borrow().number != number => Err(Error::NotLeading),
                Ok(_permit) => send_storage(&client, &term, &namespace, &patch).await,
                Err(_) => Err(Error::Timeout),
            };
            let uid = patch.uid.clone();
            let _ = done.send(Completion {
                namespace,
                uid,
                outcome: Outcome::Storage(Box::new(patch), notice, result),
            });
        });
    }

    /// Makes a request about a snapshot, unless one for it is under way.
    pub fn snapshot(&mut self, namespace: &str, request: SnapshotRequest) {
        let slot = request.slot();
        if self.take(namespace, &slot, false).is_none() {
            return;
        }
        let lane = self.storage.clone();
        let (client, done, namespace, term) =
            (self.client.clone(), self.done.clone(), namespace.to_owned(), self.term.clone());
        let number = self.term.borrow().number;
        tokio::spawn(async move {
            let result = match lane.acquire().await {
                Ok(_permit) if term.borrow().number != number => Err(Error::NotLeading),
                Ok(_permit) => send_snapshot(&client, &term, &namespace, &request).await,
                Err(_) => Err(Error::Timeout),
            };
            let uid = slot;
            let outcome = Outcome::Snapshot(Box::new(request), result);
            let _ = done.send(Completion { namespace, uid, outcome });
        });
    }

    /// Forgets what came of requests about snapshots of a claim that is gone.
    fn forget_snapshots(&mut self, claim: &Uid) {
        let of_claim =
            |slot: &Uid| slot.strip_prefix(&**claim).is_some_and(|rest| rest.starts_with('/'));
        self.slots.retain(|slot, _| !of_claim(slot));
        self.activities.retain(|slot, _| !of_claim(slot));
    }

    /// Looks for the events by which a controller says why it cannot create pods, unless that is
    /// being done.
    pub fn look_up(
        &mut self,
        namespace: &str,
        (workload, uid): (WorkloadId, Uid),
        since: Timestamp,
    ) {
        if !self.looking.insert(uid.clone()) {
            return;
        }
        let (client, done, namespace, lane) =
            (self.client.clone(), self.done.clone(), namespace.to_owned(), self.lookups.clone());
        tokio::spawn(async move {
            let _permit = lane.acquire().await;
            let events: Api<Event> = Api::namespaced(client, &namespace);
            let fields = format!(
                "regarding.kind={},regarding.name={},reason=FailedCreate",
                workload.kind, workload.name
            );
            let params = ListParams::default().fields(&fields).limit(EVENTS);
            let found = match within(events.list(&params)).await {
                Ok(found) => found.items,
                Err(error) => {
                    tracing::debug!(namespace, %workload, error = %error.sentence(), "its events could not be read");
                    Vec::new()
                }
            };
            let found =
                newest_failure(found, since).map(|why| without_random_names(&why, &workload.name));
            let _ = done.send(Completion { namespace, uid, outcome: Outcome::Found(found) });
        });
    }

    /// Its events have been looked for.
    pub fn looked_up(&mut self, uid: &Uid) {
        self.looking.remove(uid);
    }

    /// Takes an object for a request, if none about it is under way; the lane in which the request
    /// waits its turn.
    fn take(&mut self, namespace: &str, uid: &Uid, begins: bool) -> Option<Arc<Semaphore>> {
        let slot = self.slots.entry(uid.clone()).or_default();
        if slot.activity.in_flight {
            return None;
        }
        slot.namespace = namespace.to_owned();
        slot.busy = true;
        (slot.activity.in_flight, slot.activity.begins) = (true, begins);
        self.activities.insert(uid.clone(), slot.activity.clone());
        self.under_way += 1;
        Some(if slot.failures > 0 { self.retries.clone() } else { self.fresh.clone() })
    }

    /// When a policy's status was last written, and when it may be written again.
    pub fn status_times(&self, policy: &str) -> (Option<Timestamp>, Option<Timestamp>, bool) {
        self.statuses
            .get(policy)
            .map_or((None, None, false), |slot| (slot.last_write, slot.retry_at, slot.busy))
    }

    /// Writes a policy's status, unless that is being done.
    pub fn status(&mut self, namespace: &str, name: String, uid: Uid, status: UpgradePolicyStatus) {
        let slot = self.statuses.entry(uid.clone()).or_default();
        if std::mem::replace(&mut slot.busy, true) {
            return;
        }
        let (client, done, namespace) =
            (self.client.clone(), self.done.clone(), namespace.to_owned());
        let term = self.term.clone();
        self.under_way += 1;
        tokio::spawn(async move {
            // It may be one that cannot be read: its status says so.
            let policies: Api<Lenient<UpgradePolicy>> = Api::namespaced(client, &namespace);
            let body = json!({"metadata": {"uid": &*uid}, "status": &status});
            let params = PatchParams {
                field_manager: Some(marks::FIELD_MANAGER.to_owned()),
                ..PatchParams::default()
            };
            let result = match leads(&term) {
                Ok(()) => within(policies.patch_status(&name, &params, &Body::Merge(body)))
                    .await
                    .map(drop),
                Err(error) => Err(error),
            };
            let _ = done.send(Completion {
                namespace,
                uid,
                outcome: Outcome::Status(name, Box::new(status), result),
            });
        });
    }

    /// Takes note of how a patch ended. `decided_on` is the version it was made for, `seen` the
    /// newest one that the watch has shown: it may have been quicker than the answer.
    pub fn patch_ended(
        &mut self,
        uid: &Uid,
        decided_on: u64,
        seen: u64,
        result: &Result<Written, Error>,
    ) {
        self.under_way = self.under_way.saturating_sub(1);
        let now = clock::now();
        let Some(slot) = self.slots.get_mut(uid) else { return };
        slot.busy = false;
        match result {
            Ok(Written { version, added }) => {
                (slot.failures, slot.conflicts, slot.activity.trouble) = (0, 0, None);
                slot.activity.additions.note(added.clone(), now);
                slot.awaited = Some((*version, later(now, UNSEEN_LIMIT)));
            }
            Err(error) => match error.class() {
                // Whatever made it obsolete is on its way to us. It is no trouble to speak of,
                // unless one stands already.
                Class::Conflict => {
                    // As long as the watch shows nothing newer, there is nothing to decide again.
                    let pause = CONFLICT_PAUSE.saturating_mul(1 << slot.conflicts.min(9));
                    slot.conflicts = slot.conflicts.saturating_add(1);
                    slot.awaited = Some((decided_on + 1, later(now, jittered(pause))));
                }
                Class::Gone => slot.awaited = Some((decided_on + 1, later(now, pause(0)))),
                class => {
                    let pause = if let Class::Throttled(Some(hint)) = class {
                        jittered(hint)
                    } else {
                        pause(slot.failures)
                    };
                    slot.failures = slot.failures.saturating_add(1);
                    (slot.activity.in_flight, slot.activity.begins) = (false, false);
                    let refused = class == Class::Refused;
                    slot.activity.trouble = Some(Trouble {
                        refused,
                        needs_hold: error.needs_hold(),
                        message: error.sentence(),
                        retry_at: later(now, pause),
                    });
                }
            },
        }
        self.activities.insert(uid.clone(), slot.activity.clone());
        self.seen(uid, seen);
    }

    /// Takes note of how a status write ended; says when to try again, if it failed.
    pub fn status_ended(&mut self, uid: &Uid, result: &Result<(), Error>) -> Option<Timestamp> {
        self.under_way = self.under_way.saturating_sub(1);
        let now = clock::now();
        let slot = self.statuses.get_mut(uid)?;
        slot.busy = false;
        slot.retry_at = match result {
            Ok(()) => {
                (slot.failures, slot.last_write) = (0, Some(now));
                None
            }
            Err(error) if error.is_obsolete() => Some(later(now, FIRST_PAUSE)),
            Err(_) => {
                slot.failures = slot.failures.saturating_add(1);
                Some(later(now, pause(slot.failures)))
            }
        };
        slot.retry_at
    }

    /// A version of an object was seen in the watch: a write that it includes is waited for no
    /// longer.
    pub fn seen(&mut self, uid: &Uid, version: u64) {
        if self.slots.get(uid).is_some_and(|slot| {
            !slot.busy && slot.awaited.is_some_and(|(awaited, _)| awaited <= version)
        }) {
            self.free(uid);
        }
    }

    /// Waits no longer for what the watch has not shown for too long; returns the namespaces to
    /// look at again.
    pub fn expire(&mut self, now: Timestamp) -> Vec<String> {
        let late = |slot: &Slot| !slot.busy && slot.awaited.is_some_and(|(_, limit)| limit <= now);
        let late: Vec<_> = self
            .slots
            .iter()
            .filter(|(_, slot)| late(slot))
            .map(|(uid, slot)| (uid.clone(), slot.namespace.clone()))
            .collect();
        late.iter().for_each(|(uid, _)| self.free(uid));
        late.into_iter().map(|(_, namespace)| namespace).collect()
    }

    /// When [`Executor::expire`] next has something to do.
    pub fn next_expiry(&self) -> Option<Timestamp> {
        self.slots
            .values()
            .filter(|slot| !slot.busy)
            .filter_map(|slot| slot.awaited.map(|(_, limit)| limit))
            .min()
    }

    /// The clock was set: what was to be waited for is waited for as long as before.
    pub fn clock_was_set(&mut self, by: SignedDuration) {
        for slot in self.slots.values_mut() {
            slot.awaited = slot.awaited.map(|(version, limit)| (version, shifted(limit, by)));
            if let Some(trouble) = &mut slot.activity.trouble {
                trouble.retry_at = shifted(trouble.retry_at, by);
            }
        }
        for (uid, activity) in &mut self.activities {
            if let Some(slot) = self.slots.get(uid) {
                activity.clone_from(&slot.activity);
            }
        }
        for slot in self.statuses.values_mut() {
            slot.retry_at = slot.retry_at.map(|time| shifted(time, by));
            slot.last_write = slot.last_write.map(|time| shifted(time, by));
        }
    }

    /// An object is gone.
    pub fn forget(&mut self, uid: &Uid) {
        self.slots.remove(uid);
        self.activities.remove(uid);
        self.statuses.remove(uid);
        self.forget_snapshots(uid);
    }

    fn free(&mut self, uid: &Uid) {
        if let Some(slot) = self.slots.get_mut(uid) {
            slot.awaited = None;
            (slot.activity.in_flight, slot.activity.begins) = (false, false);
            if slot.activity == Activity::default() && slot.failures == 0 && slot.conflicts == 0 {
                self.forget(uid);
            } else {
                self.activities.insert(uid.clone(), slot.activity.clone());
            }
        }
    }
}

/// Whether a patch begins to end pods.
fn begins(patch: &Patch) -> bool {
    matches!(
        patch.purpose,
        Purpose::Roll(..) | Purpose::Release(Release::GatesOpen) | Purpose::Step | Purpose::Unblock
    )
}

/// The pause after this many failures in a row.
fn pause(failures: u32) -> Duration {
    jittered(FIRST_PAUSE.saturating_mul(1 << failures.min(9)).min(LONGEST_PAUSE))
}

/// Up to a quarter longer, so that what failed together is not tried again together.
fn jittered(pause: Duration) -> Duration {
    pause + pause.mul_f64(rand::rng().random_range(0.0..0.25))
}
