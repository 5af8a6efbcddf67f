//! `scope: Pod`: the pods of a StatefulSet go one by one, the highest ordinal first, each asked
//! before its turn. Admission sets the partition from our annotation `lockkeeper.dev/partition`; a
//! partition counts from the first ordinal.

use crate::{
    api::{AppGate, HoldStatus, Phase, Reason, WhenUngoverned, marks},
    core::{
        finding::Assessment,
        gates::{self, change::Change},
        hold::{governance, marking},
        later,
        observed::Pod,
        request::Purpose,
        rollout::{
            outcome::{Ended, Outcome},
            turn::{Stage, Turn, at, change_id, is_walked, stage},
        },
        subject::Subject,
        whole_second,
    },
};

/// Goes a step further, if it is time, or says what that waits for.
pub fn assess(subject: &Subject, outcome: &Outcome, found: &mut Assessment) {
    let workload = subject.workload;
    let ordinals = workload.rollout.ordinals;
    if ordinals.step.is_none() || workload.deleting || subject.ruling.observes() {
        return;
    }
    // The gate may ask about config alone, which nothing holds.
    let cause = outcome.cause(workload);
    let Some(gate) =
        subject.ruling.spec().app_gate(&[cause]).filter(|gate| is_walked(gate, workload))
    else {
        if !subject.ruling.is_unreadable() {
            // A change that still waits for gates has the rest judged by them; without a policy it
            // is as was recorded.
            let keep = subject.ruling.spec().needs_holds()
                || governance::when_ungoverned(workload) == WhenUngoverned::Keep;
            marking::end_walk(workload, keep, found);
        }
        return;
    };
    if !workload.rollout.observed {
        return found.talk.go_on();
    }
    match stage(workload, subject.pods, subject.revisions.newest) {
        Some(Stage::Next(turn)) => {
            go(subject, outcome, turn, turn.pod.into_iter().collect(), found);
        }
        Some(Stage::Renewing) => {
            if let Some((turn, pods)) = stuck(subject, gate, found) {
                go(subject, outcome, turn, pods, found);
            }
        }
        // As long as the manifest asks for a partition, what is below goes only when we let it.
        Some(Stage::Over) if ordinals.declared == 0 => marking::end_walk(workload, false, found),
        _ => {}
    }
}

/// Freeze and windows are asked again before each pod, then the pod itself. Not the approval: it
/// was for the whole change, and admission takes it off with the hold (`sameId` in
/// statefulsets.yaml), so there is none to look at.
fn go(subject: &Subject, outcome: &Outcome, turn: Turn, pods: Vec<&Pod>, found: &mut Assessment) {
    let change = Change::of_step(subject, outcome, turn, pods);
    match found.hear(gates::ask(subject, &change)) {
        None => {
            let mut newest = outcome.clone();
            (newest.ended, newest.at) = (Ended::UnderWay, Some(whole_second(subject.now())));
            found.edits.set(subject.workload, marks::PARTITION, turn.step.to_string());
            found.edits.set(subject.workload, marks::ROLLOUT, newest.write());
            found.edits.purpose = Some(Purpose::Step);
        }
        Some(blocker) => {
            wait(subject, turn, blocker.reason(), &change.why(subject, &blocker), found)
        }
    }
}

/// An old pod that is broken, below the pods whose turn it was: the controller renews none above it
/// before it is Ready, and while its turn has not come it comes back as broken as it was. So it is
/// its turn, and that of all old pods above it, which are asked with it; also those whose turn it
/// was, if they are there still.
fn stuck<'a>(
    subject: &Subject<'a>,
    gate: &AppGate,
    found: &mut Assessment,
) -> Option<(Turn<'a>, Vec<&'a Pod>)> {
    let ordinals = subject.workload.rollout.ordinals;
    let is_old = |pod: &&Pod| {
        pod.revision.as_deref() != subject.revisions.newest && pod.terminating.is_none()
    };
    let old = |index: u32| at(subject.workload, subject.pods, index).filter(is_old);
    let wanted = subject.workload.rollout.wanted;
    let mut below = ordinals.declared..ordinals.step?.min(wanted);
    let step = below.find(|index| old(*index).is_some_and(|pod| !pod.ready))?;
    let pod = old(step)?;
    match later(pod.ready_moved.unwrap_or(pod.created), gate.broken_after.length()) {
        due if due > subject.now() => {
            found.wake_at(due);
            None
        }
        _ => Some((Turn { step, pod: Some(pod) }, (step..wanted).filter_map(old).collect())),
    }
}

fn wait(subject: &Subject, turn: Turn, reason: Reason, why: &str, found: &mut Assessment) {
    let state = &subject.workload.rollout;
    let name = turn.pod.map_or_else(
        || format!("ordinal {}", turn.step + state.ordinals.start),
        |pod| pod.name.to_string(),
    );
    if found.phase != Phase::Failed {
        let message = format!(
            "pod by pod, {} of {} updated; the next is {name}: {why}",
            state.updated, state.wanted
        );
        found.stand(Phase::Rolling, reason, message);
        found.hold = change_id(subject.workload).map(|id| HoldStatus {
            id: id.to_string(),
            by: String::new(),
            authors: Vec::new(),
            cause: vec![Outcome::on(subject.workload).cause(subject.workload)],
            approved_by: Outcome::on(subject.workload).approved_by.unwrap_or_default(),
        });
    }
}
