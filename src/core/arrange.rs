//! A namespace as a whole: assesses its workloads, counts them, and makes the decision.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::{
    assess::{self, Assessment, Input},
    conditions,
    config::{
        digest::Key,
        references::{self, Reference},
    },
    decision::{Census, Confirm, Decision, Event, Notice, Patch, Subject},
    gates::{answer::Answer, conversation::Conversation, prepare, windows::Windows},
    governs::{Governance, GovernanceMark, Standing, governance},
    hold::{
        enforced::{Enforcement, Gap},
        marking,
        release::{Passage, ends_nothing},
        state::{Hold, command},
    },
    later,
    rest::{News, Rest},
    rollout::{
        outcome::Previous,
        slots::{Candidate, Demand},
        steps::Order,
        walk,
    },
    storage::Storage,
    volumes::{self, Judged, OfWorkload},
    whole_second,
    world::{Activity, Memory, Namespace, Pod, Policy, ReplicaSet, Uid, UserHold, Workload, WorkloadId},
};
use crate::api::{
    Attention, IncludeOwned, Mode, Phase, PodAnswer, UpgradePolicySpec, UpgradePolicyStatus, WhenUngoverned, WorkloadCounts, WorkloadKind,
    marks,
    status::{ANSWERS_LIMIT, ATTENTION_LIMIT},
};

/// A workload that carries our marks is let go when no policy has selected it for so long.
const STRAY_AFTER: Duration = Duration::from_secs(60);

/// What the decisions of a namespace need besides the namespace.
pub struct Surroundings<'a> {
    /// The digest key.
    pub key: &'a Key,
    /// Since when config is watched.
    pub watched: Timestamp,
    /// The uid of our CRD, while it stands.
    pub definition: Option<&'a str>,
    /// What is known of the admission policies.
    pub enforcement: &'a Enforcement,
    /// The storage of the cluster.
    pub storage: &'a Storage,
    /// By namespace, what stands there and was told already.
    pub told: &'a HashMap<String, BTreeSet<(Uid, Event)>>,
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
    /// By policy, those at rest that are not among them.
    resting: BTreeMap<&'a str, Resting>,
    gap: Option<Gap>,
    /// By policy, the steps that select nothing.
    empty_steps: BTreeMap<&'a str, Vec<&'a str>>,
    volumes: Judged,
    /// What stands here and was told already; none after a start.
    told: Option<&'a BTreeSet<(Uid, Event)>>,
    now: Timestamp,
}

/// Workloads at rest of which there is nothing to be said but how many they are.
#[derive(Default)]
struct Resting {
    workloads: u32,
    /// Those whose app gate nobody has tried yet.
    unasked: usize,
    /// When the first of them is to be looked at again.
    wake: Option<Timestamp>,
}

