//! What a policy that only observes says of a changed template: that it would have been held.

use crate::{
    api::{ChangeCause, Phase, Reason},
    core::{
        finding::Assessment,
        gates::{
            self,
            gate::{Change, Closed, Gate},
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
    let change = Change {
        namespace: subject.namespace(),
        workload: &subject.workload.id,
        causes: &[ChangeCause::Template],
        id: "",
        authors: None,
        recorded: true,
        approved_by: None,
        since: subject.now(),
        last_change: subject.now(),
    };
    let asked = gates::each(subject.ruling, &change, subject.now());
    let closed = asked.into_iter().find_map(|(_, gate)| match gate {
        Gate::Open => None,
        Gate::Closed(Closed { reason, .. }) => Some(reason.as_str()),
    });
    let turn = || subject.siblings.waits.map(|closed| closed.reason.as_str());
    let pods =
        || subject.ruling.spec().app_gate(&[ChangeCause::Template]).map(|_| "until its pods agree");
    closed.or_else(turn).or_else(pods)
}
