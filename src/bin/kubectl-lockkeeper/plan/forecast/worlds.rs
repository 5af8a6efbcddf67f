//! The namespace as the operator finds it once admission has taken the apply, the controllers have
//! seen it, and it has been quiet for long enough.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use lockkeeper::{
    api::{
        ConfigSpec, IncludeOwned, Mode, OnChange, UpgradePolicySpec, UpgradePolicyStatus,
        WorkloadKind,
    },
    core::{
        calendar::Windows,
        config::{desired::resolve, record::Record, references, together::groups},
        governs::governance,
        hold::state::Hold,
        memory::{Memory, SeenTemplate},
        observed::{
            ConfigEntry, Namespace, Policy, Reference, ReplicaSet, Uid, Version, Workload,
            WorkloadId, policy::freezing_spec,
        },
        planned::Plan,
        request::Purpose,
        rollout::{outcome::Outcome, revisions::Revisions},
    },
    marks::{ChangeId, MarkSet, Since, values::Held},
};

use super::unheld;
use crate::plan::judge::Situation;

/// Every quiet time is over after so long.
const QUIET: Duration = Duration::from_secs(7 * 24 * 3600);
/// Whose a change is that the API server was not asked about.
const YOU: &str = "you";
/// The revision of pods that are not there yet.
const TO_COME: &str = "to come";

/// The revision of pods whose rollout is done.
const DONE: &str = "done";

/// What becomes of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It stays as it is.
    Same,
    /// Admission holds its change.
    Held,
    /// It is the template again that the pods run, and not held.
    Reverted,
    /// It changes, and is not held.
    Rolls,
}

/// A namespace as the operator finds it.
pub struct World {
    /// The namespace.
    pub namespace: Namespace,
    /// What the operator remembers of its workloads.
    pub memories: HashMap<Uid, Memory>,
    /// What became of the templates.
    pub fates: BTreeMap<WorkloadId, Fate>,
}

/// What the pods of each workload started with, as the operator has it written down.
pub type Records = BTreeMap<WorkloadId, String>;

/// What is to be written down of the workloads that are there, with the content that config has in
/// a namespace. The operator's own record is made with a key that nobody else has.
pub fn records(now: &Situation, content: &Namespace) -> Records {
    let after = governance(now.after);
    let groups = groups(now.after, &after);
    let blank = ConfigSpec::default();
    let record = |(id, workload): (&WorkloadId, &Workload)| {
        let ruling = after.ruling(id);
        let asked = ruling.and_then(|ruling| ruling.spec().config.as_ref());
        let policy = ruling.filter(|_| asked.is_some()).map(|ruling| ruling.policy());
        let group = policy.and_then(|policy| groups.get(policy.name.as_str()));
        let read = references::effective(
            &read(now.before, workload),
            asked.unwrap_or(&blank),
            group.map_or(&[], Vec::as_slice),
            now.after,
        );
        let known = read.into_iter().filter(|reference| now.knows(reference));
        let desired: Vec<_> =
            known.map(|one| (one.clone(), resolve(&one, content, now.key, now.now))).collect();
        let becomes = now.after.workloads.get(id).unwrap_or(workload);
        let record = Record::adopt(&desired, becomes.template.config_hash.clone(), |_| true);
        (id.clone(), record.write(&workload.uid, now.key))
    };
    now.before.workloads.iter().map(record).collect()
}

/// What a workload reads, and what its pods do that run.
fn read(namespace: &Namespace, workload: &Workload) -> Vec<Reference> {
    let sets = namespace.replica_sets.values().filter(|set| set.deployment == workload.uid);
    let of_sets = sets.flat_map(|set| set.references.iter());
    let revisions = namespace.controller_revisions.values();
    let of_revisions = revisions
        .filter(|revision| revision.stateful_set == workload.uid)
        .flat_map(|revision| revision.references.iter());
    let all = workload.template.references.iter().chain(of_sets).chain(of_revisions);
    all.cloned().collect::<BTreeSet<_>>().into_iter().collect()
}

/// The namespace as it is.
pub fn before(now: &Situation, records: &Records) -> World {
    World::new(now.before.clone(), now, records)
}

