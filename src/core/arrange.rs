//! A namespace as a whole: assesses its workloads, counts them, and makes the decision.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use jiff::Timestamp;

use super::{
    assess::{self, Assessment, Input},
    conditions,
    config::{
        digest::Key,
        references::{self, Reference},
    },
    decision::{Decision, Event, Notice, Patch},
    governs::{Governance, Standing, governance},
    later,
    rollout::slots::{Candidate, Demand},
    whole_second,
    world::{Activity, Memory, Namespace, Policy, ReplicaSet, Uid, Workload, WorkloadId},
};
use crate::api::{Attention, Phase, UpgradePolicySpec, UpgradePolicyStatus, WorkloadCounts, WorkloadKind, marks, status::ATTENTION_LIMIT};

/// A workload that carries our marks is let go when no policy has selected it for so long.
const STRAY_AFTER: Duration = Duration::from_secs(60);

/// What the decisions of a namespace need besides the namespace.
pub struct Surroundings<'a> {
    /// The digest key.
    pub key: &'a Key,
    /// Since when config is watched.
    pub watched: Timestamp,
    /// What the executor is doing, by the workload's uid.
    pub activities: &'a HashMap<Uid, Activity>,
    /// What is remembered, by the workload's uid.
    pub memories: &'a HashMap<Uid, Memory>,
    /// Now.
    pub now: Timestamp,
}

/// All assessments of a namespace.
pub struct Assessments<'a> {
    namespace: &'a Namespace,
    governance: Governance<'a>,
    of: BTreeMap<&'a WorkloadId, Assessment>,
    now: Timestamp,
}

/// Assesses every workload of a namespace.
pub fn assess_all<'a>(namespace: &'a Namespace, around: &Surroundings) -> Assessments<'a> {
    let governance = governance(namespace);
    let pods = namespace.pods_by_workload();
    let sets = namespace.newest_replica_sets();
    let groups = groups(namespace, &governance);
    let (idle, blank) = (Activity::default(), Memory::default());
    let mut of = BTreeMap::new();
    for (id, workload) in &namespace.workloads {
        let memory = around.memories.get(&workload.uid).unwrap_or(&blank);
        let activity = around.activities.get(&workload.uid).unwrap_or(&idle);
        let (policy, spec) = match governance.standings.get(id) {
            Some(Standing::Governed(policy, spec)) => (*policy, *spec),
            Some(Standing::Frozen(_)) => continue,
            other => {
                let stray = !matches!(other, Some(Standing::LeftOut));
                if let Some(found) = let_go(workload, stray, activity, memory, around.now) {
                    of.insert(id, found);
                }
                continue;
            }
        };
        let set = sets.get(&*workload.uid).copied();
        let found = assess::assess(&Input {
            namespace,
            policy,
            spec,
            workload: &consistent(workload, set),
            pods: pods.get(&*workload.uid).map_or(&[], Vec::as_slice),
            current: current(workload, set),
            group: groups.get(policy.name.as_str()).map_or(&[], Vec::as_slice),
            key: around.key,
            watched: around.watched,
            activity,
            memory: &Memory { stray_since: None, ..memory.clone() },
            now: around.now,
        });
        of.insert(id, found);
    }
    Assessments { namespace, governance, of, now: around.now }
}

/// The value of the revision label that pods of the newest template carry.
fn current<'a>(workload: &'a Workload, set: Option<&'a ReplicaSet>) -> Option<&'a str> {
    match workload.id.kind {
        WorkloadKind::Deployment => set.map(|set| &*set.revision),
        _ => workload.rollout.revision.as_deref(),
    }
}

/// ReplicaSets are seen on another watch than their Deployment: one whose newest is not there yet counts as not observed.
fn consistent<'a>(workload: &'a Workload, set: Option<&ReplicaSet>) -> std::borrow::Cow<'a, Workload> {
    match (workload.rollout.number, set.map_or(0, |set| set.number)) {
        (Some(number), seen) if number > seen && workload.rollout.observed => {
            let mut later = workload.clone();
            later.rollout.observed = false;
            std::borrow::Cow::Owned(later)
        }
        _ => std::borrow::Cow::Borrowed(workload),
    }
}

fn let_go(workload: &Workload, stray: bool, activity: &Activity, memory: &Memory, now: Timestamp) -> Option<Assessment> {
    let marked = [marks::CONFIG, marks::GOVERNANCE, marks::ROLLOUT, marks::ROLLOUTS].iter().any(|mark| workload.marks.contains_key(*mark));
    if !marked {
        return None;
    }
    let mut found = assess::ungoverned(workload, stray, memory);
    let since = memory.stray_since.unwrap_or(now);
    found.memory.stray_since = stray.then_some(since);
    let due = if stray { later(since, STRAY_AFTER) } else { now };
    let retry = activity.trouble.as_ref().map_or(due, |trouble| trouble.retry_at.max(due));
    if retry > now || activity.in_flight {
        found.patch = None;
        found.wake = (retry > now).then_some(retry);
    }
    Some(found)
}

/// What the workloads of each policy read whose workloads roll together.
fn groups<'a>(namespace: &'a Namespace, governance: &Governance<'a>) -> BTreeMap<&'a str, Vec<Reference>> {
    let mut groups: BTreeMap<&str, BTreeSet<Reference>> = BTreeMap::new();
    for (id, standing) in &governance.standings {
        let Standing::Governed(policy, spec) = standing else { continue };
        let (Some(config), true, Some(workload)) = (&spec.config, spec.together(), namespace.workloads.get(*id)) else { continue };
        let read = references::effective(&workload.template.references, config, &[], namespace);
        groups.entry(&policy.name).or_default().extend(read);
    }
    groups.into_iter().map(|(name, references)| (name, references.into_iter().collect())).collect()
}

