//! A namespace as a whole: assesses its workloads, counts them, and makes the decision.

mod census;
pub mod ledger;
mod offline;
mod seen;
mod sorted;
mod status;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use jiff::Timestamp;

pub use self::sorted::Surroundings;
use self::{
    ledger::Ledger,
    seen::{Belongings, SeenWorkload},
    sorted::{Counted, Resting, Sorted},
};
use crate::{
    api::Phase,
    core::{
        config::together::groups,
        decision::Decision,
        gates::blocker::Blocker,
        governs::{Governance, Standing, governance},
        hold::enforced::Gap,
        memory::{Activity, Memory, Rest},
        notice::{Event, Notice, Regarding},
        observed::{Namespace, Uid, Workload, WorkloadId},
        plan::{plan, ungoverned::Ungoverned},
        planned::Plan,
        report::Verdict,
        request::Patch,
        rest::News,
        rollout::{
            outcome::Previous,
            revisions::Revisions,
            slots::{Candidate, Demand},
            steps::Order,
        },
        subject::{self, Siblings, Subject},
        unread,
        volumes::{
            self,
            finding::{Judged, OfWorkload},
        },
    },
};

/// All assessments of a namespace.
pub struct Assessments<'a> {
    namespace: &'a Namespace,
    governance: Governance<'a>,
    of: BTreeMap<&'a WorkloadId, Plan>,
    /// Those at rest of which something is to be said, with what is remembered of them.
    still: BTreeMap<&'a WorkloadId, (&'a Rest, &'a Memory)>,
    /// What is counted of the others.
    counted: Counted<'a>,
    gap: Option<Gap>,
    /// By policy, the steps that select nothing.
    empty_steps: BTreeMap<&'a str, Vec<&'a str>>,
    volumes: Judged,
    /// What stands here and was told already; none after a start.
    told: Option<&'a BTreeSet<(Uid, Event)>>,
    now: Timestamp,
}

/// Assesses every workload of a namespace, but for those at rest that none of the news concerns:
/// these stand as they stood.
pub fn assess_all<'a>(
    namespace: &'a Namespace,
    news: &News,
    around: &Surroundings<'a>,
) -> Assessments<'a> {
    assess_by(&mut Ledger::default(), namespace, news, around)
}

/// The same by what was kept of the namespace since the last decision.
pub fn assess_by<'a>(
    ledger: &mut Ledger,
    namespace: &'a Namespace,
    news: &News,
    around: &Surroundings<'a>,
) -> Assessments<'a> {
    ledger.heed(namespace, news, around);
    assess_sorted(ledger.sort(namespace, news, around), namespace, around, |_, _| {})
}

/// The same, and shows what each governed workload was judged by, and what was found.
pub fn assess_each<'a>(
    namespace: &'a Namespace,
    news: &News,
    around: &Surroundings<'a>,
    see: impl FnMut(&Subject, &Plan),
) -> Assessments<'a> {
    let mut ledger = Ledger::default();
    ledger.heed(namespace, news, around);
    assess_sorted(ledger.sort(namespace, news, around), namespace, around, see)
}