/// The namespace as it would be.
///
/// What the operator has noted of rollouts in `noted` stays.
pub fn after(now: &Situation, records: &Records, noted: &World) -> World {
    // An apply brings neither pods nor revisions.
    let Namespace { replica_sets, controller_revisions, pods, .. } = now.before.clone();
    let mut namespace = Namespace { replica_sets, controller_revisions, pods, ..now.after.clone() };
    let mut fates = BTreeMap::new();
    for (id, workload) in &mut namespace.workloads {
        let Some(before) = now.before.workloads.get(id) else { continue };
        let fate = fate(now, before, workload);
        let known = noted.namespace.workloads.get(id).map(|known| &known.marks.rollout);
        Arc::make_mut(&mut workload.marks).rollout = known.cloned().unwrap_or_default();
        let state = &mut workload.rollout;
        match fate {
            // Only of a held one it matters what its controller has seen.
            Fate::Same => state.observed = before.rollout.observed || Hold::on(before).is_none(),
            Fate::Held => {
                hold(before, workload);
                workload.rollout.observed = true;
                if !id.kind.has_replica_sets() {
                    workload.rollout.revision = None;
                }
            }
            Fate::Reverted => state.observed = true,
            Fate::Rolls => {
                (state.observed, state.updated, state.moved) = (true, 0, now.now);
                (state.complete, state.completed, state.number) = (false, None, None);
                if !id.kind.has_replica_sets() {
                    state.revision = Some(TO_COME.into());
                }
            }
        }
        fates.insert(id.clone(), fate);
    }
    for (id, entry) in &mut namespace.config {
        let before = now.before.config.get(id).and_then(ConfigEntry::content);
        if before != entry.content() {
            let last = entry.versions().last();
            let version = Version {
                resource_version: last.map_or(0, |last| last.resource_version),
                written: now.now,
                seen: None,
                content: entry.content().cloned(),
            };
            *entry = ConfigEntry::new(version, entry.ignored);
        }
    }
    World { fates, ..World::new(namespace, now, records) }
}

fn fate(now: &Situation, before: &Workload, after: &Workload) -> Fate {
    if before.template.digest == after.template.digest {
        return Fate::Same;
    }
    let by_server = now.workloads.get(&after.id).is_some_and(|touched| touched.by_server);
    let held = match by_server {
        true => Hold::on(after).is_some(),
        false => now.gap.is_none() && unheld::is_held(before, after),
    };
    match held {
        true => Fate::Held,
        false if goes_back(now, after) => Fate::Reverted,
        false => Fate::Rolls,
    }
}

/// Whether the template is the one again that the pods run.
fn goes_back(now: &Situation, after: &Workload) -> bool {
    let mut settled = after.clone();
    // As it will be once its controller has seen it.
    settled.rollout.observed = true;
    settled.rollout.revision = None;
    let sets = now.before.sets_by_deployment().remove(&*after.uid).unwrap_or_default();
    let revisions = Revisions::of(now.before, &settled, &sets, None);
    after.rollout.wanted > 0 && revisions.revert().is_some()
}

/// What admission writes on a workload whose change it holds, where it could not be asked.
fn hold(before: &Workload, workload: &mut Workload) {
    if Hold::on(workload).is_some_and(|hold| Hold::on(before).as_ref() != Some(&hold)) {
        return;
    }
    let marks = Arc::make_mut(&mut workload.marks);
    let id = ChangeId::Template(workload.generation + 1);
    marks.hold = Some(Held { id, by: YOU.into() }).into();
    marks.authors = None;
}

impl World {
    /// With what the operator has written down and remembers, and without what may not be read.
    fn new(mut namespace: Namespace, now: &Situation, records: &Records) -> Self {
        let known = |all: &mut Arc<[Reference]>| {
            if !all.iter().all(|reference| now.knows(reference)) {
                *all = all.iter().filter(|reference| now.knows(reference)).cloned().collect();
            }
        };
        namespace.replica_sets.values_mut().for_each(|set| known(&mut set.references));
        let revisions = namespace.controller_revisions.values_mut();
        revisions.for_each(|revision| known(&mut revision.references));
        let quiet_since = now.now.checked_sub(QUIET).unwrap_or(Timestamp::MIN);
        let mut memories = HashMap::new();
        for (id, workload) in &mut namespace.workloads {
            known(&mut workload.template.references);
            let hold = Hold::on(workload);
            let marks = Arc::make_mut(&mut workload.marks);
            if let Some(record) = records.get(id) {
                marks.config = Some(record.as_str().into());
            }
            if let Some(hold) = &hold {
                marks.hold_since = Some(Since::of(hold.id.clone(), quiet_since)).into();
            }
            let changes = now
                .before
                .workloads
                .get(id)
                .is_some_and(|before| before.template.digest != workload.template.digest);
            let memory = Memory {
                differs_since: Some(quiet_since),
                had_record: true,
                stray_since: Some(quiet_since),
                template: Some(SeenTemplate::of(workload)),
                hold: hold.map(|hold| hold.id),
                would_hold: changes,
                ..Memory::default()
            };
            memories.insert(workload.uid.clone(), memory);
        }
        Self { namespace, memories, fates: BTreeMap::new() }
    }

