//! One workload: where it stands, and what is to be done about it.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    api::{Mode, Phase, Reason},
    core::{
        clock, config,
        finding::{Assessment, Edits},
        gates::{
            self,
            app::{prepare, whom},
            blocker::GateName,
        },
        hold::{self, governance, marking, state::Hold},
        memory::{SeenTemplate, template_changed_at},
        notice::Event,
        observed::{self, Pod},
        others,
        request::{Purpose, Release},
        rollout::{
            self,
            outcome::{Ended, Outcome, Previous},
            progress::{self, Progress},
            words::{self, held_message},
        },
        subject::Subject,
        volumes,
    },
    marks::{About, ChangeId},
};

/// Assesses one workload.
pub fn assess(subject: &Subject) -> Assessment {
    let mut found = Assessment::new(subject.memory.clone(), subject.pods);
    found.memory.differs_since = None;
    if subject.ruling.observes() {
        marking::let_go(subject.workload, &mut found);
    } else if !subject.workload.deleting {
        marking::mark(subject, &mut found);
    }
    let hold = Hold::on(subject.workload).filter(|_| !subject.workload.deleting);
    found.memory.hold = hold.as_ref().map(|hold| hold.id.clone());
    hold::writers::note(subject, hold.as_ref(), &mut found);
    if !subject.ruling.observes() && !subject.ruling.is_unreadable() && !subject.workload.deleting {
        volumes::strategy::mark(subject, &mut found);
    }
    match &hold {
        Some(hold) if subject.ruling.observes() => {
            hold::release::stand_observed(subject, hold, &mut found)
        }
        Some(hold) => hold::release::assess(subject, hold, &mut found),
        None => assess_free(subject, &mut found),
    }
    match &hold {
        Some(_) => hold::release::note_scaled_first(&mut found),
        None => found.memory.scaled = None,
    }
    if subject.workload.deleting {
        (found.edits, found.roll) = (Edits::default(), None);
    }
    tidy_conversation(subject, &mut found);
    found.memory.changed_at = found.memory.changed_at.max(template_changed_at(
        subject.workload,
        subject.memory,
        subject.now(),
    ));
    found.memory.template = Some(SeenTemplate::of(subject.workload));
    tell_of_gates(subject, &mut found);
    if !subject.workload.deleting {
        marking::reserve(subject, &mut found);
    }
    others::heed(subject, &mut found);
    if !found.edits.is_empty() || found.roll.is_some() {
        heed_activity(subject, &mut found);
    }
    found.memory.last = Some((found.phase, found.reason));
    found.memory.said.clone_from(&found.message);
    found.memory.shown.clone_from(&found.hold);
    found
}

/// A workload that is not held.
fn assess_free(subject: &Subject, found: &mut Assessment) {
    let workload = subject.workload;
    found.memory.hold_of_nothing = false;
    (found.memory.broken_since, found.memory.broken_told) = (None, false);
    stand_by_progress(subject, found);
    found.lookup = rollout::lack::assess(subject, found);
    let outcome = match subject.ruling.spec().mode {
        Mode::Observe => Outcome::on(workload),
        Mode::Enforce | Mode::Freeze => hold::release::follow(subject, found),
    };
    match subject.config() {
        Some(config) if !workload.deleting => {
            config::decide::assess(subject, config, &outcome, found)
        }
        _ if subject.ruling.is_unreadable() => {}
        _ => {
            config::decide::forget(
                workload,
                *subject.siblings.previous != Previous::Nothing,
                found,
            );
            config::decide::follow_previous(subject, &outcome, found);
        }
    }
    if found.roll.is_none() && !found.talk.asks {
        rollout::walk::assess(subject, &outcome, found);
        volumes::strategy::unblock(subject, found);
    }
    if matches!(subject.progress, Progress::UnderWay(_) | Progress::Unobserved) {
        keep_drained(subject, &outcome, found);
    }
    if matches!(found.phase, Phase::Rolling | Phase::Failed)
        && outcome.ended != Ended::Done
        && outcome.is_of(workload, subject.key())
    {
        let consent = outcome.consent();
        if !consent.is_empty() {
            found.message = format!("{}; {consent}", found.message);
        }
    }
    if matches!(found.phase, Phase::Rolling | Phase::Failed)
        && let Some(conflict) = found.memory.writers.message(subject.now())
    {
        found.message = format!("{}. {conflict}", found.message);
    }
    if subject.ruling.observes() {
        hold::observed::tell(subject, found);
    }
    if found.phase == Phase::UpToDate
        && subject.ruling.spec().needs_holds()
        && !governance::holdable(workload)
    {
        let why = match workload.id.kind.can_be_held() {
            false => "a DaemonSet cannot be held",
            true => {
                "with the update strategy OnDelete any eviction starts the newest template, so it cannot be held"
            }
        };
        let message =
            format!("its policy has gates, but {why}: its template changes roll out immediately");
        found.stand(Phase::Unsupported, Reason::GatesUnsupported, message);
    }
}