impl Assessments<'_> {
    /// What the namespace has and wants of the cluster's slots. Rolls that were handed to the executor count as under way.
    pub fn demand(&self, activities: &HashMap<Uid, Activity>) -> Demand {
        let mut demand = Demand::default();
        for (id, found) in &self.of {
            let Some(workload) = self.namespace.workloads.get(*id) else { continue };
            let in_flight = activities.get(&workload.uid).is_some_and(|activity| activity.in_flight);
            if found.roll.is_some() {
                demand.waiting.push(Candidate { uid: workload.uid.clone(), broken: found.broken });
            } else if found.takes_slot || (in_flight && found.memory.differs_since.is_some()) {
                demand.under_way += 1;
            }
        }
        demand
    }

    /// The decision, given which workloads have a slot.
    pub fn arrange(mut self, granted: &BTreeSet<Uid>, memories: &HashMap<Uid, Memory>) -> Decision {
        let mut decision = Decision::default();
        let blank = Memory::default();
        let memory_of = |workload: &Workload| memories.get(&workload.uid).unwrap_or(&blank);
        for (id, found) in &mut self.of {
            let Some(workload) = self.namespace.workloads.get(*id) else { continue };
            let policy = match self.governance.standings.get(*id) {
                Some(Standing::Governed(policy, _)) => Some((policy.name.clone(), policy.uid.clone())),
                _ => None,
            };
            if let Some(roll) = found.roll.take_if(|roll| granted.contains(&roll.uid)) {
                found.begin_roll();
                decision.rolled.insert(roll.uid.clone(), (policy.clone(), found.changed.join(", ")));
                decision.patches.push(roll);
            } else if let Some(patch) = found.patch.take() {
                decision.patches.push(patch);
            }
            let standing = (found.phase, found.reason);
            if found.memory.differs_since.is_some() && standing.0 != Phase::Rolling && memory_of(workload).last != Some(standing) {
                decision.suppressed.push(found.reason);
            }
            decision.stale += usize::from(found.stale);
            decision.memories.push((workload.uid.clone(), found.memory.clone()));
            decision.wake = decision.wake.into_iter().chain(found.wake).min();
            if policy.is_some() {
                *decision.phases.entry(found.phase).or_default() += 1;
            }
            decision.notices.extend(found.notices.drain(..).map(|(event, message)| Notice {
                workload: (*id).clone(),
                uid: workload.uid.clone(),
                policy: policy.clone(),
                event,
                message,
            }));
        }
        // A patch that carries an outcome tells of it when it is accepted.
        decision
            .notices
            .retain(|notice| !matches!(notice.event, Event::RolloutDone | Event::RolloutFailed) || carries(&decision.patches, notice));
        decision.statuses = self.namespace.policies.values().map(|policy| (policy.name.clone(), self.status(policy))).collect();
        decision
    }

    fn status(&self, policy: &Policy) -> UpgradePolicyStatus {
        let mut status = UpgradePolicyStatus { observed_generation: policy.generation, ..UpgradePolicyStatus::default() };
        if let Err(error) = &policy.spec {
            status.conditions = conditions::of_invalid_spec(policy, error, self.now);
            return status;
        }
        let mut unverified = Vec::new();
        for (id, found) in &self.of {
            let governs = |standing: &Standing| matches!(standing, Standing::Governed(by, _) if by.name == policy.name);
            if !self.governance.standings.get(*id).is_some_and(governs) {
                continue;
            }
            count(&mut status.workloads, found.phase);
            unverified.extend(found.unverified.iter().map(|reference| format!("{id} ({reference})")));
            if found.phase != Phase::UpToDate {
                status.attention.push(self.attention(policy, id, found));
            }
        }
        status.attention.sort_by(|a, b| {
            let key = |one: &Attention| (one.phase != Phase::Failed, one.since, one.kind, one.name.clone());
            key(a).cmp(&key(b))
        });
        status.attention.truncate(ATTENTION_LIMIT);
        let left_out = self.governance.left_out.get(policy.name.as_str()).map_or(&[][..], Vec::as_slice);
        status.conditions = conditions::of_counts(policy, &status.workloads, left_out, &unverified, self.now);
        status
    }

    fn attention(&self, policy: &Policy, id: &WorkloadId, found: &Assessment) -> Attention {
        let same = |before: &&Attention| {
            before.kind == id.kind && before.name == id.name && before.phase == found.phase && before.reason == found.reason
        };
        Attention {
            kind: id.kind,
            name: id.name.clone(),
            phase: found.phase,
            since: policy.status.attention.iter().find(same).map_or(whole_second(self.now), |before| before.since),
            reason: found.reason,
            message: found.message.clone(),
            changed: found.changed.clone(),
        }
    }
}

fn carries(patches: &[Patch], notice: &Notice) -> bool {
    patches.iter().any(|patch| patch.uid == notice.uid)
}

fn count(counts: &mut WorkloadCounts, phase: Phase) {
    counts.total += 1;
    let part = match phase {
        Phase::Failed => &mut counts.failed,
        Phase::WaitsForUser => &mut counts.waits_for_user,
        Phase::Rolling => &mut counts.rolling,
        Phase::Limited => &mut counts.limited,
        Phase::Settling => &mut counts.settling,
        Phase::Waiting => &mut counts.waiting,
        Phase::WouldRoll => &mut counts.would,
        Phase::UpToDate => &mut counts.up_to_date,
    };
    *part += 1;
}

/// The spec of a policy as it may be acted on.
///
/// # Errors
/// Says in a sentence what is wrong with it.
pub fn check_spec(spec: UpgradePolicySpec) -> Result<UpgradePolicySpec, String> {
    super::governs::selector(&spec.selector)?;
    Ok(spec)
}
