//! The mark by which admission makes the strategy of a Deployment Recreate.

use super::OfWorkload;
use crate::{
    api::{ChangeCause, Phase, Reason, marks},
    core::{
        assess::{Assessment, Input},
        decision::{Event, Purpose},
        gates::{
            Gate,
            pods::{self, Passing},
        },
        hold::state::Hold,
        rollout::progress::{self, Progress},
    },
};

const EXCLUSIVE: &str = "exclusive";

/// Sets the mark where it ends no pod by itself, and takes it off where it is not needed. In the middle of a rollout it would end the
/// old pods at once: see [`unblock`].
pub fn mark(input: &Input, found: &mut Assessment) {
    let workload = input.workload;
    let stands = workload.marks.contains_key(marks::VOLUME_ACCESS) && workload.labels.contains_key(marks::GOVERNED);
    match &input.volumes.exclusive.recreate {
        None if stands => {
            found.edits.remove(workload, marks::VOLUME_ACCESS);
            let message =
                "its strategy is again the one that it declares: no claim of it needs Recreate, or its policy asks for none".to_owned();
            found.notices.push((Event::StrategyChanged, message));
        }
        Some(why) if !stands => {
            let progress = progress::judge(workload, input.pods, input.current, input.spec.deadline(), input.now);
            if Hold::on(workload).is_some() || matches!(progress, Progress::Done | Progress::Held(_)) {
                set(input, why, found);
            }
        }
        _ => {}
    }
}

/// A rollout that is stuck on a volume goes on when the old pods are ended first; they are asked as for any change.
pub fn unblock(input: &Input, progress: Progress, found: &mut Assessment) {
    let OfWorkload { exclusive, .. } = input.volumes;
    if let (Some(stuck), Phase::Rolling | Phase::Failed) = (&exclusive.stuck, found.phase) {
        found.stand(found.phase, Reason::StuckOnVolume, format!("{stuck}. {}", cure(input)));
    }
    let stands = input.workload.marks.contains_key(marks::VOLUME_ACCESS) && input.workload.labels.contains_key(marks::GOVERNED);
    let Some(why) = exclusive.recreate.as_ref().filter(|_| !stands && !input.frozen) else { return };
    // One that is under way and not stuck may well be done without that.
    let freed = exclusive.stuck.is_some() && matches!(progress, Progress::UnderWay(_) | Progress::Failed(_));
    if !freed {
        return;
    }
    let id = format!("volume-{}", input.workload.generation);
    let since = input.workload.rollout.moved;
    let passing = Passing { id: &id, since, causes: &[ChangeCause::Template], spared: input.current, broken: false };
    match pods::ask(input, &passing, found) {
        Gate::Open => {
            set(input, why, found);
            found.edits.purpose = Some(Purpose::Unblock);
        }
        Gate::Closed(closed) => {
            found.stand(found.phase, Reason::StuckOnVolume, format!("{}; {}", found.message, closed.message));
            found.wait_for(&closed);
        }
    }
}

fn set(input: &Input, why: &str, found: &mut Assessment) {
    found.edits.set(input.workload, marks::VOLUME_ACCESS, EXCLUSIVE.to_owned());
    let message = format!("its strategy is Recreate from now on, because {why}: a new pod starts when the old one is gone");
    found.notices.push((Event::StrategyChanged, message));
}

fn cure(input: &Input) -> String {
    match input.volumes.exclusive.recreate {
        Some(_) => "Its old pods are ended first, so that it can go on".to_owned(),
        None => "Declare strategy.type: Recreate, or set spec.volumes.exclusiveClaims: WhenUnsafe".to_owned(),
    }
}