/// Assesses every workload of a namespace, but for those at rest that none of the news concerns: these stand as they stood.
pub fn assess_all<'a>(namespace: &'a Namespace, news: &News, around: &Surroundings<'a>) -> Assessments<'a> {
    let governance = governance(namespace);
    let (idle, blank, freezing) = (Activity::default(), Memory::default(), freezing_spec());
    let mut of = BTreeMap::new();
    let (mut stirring, mut resting, mut last_changes) = (Vec::new(), BTreeMap::<_, Resting>::new(), BTreeMap::new());
    for (id, workload, standing) in governance.each(namespace) {
        let memory = around.memories.get(&workload.uid).unwrap_or(&blank);
        let (Standing::Governed(policy, _) | Standing::Frozen(policy)) = standing else {
            if marking::is_ours(workload) || !memory.app.prepared.is_empty() {
                stirring.push((id, workload, standing, memory));
            }
            continue;
        };
        if let Some(changed) = assess::template_changed_at(workload, memory, around.now) {
            let last = last_changes.entry(policy.name.as_str()).or_insert(changed);
            *last = changed.max(*last);
        }
        let still = match standing {
            Standing::Governed(_, spec) => Rest::still(memory, workload, spec, news, around.now),
            _ => None,
        };
        match still {
            Some(rest) if rest.is_plain() => resting.entry(policy.name.as_str()).or_default().count(rest),
            Some(rest) => drop(of.insert(id, rest.clone().assessment(memory))),
            None => stirring.push((id, workload, standing, memory)),
        }
    }
    let pods = namespace.pods_by_workload();
    let newest = namespace.newest_replica_sets();
    let sets = namespace.sets_by_deployment();
    let groups = groups(namespace, &governance);
    let gap = around.enforcement.gap();
    let volumes = volumes::judge(
        namespace,
        &governance,
        &volumes::Surroundings { storage: around.storage, enforcement: around.enforcement, activities: around.activities, now: around.now },
    );
    let no_volumes = OfWorkload::default();
    let seen: BTreeMap<&WorkloadId, SeenWorkload> = stirring
        .into_iter()
        .map(|(id, workload, standing, memory)| {
            let uid = &*workload.uid;
            let set = newest.get(uid).copied();
            let one = SeenWorkload {
                standing,
                real: workload,
                workload: consistent(workload, set),
                pods: pods.get(uid).map_or(&[][..], Vec::as_slice),
                sets: sets.get(uid).map_or(&[][..], Vec::as_slice),
                current: current(workload, set),
                memory,
                activity: around.activities.get(&workload.uid).unwrap_or(&idle),
            };
            (id, one)
        })
        .collect();
    let mut orders = orders(&seen, around.now);
    let sequence = in_order(&seen, &orders);
    for id in sequence {
        let Some(SeenWorkload { standing, real, workload, pods, sets, current, memory, activity }) = seen.get(id) else { continue };
        let (policy, spec, frozen) = match standing {
            Standing::Governed(policy, spec) => (*policy, *spec, false),
            Standing::Frozen(policy) => (*policy, &freezing, true),
            other => {
                let stray = !matches!(other, Standing::LeftOut);
                let nothing = ends_nothing(namespace, workload, pods, sets);
                let found = let_go(namespace, real, stray, (activity, memory), nothing, around);
                let talking = || (!memory.app.prepared.is_empty()).then(|| Assessment::new((*memory).clone(), &[]));
                if let Some(mut found) = found.or_else(talking) {
                    talk_no_more(namespace, real, around.now, &mut found);
                    of.insert(id, found);
                }
                continue;
            }
        };
        let order = orders.get_mut(policy.name.as_str()).filter(|_| !frozen);
        let waits = order.as_ref().and_then(|order| order.waits(id));
        let previous = order.as_ref().map_or(Previous::Nothing, |order| order.previous(id));
        let before = Memory { stray_since: None, lost_told: false, rest: None, ..(*memory).clone() };
        let mut found = assess::assess(&Input {
            namespace,
            policy,
            spec,
            frozen,
            workload,
            pods,
            sets,
            current: *current,
            reads: &reads(namespace, real, sets, pods),
            group: groups.get(policy.name.as_str()).map_or(&[], Vec::as_slice),
            key: around.key,
            watched: around.watched,
            definition: around.definition,
            enforced: gap.is_none(),
            last_change: last_changes.get(policy.name.as_str()).copied(),
            volumes: volumes.of_workloads.get(id).unwrap_or(&no_volumes),
            waits: waits.as_ref(),
            previous: &previous,
            activity,
            memory: &before,
            now: around.now,
        });
        found.memory.rest = Rest::of(&found, real, spec, &before).filter(|_| !frozen);
        if let Some(order) = order {
            order.note(id, workload, &found, *current, around.key);
        }
        of.insert(id, found);
    }
    let empty_steps = orders.iter().map(|(policy, order)| (*policy, order.empty_steps())).collect();
    let told = around.told.get(&*namespace.name);
    Assessments { namespace, governance, of, resting, gap, empty_steps, volumes, told, now: around.now }
}

/// A workload with what belongs to it.
struct SeenWorkload<'n, 'a> {
    standing: Standing<'n>,
    real: &'n Workload,
    /// As it may be judged: see [`consistent`].
    workload: Cow<'n, Workload>,
    pods: &'a [&'n Pod],
    sets: &'a [&'n ReplicaSet],
    current: Option<&'n str>,
    memory: &'a Memory,
    activity: &'a Activity,
}

/// What the workloads of each policy that orders them do.
fn orders<'n>(seen: &BTreeMap<&'n WorkloadId, SeenWorkload<'n, '_>>, now: Timestamp) -> BTreeMap<&'n str, Order<'n>> {
    let mut orders: BTreeMap<&str, Order> = BTreeMap::new();
    for (id, one) in seen {
        let Standing::Governed(policy, spec) = one.standing else { continue };
        if spec.rollout.is_some() {
            let order = orders.entry(policy.name.as_str()).or_insert_with(|| Order::new(spec));
            order.see(id, &one.workload, (one.pods, one.current), one.activity, now);
        }
    }
    orders
}