/// What was said about a change that no longer waits is void, and pods that are no longer to be
/// ended may work.
fn tidy_conversation(subject: &Subject, found: &mut Assessment) {
    if let Some(gate) = subject.ruling.spec().gates.as_ref().and_then(|gates| gates.app.as_ref())
        && !subject.workload.deleting
    {
        let verified = gates::app::verify::verify(subject, gate, &mut found.talk);
        (found.gate_asked, found.unverified_gate) = (verified.asked, verified.trouble);
    }
    if !found.talk.asks {
        found.talk.conversation.turn_to(None);
    }
    let there: BTreeSet<_> = subject.pods.iter().map(|pod| &*pod.uid).collect();
    found.talk.conversation.keep_only(&there);
    let whose = (&subject.workload.id, &subject.workload.uid, &subject.ruling.policy().uid);
    prepare::withdraw(subject.namespace(), whose, subject.now(), &mut found.talk);
    found.hear_talk();
    found.memory.app = found.talk.conversation.clone();
}

/// Events and durations of gates, where they changed since the last time.
fn tell_of_gates(subject: &Subject, found: &mut Assessment) {
    let before = subject.memory.gate;
    let stays = before.map(|(reason, _)| reason) == found.closed;
    let news = found.closed.is_some_and(gates::is_told) && (!stays || found.memory.writers.untold);
    // While two undo each other, that is told in its place; and what is left of it when they have
    // stopped.
    found.memory.writers.untold = news && found.memory.writers.conflict(subject.now());
    if news && !found.memory.writers.untold {
        found.notices.push((Event::GateClosed, found.message.clone()));
    }
    found.memory.gate = match found.closed {
        Some(_) if stays => before,
        closed => closed.map(|reason| (reason, subject.now())),
    };
    if let Some((reason, since)) = before.filter(|_| !stays) {
        found.waited = Some((
            reason,
            Duration::try_from(subject.now().duration_since(since)).unwrap_or_default(),
        ));
        let goes = found.roll.is_some()
            || matches!(
                found.edits.purpose,
                Some(Purpose::Release(Release::GatesOpen) | Purpose::Step)
            );
        let next = found.closed.is_some_and(|closed| is_after(closed, reason));
        if gates::is_told(reason) && (goes || next) {
            found.notices.push((Event::GateOpen, format!("{} no longer applies", reason.as_str())));
        }
    }
}

/// Whether the gate that this reason closes is asked after the one that the other closes. What is
/// no gate's comes after all.
fn is_after(closed: Reason, other: Reason) -> bool {
    match (GateName::of(closed), GateName::of(other)) {
        (Some(closed), Some(other)) => closed > other,
        (closed, other) => closed.is_none() && other.is_some(),
    }
}

fn stand_by_progress(subject: &Subject, found: &mut Assessment) {
    let state = &subject.workload.rollout;
    let under_way = || words::under_way(subject.workload, subject.pods, subject.revisions.newest);
    let overdue = || {
        words::stuck(
            subject.workload,
            &subject.namespace().name,
            subject.pods,
            subject.revisions.newest,
            subject.now(),
        )
    };
    let wake = subject
        .pods
        .iter()
        .filter_map(|pod| observed::overdue_at(pod))
        .filter(|at| *at > subject.now())
        .min();
    wake.into_iter().for_each(|at| found.wake_at(at));
    match subject.progress {
        Progress::Done => {
            if let Some(stuck) = overdue() {
                found.stand(
                    Phase::WaitsForUser,
                    Reason::StuckTerminating,
                    format!("{stuck}. All new pods are available"),
                );
            }
        }
        Progress::Unobserved => match subject.memory.last {
            Some((Phase::UpToDate, reason)) => found.stand(Phase::UpToDate, reason, ""),
            Some((Phase::Rolling, reason)) => found.stand(Phase::Rolling, reason, under_way()),
            // A write of our own annotations raises a Deployment's generation too.
            Some((phase, reason)) if !matches!(phase, Phase::Held | Phase::Failed) => {
                found.stand(phase, reason, subject.memory.said.as_str())
            }
            _ => found.stand(Phase::Rolling, Reason::RolloutUnderWay, under_way()),
        },
        Progress::UnderWay(due) => {
            found.stand(Phase::Rolling, Reason::RolloutUnderWay, under_way());
            found.wake_at(due);
            if let Some(stuck) = overdue() {
                found.stand(
                    Phase::Rolling,
                    Reason::StuckTerminating,
                    format!("{}; {stuck}", words::counts(state)),
                );
            }
            if let Some(stuck) = stuck_behind(subject, false) {
                found.stand(Phase::Rolling, Reason::StuckBehindPod, stuck);
            }
        }
        Progress::Failed(since) => match (stuck_behind(subject, true), overdue()) {
            (Some(stuck), _) => found.stand(Phase::Failed, Reason::StuckBehindPod, stuck),
            (None, Some(stuck)) => found.stand(
                Phase::Failed,
                Reason::StuckTerminating,
                format!("{}; {stuck}", words::counts(state)),
            ),
            (None, None) => {
                let cure = match state.failure {
                    Some(_) => "It continues automatically when pods can be created",
                    None => {
                        "It continues automatically if the pods become ready; otherwise fix the template or the config"
                    }
                };
                let message =
                    format!("no progress since {}: {}. {cure}", clock(since), under_way());
                found.stand(Phase::Failed, Reason::DeadlineExceeded, message);
            }
        },
        Progress::Held(hold) => found.stand(
            Phase::WaitsForUser,
            hold.reason(),
            held_message(hold, &words::counts(state)),
        ),
    }
}

