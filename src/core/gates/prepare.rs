//! Pods are asked to take no new work, so that what they have comes to an end. They keep to it for
//! a minute, and are asked again until they are gone; a crash of ours drains nobody for longer. On
//! every way out they are told that they may take work again.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;

use crate::{
    api::{AppGate, Otherwise, Reason},
    core::{
        clock,
        conversation::{Call, Errand, Prepared, Visit, place},
        finding::Assessment,
        gates::gate::Closed,
        later,
        notice::Event,
        observed::{Namespace, Pod, Uid, WorkloadId},
        subject::Subject,
    },
};

/// Between one time and the next that a pod is asked.
const RENEW_EVERY: Duration = Duration::from_secs(20);
/// After it did not agree.
const RETRY_EVERY: Duration = Duration::from_secs(5);

/// Asks the pods that a change would end to take no new work; says what that waits for.
pub fn ask(
    subject: &Subject,
    gate: &AppGate,
    change: &str,
    pods: &[&Pod],
    found: &mut Assessment,
) -> Option<Closed> {
    let prepare = gate.prepare.as_ref()?;
    let now = subject.now();
    if let Some(until) = found.memory.app.respite.filter(|until| *until > now) {
        let message = format!(
            "its pods were asked to take no new work for {}, and were not idle in that time; they may work until {}, then it is tried again",
            prepare.timeout,
            clock(until)
        );
        return Some(Closed { reason: Reason::PrepareTimedOut, message, ask_again: Some(until) });
    }
    let since = match (found.memory.app.preparing_since, found.memory.app.respite) {
        (Some(since), None) => since,
        _ => now,
    };
    (found.memory.app.preparing_since, found.memory.app.respite) = (Some(since), None);
    let end = later(since, prepare.timeout.length());
    if end <= now {
        let until = later(now, prepare.timeout.length());
        found.memory.app.respite = Some(until);
        // What was said before it no longer counts.
        found.memory.app.round = None;
        found.memory.app.readings.clear();
        let message = format!(
            "its pods were not idle within {} (prepare.timeout); they may take work until {}",
            prepare.timeout,
            clock(until)
        );
        found.notices.push((Event::PrepareTimedOut, message.clone()));
        return Some(Closed { reason: Reason::PrepareTimedOut, message, ask_again: Some(until) });
    }
    found.wake_at(end);
    drain(subject, gate, change, pods, found);
    // Only when none takes new work is it worth asking whether they are done with what they have.
    let mut refused = None;
    for pod in pods.iter().filter(|pod| pod.reach.running) {
        let Ok(visit) = place(pod, gate, subject.templates()) else { continue };
        let known = found
            .memory
            .app
            .prepared
            .get(&pod.uid)
            .filter(|one| one.visit.restarts == visit.restarts);
        match known {
            None => {
                let message = "asking its pods to take no new work".to_owned();
                return Some(Closed { reason: Reason::AskingPods, message, ask_again: None });
            }
            Some(one)
                if one.agreed_until.is_none_or(|until| until <= now)
                    && pod.ready
                    && gate.when_unreachable == Otherwise::Hold =>
            {
                refused = refused.or(Some((
                    &pod.name,
                    one.refused.clone().unwrap_or_else(|| "its time ran out".to_owned()),
                )));
            }
            Some(_) => {}
        }
    }
    let (name, why) = refused?;
    let message = format!(
        "{name} does not stop taking new work (POST {}): {why}; it is asked again every {} s (whenUnreachable: Hold)",
        prepare.path,
        RETRY_EVERY.as_secs()
    );
    Some(Closed { reason: Reason::AppUnreachable, message, ask_again: None })
}

/// Asks these pods to take no new work, or to go on so.
pub fn drain(
    subject: &Subject,
    gate: &AppGate,
    change: &str,
    pods: &[&Pod],
    found: &mut Assessment,
) {
    if gate.prepare.is_none() {
        return;
    }
    let mut visits = Vec::new();
    for pod in pods.iter().filter(|pod| pod.reach.running && pod.terminating.is_none()) {
        let Ok(visit) = place(pod, gate, subject.templates()) else { continue };
        found.draining.insert(pod.uid.clone());
        let known = found
            .memory
            .app
            .prepared
            .get(&pod.uid)
            .filter(|one| one.visit.restarts == visit.restarts);
        let due = known.map_or(subject.now(), |one| {
            later(one.tried, if one.refused.is_some() { RETRY_EVERY } else { RENEW_EVERY })
        });
        match due {
            due if due <= subject.now() => visits.push(visit),
            due => found.wake_at(due),
        }
    }
    if !visits.is_empty() && !found.memory.app.calling.contains(&Errand::Withdraw) {
        // The same change as before, also when it is known by another name by now.
        let known = visits.iter().find_map(|visit| found.memory.app.prepared.get(&visit.pod));
        let change = known.map_or_else(|| change.to_owned(), |one| one.change.clone());
        found.call(subject, Errand::Prepare, &change, gate, visits);
    }
}

/// Tells pods that are no longer to be ended that they may take work again. Those that are gone are
/// forgotten.
pub fn withdraw(
    namespace: &Namespace,
    (workload, uid, policy): (&WorkloadId, &Uid, &Uid),
    draining: &BTreeSet<Uid>,
    now: Timestamp,
    found: &mut Assessment,
) {
    let app = &mut found.memory.app;
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
    let spared = |(pod, one): &(&Uid, &Prepared)| !draining.contains(*pod) && one.until.is_some();
    // Told in vain, it is told again; its time runs out anyway.
    let again = |one: &Prepared| later(one.tried, RETRY_EVERY);
    let told_before = |one: &Prepared| app.withdrawn.contains(&one.visit.pod);
    let due = |one: &Prepared| !told_before(one) || again(one) <= now;
    let mut visits: Vec<Visit> = Vec::new();
    let mut told: Option<(AppGate, String)> = None;
    let mut wake = None;
    for (_, one) in app.prepared.iter().filter(spared) {
        if !due(one) {
            wake = [wake, Some(again(one))].into_iter().flatten().min();
        } else if told
            .as_ref()
            .is_none_or(|(gate, change)| *gate == one.gate && *change == one.change)
        {
            told = Some((one.gate.clone(), one.change.clone()));
            visits.push(one.visit.clone());
        }
    }
    let prepared: BTreeSet<_> = app.prepared.keys().cloned().collect();
    app.withdrawn.retain(|pod| prepared.contains(pod) && !draining.contains(pod));
    app.withdrawn.extend(visits.iter().map(|visit| visit.pod.clone()));
    if let Some((gate, change)) = told {
        app.calling.insert(Errand::Withdraw);
        found.calls.push(Call {
            workload: workload.clone(),
            uid: uid.clone(),
            policy: policy.clone(),
            change,
            errand: Errand::Withdraw,
            gate,
            visits,
        });
    }
    if let Some(wake) = wake {
        found.wake_at(wake);
    }
}