    /// Writes down what the operator notes of a workload without being asked.
    pub fn note(&mut self, workload: &WorkloadId, found: &Plan) -> bool {
        let Some(workload) = self.namespace.workloads.get_mut(workload) else { return false };
        let notes = matches!(found.edits.purpose, None | Some(Purpose::Record | Purpose::Adopt));
        let marks = Arc::make_mut(&mut workload.marks);
        let before = marks.clone();
        for (mark, text) in found.edits.annotations.iter().filter(|_| notes) {
            marks.set(mark, text.as_deref());
        }
        *marks != before
    }

    /// The same once the rollouts of these workloads are done.
    pub fn once_done(&self, done: &BTreeSet<WorkloadId>, now: &Situation) -> Self {
        let mut namespace = self.namespace.clone();
        let records = records(now, now.after);
        let there = self.namespace.pods_by_workload();
        for (id, workload) in &mut namespace.workloads {
            if !done.contains(id) {
                continue;
            }
            let pods = there.get(&*workload.uid).map_or(&[][..], Vec::as_slice);
            for pod in pods {
                if let Some(pod) = namespace.pods.get_mut(&pod.uid) {
                    pod.revision = Some(DONE.into());
                }
            }
            for set in namespace.replica_sets.values_mut() {
                if set.deployment == workload.uid {
                    set.replicas = 0;
                }
            }
            if id.kind.has_replica_sets() {
                let set = newest_set(workload, now.now);
                namespace.replica_sets.insert(set.name.as_ref().into(), set);
            }
            is_done(workload, records.get(id), now.now);
        }
        Self { namespace, memories: self.memories.clone(), fates: BTreeMap::new() }
    }

    /// The same where every workload is looked at for config: by its policy if that does not ask
    /// for it, or by one that only reports.
    pub fn with_eyes_on_config(&self) -> Self {
        let mut namespace = self.namespace.clone();
        let report = ConfigSpec { on_change: OnChange::Report, ..ConfigSpec::default() };
        namespace.policies.retain(|_, policy| policy.spec.is_ok());
        for policy in namespace.policies.values_mut() {
            if let Ok(spec) = &mut policy.spec {
                spec.config.get_or_insert_with(|| report.clone());
            }
        }
        let spec = UpgradePolicySpec {
            mode: Mode::Observe,
            priority: i32::MIN,
            kinds: WorkloadKind::ALL.to_vec(),
            include_owned: IncludeOwned::Always,
            config: Some(report),
            ..freezing_spec()
        };
        let nobodys = nobodys(spec);
        namespace.policies.insert(nobodys.name.clone(), nobodys);
        for workload in namespace.workloads.values_mut() {
            Arc::make_mut(&mut workload.marks).ignore = None.into();
        }
        Self { namespace, memories: self.memories.clone(), fates: self.fates.clone() }
    }
}

/// The ReplicaSet that a Deployment has once its rollout is done.
fn newest_set(workload: &Workload, now: Timestamp) -> ReplicaSet {
    let template = &workload.template;
    ReplicaSet {
        name: format!("{DONE} {}", workload.uid).into(),
        created: now,
        deployment: workload.uid.clone(),
        revision: DONE.into(),
        number: u64::MAX,
        replicas: workload.rollout.wanted,
        template: template.digest,
        config_hash: template.config_hash.as_deref().map(Into::into),
        rests: template.rests,
        references: template.references.clone(),
        containers: template.containers.clone(),
    }
}

/// What stands on a workload once its rollout is done, and its controller says of it.
fn is_done(workload: &mut Workload, record: Option<&String>, now: Timestamp) {
    // It has followed whatever it restarts with.
    let outcome = Outcome { done: Some(DONE.into()), done_at: Some(now), ..Outcome::default() };
    let marks = Arc::make_mut(&mut workload.marks);
    (marks.hold, marks.hold_since, marks.pending_config) = (None.into(), None.into(), None.into());
    // Admission takes these off with the hold.
    (marks.declared_paused, marks.declared_partition) = (None.into(), None.into());
    marks.rollout = Some(Box::new(outcome)).into();
    marks.config = record.map(|record| record.as_str().into());
    let state = &mut workload.rollout;
    (state.updated, state.current, state.available) = (state.wanted, state.wanted, state.wanted);
    (state.observed, state.complete, state.completed) = (true, false, None);
    (state.number, state.failure, state.ordinals.step) = (None, None, None);
    if !workload.id.kind.has_replica_sets() {
        (state.revision, state.settled) = (Some(DONE.into()), Some(DONE.into()));
    }
}

/// A policy that comes after all others. None can have its name.
pub fn nobodys(spec: UpgradePolicySpec) -> Policy {
    Policy {
        name: String::new(),
        uid: "".into(),
        generation: 0,
        written: Timestamp::UNIX_EPOCH,
        spec: Ok(spec),
        switched_off: Vec::new(),
        windows: Windows::default(),
        status: UpgradePolicyStatus::default(),
    }
}
