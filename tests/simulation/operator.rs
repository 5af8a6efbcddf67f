//! The operator: its real index and core, with watches that deliver when the simulation says so,
//! and requests that wait to be sent.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use lockkeeper::{
    api::Attention,
    core::{
        arrange::{Assessments, Surroundings, assess_all, assess_by, ledger::Ledger},
        conversation::{Call, Errand, Report, answer::Answer},
        decision::Decision,
        digest::Key,
        hold::enforced::Enforcement,
        memory::{Activity, Memory},
        notice::{Event, Notice, StorageObject},
        observed::Uid,
        reach::Reach,
        request::{Patch, Purpose, Release, StoragePatch},
        rest::News,
        rollout::slots,
    },
    shell::{
        digest,
        index::{Effects, Index, Indexed},
        streams::{Step, lenient, object},
        views::{
            ConfigMaps, ControllerRevisions, Definitions, Deployments, Pods, Policies, ReplicaSets,
            Secrets, StatefulSets,
            storage::{Claims, Drivers, Namespaces, Volumes},
        },
    },
};
use model::{
    admission::OPERATOR,
    server::{Account, Failure, NAMESPACE, Server},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    consent::Judgement,
    election::Candidate,
    fault::{Fault, as_read},
};

/// So many of the kinds are not of storage.
pub const WITHOUT_STORAGE: usize = 7;

/// So many of the kinds are in what seeds choose from.
pub const CHOSEN: usize = 11;

/// What the watch of a kind shows.
pub enum Shows {
    Restarted,
    Listed(Value),
    Complete,
    Applied(Value),
    Deleted(Value),
}

/// A watch: takes what it shows to the index.
type Watch = fn(&mut Index, Shows, Timestamp) -> Effects;

pub const KINDS: [(&str, Watch); 12] = [
    ("UpgradePolicy", everywhere::<Policies>),
    ("Deployment", everywhere::<Deployments>),
    ("StatefulSet", everywhere::<StatefulSets>),
    ("ConfigMap", everywhere::<ConfigMaps>),
    ("ReplicaSet", here::<ReplicaSets>),
    ("ControllerRevision", here::<ControllerRevisions>),
    ("Pod", here::<Pods>),
    ("PersistentVolumeClaim", everywhere::<Claims>),
    ("PersistentVolume", everywhere::<Volumes>),
    ("Namespace", everywhere::<Namespaces>),
    ("CSIDriver", everywhere::<Drivers>),
    ("Secret", everywhere::<Secrets>),
];

fn everywhere<K: Indexed>(index: &mut Index, shows: Shows, now: Timestamp) -> Effects {
    index.apply(None, step::<K>(shows), now)
}

fn here<K: Indexed>(index: &mut Index, shows: Shows, now: Timestamp) -> Effects {
    index.apply(Some(NAMESPACE), step::<K>(shows), now)
}

fn step<K: Indexed>(shows: Shows) -> Step<K> {
    // As the watches read it, but the text is made only of what cannot be read without.
    let read = |value: Value| match Deserialize::deserialize(&value) {
        Ok(wire) => object::<K>(wire),
        Err(_) => lenient::<K>(serde_json::from_str(&value.to_string()).unwrap()).unwrap(),
    };
    match shows {
        Shows::Restarted => Step::Restarted,
        Shows::Listed(value) => Step::Listed(read(value)),
        Shows::Complete => Step::Complete,
        Shows::Applied(value) => Step::Applied(read(value)),
        Shows::Deleted(value) => Step::Deleted(read(value)),
    }
}

/// The uid of our CRD.
pub const DEFINITION: &str = "uid-crd";

/// A call on its way: the pods are reached one after the other.
pub struct Talk {
    pub call: Call,
    pub begun: Timestamp,
    pub answers: Vec<Option<Answer>>,
}

