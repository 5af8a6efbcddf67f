//! The main loop: take in what was seen, let the core decide, hand over what is to be done. It
//! never waits for an action.

mod completed;
mod hand_over;

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
    executor::{Completion, Executor},
    index::Index,
    lease::Term,
    notify::Notices,
    probe::Prober,
    streams::{Sighting, Streams, of_interest},
};
use crate::{
    core::{
        arrange::{Surroundings, assess_by, ledger::Ledger},
        decision::{Census, Decision},
        digest::Key,
        later,
        memory::Memory,
        notice::Event,
        observed::Uid,
        rest::News,
        rollout::slots::{self, Demand},
        unread,
    },
    telemetry::{health::Heartbeat, metrics::Metrics},
};

/// The loop comes round at least this often.
const IDLE: Duration = Duration::from_secs(10);
/// Maximum number of sightings that are taken in before deciding.
const BATCH: usize = 4096;
/// A namespace on which something happens all the time is decided on so seldom that deciding takes
/// at most one part in this many.
const SHARE: u32 = 5;
/// A replica that begins to lead lets its watches show it what the one before it did last.
const TAKE_OVER: Duration = Duration::from_millis(500);
/// What happens within this time after a decision on a namespace is decided on together: a rollout is
/// many small events.
const SHORTEST_REST: Duration = Duration::from_millis(50);
/// But at least this often.
const LONGEST_REST: Duration = Duration::from_millis(500);

/// What the loop works with.
pub struct Parts {
    /// The digest key.
    pub key: &'static Key,
    /// Maximum number of our config rollouts that are under way in the cluster.
    pub max_config_rollouts: usize,
    /// What was seen.
    pub index: Index,
    /// The watches.
    pub streams: Streams,
    /// What is under way.
    pub executor: Executor,
    /// Talks to pods.
    pub asker: Asker,
    /// Asks who judges writes.
    pub prober: Prober,
    /// Whether this replica leads.
    pub term: watch::Receiver<Term>,
    /// Where what happens is told.
    pub notices: Notices,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// Told that the loop comes round.
    pub heartbeat: Heartbeat,
}

/// The loop.
pub struct Reconciler {
    key: &'static Key,
    max_config_rollouts: usize,
    index: Index,
    streams: Streams,
    executor: Executor,
    asker: Asker,
    prober: Prober,
    notices: Notices,
    metrics: Arc<Metrics>,
    heartbeat: Heartbeat,
    memories: HashMap<Uid, Memory>,
    /// By namespace, what stands there of volumes and was told.
    told: HashMap<String, BTreeSet<(Uid, Event)>>,
    /// The objects that cannot be read and were told, with what is wrong with them.
    unread_told: BTreeSet<(Uid, String)>,
    /// What cannot be read may be another than what was told.
    unread_changed: bool,
    /// What is kept of each namespace from one decision to the next.
    ledgers: HashMap<String, Ledger>,
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
    pub fn new(parts: Parts) -> Self {
        let Parts {
            key,
            max_config_rollouts,
            index,
            streams,
            executor,
            asker,
            prober,
            term,
            notices,
            metrics,
            heartbeat,
        } = parts;
        Self {
            key,
            max_config_rollouts,
            index,
            streams,
            executor,
            asker,
            prober,
            notices,
            metrics,
            heartbeat,
            memories: HashMap::new(),
            told: HashMap::new(),
            unread_told: BTreeSet::new(),
            unread_changed: false,
            ledgers: HashMap::new(),
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
            self.asker.tidy();
            if self.watched_since.is_some() {
                self.index.forget_deleted_config(clock::now());
            }
            if self.may_decide() {
                self.prober.ask(self.index.enforcement());
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
                self.asker.hang_up_all();
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
                self.asker.hang_up_all();
                self.metrics.leads(true);
                self.index.tell_all();
                self.index.forget_judges();
                self.prober.forget();
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
        self.prober.forget();
        self.watched_since = self.watched_since.map(|time| shifted(time, by));
    }

    /// Takes note of requests that were under way when the loop was told to stop.
    pub async fn finish(&mut self, done: &mut mpsc::UnboundedReceiver<Completion>) {
        while self.executor.under_way() > 0 {
            let Some(completion) = done.recv().await else { return };
            self.complete(completion);
        }
    }

    /// Tells what is still to be told.
    pub async fn end(self) {
        self.notices.finish().await;
    }

    /// Whether it decides now.
    fn acts(&self) -> Option<()> {
        (self.leads.is_some() && self.resume_at.is_none()).then_some(())
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
            .chain(self.acts().and_then(|()| self.prober.due(self.index.enforcement())))
            .min()
            .map_or(IDLE, |time| until(&time))
            .min(IDLE)
    }

    fn see(&mut self, sighting: Sighting) {
        if !self.streams.counts(&sighting) {
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
            self.asker.hang_up(&uid);
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

    /// Tells of objects that cannot be read, on these.
    fn tell_unread(&mut self) {
        if std::mem::take(&mut self.unread_changed) {
            for (namespace, notice) in
                unread::news(self.index.unread_of_interest(), &mut self.unread_told)
            {
                self.notices.tell(&namespace, notice);
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
                if !self.concern(&namespace, &news) {
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
            let rest = later(now, (cost * (SHARE - 1)).clamp(SHORTEST_REST, LONGEST_REST));
            for (namespace, decision) in decisions {
                self.hand_over(&namespace, decision);
                self.rests.insert(namespace, rest);
            }
        }
    }

    /// Whether the news concern their namespace; one that is gone, of which something may be left
    /// to clear, all news concern.
    fn concern(&self, namespace: &str, news: &News) -> bool {
        let Some(seen) = self.index.namespace(namespace) else { return true };
        match self.ledgers.get(namespace) {
            Some(ledger) => ledger.concern(seen, news),
            None => Ledger::default().concern(seen, news),
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
                    let ledger = self.ledgers.entry(name.clone()).or_default();
                    let assessments = assess_by(ledger, namespace, news, &around);
                    self.demands
                        .insert(name.clone(), assessments.demand(self.executor.activities()));
                    assessed.push((name, assessments));
                }
                None => {
                    self.ledgers.remove(name);
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
}