/// A StatefulSet whose controller waits for a broken pod of another revision than the newest, which
/// it will not replace (kubernetes#67250): the pod, and the cure. Before the deadline only a pod
/// that says why it cannot run counts.
fn stuck_behind(subject: &Subject, late: bool) -> Option<String> {
    let current = subject.revisions.newest.filter(|_| subject.workload.id.kind.has_ordinals())?;
    let broken = |pod: &&&Pod| {
        pod.revision.as_deref() != Some(current)
            && !pod.ready
            && pod.terminating.is_none()
            && (late || pod.trouble.is_some())
    };
    let pod = subject.pods.iter().find(broken)?;
    let trouble = pod
        .ails
        .as_ref()
        .or(pod.trouble.as_ref())
        .map_or_else(String::new, |trouble| format!(" ({trouble})"));
    Some(format!(
        "the StatefulSet controller waits for pod {}{trouble}, which is of an older revision and not ready, and does not replace it \
         (kubernetes#67250). Delete it: kubectl delete pod {}",
        pod.name, pod.name
    ))
}

/// One request at a time, and after a failure only when its pause is over.
fn heed_activity(subject: &Subject, found: &mut Assessment) {
    if subject.activity.in_flight && found.roll.is_some() {
        found.begin_roll();
    }
    if let Some(trouble) = &subject.activity.trouble {
        let (reason, word) = match trouble.refused {
            true => (Reason::PatchRefused, "refused"),
            false => (Reason::PatchFailing, "not answered"),
        };
        let message = format!(
            "the patch of this workload was {word}: {}. Lockkeeper retries at least every 5 minutes",
            trouble.message
        );
        match found.phase {
            _ if trouble.needs_hold => {}
            Phase::Failed => {}
            Phase::Held => found.stand(Phase::Held, reason, message),
            _ => found.stand(Phase::Waiting, reason, message),
        }
        if trouble.retry_at > subject.now() {
            found.wake_at(trouble.retry_at);
            found.edits = Edits::default();
            found.roll = None;
        }
    }
    if subject.activity.in_flight {
        found.edits = Edits::default();
        found.roll = None;
    }
}

/// Pods take no new work until they are gone, also after what ends them was let through. Where that
/// makes no progress any more, they are the ones that are left to work; if it goes on, they are
/// asked again.
fn keep_drained(subject: &Subject, outcome: &Outcome, found: &mut Assessment) {
    let (workload, state) = (subject.workload, &subject.workload.rollout);
    // Written down as failed, it may go on all the same.
    let ours = outcome.change.is_some()
        && outcome.ended != Ended::Done
        && outcome.is_of(workload, subject.key());
    let gate = subject
        .ruling
        .spec()
        .app_gate(&[outcome.cause(workload)])
        .filter(|gate| gate.prepare.is_some() && ours);
    let Some(gate) = gate.filter(|_| !subject.ruling.observes() && !workload.deleting) else {
        return;
    };
    let Ok(gate) = gates::app::for_workload(gate, workload) else { return };
    if !state.observed {
        return found.talk.go_on();
    }
    let lowest = state.ordinals.step.unwrap_or(state.ordinals.declared);
    let old = whom::from(workload, subject.pods, lowest)
        .filter(|pod| progress::is_old(workload, pod, subject.revisions.newest));
    let pods: Vec<_> = old.collect();
    if !pods.is_empty() {
        let id = outcome.change.as_ref().and_then(|change| change.parse::<ChangeId>().ok());
        let about = id.map(About::from);
        prepare::drain(subject, &gate, about.as_ref(), &pods, &mut found.talk);
    }
}