/// What a pod said last when it was asked whether it may be ended.
pub struct Heard {
    /// The change that it was asked about, with the step after a space.
    pub change: String,
    pub answer: Answer,
    /// So many times in a row it said yes.
    pub yes: u32,
    /// When that was heard.
    pub at: Timestamp,
}

/// What the watches have shown, by kind and name.
pub type Shown = BTreeMap<(&'static str, String), Arc<Value>>;

pub struct Operator {
    index: Index,
    key: &'static Key,
    memories: HashMap<Uid, Memory>,
    activities: HashMap<Uid, Activity>,
    /// The version that must be seen before a workload is decided on again.
    awaited: HashMap<Uid, u64>,
    cursors: BTreeMap<&'static str, u64>,
    watched: Timestamp,
    pub shown: Shown,
    /// Of workloads, the newest that was shown that its controller had taken up.
    pub taken_up: Shown,
    pub outbox: Vec<Patch>,
    /// Requests about storage.
    pub stores: Vec<StoragePatch>,
    /// What the success of some of them means, by the object's uid.
    on_success: HashMap<Uid, Notice>,
    /// What was found of each request when it was decided on, by the workload's uid.
    pub judged: HashMap<Uid, Judgement>,
    pub talks: Vec<Talk>,
    pub heard: BTreeMap<Uid, Heard>,
    /// The pods that it has asked to take no new work; what the one before it asked for runs out by
    /// itself.
    pub drained: BTreeSet<Uid>,
    /// When the operator wants to look again.
    pub wake: Option<Timestamp>,
    pub told: Vec<(String, Event, String)>,
    /// What the status of the policy says of workloads that are not simply up to date.
    pub attention: Vec<Attention>,
    pub conditions: Vec<Condition>,
    /// The conditions of each policy, by its name.
    pub conditions_of: BTreeMap<String, Vec<Condition>>,
    /// What stands and was told.
    stands: HashMap<String, BTreeSet<(Uid, Event)>>,
    /// What is kept of the namespace from one decision to the next.
    ledger: Ledger,
    fault: Option<Fault>,
    /// Where there are several: its part in their election.
    pub candidate: Option<Candidate>,
    /// Its term, and from when on it acts in it.
    leads: Option<(u64, Timestamp)>,
}

/// Who begins to lead lets its watches show what the one before it did last.
const TAKE_OVER: Duration = Duration::from_millis(500);

pub const ACCOUNT: Account = Account { user: OPERATOR, manager: "lockkeeper", verbs: &[] };

/// Why a request is not sent.
pub const NOT_LEADING: &str = "another leads";

fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

fn note(taken_up: &mut Shown, kind: &'static str, object: &Arc<Value>) {
    if object["status"]["observedGeneration"] == object["metadata"]["generation"] {
        taken_up.insert((kind, name(object)), object.clone());
    }
}

/// What is said and done by a decision.
fn outcome(decision: &Decision) -> impl PartialEq + std::fmt::Debug {
    let said = (decision.notices.clone(), decision.statuses.clone(), decision.census.clone());
    (
        decision.patches.clone(),
        decision.storage.clone(),
        decision.calls.clone(),
        decision.wake,
        said,
    )
}

impl Operator {
    /// One that starts: it lists everything.
    pub fn start(server: &Server, fault: Option<Fault>) -> Self {
        let key = digest::set_key(Key::new(&[7; 32]));
        let mut index =
            Index::new(key, "lockkeeper-system".into(), Reach::default(), Enforcement::default());
        let (mut cursors, mut shown, mut taken_up) = (BTreeMap::new(), Shown::new(), Shown::new());
        for (kind, watch) in KINDS {
            watch(&mut index, Shows::Restarted, server.now());
            for one in server.list(kind) {
                watch(&mut index, Shows::Listed(as_read(fault, kind, &one)), server.now());
                note(&mut taken_up, kind, &one);
                shown.insert((kind, name(&one)), one);
            }
            watch(&mut index, Shows::Complete, server.now());
            cursors.insert(kind, server.version());
        }
        let definition = json!({"metadata": {"name": "crd", "uid": DEFINITION}, "status": {"conditions": [{"type": "Established", "status": "True"}]}});
        everywhere::<Definitions>(&mut index, Shows::Applied(definition), server.now());
        Self {
            index,
            key,
            memories: HashMap::new(),
            activities: HashMap::new(),
            awaited: HashMap::new(),
            cursors,
            watched: server.now(),
            shown,
            taken_up,
            outbox: Vec::new(),
            stores: Vec::new(),
            on_success: HashMap::new(),
            judged: HashMap::new(),
            talks: Vec::new(),
            heard: BTreeMap::new(),
            drained: BTreeSet::new(),
            wake: None,
            told: Vec::new(),
            attention: Vec::new(),
            conditions: Vec::new(),
            conditions_of: BTreeMap::new(),
            stands: HashMap::new(),
            ledger: Ledger::default(),
            fault,
            candidate: None,
            leads: None,
        }
    }

    /// Whether it may send anything.
    pub fn may_act(&self, now: Timestamp) -> bool {
        self.candidate.as_ref().is_none_or(|candidate| candidate.may_act(now))
    }

    /// Whether it decides. Who begins to lead remembers nothing.
    fn leads(&mut self, now: Timestamp) -> bool {
        let Some(candidate) = &self.candidate else { return true };
        let term = candidate.term;
        if !candidate.may_act(now) || self.leads.is_none_or(|(known, _)| known != term) {
            self.memories.clear();
            self.ledger = Ledger::default();
            self.heard.clear();
            self.drained.clear();
            self.leads = candidate.may_act(now).then(|| (term, now + TAKE_OVER));
        }
        self.leads.is_some_and(|(_, from)| from <= now)
    }

    /// Up to where a kind was seen.
    pub fn cursor(&self, kind: &str) -> u64 {
        self.cursors[kind]
    }

    /// Whether a request that begins a rollout of this workload is on its way, or was accepted and
    /// is not shown yet.
    pub fn begins(&self, uid: &str) -> bool {
        self.activities.get(uid).is_some_and(|activity| activity.begins)
    }

    /// The watch of a kind shows its next event. Returns whether there was one.
    pub fn deliver(&mut self, server: &Server, kind: &str) -> bool {
        let (kind, watch) = *KINDS.iter().find(|(one, _)| *one == kind).unwrap();
        let cursor = self.cursors[kind];
        let log = server.log();
        let from = log.partition_point(|event| event.version <= cursor);
        let Some(event) = log[from..].iter().find(|event| event.kind == kind) else {
            self.cursors.insert(kind, server.version());
            return false;
        };
        match event.deleted {
            true => drop(self.shown.remove(&(kind, name(&event.object)))),
            false => {
                note(&mut self.taken_up, kind, &event.object);
                self.shown.insert((kind, name(&event.object)), event.object.clone());
            }
        }
        let object = as_read(self.fault, kind, &event.object);
        let shows = if event.deleted { Shows::Deleted(object) } else { Shows::Applied(object) };
        let effects = watch(&mut self.index, shows, server.now());
        self.cursors.insert(kind, event.version);
        if let Some((uid, version)) = effects.object_seen
            && self.awaited.get(&uid).is_some_and(|awaited| *awaited <= version)
        {
            self.awaited.remove(&uid);
            self.activities.remove(&uid);
        }
        true
    }

    /// Everything that happened is shown.
    pub fn deliver_all(&mut self, server: &Server) {
        for (kind, ..) in KINDS {
            while self.deliver(server, kind) {}
        }
    }

    /// Decides, and puts the requests into the outbox. Returns whether there are new ones.
    pub fn decide(&mut self, now: Timestamp) -> bool {
        if !self.leads(now) {
            return false;
        }
        let news = self.index.take_news().remove(NAMESPACE).unwrap_or_else(News::due);
        let Some(namespace) = self.index.namespace(NAMESPACE) else { return false };
        if !self.ledger.concern(namespace, &news) {
            return false;
        }
        let around = Surroundings {
            key: self.key,
            watched: self.watched,
            definition: self.index.definition(),
            enforcement: self.index.enforcement(),
            activities: &self.activities,
            memories: &self.memories,
            storage: self.index.storage(),
            told: &self.stands,
            now,
        };
        let decide = |assessments: Assessments| {
            let demands = [(NAMESPACE.to_owned(), assessments.demand(&self.activities))].into();
            assessments.arrange(&slots::allot(&demands, 100), &self.memories)
        };
        let before = self.ledger.clone();
        let decision = decide(assess_by(&mut self.ledger, namespace, &news, &around));
        if self.fault == Some(Fault::KeepsOldLedger) && before.has_some_at_rest() {
            self.ledger = before;
        }
        let from_scratch = decide(assess_all(namespace, &News::whole(), &around));
        assert_eq!(
            outcome(&decision),
            outcome(&from_scratch),
            "what was at rest was to be judged again, or the ledger forgot something; the news: {news:?}"
        );
        self.memories.extend(decision.memories);
        self.wake = decision.wake;
        self.stands.insert(NAMESPACE.to_owned(), decision.told);
        (self.attention, self.conditions) = (Vec::new(), Vec::new());
        for (policy, status) in decision.statuses {
            self.conditions_of.insert(policy, status.conditions.clone());
            self.attention.extend(status.attention);
            self.conditions.extend(status.conditions);
        }
        for call in decision.calls {
            let answers = vec![None; call.visits.len()];
            self.talks.push(Talk { call, begun: now, answers });
        }
        decision.notices.into_iter().for_each(|notice| self.tell(notice));
        let new = !decision.patches.is_empty() || !decision.storage.is_empty();
        for (patch, notice) in decision.storage {
            if self.fault != Some(Fault::FindsNothing) || patch.claim_uid.is_none() {
                self.on_success.extend(notice.map(|notice| (patch.uid.clone(), notice)));
                self.activities
                    .insert(patch.uid.clone(), Activity { in_flight: true, ..Activity::default() });
                self.stores.push(patch);
            }
        }
        for patch in decision.patches {
            let begins = matches!(
                patch.purpose,
                Purpose::Roll(..)
                    | Purpose::Release(Release::GatesOpen)
                    | Purpose::Step
                    | Purpose::Unblock
            );
            self.activities.insert(
                patch.uid.clone(),
                Activity { in_flight: true, begins, ..Activity::default() },
            );
            self.outbox.push(patch);
        }
        new
    }

    /// Sends one request. The patch, and what came of it.
    pub fn send(&mut self, server: &mut Server, index: usize) -> (Patch, Result<(), Failure>) {
        let patch = self.outbox.remove(index);
        self.index.tell(NAMESPACE, News::of_workloads([patch.uid.clone()]));
        if !self.may_act(server.now()) {
            self.activities.remove(&patch.uid);
            return (patch, Err(Failure::Forbidden(NOT_LEADING.to_owned())));
        }
        let mut body = patch.json();
        let kind = patch.workload.kind.to_string();
        if matches!(self.fault, Some(Fault::NoPrecondition | Fault::StaleReading)) {
            body.as_array_mut().unwrap().retain(|operation| operation["op"] != "test");
        }
        let result = server.json_patch(ACCOUNT, &kind, &patch.workload.name, &body);
        let shown = self
            .index
            .namespace(NAMESPACE)
            .and_then(|all| all.workloads.get(&patch.workload))
            .map_or(0, |workload| workload.resource_version);
        match &result {
            Ok(object) => {
                let version: u64 =
                    object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
                if self.fault == Some(Fault::StaleReading) || version <= shown {
                    self.activities.remove(&patch.uid);
                } else {
                    self.awaited.insert(patch.uid.clone(), version);
                }
            }
            // Whatever made it obsolete is on its way.
            Err(_) => drop(self.activities.remove(&patch.uid)),
        }
        (patch, result.map(drop))
    }

    /// Sends one request about storage. The patch, and what came of it.
    pub fn store(
        &mut self,
        server: &mut Server,
        index: usize,
    ) -> (StoragePatch, Result<(), Failure>) {
        let patch = self.stores.remove(index);
        self.index.tell(NAMESPACE, News::due());
        if !self.may_act(server.now()) {
            self.activities.remove(&patch.uid);
            return (patch, Err(Failure::Forbidden(NOT_LEADING.to_owned())));
        }
        let (kind, name) = match &patch.object {
            StorageObject::Claim(name) => ("PersistentVolumeClaim", name),
            StorageObject::Volume(name) => ("PersistentVolume", name),
            StorageObject::Namespace(name) => ("Namespace", name),
        };
        let result =
            server.update(ACCOUNT, kind, name, |object| json_patch::merge(object, &patch.json()));
        let shown = self.index.version_of(NAMESPACE, &patch.object).unwrap_or_default();
        let notice = self.on_success.remove(&patch.uid);
        notice.filter(|_| result.is_ok()).into_iter().for_each(|notice| self.tell(notice));
        match &result {
            Ok(object) => {
                let version: u64 =
                    object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
                match version <= shown {
                    true => drop(self.activities.remove(&patch.uid)),
                    false => drop(self.awaited.insert(patch.uid.clone(), version)),
                }
            }
            Err(_) => drop(self.activities.remove(&patch.uid)),
        }
        (patch, result.map(drop))
    }

    fn tell(&mut self, notice: Notice) {
        self.told.push((notice.regarding.to_string(), notice.event, notice.message));
    }

    /// What came of a call is heard, or what the fault makes of it. Nobody listens for a workload
    /// of which nothing is remembered.
    pub fn hear(&mut self, index: usize, now: Timestamp) {
        let Talk { call, begun, answers } = self.talks.remove(index);
        self.index.tell(NAMESPACE, News::of_workloads([call.uid.clone()]));
        let mut answers: Vec<_> = answers.into_iter().flatten().collect();
        let Some(memory) = self.memories.get_mut(&call.uid) else { return };
        if call.errand == Errand::Ask {
            let change = call.about.as_ref().map(ToString::to_string).unwrap_or_default();
            for (visit, answer) in call.visits.iter().zip(&answers) {
                let before = self.heard.get(&visit.pod).filter(|before| before.change == change);
                let yes = if *answer == Answer::Yes {
                    before.map_or(0, |before| before.yes) + 1
                } else {
                    0
                };
                let heard = Heard { change: change.clone(), answer: answer.clone(), yes, at: now };
                self.heard.insert(visit.pod.clone(), heard);
            }
        }
        if call.errand == Errand::Prepare {
            self.drained.extend(call.visits.iter().map(|visit| visit.pod.clone()));
        }
        match (self.fault, call.errand) {
            (Some(Fault::IgnoresNo), Errand::Ask) => {
                answers
                    .iter_mut()
                    .filter(|answer| matches!(answer, Answer::No(_)))
                    .for_each(|answer| *answer = Answer::Yes);
            }
            (Some(Fault::AsksOne), Errand::Ask) => {
                answers.iter_mut().skip(1).for_each(|answer| *answer = Answer::Yes)
            }
            _ => {}
        }
        memory.app.get_or_insert_default().hear(&Report { call, begun, ended: now, answers });
    }

    /// What a patch is for, in a word.
    pub fn purpose(patch: &Patch) -> &'static str {
        match patch.purpose {
            Purpose::Adopt => "adopts",
            Purpose::Record => "notes on",
            Purpose::Roll(..) => "rolls",
            Purpose::Release(_) => "releases",
            Purpose::Step => "goes a pod further on",
            Purpose::Unblock => "lets a rollout that is stuck go on, on",
            Purpose::Maintain => "begins or ends maintenance of",
            Purpose::Forget { .. } => "lets go",
        }
    }
}