fn assess_sorted<'a>(
    sorted: Sorted<'a, 'a>,
    namespace: &'a Namespace,
    around: &Surroundings<'a>,
    mut see: impl FnMut(&Subject, &Plan),
) -> Assessments<'a> {
    let governance = sorted.governance();
    let idle = Activity::default();
    let Sorted { still, counted, stirring, last_changes } = sorted;
    let still = still.into_iter().map(|(id, (_, rest, memory))| (id, (rest, memory))).collect();
    let mut of = BTreeMap::new();
    let belongings: HashMap<_, _> = stirring
        .iter()
        .map(|one| (&*one.workload.uid, Belongings::of(namespace, one.workload)))
        .collect();
    let groups = groups(namespace, &governance);
    let gap = around.enforcement.gap();
    let of_namespace = subject::Around {
        namespace,
        key: around.key,
        watched: around.watched,
        definition: around.definition,
        enforced: around.enforcement.is_enforced(),
        judges: around.enforcement.judges(),
        storage: around.storage,
        activities: around.activities,
        now: around.now,
    };
    // Who uses a claim is read off all workloads, also off those at rest.
    let of_all = volumes::concern(namespace, around.storage).then(|| self::governance(namespace));
    let volumes = volumes::judge(
        namespace,
        of_all.as_ref().unwrap_or(&governance),
        &volumes::Surroundings {
            storage: around.storage,
            enforcement: around.enforcement,
            activities: around.activities,
            now: around.now,
        },
    );
    let no_volumes = OfWorkload::default();
    let seen: BTreeMap<_, _> = stirring
        .into_iter()
        .map(|one| {
            let of_it = belongings.get(&*one.workload.uid);
            let activity = around.activities.get(&one.workload.uid).unwrap_or(&idle);
            (&one.workload.id, SeenWorkload::of(one, of_it, activity, around.now))
        })
        .collect();
    let mut orders = orders(namespace, &seen);
    let mut runs = offline::runs(namespace, &seen, &orders);
    let mut sequence: VecDeque<_> = in_order(&seen, &orders).into();
    let mut agreed = false;
    loop {
        let Some(next) = sequence.pop_front() else {
            if std::mem::replace(&mut agreed, true) {
                break;
            }
            // Those that wait for nothing but each other are judged again once all agreed.
            sequence.extend(offline::agree(&mut runs, &of));
            continue;
        };
        let Some(one) = seen.get(next) else { continue };
        let SeenWorkload { standing, real, workload, pods, memory, activity, .. } = one;
        let id = &real.id;
        let revisions = Revisions::of(namespace, workload, one.sets, one.current);
        let (ruling, progress) = match one.ruling.zip(one.progress) {
            Some(governed) => governed,
            None if unread::of_workload(namespace, real).is_some() => continue,
            None => {
                let ungoverned = Ungoverned {
                    namespace,
                    workload: real,
                    pods,
                    stray: matches!(standing, Standing::Unselected),
                    revisions,
                    activity,
                    memory,
                    definition: around.definition,
                    enforced: of_namespace.enforced,
                    judges: of_namespace.judges,
                    now: around.now,
                };
                of.extend(ungoverned.assess().map(|found| (id, found)));
                continue;
            }
        };
        let policy = ruling.policy();
        let order = orders.get_mut(policy.name.as_str()).filter(|_| !ruling.is_unreadable());
        let waits = order.as_ref().and_then(|order| order.waits(id)).map(Blocker::Turn);
        let previous = order.as_ref().map_or(Previous::Nothing, |order| order.previous(id));
        let reads = revisions.reads(pods);
        let before =
            Memory { stray_since: None, lost_told: false, rest: None, ..(*memory).clone() };
        let subject = Subject {
            around: &of_namespace,
            ruling,
            workload,
            pods,
            revisions,
            reads: &reads,
            progress,
            siblings: Siblings {
                last_change: last_changes.get(policy.name.as_str()).copied(),
                group: groups.get(policy.name.as_str()).map_or(&[], Vec::as_slice),
                waits: waits.as_ref(),
                previous: &previous,
                run: runs.get(policy.name.as_str()).filter(|run| run.is_some()),
            },
            volumes: volumes.of_workloads.get(id).unwrap_or(&no_volumes),
            activity,
            memory: &before,
        };
        let mut found = plan(&subject);
        see(&subject, &found);
        if let Some(unread) = unread::of_governed(namespace, real, ruling.spec(), &reads) {
            found = unread::leave(found, &before, real, unread);
        }
        let last_change = last_changes.get(policy.name.as_str()).copied();
        found.memory.rest =
            Rest::of(&found, real, ruling.spec(), &before, (last_change, around.now))
                .filter(|_| !ruling.is_unreadable());
        if let Some(order) = order {
            let plan = (&found.report.verdict, found.begins());
            order.note(id, workload, plan, one.current, around.key);
        }
        of.insert(id, found);
    }
    let empty_steps = orders.iter().map(|(policy, order)| (*policy, order.empty_steps())).collect();
    let told = around.told.get(&*namespace.name);
    Assessments {
        namespace,
        governance,
        of,
        still,
        counted,
        gap,
        empty_steps,
        volumes,
        told,
        now: around.now,
    }
}

