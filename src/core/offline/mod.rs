//! Offline upgrades: all workloads of a policy are stopped for a change, their data is migrated, and
//! they start again in order.
//!
//! Each of them has the stages of a maintenance. The words of an [`Upgrade`] in the mark
//! `in-maintenance` say which stages are behind it, so nothing has to be remembered. [`run`] reads
//! from the marks and the pods of all which one waits for which.
//!
//! 1. The change is held. When all agree, the last step is stopped first.
//! 2. Nobody goes on before no pod of any of them is left.
//! 3. Those whose template changes sleep in it, step by step, until their data is migrated.
//! 4. All start, step by step.

pub mod run;
pub mod words;

use self::run::{At, Member};
use crate::{
    api::{OfflineWhen, UpgradePolicySpec, marks},
    core::{
        edits::Edits,
        gates::{blocker::GateName, change::Change, snapshot},
        governs::Ruling,
        hold::state::Hold,
        maintenance::{self, Standing, wanted::wanted},
        memory::Memory,
        observed::{Pod, Workload, version::Step},
        rollout::{outcome::Outcome, progress::Progress, revisions::Revisions},
        subject::Subject,
        whole_second,
    },
    marks::{InMaintenance, Upgrade, maintenance::Stage},
};

/// So many revisions are noted that ran before data was migrated.
const NOTED: usize = 5;

/// What of a workload's maintenance is an offline upgrade.
pub fn of(workload: &Workload) -> Option<(&InMaintenance, &Upgrade)> {
    let mark = maintenance::of(workload)?;
    Some((mark, mark.upgrade.as_ref()?))
}

/// Whether the change of a workload that is held is an offline upgrade.
fn asks(workload: &Workload, revisions: &Revisions, spec: &UpgradePolicySpec) -> bool {
    let Some(offline) = &spec.offline else { return false };
    let step = match offline.when {
        OfflineWhen::Always => return true,
        OfflineWhen::Asked => None,
        OfflineWhen::Patch => Some(Step::Patch),
        OfflineWhen::Minor => Some(Step::Minor),
        OfflineWhen::Major => Some(Step::Major),
    };
    let changes = step.is_some_and(|step| revisions.step() >= Some(step));
    workload.marks.upgrade.stands() || changes
}

/// One of the workloads of a policy, as it takes part; none if it cannot be stopped or is about to
/// go.
pub fn member(
    workload: &Workload,
    (pods, revisions): (&[&Pod], &Revisions),
    ruling: Ruling,
    (progress, place): (Progress, Option<usize>),
    memory: &Memory,
) -> Option<Member> {
    if !workload.id.kind.can_be_held() || workload.deleting {
        return None;
    }
    let (spec, held) = (ruling.spec(), Hold::on(workload).is_some());
    let at = match maintenance::of(workload) {
        None => At::Serves,
        Some(mark) if mark.upgrade.is_none() => {
            At::Apart(is_down(workload, pods) && mark.stage == Stage::Stop)
        }
        Some(mark) => match mark.stage {
            Stage::Stop if is_down(workload, pods) => At::Down,
            Stage::Stop => At::Stops,
            Stage::Sleep => At::Sleeps,
            Stage::Start => At::Starts,
        },
    };
    let upgrade = of(workload);
    let changed = upgrade
        .is_some_and(|(mark, one)| one.change.is_some() && !maintenance::is_back(revisions, mark));
    Some(Member {
        place,
        at,
        starts: upgrade.is_some_and(|(_, one)| one.starts),
        changed,
        unsaved: changed
            && !memory.saved
            && upgrade.is_some_and(|(_, one)| snapshot::is_needed(spec, one)),
        unmigrated: changed && upgrade.is_some_and(|(_, one)| needs_migration(spec, one)),
        held,
        asks: held
            && asks(workload, revisions, spec)
            && match at {
                At::Serves | At::Starts => true,
                // It joins when its own maintenance ends.
                At::Apart(_) => !wanted(workload, ruling).is_some(),
                At::Stops | At::Down | At::Sleeps => false,
            },
        agrees: memory.agrees,
        asks_pods: memory.agrees || memory.gate.is_some_and(|(one, _)| one.gate == GateName::App),
        settled: match progress {
            // Whether one that failed keeps others waiting is asked by itself.
            Progress::Done | Progress::Held(_) | Progress::Failed(_) => true,
            Progress::Unobserved | Progress::UnderWay(_) => held,
        },
    })
}

fn is_down(workload: &Workload, pods: &[&Pod]) -> bool {
    maintenance::standing(workload, pods) == Standing::Down
}

/// Whether the data of one whose template changes is still to be migrated.
pub fn needs_migration(spec: &UpgradePolicySpec, upgrade: &Upgrade) -> bool {
    let declared = spec.offline.as_ref().is_some_and(|offline| offline.migrate.is_some());
    !upgrade.migrated && (declared || upgrade.migrating)
}

/// Stops it; what is held of it goes into the template that rests.
pub fn stop(subject: &Subject, held: Option<(&Hold, &Change)>) -> Edits {
    let workload = subject.workload;
    let change = held.map(|(hold, _)| hold.id.clone());
    let stands = maintenance::of(workload).filter(|mark| mark.rests());
    let mark = stands.map_or_else(
        || {
            let runs = match held {
                Some(_) => subject.revisions.running(),
                None => subject.revisions.newest,
            };
            InMaintenance::begun(workload.generation, whole_second(subject.now()), runs)
        },
        |mark| mark.at(Stage::Stop).renewed(workload.generation),
    );
    let mark = mark.with_upgrade(Some(&Upgrade { change, ..Upgrade::default() }));
    let mut edits = maintenance::step(subject, &mark, held);
    edits.clear(marks::MIGRATED);
    edits
}

/// Notes that the data of what ran before is no longer as that left it.
pub fn migrates(workload: &Workload, mark: &InMaintenance) -> Edits {
    let mut edits = Edits::default();
    let mut outcome = Outcome::on(workload).clone();
    if let Some(from) = &mark.from {
        outcome.migrated.retain(|one| one != from);
        outcome.migrated.push(from.clone());
        let extra = outcome.migrated.len().saturating_sub(NOTED);
        outcome.migrated.drain(..extra);
        edits.set(marks::ROLLOUT, outcome.to_string());
    }
    edits
}
