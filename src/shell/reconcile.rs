//! The main loop: take in what was seen, let the core decide, hand over what is to be done. It
//! never waits for an action.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{mpsc, watch};

use super::{
    ask::Asker,
    clock::{self, Pace, shifted},
    errors::{Class, Error},
    events::Events,
    executor::{Completion, Executor, Outcome},
    index::Index,
    lease::Term,
    streams::{Sighting, Streams, of_interest},
};
use crate::{
    api::marks,
    core::{
        arrange::{Surroundings, assess_all},
        conditions,
        decision::{Census, Decision},
        digest::Key,
        later,
        memory::Memory,
        notice::{Event, Notice, Subject},
        observed::Uid,
        others,
        request::{Patch, Purpose},
        rest::News,
        rollout::{
            outcome::Outcome as RolloutOutcome,
            slots::{self, Demand},
        },
        unread,
    },
    telemetry::{health::Heartbeat, metrics::Metrics},
};

/// The loop comes round at least this often.
const IDLE: Duration = Duration::from_secs(10);
/// So many sightings are taken in before deciding, if so many wait.
const BATCH: usize = 4096;
/// A namespace on which something happens all the time is decided on so seldom that deciding takes
/// at most one part in this many.
const SHARE: u32 = 5;
/// A replica that begins to lead lets its watches show it what the one before it did last.
const TAKE_OVER: Duration = Duration::from_millis(500);
/// But at least this often.
const LONGEST_REST: Duration = Duration::from_millis(500);

/// What the loop works with.
pub struct Reconciler {
    /// The digest key.
    pub key: &'static Key,
    /// At most so many config rollouts of ours are under way in the cluster.
    pub max_config_rollouts: usize,
    /// What was seen.
    pub index: Index,
    /// The watches.
    pub streams: Streams,
    /// What is under way.
    pub executor: Executor,
    /// Talks to pods.
    pub asker: Asker,
    /// Where events go.
    pub events: Events,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// Told that the loop comes round.
    pub heartbeat: Heartbeat,
    memories: HashMap<Uid, Memory>,
    /// By namespace, what stands there of volumes and was told.
    told: HashMap<String, BTreeSet<(Uid, Event)>>,
    /// The objects that cannot be read and were told, with what is wrong with them.
    unread_told: BTreeSet<(Uid, String)>,
    /// What cannot be read may be another than what was told.
    unread_changed: bool,
    demands: BTreeMap<String, Demand>,
    wakes: BTreeMap<String, Timestamp>,
    /// Until when a namespace that was just decided on rests.
    rests: HashMap<String, Timestamp>,
    /// What happened in namespaces that rest.
    unheeded: HashMap<String, News>,
    watched_since: Option<Timestamp>,
    term: watch::Receiver<Term>,
    /// The term in which it decides, and from when on.
    leads: Option<(u64, Timestamp)>,
    /// When to come round again before that.
    resume_at: Option<Timestamp>,
    pace: Pace,
}