/// Those of earlier steps are assessed before those that wait for them.
fn in_order<'n>(seen: &BTreeMap<&'n WorkloadId, SeenWorkload<'n, '_>>, orders: &BTreeMap<&str, Order>) -> Vec<&'n WorkloadId> {
    let place = |id: &&WorkloadId| match seen.get(*id)?.standing {
        Standing::Governed(policy, _) => orders.get(policy.name.as_str()).and_then(|order| order.place(id)),
        _ => None,
    };
    let mut ids: Vec<_> = seen.keys().copied().collect();
    if !orders.is_empty() {
        ids.sort_by_cached_key(|id| (place(id), *id));
    }
    ids
}

/// Pods of a workload that nobody governs any more may take work again.
fn talk_no_more(namespace: &Namespace, workload: &Workload, now: Timestamp, found: &mut Assessment) {
    found.memory.app.about_nothing();
    let policy: Uid = "".into();
    prepare::withdraw(namespace, (&workload.id, &workload.uid, &policy), &BTreeSet::new(), now, found);
}

/// What stands for a spec that cannot be acted on: it holds everything, and asks for nothing else.
pub fn freezing_spec() -> UpgradePolicySpec {
    UpgradePolicySpec {
        selector: LabelSelector::default(),
        kinds: vec![WorkloadKind::Deployment, WorkloadKind::StatefulSet],
        include_owned: IncludeOwned::Never,
        priority: 0,
        mode: Mode::Freeze,
        when_ungoverned: WhenUngoverned::Release,
        config: None,
        gates: None,
        rollout: None,
        volumes: None,
    }
}

/// What the pods of a workload read. A held template has no pods: until it is let through, what runs counts.
fn reads<'a>(namespace: &Namespace, workload: &'a Workload, sets: &[&ReplicaSet], pods: &[&Pod]) -> Cow<'a, [Reference]> {
    let template = Cow::Borrowed(&*workload.template.references);
    if Hold::on(workload).is_none() {
        return template;
    }
    let running: BTreeSet<_> = match workload.id.kind {
        WorkloadKind::StatefulSet => {
            let settled = workload.rollout.settled.as_deref();
            let runs = |name: &str| settled == Some(name) || pods.iter().any(|pod| pod.revision.as_deref() == Some(name));
            let revisions = namespace.controller_revisions.values();
            let of_pods = revisions.filter(|revision| revision.stateful_set == workload.uid && runs(&revision.name));
            of_pods.flat_map(|revision| revision.references.iter().cloned()).collect()
        }
        _ => sets.iter().filter(|set| set.replicas > 0).flat_map(|set| set.references.iter().cloned()).collect(),
    };
    let seen = match workload.id.kind {
        WorkloadKind::StatefulSet => workload.rollout.settled.as_ref().is_some_and(|settled| {
            namespace.controller_revisions.values().any(|revision| revision.stateful_set == workload.uid && revision.name == *settled)
        }),
        _ => sets.iter().any(|set| set.replicas > 0),
    };
    if seen { Cow::Owned(running.into_iter().collect()) } else { template }
}

/// The value of the revision label that pods of the newest template carry.
fn current<'a>(workload: &'a Workload, set: Option<&'a ReplicaSet>) -> Option<&'a str> {
    match workload.id.kind {
        WorkloadKind::Deployment => set.map(|set| &*set.revision),
        _ => workload.rollout.revision.as_deref(),
    }
}

/// ReplicaSets are seen on another watch than their Deployment: one whose newest is not there yet counts as not observed.
fn consistent<'a>(workload: &'a Workload, set: Option<&ReplicaSet>) -> Cow<'a, Workload> {
    // One that is paused gets no new ReplicaSet, and its number may be from another life.
    let paused = Hold::on(workload).is_some() || workload.rollout.held == Some(UserHold::Paused);
    match (workload.rollout.number, set.map_or(0, |set| set.number)) {
        (Some(number), seen) if number > seen && workload.rollout.observed && !paused => {
            let mut later = workload.clone();
            later.rollout.observed = false;
            Cow::Owned(later)
        }
        _ => Cow::Borrowed(workload),
    }
}

