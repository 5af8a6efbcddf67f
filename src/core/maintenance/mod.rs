//! Maintenance of a workload: it is stopped so that a person can work on what it uses, and comes
//! back exactly as it was declared.
//!
//! The mark `in-maintenance` says how far it is: `stop`, then `start`, then none; between these
//! `sleep`, and `stop` again, where its pods are to sleep. Each step is one patch of that mark;
//! admission makes everything of the spec that follows from it. It begins and ends at 0 replicas,
//! so neither needs a pod that is healthy.
//!
//! `sleep` and `start` begin with 0 replicas too: the controller counts the template of the stage as
//! the one that runs before there are pods. So a change that is held later keeps no pod on the
//! template of the stage before.

pub mod wanted;
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
            gate::Answer,
            order,
        },
        hold::{release, state::Hold},
        later,
        observed::{Pod, UserHold, Workload},
        request::{Purpose, Release},
        rollout::revisions::Revisions,
        subject::Subject,
        whole_second,
    },
    marks::{InMaintenance, Wish, maintenance::Stage},
};

/// How far the maintenance of a workload is, if there is one. What stands on one without our label
/// was not made by us.
pub fn of(workload: &Workload) -> Option<&InMaintenance> {
    let mark = workload.marks.in_maintenance.get().filter(|_| workload.governed.stands());
    mark.map(|mark| &**mark)
}

/// Why a maintenance that is asked for cannot begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Impossible {
    /// There is nothing to stop it by.
    NoReplicas,
    /// Admission would not act on it.
    NotEnforced,
    /// Its policy only observes.
    Observed,
    /// Its claims would go.
    ClaimsGo,
    /// It would finish what the user keeps from being finished.
    OlderPods,
}

