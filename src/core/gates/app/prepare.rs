//! Pods are asked to take no new work, so that what they have comes to an end. They keep to it for
//! a minute, and are asked again until they are gone; a crash of ours drains nobody for longer. On
//! every way out they are told that they may take work again.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;

use crate::{
    api::{AppGate, Otherwise},
    core::{
        conversation::{Call, Errand, Visit, place},
        gates::{
            app::{for_workload::for_workload, whom},
            blocker::Unprepared,
            talk::Talk,
            words,
        },
        later,
        notice::Event,
        observed::{Namespace, Pod, Uid, WorkloadId},
        rollout::{
            outcome::{Ended, Outcome},
            progress::old_pods,
        },
        subject::Subject,
    },
    marks::{About, ChangeId},
};

/// Between one time and the next that a pod is asked.
const RENEW_EVERY: Duration = Duration::from_secs(20);
/// After it did not agree.
const RETRY_EVERY: Duration = Unprepared::RETRY_EVERY;

/// Asks the pods that a change would end to take no new work; says what that waits for.
pub fn ask(
    subject: &Subject,
    gate: &AppGate,
    about: Option<&About>,
    pods: &[&Pod],
    talk: &mut Talk,
) -> Option<Unprepared> {
    let prepare = gate.prepare.as_ref()?;
    let (now, timeout) = (subject.now(), &prepare.timeout);
    if let Some(until) = talk.conversation.respite.filter(|until| *until > now) {
        return Some(Unprepared::Respite { timeout: timeout.clone(), until });
    }
    let since = match (talk.conversation.preparing_since, talk.conversation.respite) {
        (Some(since), None) => since,
        _ => now,
    };
    (talk.conversation.preparing_since, talk.conversation.respite) = (Some(since), None);
    let end = later(since, timeout.length());
    if end <= now {
        let until = later(now, timeout.length());
        talk.conversation.respite = Some(until);
        // What was said before it no longer counts.
        talk.conversation.round = None;
        talk.conversation.readings.clear();
        let blocked = Unprepared::TimedOut { timeout: timeout.clone(), until };
        talk.notices.push((Event::PrepareTimedOut, words::of_prepare(&blocked)));
        return Some(blocked);
    }
    talk.wake_at(end);
    drain(subject, gate, about, pods, talk);
    // Only when none takes new work is it worth asking whether they are done with what they have.
    let mut refused = None;
    for pod in pods.iter().filter(|pod| pod.reach.running) {
        let Ok(visit) = place(pod, gate, subject.templates()) else { continue };
        let known = talk.conversation.prepared.get(&pod.uid);
        match known.filter(|one| one.visit.restarts == visit.restarts) {
            None => return Some(Unprepared::Asking),
            Some(one)
                if one.agreed_until.is_none_or(|until| until <= now)
                    && pod.ready
                    && gate.when_unreachable == Otherwise::Hold =>
            {
                refused = refused.or_else(|| Some((pod, one.refused.clone())));
            }
            Some(_) => {}
        }
    }
    let (pod, why) = refused?;
    Some(Unprepared::Refused {
        pod: pod.name.to_string(),
        why: why.unwrap_or_else(|| "its time ran out".to_owned()),
        path: prepare.path.clone(),
    })
}

/// Asks these pods to take no new work, or to go on so.
pub fn drain(
    subject: &Subject,
    gate: &AppGate,
    about: Option<&About>,
    pods: &[&Pod],
    talk: &mut Talk,
) {
    if gate.prepare.is_none() {
        return;
    }
    let mut visits = Vec::new();
    for pod in pods.iter().filter(|pod| pod.reach.running && pod.terminating.is_none()) {
        let Ok(visit) = place(pod, gate, subject.templates()) else { continue };
        talk.draining.insert(pod.uid.clone());
        let known = talk.conversation.prepared.get(&pod.uid);
        let known = known.filter(|one| one.visit.restarts == visit.restarts);
        let due = known.map_or(subject.now(), |one| {
            later(one.tried, if one.refused.is_some() { RETRY_EVERY } else { RENEW_EVERY })
        });
        match due {
            due if due <= subject.now() => visits.push(visit),
            due => talk.wake_at(due),
        }
    }
    if !visits.is_empty() && !talk.conversation.calling.contains(&Errand::Withdraw) {
        // The same change as before, also when it is known by another name by now.
        let known = visits.iter().find_map(|visit| talk.conversation.prepared.get(&visit.pod));
        let about = known.map_or_else(|| about.cloned(), |one| one.about.clone());
        talk.call(subject, Errand::Prepare, about, gate, visits);
    }
}