/// A workload that no policy governs, which may carry our marks.
fn let_go(
    namespace: &Namespace,
    workload: &Workload,
    stray: bool,
    (activity, memory): (&Activity, &Memory),
    nothing_to_lose: Option<Passage>,
    around: &Surroundings,
) -> Option<Assessment> {
    if !marking::is_ours(workload) {
        return None;
    }
    let mut found = Assessment::new(memory.clone(), &[]);
    found.memory.had_record = false;
    let since = memory.stray_since.unwrap_or(around.now);
    found.memory.stray_since = stray.then_some(since);
    let due = if stray { later(since, STRAY_AFTER) } else { around.now };
    let retry = activity.trouble.as_ref().map_or(due, |trouble| trouble.retry_at.max(due));
    let hold = Hold::on(workload);
    let mark = GovernanceMark::on(workload);
    let keep = marking::holds_back(workload) && marking::when_ungoverned(workload) == WhenUngoverned::Keep;
    let recorded = mark.map(|mark| mark.definition).filter(|uid| !uid.is_empty());
    // With another CRD the policy went by nobody's decision.
    let lost = stray && recorded.is_some() && around.definition.is_some_and(|uid| recorded.as_deref() != Some(uid));
    if retry > around.now || activity.in_flight {
        found.wake = (retry > around.now).then_some(retry);
        let free = !activity.in_flight && activity.trouble.as_ref().is_none_or(|trouble| trouble.retry_at <= around.now);
        if let Some(passage) = nothing_to_lose.filter(|_| hold.is_some() && free) {
            passage.take(workload, &mut found);
        }
    } else if let Some(passage) = nothing_to_lose.filter(|_| hold.is_some()) {
        passage.take(workload, &mut found);
    } else if lost && marking::holds_back(workload) {
        if !memory.lost_told {
            let id = hold.as_ref().map(|hold| hold.id.as_str()).or_else(|| walk::change_id(workload)).unwrap_or_default();
            let message = format!(
                "the policy that holds change {id} went when the CRD was deleted: it stays held until a policy selects this workload again. \
                 Or, with the right to: {}",
                command(namespace, &workload.id, marks::BYPASS, id)
            );
            found.notices.push((Event::PolicyLost, message));
            found.memory.lost_told = true;
        }
    } else {
        let confirm = stray.then(|| Confirm {
            definition: if lost { around.definition.map(str::to_owned) } else { recorded },
            labels: workload.labels.clone(),
        });
        marking::take_off(workload, keep, confirm, &mut found);
    }
    Some(found)
}

/// What the workloads of each policy read whose workloads roll together.
pub fn groups<'a>(namespace: &'a Namespace, governance: &Governance<'a>) -> BTreeMap<&'a str, Vec<Reference>> {
    let mut groups: BTreeMap<&str, BTreeSet<Reference>> = BTreeMap::new();
    for (_, workload, standing) in governance.each(namespace) {
        let Standing::Governed(policy, spec) = standing else { continue };
        let (Some(config), true) = (&spec.config, spec.together()) else { continue };
        let read = references::effective(&workload.template.references, config, &[], namespace);
        groups.entry(&policy.name).or_default().extend(read);
    }
    groups.into_iter().map(|(name, references)| (name, references.into_iter().collect())).collect()
}