/// Why a maintenance that is asked for cannot begin; none if it can.
pub fn impossible(subject: &Subject) -> Option<Impossible> {
    match () {
        () if !subject.workload.id.kind.can_be_held() => Some(Impossible::NoReplicas),
        () if !subject.around.enforced => Some(Impossible::NotEnforced),
        () if subject.ruling.observes() => Some(Impossible::Observed),
        () if subject.workload.claims.go_with_pod => Some(Impossible::ClaimsGo),
        () if keeps_older_pods(subject.workload) => Some(Impossible::OlderPods),
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
pub fn standing(workload: &Workload, pods: &[&Pod]) -> Standing {
    if !workload.template.rests {
        return Standing::NotStopped;
    }
    if of(workload).is_some_and(|mark| mark.stage == Stage::Sleep) {
        return Standing::Asleep {
            ready: count(pods, |pod| pod.ready && pod.terminating.is_none()),
            gated: count(pods, |pod| pod.gated),
        };
    }
    let left = count(pods, |pod| !pod.finished);
    // The pods come on another watch than the counts.
    let pods = if left == 0 { workload.rollout.current as usize } else { left };
    match pods == 0 && workload.rollout.wanted == 0 && workload.rollout.observed {
        true => Standing::Down,
        false => Standing::GoingDown(pods),
    }
}

fn count(pods: &[&Pod], of_it: fn(&Pod) -> bool) -> usize {
    pods.iter().filter(|pod| of_it(pod)).count()
}

/// Whether pods that are created now are of the template at hand, also once a change is held.
/// Somebody may have scaled it: then there is nothing to wait for.
pub fn is_taken(workload: &Workload) -> bool {
    let rollout = &workload.rollout;
    let settled = !workload.id.kind.has_controller_revisions()
        || rollout.held == Some(UserHold::OnDelete)
        || (rollout.revision.is_some() && rollout.revision == rollout.settled);
    rollout.observed && (settled || rollout.wanted > 0)
}

/// The next step towards pods that sleep as it was asked for, or away from it; none where it is as
/// it was asked for, or ends.
pub fn next(wish: &Wish, mark: &InMaintenance) -> Option<InMaintenance> {
    match (mark.stage, wish) {
        // From one sleep to another through none, and so to the end.
        (Stage::Sleep, Wish::Sleep(containers)) if *containers == mark.containers() => None,
        (Stage::Sleep, _) => Some(mark.at(Stage::Stop)),
        (Stage::Stop, Wish::Sleep(containers)) => Some(mark.asleep(containers).without_replicas()),
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
    let mut answers = order::each(subject, change, |needs| !needs.asks_pods());
    answers.find_map(|(_, answer)| {
        let blocked = change.blocked_by(subject, &answer.blocker?);
        Some(Blocked { snapshots: answer.snapshots, ..blocked })
    })
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
    let edits = match held {
        Some((hold, change)) if !is_back(&subject.revisions, mark) => {
            release::passed(subject, hold, change).0
        }
        Some(_) => release::released(Release::Unchanged),
        None => Edits::default(),
    };
    with_mark(subject.workload, mark, edits)
}

/// These edits, and the next step.
pub fn with_mark(workload: &Workload, mark: &InMaintenance, mut edits: Edits) -> Edits {
    edits.clear(marks::PARTITION);
    if workload.rollout.ordinals.step.is_some() || edits.wanted(marks::HOLD).is_some() {
        edits.clear(marks::HOLD_SINCE);
    }
    edits.set(marks::IN_MAINTENANCE, mark.to_string());
    edits.purpose = Some(Purpose::Maintain);
    edits
}

/// Whether its template is the one again that ran before the maintenance.
pub fn is_back(revisions: &Revisions, mark: &InMaintenance) -> bool {
    mark.from.as_deref().is_some_and(|from| revisions.is_of(from))
}

/// The next step to the end, where nobody is asked any more; none while it is waited for, and none
/// that would take claims along. `held`: a change is.
pub fn way_back(
    workload: &Workload,
    pods: &[&Pod],
    mark: &InMaintenance,
    held: bool,
) -> Option<InMaintenance> {
    let next = match mark.stage {
        Stage::Sleep => mark.at(Stage::Stop),
        Stage::Start if mark.at_zero && held => mark.at(Stage::Stop),
        Stage::Start => return (mark.at_zero && is_taken(workload)).then(|| mark.at(Stage::Start)),
        Stage::Stop => match standing(workload, pods) {
            Standing::Down => return Some(mark.at(Stage::Start).without_replicas()),
            Standing::GoingDown(_) if workload.rollout.wanted == 0 => return None,
            _ => mark.at(Stage::Stop).renewed(workload.generation),
        },
    };
    (!workload.claims.go_with_pod || workload.rollout.wanted == 0).then_some(next)
}

/// What is written when it is in service again.
pub fn end() -> Edits {
    let mut edits = Edits { purpose: Some(Purpose::Maintain), ..Edits::default() };
    edits.clear(marks::IN_MAINTENANCE);
    edits
}

/// Whether one that starts is in service: all its pods are available, or nothing has moved for
/// longer than the deadline of its policy, and what its pods do is no matter of maintenance.
pub fn has_started(subject: &Subject) -> bool {
    let due = gives_up_at(subject.workload, subject.pods, subject.ruling.spec().deadline());
    is_over(subject.workload, due <= subject.now())
}

/// Whether it is in service, with or without a policy. `late`: it is waited for no longer.
pub fn is_over(workload: &Workload, late: bool) -> bool {
    !workload.template.rests && workload.rollout.observed && (is_available(workload) || late)
}

/// Whether all its pods are available.
pub fn is_available(workload: &Workload) -> bool {
    let rollout = &workload.rollout;
    rollout.updated >= rollout.wanted && rollout.available >= rollout.wanted
}

/// When one that starts is no longer waited for.
pub fn gives_up_at(workload: &Workload, pods: &[&Pod], deadline: Duration) -> Timestamp {
    let moves = pods.iter().flat_map(|pod| [Some(pod.created), pod.ready_moved]);
    // The last write of ours began it.
    let moves = moves.chain([workload.noted]).flatten();
    later(moves.fold(workload.rollout.moved, Timestamp::max), deadline)
}

/// When it is to be told next that a maintenance lasts. `told`: when it was last.
pub fn reminds_at(
    mark: &InMaintenance,
    told: Option<Timestamp>,
    after: Duration,
) -> Option<Timestamp> {
    Some(later(told.max(mark.since)?, after))
}