impl Reconciler {
    /// A loop that has seen nothing yet.
    pub fn new(
        key: &'static Key,
        max_config_rollouts: usize,
        index: Index,
        streams: Streams,
        (executor, asker, term): (Executor, Asker, watch::Receiver<Term>),
        events: Events,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            key,
            max_config_rollouts,
            index,
            streams,
            executor,
            asker,
            events,
            metrics,
            heartbeat: Heartbeat::default(),
            memories: HashMap::new(),
            told: HashMap::new(),
            unread_told: BTreeSet::new(),
            unread_changed: false,
            demands: BTreeMap::new(),
            wakes: BTreeMap::new(),
            rests: HashMap::new(),
            unheeded: HashMap::new(),
            watched_since: None,
            term,
            leads: None,
            resume_at: None,
            pace: Pace::new(clock::now(), clock::moment()),
        }
    }

    /// Runs until told to stop; then begins nothing new.
    pub async fn run(
        &mut self,
        seen: &mut mpsc::Receiver<Sighting>,
        done: &mut mpsc::UnboundedReceiver<Completion>,
        stop: &mut watch::Receiver<bool>,
    ) {
        loop {
            self.heartbeat.beat();
            let pause = self.pause();
            tokio::select! {
                biased;
                _ = stop.changed() => return,
                Some(completion) = done.recv() => self.complete(completion),
                Some(sighting) = seen.recv() => self.see(sighting),
                Ok(()) = self.term.changed() => {}
                () = tokio::time::sleep(pause) => {}
            }
            for _ in 0..BATCH {
                match seen.try_recv() {
                    Ok(sighting) => self.see(sighting),
                    Err(_) => break,
                }
            }
            while let Ok(completion) = done.try_recv() {
                self.complete(completion);
            }
            if let Some(by) = self.pace.set_by(clock::now(), clock::moment()) {
                self.clock_was_set(by);
            }
            self.wake_due();
            if self.may_decide() {
                self.tell_unread();
                self.decide();
            }
        }
    }

    /// Whether this replica leads, and has had the time to see what the one before it did last. A
    /// new leader remembers nothing.
    fn may_decide(&mut self) -> bool {
        let term = *self.term.borrow_and_update();
        let now = clock::now();
        if !term.may_act(clock::moment()) {
            if self.leads.take().is_some() {
                self.memories.clear();
                self.told.clear();
                self.demands.clear();
                self.metrics.leads(false);
            }
            self.resume_at = None;
            // Who begins to lead looks at everything.
            self.index.take_news();
            self.unheeded.clear();
            return false;
        }
        let from = match self.leads {
            Some((number, from)) if number == term.number => from,
            _ => {
                self.memories.clear();
                self.told.clear();
                self.unread_told.clear();
                self.unread_changed = true;
                self.demands.clear();
                self.metrics.leads(true);
                self.index.tell_all();
                later(now, TAKE_OVER)
            }
        };
        self.leads = Some((term.number, from));
        if from > now {
            self.resume_at = Some(from);
            return false;
        }
        self.resume_at = None;
        true
    }

    /// What is remembered was noted by another clock: it is forgotten as by one who begins to lead.
    /// Nothing of it decides an outcome; but a time that has become the far future would be waited
    /// for.
    fn clock_was_set(&mut self, by: SignedDuration) {
        let seconds = by.as_secs_f64();
        tracing::warn!(
            seconds,
            "the clock of this node was set, by so many seconds; everything is judged again"
        );
        self.leads = None;
        self.wakes.clear();
        self.rests.clear();
        self.executor.clock_was_set(by);
        self.index.clock_was_set(by);
        self.watched_since = self.watched_since.map(|time| shifted(time, by));
    }

    /// Takes note of requests that were under way when the loop was told to stop.
    pub async fn finish(&mut self, done: &mut mpsc::UnboundedReceiver<Completion>) {
        while self.executor.under_way() > 0 {
            let Some(completion) = done.recv().await else { return };
            self.complete(completion);
        }
    }

    fn pause(&self) -> Duration {
        let now = clock::now();
        let until =
            |time: &Timestamp| Duration::try_from(time.duration_since(now)).unwrap_or_default();
        self.wakes
            .values()
            .copied()
            .chain(self.executor.next_expiry())
            .chain(self.resume_at)
            .min()
            .map_or(IDLE, |time| until(&time))
            .min(IDLE)
    }

    fn see(&mut self, sighting: Sighting) {
        if !self.streams.runs(&sighting.stream) {
            return;
        }
        let now = clock::now();
        let settles = sighting.list.is_some_and(|list| self.streams.note(&sighting.stream, list));
        let mut effects = sighting.take_in(&mut self.index, now);
        if settles && self.watched_since.is_none() && self.streams.cluster_ready() {
            self.watched_since = Some(now);
            self.index.tell_all();
        }
        if let Some((uid, version)) = effects.object_seen.take() {
            self.executor.seen(&uid, version);
        }
        for uid in std::mem::take(&mut effects.gone) {
            self.memories.remove(&uid);
            self.executor.forget(&uid);
        }
        if effects.interest_changed {
            self.metrics.set_policies(self.index.policies());
            for gone in self.streams.follow(&self.index.with_interest()) {
                for watch in of_interest() {
                    watch.forget(&mut self.index, &gone, now, &mut effects);
                }
                self.index.tell(&gone, News::whole());
            }
        }
        if effects.unread_changed {
            self.metrics.set_unreadable(self.index.unread().map(|one| one.kind));
        }
        self.unread_changed |= effects.unread_changed || effects.interest_changed;
    }

    fn complete(&mut self, completion: Completion) {
        let Completion { namespace, uid, outcome } = completion;
        match outcome {
            Outcome::Patch(patch, notices, result) => {
                self.metrics.patched(&patch.purpose, outcome_of(&result));
                match &result {
                    Ok(_) => self.accepted(&namespace, &patch, notices),
                    Err(error) if error.is_obsolete() => {
                        tracing::debug!(namespace, workload = %patch.workload, purpose = ?patch.purpose, error = %error.sentence(), "decided on an older version; looking again");
                    }
                    Err(error) => {
                        tracing::warn!(namespace, workload = %patch.workload, purpose = ?patch.purpose, error = %error.sentence(), "a patch failed; it is tried again");
                    }
                }
                let workload = self
                    .index
                    .namespace(&namespace)
                    .and_then(|namespace| namespace.workloads.get(&patch.workload));
                let seen = workload
                    .filter(|workload| workload.uid == uid)
                    .map_or(0, |workload| workload.resource_version);
                self.executor.patch_ended(&uid, patch.resource_version, seen, &result);
            }
            Outcome::Storage(patch, notice, result) => {
                self.metrics.storage_patched(outcome_of(&result));
                match &result {
                    Ok(written) => {
                        let known = self
                            .executor
                            .activities()
                            .get(&uid)
                            .map(|activity| activity.additions.clone())
                            .unwrap_or_default();
                        let added = others::of_storage(&patch.object, &uid, known, &written.added);
                        notice
                            .into_iter()
                            .chain(added)
                            .for_each(|notice| self.events.tell(&namespace, notice));
                    }
                    Err(error) if error.is_obsolete() => {
                        tracing::debug!(namespace, object = ?patch.object, error = %error.sentence(), "decided on an older version; looking again");
                    }
                    Err(error) => {
                        tracing::warn!(namespace, object = ?patch.object, error = %error.sentence(), "a patch failed; it is tried again");
                    }
                }
                let seen = self.index.version_of(&namespace, &patch.object).unwrap_or_default();
                self.executor.patch_ended(&uid, patch.resource_version, seen, &result);
            }
            Outcome::Heard(report) => {
                if let Some(memory) = self.memories.get_mut(&uid) {
                    memory.app.hear(&report);
                }
            }
            Outcome::Found(why) => {
                self.executor.looked_up(&uid);
                if let Some(lack) =
                    self.memories.get_mut(&uid).and_then(|memory| memory.lack.as_mut())
                    && why.is_some()
                {
                    lack.why = why;
                }
            }
            Outcome::Status(name, status, result) => {
                if result.is_ok() {
                    self.index.wrote_status(&namespace, &name, &uid, *status);
                }
                self.metrics.status_written(outcome_of(&result));
                match &result {
                    Err(error) if error.is_obsolete() => {
                        tracing::debug!(namespace, policy = name, error = %error.sentence(), "its status is of an older time; looking again");
                    }
                    Err(error) => {
                        tracing::warn!(namespace, policy = name, error = %error.sentence(), "the status of a policy could not be written; it is tried again");
                    }
                    Ok(()) => {}
                }
                if let Some(retry) = self.executor.status_ended(&uid, &result) {
                    self.wake_at(&namespace, retry);
                }
            }
        }
        self.index.tell(&namespace, News::of_workloads([uid]));
    }

    fn accepted(&self, namespace: &str, patch: &Patch, notices: Vec<Notice>) {
        match &patch.purpose {
            &Purpose::Roll(cause, seen) => {
                let after = seen
                    .and_then(|seen| Duration::try_from(clock::now().duration_since(seen)).ok());
                self.metrics.rolled(cause, after);
            }
            Purpose::Adopt => {
                tracing::info!(namespace, workload = %patch.workload, "adopted: its config is taken as it is, nothing is rolled")
            }
            Purpose::Forget { .. } => {
                tracing::info!(namespace, workload = %patch.workload, "let go: no policy governs it any longer, and the annotations are removed")
            }
            Purpose::Release(release) => {
                self.metrics.released(release.as_str());
                tracing::info!(namespace, workload = %patch.workload, cause = release.as_str(), "released: the held change rolls out");
            }
            Purpose::Record | Purpose::Step | Purpose::Unblock => {}
        }
        for notice in notices {
            if notice.event == Event::HoldBypassed {
                self.metrics.released("Bypassed");
            }
            self.events.tell(namespace, notice);
        }
    }

    /// Tells of objects that cannot be read, on these.
    fn tell_unread(&mut self) {
        if std::mem::take(&mut self.unread_changed) {
            for notice in unread::news(self.index.unread_of_interest(), &mut self.unread_told) {
                let namespace = notice.subject.namespace().to_owned();
                self.events.tell(&namespace, notice);
            }
        }
    }

    fn wake_at(&mut self, namespace: &str, time: Timestamp) {
        let wake = self.wakes.entry(namespace.to_owned()).or_insert(time);
        *wake = time.min(*wake);
    }

    fn wake_due(&mut self) {
        let now = clock::now();
        for namespace in self.executor.expire(now) {
            self.index.tell(&namespace, News::whole());
        }
        let due: Vec<_> = self
            .wakes
            .iter()
            .filter(|(_, time)| **time <= now)
            .map(|(name, _)| name.clone())
            .collect();
        for namespace in due {
            self.wakes.remove(&namespace);
            self.index.tell(&namespace, News::due());
        }
    }

    /// Decides on every namespace of which something was seen, and on those that get a slot by it.
    fn decide(&mut self) {
        let Some(watched) = self.watched_since else { return };
        loop {
            let begun = clock::now();
            self.rests.retain(|_, until| *until > begun);
            let mut ready = Vec::new();
            for (namespace, mut news) in self.index.take_news() {
                news.add(self.unheeded.remove(&namespace).unwrap_or_default());
                if !self.index.concerns(&namespace, &news) {
                    continue;
                }
                match self.rests.get(&namespace) {
                    Some(&until) => {
                        self.wake_at(&namespace, until);
                        self.unheeded.insert(namespace, news);
                    }
                    // There is news of one whose watches have no list yet when they have.
                    None if self.streams.namespace_ready(&namespace) => {
                        ready.push((namespace, news))
                    }
                    None => {}
                }
            }
            if ready.is_empty() {
                return;
            }
            let decisions = self.decisions(&ready, watched);
            let now = clock::now();
            let cost = Duration::try_from(now.duration_since(begun)).unwrap_or_default();
            let rest = later(now, (cost * (SHARE - 1)).min(LONGEST_REST));
            for (namespace, decision) in decisions {
                self.hand_over(&namespace, decision);
                self.rests.insert(namespace, rest);
            }
        }
    }

    fn decisions(
        &mut self,
        ready: &[(String, News)],
        watched: Timestamp,
    ) -> Vec<(String, Decision)> {
        let now = clock::now();
        let around = Surroundings {
            key: self.key,
            watched,
            definition: self.index.definition(),
            enforcement: self.index.enforcement(),
            storage: self.index.storage(),
            told: &self.told,
            activities: self.executor.activities(),
            memories: &self.memories,
            now,
        };
        let (mut assessed, mut gone) = (Vec::new(), Vec::new());
        for (name, news) in ready {
            match self.index.namespace(name) {
                Some(namespace) => {
                    let assessments = assess_all(namespace, news, &around);
                    self.demands
                        .insert(name.clone(), assessments.demand(self.executor.activities()));
                    assessed.push((name, assessments));
                }
                None => {
                    self.demands.remove(name);
                    self.wakes.remove(name);
                    gone.push(name);
                    self.metrics.set_volumes(name, BTreeMap::new());
                    self.metrics.set_namespace(name, Census::default());
                }
            }
        }
        // After a start the pods of a large namespace may take long to list; what is under way in
        // it takes slots all the same.
        for name in self.streams.unread() {
            if let Some(namespace) =
                self.index.namespace(name).filter(|namespace| !namespace.policies.is_empty())
            {
                self.demands.insert(name.to_owned(), Demand::of_unread(namespace));
            }
        }
        let granted = slots::allot(&self.demands, self.max_config_rollouts);
        let mut decisions: Vec<_> = Vec::new();
        for (name, assessments) in assessed {
            decisions.push((name.clone(), assessments.arrange(&granted, &self.memories)));
        }
        for name in gone {
            self.told.remove(name);
        }
        for (name, demand) in &mut self.demands {
            let here = |uid: &Uid| granted.contains(uid);
            let count = demand.waiting.iter().filter(|one| here(&one.uid)).count();
            if count == 0 {
                continue;
            }
            if ready.iter().any(|(decided, _)| decided == name) {
                demand.under_way += count;
                demand.waiting.retain(|one| !here(&one.uid));
            } else {
                self.index.tell(name, News::due());
            }
        }
        decisions
    }

    fn hand_over(&mut self, namespace: &str, mut decision: Decision) {
        self.memories.extend(decision.memories);
        self.metrics.set_namespace(namespace, decision.census);
        self.metrics.set_volumes(namespace, decision.volumes);
        self.told.insert(namespace.to_owned(), decision.told);
        decision.waited.into_iter().for_each(|(reason, time)| self.metrics.waited(reason, time));
        decision.suppressed.into_iter().for_each(|reason| self.metrics.suppressed(reason));
        if let Some(wake) = decision.wake {
            self.wake_at(namespace, wake);
        }
        for patch in decision.patches {
            let carried =
                |notice: &Notice| notice.uid == patch.uid && notice.event.comes_with_patch();
            let mut notices: Vec<_> =
                decision.notices.extract_if(.., |notice| carried(notice)).collect();
            notices.extend(begun(&patch, decision.rolled.get(&patch.uid)));
            tracing::debug!(namespace, workload = %patch.workload, purpose = ?patch.purpose, "patching");
            self.executor.patch(namespace, patch, notices);
        }
        for (patch, notice) in decision.storage {
            tracing::debug!(namespace, object = ?patch.object, "patching");
            self.executor.storage(namespace, patch, notice);
        }
        for (workload, uid, since) in decision.lookups {
            self.executor.look_up(namespace, (workload, uid), since);
        }
        for call in decision.calls {
            self.asker.call(namespace, call);
        }
        for notice in decision.notices {
            self.events.tell(namespace, notice);
        }
        for (name, status) in decision.statuses {
            let Some(policy) =
                self.index.namespace(namespace).and_then(|namespace| namespace.policies.get(&name))
            else {
                continue;
            };
            let (last_write, retry_at, busy) = self.executor.status_times(&policy.uid);
            let now = clock::now();
            match conditions::write_at(&policy.status, &status, last_write, now)
                .map(|time| retry_at.map_or(time, |retry| retry.max(time)))
            {
                Some(time) if time <= now && !busy => {
                    let uid = policy.uid.clone();
                    self.executor.status(namespace, name, uid, status);
                }
                Some(time) if time > now => self.wake_at(namespace, time),
                _ => {}
            }
        }
    }
}

