//! Maintenance of a workload: it is stopped so that a person can work on what it uses, and comes
//! back exactly as it was declared.
//!
//! The mark `in-maintenance` says how far it is: `stop`, then `start`, then none; between these
//! `sleep`, and `stop` again, where its pods are to sleep. Each step is one patch of that mark; admission makes everything of the spec that follows from it. It begins and
//! ends at 0 replicas, so neither needs a pod that is healthy.

pub mod words;

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    api::marks,
    core::{
        edits::Edits,
        gates::{
            self,
            change::{Blocked, Change},
            gate::{Answer, Needs},
            order,
        },
        hold::{release, state::Hold},
        later,
        observed::{Pod, Workload},
        request::{Purpose, Release},
        subject::Subject,
        whole_second,
    },
    marks::{InMaintenance, Wish, maintenance::Stage},
};

/// So often it is told that a maintenance lasts.
pub const REMIND_AFTER: Duration = Duration::from_hours(4);

/// How far the maintenance of a workload is, if there is one. What stands on one without our label
/// was not made by us.
pub fn of(workload: &Workload) -> Option<&InMaintenance> {
    let mark = workload.marks.in_maintenance.get().filter(|_| workload.governed.stands());
    mark.map(|mark| &**mark)
}

/// The maintenance that a user asks for, and who. What admission did not record, anybody may have
/// written.
pub fn wished(workload: &Workload) -> Option<(&Wish, &str)> {
    let by = workload.marks.maintenance_by.get().filter(|_| workload.governed.stands())?;
    Some((workload.marks.maintenance.get()?, &by.0))
}

/// Who asked for the maintenance.
pub fn asked_by(workload: &Workload) -> &str {
    wished(workload).map_or("", |(_, by)| by)
}

/// Whether a user asks for maintenance.
pub fn is_wished(workload: &Workload) -> bool {
    wished(workload).is_some_and(|(wish, _)| *wish != Wish::Off)
}

/// Why a maintenance that is asked for cannot begin, in words; none if it can.
pub fn impossible(subject: &Subject) -> Option<&'static str> {
    match () {
        () if !subject.around.enforced => Some(words::NOT_ENFORCED),
        () if subject.ruling.observes() => Some(words::OBSERVED),
        () if subject.workload.claims.go_with_pod => Some(words::CLAIMS_GO),
        () if keeps_older_pods(subject.workload) => Some(words::OLDER_PODS),
        () => None,
    }
}

/// Whether its manifest keeps some pods on an older revision: after maintenance all pods would be of
/// the newest one.
fn keeps_older_pods(workload: &Workload) -> bool {
    workload.rollout.held.is_some() && workload.rollout.updated < workload.rollout.current
}

/// Where one stands that is being stopped, or is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Admission did not do what follows from the mark.
    NotStopped,
    /// So many of its pods are still there.
    GoingDown(usize),
    /// None of its pods runs the app.
    Down,
    /// Its pods sleep.
    Asleep {
        /// Those in which commands can be run.
        ready: usize,
        /// Those that do not start, because admission did not put them to sleep.
        gated: usize,
    },
}

/// Where one stands that is being stopped, or is stopped. A pod with the gate never ran, but the
/// controller of a set that starts would wait for it.
pub fn standing(subject: &Subject) -> Standing {
    let workload = subject.workload;
    if !workload.template.rests {
        return Standing::NotStopped;
    }
    if of(workload).is_some_and(|mark| mark.stage == Stage::Sleep) {
        return Standing::Asleep {
            ready: count(subject, |pod| pod.ready && pod.terminating.is_none()),
            gated: count(subject, |pod| pod.gated),
        };
    }
    let left = count(subject, |pod| !pod.finished);
    // The pods come on another watch than the counts.
    let pods = if left == 0 { workload.rollout.current as usize } else { left };
    match pods == 0 && workload.rollout.wanted == 0 && workload.rollout.observed {
        true => Standing::Down,
        false => Standing::GoingDown(pods),
    }
}

fn count(subject: &Subject, of_it: fn(&Pod) -> bool) -> usize {
    subject.pods.iter().filter(|pod| of_it(pod)).count()
}

/// The next step towards pods that sleep as it was asked for, or away from it; none where it is as
/// it was asked for, or ends.
pub fn next(workload: &Workload, mark: &InMaintenance) -> Option<InMaintenance> {
    let (wish, _) = wished(workload)?;
    match (mark.stage, wish) {
        // From one sleep to another through none, and so to the end.
        (Stage::Sleep, Wish::Sleep(containers)) if *containers == mark.containers() => None,
        (Stage::Sleep, _) => Some(mark.at(Stage::Stop)),
        (Stage::Stop, Wish::Sleep(containers)) => Some(mark.asleep(containers)),
        (Stage::Stop | Stage::Start, _) => None,
    }
}

