//! The whole story of one workload.

use std::{cmp::Ordering, process::ExitCode};

use jiff::Timestamp;
use lockkeeper::{
    api::{Attention, ChangeCause, Phase, UpgradePolicySpec, marks},
    core::{
        gates::{self, Change, Closed, Gate},
        governs::GovernanceMark,
        hold::{
            marking,
            state::{Hold, approved_by, command},
        },
        rollout::walk,
        world::{Pod, Policy, Workload, WorkloadId},
    },
    shell::clock,
};

use crate::cluster::{Cluster, Failure, Seen};

/// Tells it.
pub async fn run(cluster: &Cluster, id: &WorkloadId) -> Result<ExitCode, Failure> {
    let seen = cluster.read().await?;
    let workload = seen.workload(id)?;
    let events = cluster.events(id).await?;
    print!("{}", story(&seen, workload, &events, clock::now()));
    Ok(ExitCode::SUCCESS)
}

/// The story as text.
fn story(seen: &Seen, workload: &Workload, events: &[(Timestamp, String, String)], now: Timestamp) -> String {
    let mut text = String::new();
    let mut say = |line: String| text += &format!("{line}\n");
    say(format!("{} in namespace {}", workload.id, seen.world.name));
    let mark = GovernanceMark::on(workload);
    let policy = mark.as_ref().and_then(|mark| seen.world.policies.get(&mark.policy));
    match (&mark, policy) {
        (Some(mark), Some(_)) => say(format!("  Policy    {}", mark.policy)),
        (Some(mark), None) => say(format!("  Policy    {} governed it, and is gone", mark.policy)),
        (None, _) => say("  Policy    none governs it".to_owned()),
    }
    let attention = seen.attention(&workload.id);
    match attention {
        Some(one) => say(format!("  Phase     {} ({}) since {}\n            {}", one.phase, one.reason.as_str(), one.since, one.message)),
        None if mark.is_some() => say(format!("  Phase     {}", Phase::UpToDate)),
        None => {}
    }
    if let Some(condition) = policy.and_then(|policy| {
        policy.status.conditions.iter().find(|condition| condition.type_ == "HoldsEnforced" && condition.status != "True")
    }) {
        say(format!("  Holds     NOT enforced ({}): {}", condition.reason, condition.message));
    }
    let changed = attention.map_or(&[][..], |one| &one.changed);
    if !changed.is_empty() {
        say(format!("  Changed   {}", changed.join(", ")));
    }
    if let Some((id, by, causes)) = waiting(workload) {
        say(format!("  Change    id {id}{}", by.as_ref().map_or_else(String::new, |by| format!(", made by {by}"))));
        if let Some((policy, spec)) = policy.and_then(|policy| Some((policy, policy.spec.as_ref().ok()?))) {
            say("  Gates".to_owned());
            for (name, gate) in ask(seen, workload, policy, spec, (&id, by.as_deref(), causes), now) {
                say(match gate {
                    Gate::Open => format!("    {name:<9} open"),
                    Gate::Closed(Closed { message, .. }) => format!("    {name:<9} closed: {message}"),
                });
            }
            for (name, what) in asked_by_the_operator(spec, attention) {
                say(format!("    {name:<9} {what}"));
            }
        }
        say(format!("  Past every gate, with the right to: {}", command(&seen.world, &workload.id, marks::BYPASS, &id)));
    }
    say(format!(
        "  Rollout   {} of {} pods updated, {} available",
        workload.rollout.updated, workload.rollout.wanted, workload.rollout.available
    ));
    let current = seen.current(workload).unwrap_or_default();
    for pod in seen.pods(workload) {
        let revision = pod.revision.as_deref().unwrap_or_default();
        say(format!(
            "    {:<40} {}{}{}{}",
            pod.name,
            if pod.ready { "ready" } else { "not ready" },
            if revision == current { "" } else { ", of another revision" },
            pod.trouble.as_ref().map_or_else(String::new, |trouble| format!(", {trouble}")),
            said(attention, pod),
        ));
    }
    if !workload.template.references.is_empty() {
        let references: Vec<_> = workload.template.references.iter().map(ToString::to_string).collect();
        say(format!("  Reads     {}", references.join(", ")));
    }
    if !events.is_empty() {
        say("  Events".to_owned());
        for (time, reason, note) in events {
            say(format!("    {}  {reason}: {note}", time.strftime("%H:%M:%S")));
        }
    }
    if marking::is_marked(workload) && attention.is_none() {
        say("  A change of its template would be held.".to_owned());
    }
    text
}

/// What a pod said when the operator asked it whether it may be ended.
fn said(attention: Option<&Attention>, pod: &Pod) -> String {
    let answers = attention.map_or(&[][..], |one| &one.answers);
    let Some(answer) = answers.iter().find(|answer| *answer.pod == *pod.name) else { return String::new() };
    let since = answer.since.map_or_else(String::new, |since| format!(" since {}", since.strftime("%H:%M:%S")));
    let words = if answer.words.is_empty() { String::new() } else { format!(": {}", answer.words) };
    format!(", says {}{since}{words}", answer.answer)
}

/// The gates that only the operator can ask, as it has reported them: the turn of the workload, and its pods.
fn asked_by_the_operator(spec: &UpgradePolicySpec, attention: Option<&Attention>) -> Vec<(&'static str, String)> {
    let rank = attention.map_or(0, |one| gates::rank(one.reason));
    let message = || attention.map_or_else(String::new, |one| one.message.clone());
    let mut gates = Vec::new();
    if spec.rollout.as_ref().is_some_and(|rollout| rollout.max_concurrent.is_some() || !rollout.steps.is_empty()) {
        gates.push((
            "steps",
            match rank.cmp(&gates::STEPS) {
                Ordering::Less => "not asked before those above are open".to_owned(),
                Ordering::Equal => format!("closed: {}", message()),
                Ordering::Greater => "open".to_owned(),
            },
        ));
    }
    if spec.gates.as_ref().is_some_and(|gates| gates.app.is_some()) {
        gates.push((
            "app",
            match rank.cmp(&gates::APP) {
                Ordering::Less => "the pods are not asked before those above are open".to_owned(),
                Ordering::Equal => format!("closed: {}", message()),
                Ordering::Greater => "open".to_owned(),
            },
        ));
    }
    gates
}

/// The change that waits: its id, who made it, and what it consists of.
pub fn waiting(workload: &Workload) -> Option<(String, Option<String>, &'static [ChangeCause])> {
    if let Some(hold) = Hold::on(workload) {
        return Some((hold.id, Some(hold.by), &[ChangeCause::Template]));
    }
    if let Some(id) = workload.marks.get(marks::PENDING_CONFIG) {
        return Some((id.clone(), None, &[ChangeCause::Config]));
    }
    // Pods go one by one, and some are left.
    let id = walk::change_id(workload).filter(|_| marking::holds_back(workload))?;
    Some((id.to_owned(), None, &[ChangeCause::Template]))
}

/// Asks those gates that need nothing but the policy, the change and the time.
pub fn ask(
    seen: &Seen,
    workload: &Workload,
    policy: &Policy,
    spec: &UpgradePolicySpec,
    (id, by, causes): (&str, Option<&str>, &[ChangeCause]),
    now: Timestamp,
) -> Vec<(&'static str, Gate)> {
    let change = Change {
        namespace: &seen.world,
        workload: &workload.id,
        causes,
        id,
        by,
        recorded: true,
        approved_by: approved_by(workload, id),
        since: now,
        last_change: now,
    };
    gates::each(policy, spec, false, &change, now)
}