/// Pods take no new work until they are gone, also after what ends them was let through. Where that
/// makes no progress any more, they are the ones that are left to work; if it goes on, they are
/// asked again.
pub fn keep_drained(subject: &Subject, outcome: &Outcome, mut talk: Talk) -> Talk {
    let (workload, state) = (subject.workload, &subject.workload.rollout);
    // Written down as failed, it may go on all the same.
    let ours = outcome.change.is_some()
        && outcome.ended != Ended::Done
        && outcome.is_of(workload, subject.key());
    let acts = !subject.ruling.observes() && !workload.deleting;
    let gate = subject.ruling.spec().app_gate(&[outcome.cause(workload)]);
    let Some(gate) = gate.filter(|gate| gate.prepare.is_some() && ours && acts) else {
        return talk;
    };
    let Ok(gate) = for_workload(gate, workload) else { return talk };
    if !state.observed {
        talk.go_on();
        return talk;
    }
    let lowest = state.ordinals.step.unwrap_or(state.ordinals.declared);
    let pods: Vec<_> = whom::from(workload, subject.pods, lowest).collect();
    let old: Vec<_> = old_pods(workload, &pods, subject.revisions.newest).collect();
    if !old.is_empty() {
        let id = outcome.change.as_ref().and_then(|change| change.parse::<ChangeId>().ok());
        drain(subject, &gate, id.map(About::from).as_ref(), &old, &mut talk);
    }
    talk
}

/// Tells pods that are no longer to be ended that they may take work again. Those that are gone are
/// forgotten.
pub fn withdraw(
    namespace: &Namespace,
    (workload, uid, policy): (&WorkloadId, &Uid, &Uid),
    now: Timestamp,
    talk: &mut Talk,
) {
    let Talk { conversation: app, draining, .. } = talk;
    // Without a policy its pods are not watched.
    let watched = !namespace.policies.is_empty();
    app.prepared.retain(|pod, one| {
        let there = !watched
            || namespace
                .pods
                .get(pod)
                .is_some_and(|pod| pod.terminating.is_none() && pod.restarts == one.visit.restarts);
        there && (draining.contains(pod) || one.until.is_some_and(|until| until > now))
    });
    if app.calling.contains(&Errand::Prepare) || app.calling.contains(&Errand::Withdraw) {
        return;
    }
    let mut visits: Vec<Visit> = Vec::new();
    let mut told: Option<(AppGate, Option<About>)> = None;
    let mut wake = None;
    let spared = app.prepared.iter().filter(|(pod, _)| !draining.contains(*pod));
    for (_, one) in spared.filter(|(_, one)| one.until.is_some()) {
        // Told in vain, it is told again; its time runs out anyway.
        let again = later(one.tried, RETRY_EVERY);
        if app.withdrawn.contains(&one.visit.pod) && again > now {
            wake = [wake, Some(again)].into_iter().flatten().min();
        } else if told.as_ref().is_none_or(|(gate, about)| *gate == one.gate && *about == one.about)
        {
            told = Some((one.gate.clone(), one.about.clone()));
            visits.push(one.visit.clone());
        }
    }
    let prepared: BTreeSet<_> = app.prepared.keys().cloned().collect();
    app.withdrawn.retain(|pod| prepared.contains(pod) && !draining.contains(pod));
    app.withdrawn.extend(visits.iter().map(|visit| visit.pod.clone()));
    if let Some((gate, about)) = told {
        app.calling.insert(Errand::Withdraw);
        talk.calls.push(Call {
            workload: workload.clone(),
            uid: uid.clone(),
            policy: policy.clone(),
            about,
            errand: Errand::Withdraw,
            gate,
            visits,
        });
    }
    if let Some(wake) = wake {
        talk.wake_at(wake);
    }
}
