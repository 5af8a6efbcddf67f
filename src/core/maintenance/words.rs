//! What is told of maintenance.

use jiff::Timestamp;

use crate::{
    api::marks,
    core::{
        clock,
        gates::words::command,
        hold::state::Hold,
        maintenance::{
            Impossible,
            wanted::{self, Wanted},
        },
        observed::{Namespace, Pod, WorkloadId, workload::reference_of},
        subject::Subject,
    },
    marks::InMaintenance,
};

/// Why it cannot begin.
pub const fn impossible(why: Impossible) -> &'static str {
    match why {
        Impossible::NoReplicas => "a DaemonSet has no replicas to take away",
        Impossible::NotEnforced => {
            "Lockkeeper's admission policies are not in force, as the condition HoldsEnforced says. It begins when they are"
        }
        Impossible::Observed => {
            "its policy only observes (mode: Observe). Set mode: Enforce in the policy, and it begins"
        }
        Impossible::ClaimsGo => {
            "maintenance sets replicas to 0, and persistentVolumeClaimRetentionPolicy.whenScaled: Delete would then delete its claims. Set whenScaled: Retain first"
        }
        Impossible::OlderPods => {
            "its manifest keeps some of its pods on an older revision (paused, a partition, or OnDelete), and after maintenance all pods would be of the newest one. Finish \
             that rollout or revert it first"
        }
    }
}

/// Who asked for it, and why.
pub fn by(wanted: &Wanted) -> String {
    match wanted.asked {
        Some((user, Some(reason))) => format!(", requested by {user} ({reason})"),
        Some((user, None)) => format!(", requested by {user}"),
        None if wanted.is_some() => ", declared in its policy".to_owned(),
        None => String::new(),
    }
}

fn of(subject: &Subject) -> String {
    by(&wanted::wanted(subject.workload, subject.ruling))
}

fn since(at: Option<Timestamp>) -> String {
    at.map_or_else(String::new, |at| format!(" since {}", clock(at)))
}

/// The command that ends a maintenance.
pub fn end_command(subject: &Subject) -> String {
    let (workload, namespace) = (reference_of(subject.workload), &subject.namespace().name);
    format!("kubectl lockkeeper maintenance end {workload} -n {namespace}")
}

/// That it cannot begin.
pub fn cannot_begin(subject: &Subject, why: Impossible) -> String {
    format!("maintenance{} does not begin: {}", of(subject), impossible(why))
}

/// That a gate keeps it from beginning.
pub fn waits(subject: &Subject, why: &str) -> String {
    format!("maintenance{} waits: {why}", of(subject))
}

/// That it begins.
pub fn begins(subject: &Subject, held: Option<&Hold>) -> String {
    let change = held.map_or_else(String::new, |hold| {
        format!(
            ". Its held change {} is in the template, and starts when the maintenance ends",
            hold.id
        )
    });
    format!(
        "maintenance begins{}: its pods are stopped, and its app starts again when it ends{change}",
        of(subject)
    )
}

/// That its pods are stopping. `unready`: those for which the controller of a StatefulSet may wait
/// before it deletes the others.
pub fn stopping(subject: &Subject, pods: usize, unready: &[&str]) -> String {
    let left = if pods == 1 { "1 pod".to_owned() } else { format!("{pods} pods") };
    let stuck = match unready {
        [] | [_] => String::new(),
        names => format!(
            ". The controller of a StatefulSet may wait for pods that are not Ready. If nothing moves: kubectl delete pod -n {} {}",
            subject.namespace().name,
            names.join(" ")
        ),
    };
    format!("maintenance{}: stopping, {left} left{stuck}", of(subject))
}

/// That admission did not do what follows from the mark.
pub const NOT_STOPPED: &str = "maintenance was begun, but admission did not stop the workload: its pods may run. The condition HoldsEnforced says what is missing. \
    It stops with the next write when admission is in force";

/// That it is stopped.
pub fn stopped(subject: &Subject, at: Option<Timestamp>, held: Option<&Hold>) -> String {
    format!(
        "in maintenance{}{}: no pod runs. It starts again when the maintenance ends{}",
        since(at),
        of(subject),
        held_until("then", held)
    )
}

/// That it cannot go on.
pub fn cannot_go_on(why: Impossible) -> String {
    format!("its maintenance does not go on: {}", impossible(why))
}

/// That it waits for a gate of what is held before its pods sleep.
pub fn sleep_waits(hold: &Hold, why: &str) -> String {
    format!("its pods are to sleep in change {}, which is held: {why}", hold.id)
}

/// That it is over, although not all pods are there.
pub fn over(at: Option<Timestamp>, pods: &str) -> String {
    format!("its maintenance{} is over, but not all of its pods are available: {pods}", since(at))
}

/// That all its pods have ended, and that it gets pods that sleep.
pub fn to_sleep(subject: &Subject) -> String {
    let user = of(subject);
    format!("maintenance{user}: its pods are stopped, and are to start again asleep")
}