impl Resting {
    fn count(&mut self, rest: &Rest) {
        self.workloads += 1;
        self.unasked += usize::from(!rest.gate_asked);
        self.wake = self.wake.into_iter().chain(rest.wake).min();
    }
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
                Some(Standing::Governed(policy, _) | Standing::Frozen(policy)) => Some((policy.name.clone(), policy.uid.clone())),
                _ => None,
            };
            let edits = std::mem::take(&mut found.edits);
            if let Some(roll) = found.roll.take_if(|_| granted.contains(&workload.uid)) {
                found.begin_roll();
                decision.rolled.insert(workload.uid.clone(), (policy.clone(), found.changed.join(", ")));
                decision.patches.push(roll.patch(workload));
            } else if !edits.is_empty() {
                decision.patches.push(edits.patch(workload));
            }
            decision.calls.append(&mut found.calls);
            decision.waited.extend(found.waited);
            let standing = (found.phase, found.reason);
            if found.memory.differs_since.is_some() && standing.0 != Phase::Rolling && memory_of(workload).last != Some(standing) {
                decision.suppressed.push(found.reason);
            }
            decision.census.stale += usize::from(found.stale);
            if memories.get(&workload.uid) != Some(&found.memory) {
                decision.memories.push((workload.uid.clone(), found.memory.clone()));
            }
            decision.wake = decision.wake.into_iter().chain(found.wake).min();
            if policy.is_some() {
                *decision.census.phases.entry(found.phase).or_default() += 1;
                note_age(workload, found, &mut decision.census);
            }
            decision.notices.extend(found.notices.drain(..).map(|(event, message)| Notice {
                subject: Subject::Workload((*id).clone()),
                uid: workload.uid.clone(),
                policy: policy.clone(),
                event,
                message,
            }));
        }
        for Resting { workloads, wake, .. } in self.resting.values() {
            *decision.census.phases.entry(Phase::UpToDate).or_default() += *workloads as usize;
            decision.wake = decision.wake.into_iter().chain(*wake).min();
        }
        self.arrange_storage(&mut decision);
        // What comes with a patch is told when that is accepted.
        decision.notices.retain(|notice| !notice.event.comes_with_patch() || carries(&decision.patches, notice));
        decision.statuses = self.namespace.policies.values().map(|policy| (policy.name.clone(), self.status(policy))).collect();
        for condition in decision.statuses.iter().flat_map(|(_, status)| &status.conditions) {
            *decision.census.conditions.entry((condition.type_.clone(), condition.status.clone())).or_default() += 1;
        }
        decision
    }

    fn arrange_storage(&mut self, decision: &mut Decision) {
        decision.storage = std::mem::take(&mut self.volumes.patches).into_values().collect();
        let is_new = |notice: &Notice| match self.told {
            Some(told) => !told.contains(&(notice.uid.clone(), notice.event)),
            // After a start, what is only worth knowing was told before.
            None => notice.event.is_warning(),
        };
        decision.notices.extend(self.volumes.standing.iter().filter(|notice| is_new(notice)).cloned());
        decision.told = self.volumes.standing.iter().map(|notice| (notice.uid.clone(), notice.event)).collect();
        decision.volumes = std::mem::take(&mut self.volumes.states);
        decision.wake = decision.wake.into_iter().chain(self.volumes.wake).min();
    }

    fn status(&self, policy: &Policy) -> UpgradePolicyStatus {
        let mut status = UpgradePolicyStatus { observed_generation: policy.generation, ..UpgradePolicyStatus::default() };
        let (mut unverified, mut unmarked) = (Vec::new(), Vec::new());
        let (mut broken_gates, mut unasked) = (Vec::new(), 0);
        if let Some(resting) = self.resting.get(policy.name.as_str()) {
            count(&mut status.workloads, Phase::UpToDate, resting.workloads);
            unasked = resting.unasked;
        }
        for (id, found) in &self.of {
            let governs =
                |standing: &Standing| matches!(standing, Standing::Governed(by, _) | Standing::Frozen(by) if by.name == policy.name);
            if !self.governance.standings.get(*id).is_some_and(governs) {
                continue;
            }
            count(&mut status.workloads, found.phase, 1);
            unverified.extend(found.unverified.iter().map(|reference| format!("{id} ({reference})")));
            if found.unmarked {
                unmarked.push(id.to_string());
            }
            broken_gates.extend(found.unverified_gate.iter().map(|why| format!("{id}: {why}")));
            unasked += usize::from(!found.gate_asked && found.unverified_gate.is_none());
            if found.phase != Phase::UpToDate {
                status.attention.push(self.attention(policy, id, found));
            }
        }
        status.attention.sort_by(|a, b| {
            let rank = |phase: Phase| match phase {
                Phase::Failed => 0,
                Phase::Held => 1,
                _ => 2,
            };
            let key = |one: &Attention| (rank(one.phase), one.since, one.kind, one.name.clone());
            key(a).cmp(&key(b))
        });
        status.attention.truncate(ATTENTION_LIMIT);
        let left_out = self.governance.left_out.get(policy.name.as_str()).map_or(&[][..], Vec::as_slice);
        status.conditions = match &policy.spec {
            Err(error) => conditions::of_invalid_spec(policy, error, self.now),
            Ok(_) => {
                let empty_steps = self.empty_steps.get(policy.name.as_str()).map_or(&[][..], Vec::as_slice);
                conditions::of_counts(policy, &status.workloads, (left_out, empty_steps), &unverified, self.now)
            }
        };
        let asks = |spec: &UpgradePolicySpec| spec.mode != Mode::Observe && spec.gates.as_ref().is_some_and(|gates| gates.app.is_some());
        if policy.spec.as_ref().is_ok_and(asks) {
            status.conditions.push(conditions::of_gates(policy, &broken_gates, unasked, self.now));
        }
        if policy.spec.as_ref().is_ok_and(UpgradePolicySpec::needs_holds) {
            status.conditions.push(conditions::of_holds(policy, self.gap.as_ref(), &unmarked, self.now));
        }
        if policy.spec.as_ref().is_ok_and(|spec| volumes::usage::of_spec(spec).is_some()) {
            let summary = self.volumes.summary(policy);
            status.conditions.push(conditions::of_volumes(policy, &summary, self.now));
            status.volumes = summary.counts;
        }
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
            hold: found.hold.clone(),
            changed: found.changed.clone(),
            answers: if found.asked { answers(self.namespace, &found.memory.app) } else { Vec::new() },
        }
    }
}