/// What the gates say of the end of all its pods; none where nobody is asked, because no pod is
/// ready or there is none.
pub fn ask<'a>(subject: &Subject<'a>) -> Option<(Change<'a>, Answer)> {
    let ready = subject.pods.iter().any(|pod| pod.ready && pod.terminating.is_none());
    if !ready || subject.workload.rollout.wanted == 0 {
        return None;
    }
    let since = subject.memory.gate.map_or(subject.now(), |(_, since)| since);
    let change = Change::of_maintenance(since);
    let answer = gates::ask(subject, &change);
    Some((change, answer))
}

/// What keeps a held change from being released while no pod runs that could be asked.
pub fn closed_to_release(subject: &Subject, change: &Change) -> Option<Blocked> {
    let blocker = order::each(subject, change, is_of_api).find_map(|(_, answer)| answer.blocker)?;
    Some(change.blocked_by(subject, &blocker))
}

fn is_of_api(needs: Needs) -> bool {
    !matches!(needs, Needs::Outside(_))
}

/// What is written when a maintenance begins: everything that was held or went pod by pod is in the
/// template that rests.
pub fn begin(subject: &Subject, held: Option<(&Hold, &Change)>) -> Edits {
    let workload = subject.workload;
    let runs = match held {
        Some(_) => None,
        None => subject.revisions.newest,
    };
    let mark = InMaintenance::begun(workload.generation, whole_second(subject.now()), runs);
    step(subject, &mark, held)
}

/// One step, and with it the release of what is held.
pub fn step(subject: &Subject, mark: &InMaintenance, held: Option<(&Hold, &Change)>) -> Edits {
    let mut edits = match held {
        Some((hold, change)) if !is_back(subject, mark) => release::passed(subject, hold, change).0,
        Some(_) => release::released(Release::Unchanged),
        None => Edits::default(),
    };
    edits.clear(marks::PARTITION);
    if subject.workload.rollout.ordinals.step.is_some() || held.is_some() {
        edits.clear(marks::HOLD_SINCE);
    }
    edits.set(marks::IN_MAINTENANCE, mark.to_string());
    edits.purpose = Some(Purpose::Maintain);
    edits
}

/// Whether its template is the one again that ran before the maintenance.
pub fn is_back(subject: &Subject, mark: &InMaintenance) -> bool {
    mark.from.as_deref().is_some_and(|from| subject.revisions.is_of(from))
}

/// What is written when it is in service again.
pub fn end() -> Edits {
    let mut edits = Edits { purpose: Some(Purpose::Maintain), ..Edits::default() };
    edits.clear(marks::IN_MAINTENANCE);
    edits
}

/// Whether one that starts is in service: all its pods are available, or nothing has moved for
/// longer than the deadline of its policy, and what its pods do is no matter of maintenance. While
/// its manifest declares a partition, all of them are waited for, because a pod below it would be
/// of the revision with the gate.
pub fn has_started(subject: &Subject) -> bool {
    let late = gives_up_at(subject).is_some_and(|due| due <= subject.now());
    !subject.workload.template.rests
        && subject.workload.rollout.observed
        && (is_available(subject.workload) || late)
}

/// Whether all its pods are available.
pub fn is_available(workload: &Workload) -> bool {
    let rollout = &workload.rollout;
    rollout.updated >= rollout.wanted && rollout.available >= rollout.wanted
}

/// When one that starts is no longer waited for.
pub fn gives_up_at(subject: &Subject) -> Option<Timestamp> {
    let rollout = &subject.workload.rollout;
    let moves = subject.pods.iter().flat_map(|pod| [Some(pod.created), pod.ready_moved]);
    // The last write of ours began it.
    let moves = moves.chain([subject.workload.noted]).flatten();
    let moved = moves.fold(rollout.moved, Timestamp::max);
    (rollout.held.is_none()).then(|| later(moved, subject.ruling.spec().deadline()))
}

/// When it is to be told next that a maintenance lasts. `told`: when it was last.
pub fn reminds_at(mark: &InMaintenance, told: Option<Timestamp>) -> Option<Timestamp> {
    let last = told.max(mark.since)?;
    Some(later(last, REMIND_AFTER))
}
