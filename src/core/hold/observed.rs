//! What a policy that only observes says of a changed template: that it would have been held.

use crate::{
    api::{Phase, Reason},
    core::{
        finding::Assessment,
        gates::{
            self,
            blocker::GateName,
            change::{Change, TEMPLATE},
        },
        hold::governance::holdable,
        notice::Event,
        rollout::progress::Progress,
        subject::Subject,
    },
};

/// Says it while the rollout of the change is under way, and by an event once.
pub fn tell(subject: &Subject, found: &mut Assessment) {
    let workload = subject.workload;
    let changed = subject
        .memory
        .template
        .as_ref()
        .is_some_and(|seen| seen.digest != workload.template.digest);
    let would =
        || subject.ruling.spec().would_hold() && holdable(workload) && workload.rollout.wanted > 0;
    found.memory.would_hold =
        (changed && would()) || (subject.memory.would_hold && subject.progress != Progress::Done);
    if !found.memory.would_hold {
        return;
    }
    let Some(gate) = would_wait_for(subject) else {
        found.memory.would_hold = false;
        return;
    };
    let state = &workload.rollout;
    let message = format!(
        "the template changed; with mode: Enforce it would be held ({gate}), but spec.mode is Observe"
    );
    if changed {
        found.notices.push((Event::WouldHold, message.clone()));
    }
    if found.phase != Phase::Failed {
        let counts = format!(
            "{} of {} pods updated, {} available",
            state.updated, state.wanted, state.available
        );
        found.stand(Phase::WouldHold, Reason::ObserveMode, format!("{message}; {counts}"));
    }
}

/// The gate that would keep a change of the template waiting, by its reason or in words; none if
/// all that can be asked are open.
fn would_wait_for(subject: &Subject) -> Option<&'static str> {
    let change = Change::that_would_be_held(subject.now());
    let is_asked = |gate: GateName| gate < GateName::App;
    let closed = gates::each(subject, &change, is_asked)
        .find_map(|(_, answer)| Some(answer.blocker?.reason().as_str()));
    let asks = subject.ruling.spec().app_gate(TEMPLATE).is_some();
    closed.or(asks.then_some("until its pods agree"))
}
