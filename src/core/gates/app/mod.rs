//! The running pods are asked whether they may be ended. Asked are exactly those that the release
//! would end, in rounds; the gate is open while every one that counts has said yes in the last
//! rounds.

pub mod for_workload;
pub mod prepare;
pub mod tally;
pub mod verify;
pub mod whom;

use jiff::Timestamp;

pub use self::{for_workload::for_workload, whom::Question};
use crate::{
    api::{AppGate, UpgradePolicySpec},
    core::{
        conversation::{Conversation, Errand, Visit, place},
        gates::{
            blocker::{App, Blocker, GateName},
            change::Change,
            gate::{Answer, Gate, Needs, applies_to},
            talk::Talk,
        },
        later,
        observed::{Pod, UserHold},
        subject::Subject,
    },
    marks::About,
};

/// The gate.
pub const GATE: Gate = Gate {
    name: GateName::App,
    needs: Needs::Pods("until its pods agree"),
    is_set,
    applies: applies_to,
    ask,
};

fn is_set(spec: &UpgradePolicySpec) -> bool {
    spec.gates.as_ref().is_some_and(|gates| gates.app.is_some())
}

/// Asks the pods that the change would end.
fn ask(subject: &Subject, change: &Change) -> Answer {
    let Some(gate) = subject.ruling.spec().app_gate(change.causes) else { return Answer::open() };
    if subject.workload.rollout.held == Some(UserHold::Paused) {
        return Answer::closed(Blocker::App(App::Paused));
    }
    ask_about(subject, gate, &Question::of(subject, change))
}

/// Asks the pods, or says what they said.
pub fn ask_about(subject: &Subject, gate: &AppGate, question: &Question) -> Answer {
    let mut talk = Talk::of(subject.memory.app.clone());
    talk.asks = true;
    talk.conversation.turn_to(question.about.as_ref());
    let blocker = judge(subject, gate, question, &mut talk).map(Blocker::App);
    Answer { blocker, talk: Some(Box::new(talk)), ..Answer::open() }
}

fn judge(subject: &Subject, gate: &AppGate, question: &Question, talk: &mut Talk) -> Option<App> {
    let gate = match for_workload(gate, subject.workload) {
        Ok(gate) => gate,
        Err(wrong) => return Some(App::Invalid(wrong)),
    };
    if let Some(unseen) = unseen(subject) {
        talk.go_on();
        return Some(unseen);
    }
    // Those that are ending anyway are not ended by this.
    let pods: Vec<_> =
        question.pods.iter().copied().filter(|pod| pod.terminating.is_none()).collect();
    if pods.is_empty() {
        return None;
    }
    if !question.reverts
        && let Some(unprepared) = prepare::ask(subject, &gate, question.about.as_ref(), &pods, talk)
    {
        return Some(App::Prepare(unprepared));
    }
    let (asked, now) = ((pods.as_slice(), subject.templates()), subject.now());
    let nobody = tally::counts_nobody(&gate, question, asked, &talk.conversation, now);
    let nobody_since = talk.conversation.nobody_since.unwrap_or(now);
    talk.conversation.nobody_since = nobody.then_some(nobody_since);
    let verdict = tally::judge(&gate, question, asked, &talk.conversation, now);
    if !pods.iter().any(|pod| pod.reach.running && place(pod, &gate, subject.templates()).is_ok()) {
        // Nobody can be asked, so there is no round to wait for.
        if let Some(App::NobodyLeft { until, .. }) = verdict {
            talk.wake_at(until);
        }
        return verdict;
    }
    let due = due(subject, &gate, &pods, &talk.conversation);
    let calling = talk.conversation.calling.contains(&Errand::Ask);
    // What was said counts for as long as it would until the next round, however long the round
    // took.
    let last = talk.conversation.round.map(|(_, ended)| later(ended, gate.period.length()));
    let fresh = last.is_some_and(|until| until > now) && due.is_some() && !calling;
    if verdict.is_none() && fresh {
        return None;
    }
    call(subject, &gate, question.about.as_ref(), &pods, due, talk);
    verdict.or(Some(App::Asking))
}

/// Pods come on another watch than their workload, and to a Deployment only by its ReplicaSets. As
/// long as there are more than were seen, nobody can say whom a release would end.
fn unseen(subject: &Subject) -> Option<App> {
    let (workload, current) = (subject.workload, subject.workload.rollout.current as usize);
    let behind = if workload.id.kind.capabilities().counts_terminating {
        // And those that have ended and stay for a while.
        let all = subject.namespace().pods.of(&workload.uid);
        let ended = all.filter(|(_, pod)| pod.finished && !pod.is_leaving());
        subject.pods.len() < current && subject.pods.len() + ended.count() < current
    } else {
        subject.pods.iter().filter(|pod| !pod.is_leaving()).count() < current
    };
    // It is told once that the gate is closed, not each time that a pod appears.
    let told = subject.memory.gate.filter(|(closed, _)| closed.gate == GateName::App);
    behind.then_some(App::Unseen(told.map(|(closed, _)| closed.reason)))
}

/// When the next round is due; none: at once.
fn due(subject: &Subject, gate: &AppGate, pods: &[&Pod], said: &Conversation) -> Option<Timestamp> {
    let (begun, ended) = said.round?;
    let unknown = pods.iter().any(|pod| {
        pod.reach.running
            && said.reading(pod).is_none()
            && place(pod, gate, subject.templates()).is_ok()
    });
    (!unknown).then(|| later(begun, gate.period.length()).max(ended))
}

/// Begins a round, if it is time for one.
fn call(
    subject: &Subject,
    gate: &AppGate,
    about: Option<&About>,
    pods: &[&Pod],
    due: Option<Timestamp>,
    talk: &mut Talk,
) {
    if let Some(due) = due.filter(|due| *due > subject.now()) {
        return talk.wake_at(due);
    }
    let said = &talk.conversation;
    let asked = pods.iter().filter(|pod| {
        pod.reach.running
            && said.reading(pod).is_none_or(|reading| reading.not_before <= subject.now())
    });
    let visits: Vec<Visit> =
        asked.filter_map(|pod| place(pod, gate, subject.templates()).ok()).collect();
    if visits.is_empty() {
        // Nobody can be asked now: those that hang have their pause, the others' watch tells when
        // they can.
        let next = pods
            .iter()
            .filter_map(|pod| said.reading(pod))
            .map(|reading| reading.not_before)
            .filter(|time| *time > subject.now())
            .min();
        return next.into_iter().for_each(|time| talk.wake_at(time));
    }
    talk.call(subject, Errand::Ask, about.cloned(), gate, visits);
}