/// What the workloads of each policy that orders them do.
fn orders<'n>(
    namespace: &Namespace,
    seen: &BTreeMap<&'n WorkloadId, SeenWorkload<'n, '_>>,
) -> BTreeMap<&'n str, Order<'n>> {
    let mut orders: BTreeMap<&str, Order> = BTreeMap::new();
    for (id, one) in seen {
        let (Standing::Governed(policy, spec), Some(progress)) = (one.standing, one.progress)
        else {
            continue;
        };
        if spec.rollout.is_some() {
            let order = orders.entry(policy.name.as_str()).or_insert_with(|| Order::new(spec));
            order.see(id, &one.workload, progress, one.activity);
        }
    }
    for unread in unread::unknown_workloads(namespace) {
        orders.values_mut().for_each(|order| order.miss(unread));
    }
    orders
}

/// Those of earlier steps are assessed before those that wait for them.
fn in_order<'n>(
    seen: &BTreeMap<&'n WorkloadId, SeenWorkload<'n, '_>>,
    orders: &BTreeMap<&str, Order>,
) -> Vec<&'n WorkloadId> {
    let mut ids: Vec<_> = seen.keys().copied().collect();
    if !orders.is_empty() {
        ids.sort_by_cached_key(|id| {
            let place = match seen.get(id).map(|one| one.standing) {
                Some(Standing::Governed(policy, _)) => {
                    orders.get(policy.name.as_str()).and_then(|order| order.place(id))
                }
                _ => None,
            };
            (place, *id)
        });
    }
    ids
}