/// Notes for how long a workload has been waiting.
fn note_age(workload: &Workload, found: &Assessment, census: &mut Census) {
    let earlier = |oldest: &mut Option<Timestamp>, since: Option<Timestamp>| *oldest = oldest.iter().copied().chain(since).min();
    match found.phase {
        _ if found.hold.is_some() => {
            // `<id> <time> <author>`, or for config alone the time.
            let since = workload.marks.get(marks::HOLD_SINCE).and_then(|mark| mark.split(' ').find_map(|word| word.parse().ok()));
            earlier(&mut census.oldest_hold, since);
        }
        Phase::Settling | Phase::Waiting | Phase::Limited => earlier(&mut census.oldest_difference, found.memory.differs_since),
        _ => {}
    }
}

/// What the pods said that are there, those first that say no.
fn answers(namespace: &Namespace, said: &Conversation) -> Vec<PodAnswer> {
    let mut answers: Vec<_> = said
        .readings
        .iter()
        .filter_map(|(uid, reading)| Some((namespace.pods.get(uid)?, reading)))
        .map(|(pod, reading)| PodAnswer {
            pod: pod.name.to_string(),
            answer: reading.answer.as_str().to_owned(),
            since: Some(whole_second(reading.since)),
            words: match &reading.answer {
                Answer::No(words) => words.clone(),
                other => other.trouble().unwrap_or_default(),
            },
        })
        .collect();
    answers.sort_by(|a, b| (a.answer != "No", a.answer == "Yes", &a.pod).cmp(&(b.answer != "No", b.answer == "Yes", &b.pod)));
    answers.truncate(ANSWERS_LIMIT);
    answers
}

fn carries(patches: &[Patch], notice: &Notice) -> bool {
    patches.iter().any(|patch| patch.uid == notice.uid)
}

fn count(counts: &mut WorkloadCounts, phase: Phase, workloads: u32) {
    counts.total += workloads;
    let part = match phase {
        Phase::Failed => &mut counts.failed,
        Phase::WaitsForUser => &mut counts.waits_for_user,
        Phase::Rolling => &mut counts.rolling,
        Phase::Limited => &mut counts.limited,
        Phase::Settling => &mut counts.settling,
        Phase::Waiting => &mut counts.waiting,
        Phase::WouldRoll | Phase::WouldHold => &mut counts.would,
        Phase::Held => &mut counts.held,
        Phase::Unsupported => &mut counts.unsupported,
        Phase::UpToDate => &mut counts.up_to_date,
    };
    *part += workloads;
}

/// The spec of a policy as it may be acted on, and its windows.
///
/// # Errors
/// Says in a sentence what is wrong with it.
pub fn check_spec(spec: UpgradePolicySpec) -> Result<(UpgradePolicySpec, Windows), String> {
    super::governs::selector(&spec.selector)?;
    for step in spec.rollout.as_ref().map_or(&[][..], |rollout| rollout.steps.as_slice()) {
        super::governs::selector(&step.selector).map_err(|error| format!("spec.rollout.steps[{}]: {error}", step.name))?;
    }
    let windows = Windows::parse(spec.gates.as_ref().map_or(&[], |gates| gates.windows.as_slice()))?;
    Ok((spec, windows))
}