fn begun(patch: &Patch, rolled: Option<&(Option<(String, Uid)>, String)>) -> Option<Notice> {
    let (&Purpose::Roll(cause, _), Some((policy, what))) = (&patch.purpose, rolled) else {
        return None;
    };
    let begun = patch
        .annotations
        .iter()
        .find(|(mark, _)| *mark == marks::ROLLOUT)
        .and_then(|(_, value)| value.as_deref());
    let consent = begun
        .map(|begun| RolloutOutcome::parse(begun).consent())
        .filter(|consent| !consent.is_empty());
    Some(Notice {
        subject: Subject::Workload(patch.workload.clone()),
        uid: patch.uid.clone(),
        policy: policy.clone(),
        event: Event::ConfigRollout,
        message: format!(
            "rolling, because {cause} ({what}){}",
            consent.map_or_else(String::new, |consent| format!("; {consent}"))
        ),
    })
}

fn outcome_of<T>(result: &Result<T, Error>) -> &'static str {
    let Err(error) = result else { return "Accepted" };
    match error.class() {
        Class::Conflict if matches!(error, Error::NotLeading | Error::Late) => "NotSent",
        Class::Conflict => "Conflict",
        Class::Gone => "Gone",
        Class::Throttled(_) => "Throttled",
        Class::Transient => "Unanswered",
        Class::Refused => "Refused",
    }
}
