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
        subject::Input,
    },
};

/// Says it while the rollout of the change is under way, and by an event once.
pub fn tell(input: &Input, progress: Progress, found: &mut Assessment) {
    let workload = input.workload;
    let changed =
        input.memory.template.as_ref().is_some_and(|seen| seen.digest != workload.template.digest);
    let would =
        || input.ruling.spec().would_hold() && holdable(workload) && workload.rollout.wanted > 0;
    found.memory.would_hold =
        (changed && would()) || (input.memory.would_hold && progress != Progress::Done);
    if !found.memory.would_hold {
        return;
    }
    let Some(gate) = would_wait_for(input) else {
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
fn would_wait_for(input: &Input) -> Option<&'static str> {
    let change = Change {
        namespace: input.namespace,
        workload: &input.workload.id,
        causes: &[ChangeCause::Template],
        id: "",
        authors: None,
        recorded: true,
        approved_by: None,
        since: input.now,
        last_change: input.now,
    };
    let asked = gates::each(input.ruling, &change, input.now);
    let closed = asked.into_iter().find_map(|(_, gate)| match gate {
        Gate::Open => None,
        Gate::Closed(Closed { reason, .. }) => Some(reason.as_str()),
    });
    let turn = || input.waits.map(|closed| closed.reason.as_str());
    let pods =
        || input.ruling.spec().app_gate(&[ChangeCause::Template]).map(|_| "until its pods agree");
    closed.or_else(turn).or_else(pods)
}