impl Assessments<'_> {
    /// What was found of a workload; none of one at rest, or that is none of ours.
    pub fn of(&self, workload: &WorkloadId) -> Option<&Plan> {
        self.of.get(workload)
    }

    /// What the namespace has and wants of the cluster's slots. Rolls that were handed to the
    /// executor count as under way.
    pub fn demand(&self, activities: &HashMap<Uid, Activity>) -> Demand {
        let mut demand = Demand::default();
        for (id, found) in &self.of {
            let Some(workload) = self.namespace.workloads.get(*id) else { continue };
            let in_flight = is_in_flight(workload, activities);
            if found.roll.is_some() {
                demand
                    .waiting
                    .push(Candidate { uid: workload.uid.clone(), broken: found.report.broken });
            } else if found.report.takes_slot || (in_flight && found.memory.differs_since.is_some())
            {
                demand.under_way += 1;
            }
        }
        let still = self.still.iter().filter(|(id, (rest, memory))| {
            let workload = self.namespace.workloads.get(**id);
            rest.report.takes_slot
                || memory.differs_since.is_some()
                    && workload.is_some_and(|workload| is_in_flight(workload, activities))
        });
        demand.under_way += still.count();
        demand
    }

    /// The decision, given which workloads have a slot.
    pub fn arrange(mut self, granted: &BTreeSet<Uid>, memories: &HashMap<Uid, Memory>) -> Decision {
        let mut decision = Decision::default();
        for (id, found) in &mut self.of {
            let Some(workload) = self.namespace.workloads.get(*id) else { continue };
            let policy = self.governance.standings.get(*id).and_then(|one| one.policy());
            let policy = policy.map(|policy| (policy.name.clone(), policy.uid.clone()));
            let edits = std::mem::take(&mut found.edits);
            if let Some(roll) = found.roll.take_if(|_| granted.contains(&workload.uid)) {
                found.begin_roll();
                decision.rolled.insert(
                    workload.uid.clone(),
                    (policy.clone(), found.report.config.changed.join(", ")),
                );
                decision.patches.push(roll.patch(workload));
            } else if !edits.is_empty() {
                decision.patches.push(edits.patch(workload));
            }
            decision.calls.append(&mut found.talk.calls);
            decision.snapshots.append(&mut found.snapshots);
            decision
                .lookups
                .extend(found.lookup.map(|since| ((*id).clone(), workload.uid.clone(), since)));
            decision.waited.extend(found.waited);
            let before = memories.get(&workload.uid);
            let last = before.and_then(|before| before.last.as_ref()).map(Verdict::standing);
            if found.memory.differs_since.is_some()
                && found.phase() != Phase::Rolling
                && last != Some(found.report.verdict.standing())
            {
                decision.suppressed.push(found.reason());
            }
            if before != Some(&found.memory) {
                decision.memories.push((workload.uid.clone(), found.memory.clone()));
            }
            decision.notices.extend(found.notices.drain(..).map(|(event, message)| Notice {
                regarding: Regarding::Workload((*id).clone()),
                uid: workload.uid.clone(),
                policy: policy.clone(),
                event,
                message,
            }));
        }
        let stands = self.stands();
        for (id, stand) in &stands {
            self.count(id, stand, &mut decision);
        }
        let policies = self.namespace.policies.values();
        let statuses = policies.map(|policy| (policy.name.clone(), self.status(policy, &stands)));
        let statuses: Vec<_> = statuses.collect();
        drop(stands);
        for (name, Resting { workloads, .. }) in &self.counted.resting {
            if *workloads == 0 {
                continue;
            }
            *decision.census.phases.entry(Phase::UpToDate).or_default() += *workloads as usize;
            let of_policy = decision.census.policies.entry((*name).to_owned()).or_default();
            *of_policy.phases.entry(Phase::UpToDate).or_default() += *workloads as usize;
        }
        decision.wake = decision.wake.into_iter().chain(self.counted.wake).min();
        self.arrange_storage(&mut decision);
        // What comes with a patch is told when that is accepted.
        decision.notices.retain(|notice| {
            !notice.event.comes_with_patch() || carries(&decision.patches, notice)
        });
        decision.statuses = statuses;
        for (name, status) in &decision.statuses {
            let of_policy = decision.census.policies.entry(name.clone()).or_default();
            for condition in &status.conditions {
                of_policy.conditions.insert(condition.type_.clone(), condition.status.clone());
                *decision
                    .census
                    .conditions
                    .entry((condition.type_.clone(), condition.status.clone()))
                    .or_default() += 1;
            }
        }
        decision
    }

    fn arrange_storage(&mut self, decision: &mut Decision) {
        decision.storage = std::mem::take(&mut self.volumes.patches).into_values().collect();
        let new = self.volumes.standing.iter().filter(|notice| match self.told {
            Some(told) => !told.contains(&(notice.uid.clone(), notice.event)),
            // After a start, what is only worth knowing was told before.
            None => notice.event.is_warning(),
        });
        decision.notices.extend(new.cloned());
        decision.told =
            self.volumes.standing.iter().map(|notice| (notice.uid.clone(), notice.event)).collect();
        decision.volumes = std::mem::take(&mut self.volumes.states);
        decision.wake = decision.wake.into_iter().chain(self.volumes.wake).min();
    }
}

/// Whether a request for a workload is under way.
fn is_in_flight(workload: &Workload, activities: &HashMap<Uid, Activity>) -> bool {
    activities.get(&workload.uid).is_some_and(|activity| activity.in_flight)
}

fn carries(patches: &[Patch], notice: &Notice) -> bool {
    patches.iter().any(|patch| patch.uid == notice.uid)
}