/// That its pods sleep: so many are ready for commands, and so many do not start.
pub fn asleep(
    subject: &Subject,
    mark: &InMaintenance,
    hold: Option<&Hold>,
    (ready, gated): (usize, usize),
) -> String {
    let (workload, namespace) = (reference_of(subject.workload), &subject.namespace().name);
    format!(
        "in maintenance{}{}: its app does not run, {}{}. To run commands in them: kubectl lockkeeper shell {workload} -n {namespace}",
        since(mark.since),
        of(subject),
        asleep_pods(subject, ready, gated),
        held_until("the maintenance ends", hold)
    )
}

/// How many pods sleep, and what the others lack.
pub fn asleep_pods(subject: &Subject, ready: usize, gated: usize) -> String {
    let not_started = match gated {
        0 => String::new(),
        pods => format!(
            ". Pods that do not start: {pods}. Admission did not put them to sleep. Install Lockkeeper's chart again, and delete these pods"
        ),
    };
    format!(
        "{ready} of {} pods sleep{}{not_started}",
        subject.workload.rollout.wanted,
        unready(subject)
    )
}

/// Why a pod that sleeps is not Ready, as far as it says so itself. One with the gate is told of by
/// itself.
fn unready(subject: &Subject) -> String {
    let failure = subject.workload.rollout.failure.as_deref();
    if let Some(why) = failure.filter(|_| subject.pods.is_empty()) {
        return format!(" (pods cannot be created: {why})");
    }
    let there = subject.pods.iter().filter(|pod| !pod.ready && !pod.gated && !pod.finished);
    let mut named: Vec<_> = there.filter(|pod| pod.terminating.is_none()).collect();
    named.sort_by_key(|pod| (why_unready(pod).is_none(), &pod.name));
    let Some(first) = named.first() else { return String::new() };
    let others = match named.len() - 1 {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    let why = why_unready(first).unwrap_or("starts, or a container that is kept is not Ready");
    format!(" (pod {}: {why}{others})", first.name)
}

fn why_unready(pod: &Pod) -> Option<&str> {
    pod.ails.as_deref().or(pod.trouble.as_deref()).or(pod.claims.unschedulable.as_deref())
}

fn held_until(end: &str, hold: Option<&Hold>) -> String {
    hold.map_or_else(String::new, |hold| {
        format!(". Change {} by {} is held until {end}", hold.id, hold.authors)
    })
}

/// That it would come back, but for a gate of what is held.
pub fn end_waits(hold: &Hold, why: &str) -> String {
    format!(
        "its maintenance is to end, and change {}, which is held, starts with it: {why}",
        hold.id
    )
}

/// That it would come back, but nobody would make it so.
pub const END_NOT_ENFORCED: &str = "its maintenance is to end, but Lockkeeper's admission policies are not in force, as the condition HoldsEnforced says. It ends when they are";

/// That the next step waits, because nobody would make it so.
pub const NEXT_NOT_ENFORCED: &str = "its maintenance does not go on: Lockkeeper's admission policies are not in force, as the condition HoldsEnforced says. It goes on when they are";

/// That it comes back.
pub const ENDING: &str =
    "its maintenance ends: its template is the declared one again, and its replicas start";

/// That a change starts with the end, although nothing asks whether it may.
pub fn goes_along(hold: &Hold) -> String {
    format!(
        "its maintenance ends, and no policy governs it: the held change {} starts with it",
        hold.id
    )
}

/// That a change that stays held without a policy keeps it stopped.
pub fn stays_stopped(namespace: &Namespace, workload: &WorkloadId, hold: &Hold) -> String {
    format!(
        "its maintenance is to end, but no policy governs it, and change {} stays held: it starts when a policy selects it, or when the change is taken back. Or, with the verb bypass: {}",
        hold.id,
        command(namespace, workload, marks::BYPASS, &hold.id)
    )
}

/// That it is in service again, and whether as it was before.
pub fn ended(subject: &Subject, mark: &InMaintenance) -> String {
    let revisions = &subject.revisions;
    let way_back = match (mark.from.as_deref(), revisions.newest) {
        (Some(from), Some(newest)) if from == newest => {
            format!(" with the revision of before, {from}")
        }
        (Some(from), Some(newest)) if revisions.is_of(from) => format!(
            ". Its template is the one of before, but it runs revision {newest}, and not {from}: another admission policy or webhook may have changed its pods"
        ),
        (Some(_), Some(_)) => ". Its template was changed in the meantime".to_owned(),
        (None, _) | (_, None) => String::new(),
    };
    format!("it is in service again{way_back}. It was in maintenance{}", since(mark.since))
}

/// That it lasts.
pub fn reminder(subject: &Subject, at: Option<Timestamp>) -> String {
    format!(
        "still in maintenance{}{}: its app does not run. To end it: {}",
        since(at),
        of(subject),
        end_command(subject)
    )
}
