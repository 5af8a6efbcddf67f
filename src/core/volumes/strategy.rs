//! The mark by which admission makes the strategy of a Deployment Recreate.

use std::collections::BTreeSet;

use crate::{
    api::{Phase, Reason, marks},
    core::{
        finding::Assessment,
        gates::{self, change::Change},
        hold::state::Hold,
        notice::Event,
        request::Purpose,
        rollout::progress::Progress,
        subject::Subject,
        volumes::finding::{OfWorkload, Stuck},
    },
};

const EXCLUSIVE: &str = "exclusive";

/// Sets the mark where it ends no pod by itself, and takes it off where it is not needed. In the
/// middle of a rollout it would end the old pods at once: see [`unblock`].
pub fn mark(subject: &Subject, found: &mut Assessment) {
    let workload = subject.workload;
    let stands =
        workload.marks.volume_access.stands() && workload.labels.contains_key(marks::GOVERNED);
    // In the middle of a rollout the other strategy would end the old pods at once, or start new
    // ones beside them. A pod that has finished neither ends nor starts.
    let there = || subject.pods.iter().filter(|pod| !pod.finished);
    let one_revision =
        || there().map(|pod| pod.revision.as_deref()).collect::<BTreeSet<_>>().len() <= 1;
    let rests = match subject.progress {
        Progress::Done => true,
        Progress::Held(_) => one_revision(),
        _ => Hold::on(workload).is_some() && one_revision(),
    };
    match &subject.volumes.exclusive.recreate {
        None if stands
            && !subject.volumes.exclusive.uncertain
            && (rests || there().next().is_none()) =>
        {
            found.edits.remove(workload, marks::VOLUME_ACCESS);
            let message =
                "its strategy is the declared one again, because none of its claims needs Recreate, or its policy no longer asks for it"
                    .to_owned();
            found.notices.push((Event::StrategyChanged, message));
        }
        Some(why) if !stands && rests => set(subject, why, found),
        _ => {}
    }
}

/// A rollout that is stuck on a volume goes on when the old pods are ended first; they are asked as
/// for any change.
pub fn unblock(subject: &Subject, found: &mut Assessment) {
    let OfWorkload { exclusive, .. } = subject.volumes;
    if let (Some(stuck), Phase::Rolling | Phase::Failed) = (&exclusive.stuck, found.phase) {
        found.stand(
            found.phase,
            Reason::StuckOnVolume,
            format!("{}. {}", stuck.why, cure(subject, stuck)),
        );
    }
    let stands = subject.workload.marks.volume_access.stands()
        && subject.workload.labels.contains_key(marks::GOVERNED);
    let acts = !subject.ruling.is_unreadable() && !subject.ruling.observes();
    let Some(why) = exclusive.recreate.as_ref().filter(|_| !stands && acts) else { return };
    // One that is under way and not stuck may well be done without that.
    let helps = exclusive.stuck.as_ref().is_some_and(|stuck| stuck.stranger.is_none());
    if !helps || !matches!(subject.progress, Progress::UnderWay(_) | Progress::Failed(_)) {
        return;
    }
    // Who changed it was asked for before it began.
    let change = Change::of_unblocking(subject);
    match found.hear(gates::ask(subject, &change)) {
        None => {
            set(subject, why, found);
            found.edits.purpose = Some(Purpose::Unblock);
        }
        Some(blocker) => {
            let message = format!("{}; {}", found.message, change.why(subject, &blocker));
            found.stand(found.phase, Reason::StuckOnVolume, message);
        }
    }
}

fn set(subject: &Subject, why: &str, found: &mut Assessment) {
    found.edits.set(subject.workload, marks::VOLUME_ACCESS, EXCLUSIVE.to_owned());
    let message = format!(
        "its strategy is Recreate from now on, because {why}. A new pod starts after the old one has terminated"
    );
    found.notices.push((Event::StrategyChanged, message));
}

fn cure(subject: &Subject, stuck: &Stuck) -> String {
    match (&stuck.stranger, &subject.volumes.exclusive.recreate) {
        (Some(pod), _) => {
            format!(
                "The rollout continues when pod {pod}, which has another owner, is gone: kubectl delete pod {pod}"
            )
        }
        (None, Some(_)) if subject.ruling.observes() => {
            "spec.mode is Observe, so declare strategy.type: Recreate".to_owned()
        }
        (None, Some(_)) => {
            "Its old pods are terminated first, so that the rollout can continue".to_owned()
        }
        (None, None) => {
            "Declare strategy.type: Recreate, or set spec.volumes.exclusiveClaims: WhenUnsafe"
                .to_owned()
        }
    }
}
