//! What is told of maintenance.

use jiff::Timestamp;

use crate::{
    core::{clock, hold::state::Hold, observed::workload::reference_of, subject::Subject},
    marks::InMaintenance,
};

/// Why it cannot begin: admission would not act on it.
pub const NOT_ENFORCED: &str = "Lockkeeper's admission policies are not in force, as the condition HoldsEnforced says. It begins when they are";
/// Why it cannot begin: its policy only observes.
pub const OBSERVED: &str =
    "its policy only observes (mode: Observe). Set mode: Enforce in the policy, and it begins";
/// Why it cannot begin: its claims would go.
pub const CLAIMS_GO: &str = "maintenance sets replicas to 0, and persistentVolumeClaimRetentionPolicy.whenScaled: Delete would then delete its claims. Set whenScaled: Retain first";

/// Why it cannot begin: it would finish what the user keeps from being finished.
pub const OLDER_PODS: &str = "its manifest keeps some of its pods on an older revision (paused, a partition, or OnDelete), and after maintenance all pods would be of the newest one. Finish \
    that rollout or revert it first";

fn by(user: &str) -> String {
    if user.is_empty() { String::new() } else { format!(", requested by {user}") }
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
pub fn cannot_begin(user: &str, why: &str) -> String {
    format!("maintenance{} does not begin: {why}", by(user))
}

/// That a gate keeps it from beginning.
pub fn waits(user: &str, why: &str) -> String {
    format!("maintenance{} waits: {why}", by(user))
}

/// That it begins.
pub fn begins(user: &str, held: Option<&Hold>) -> String {
    let change = held.map_or_else(String::new, |hold| {
        format!(
            ". Its held change {} is in the template, and starts when the maintenance ends",
            hold.id
        )
    });
    format!(
        "maintenance begins{}: its pods are stopped, and its app starts again when it ends{change}",
        by(user)
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
    format!("maintenance{}: stopping, {left} left{stuck}", by(super::asked_by(subject.workload)))
}

/// That admission did not do what follows from the mark.
pub const NOT_STOPPED: &str = "maintenance was begun, but admission did not stop the workload: its pods may run. The condition HoldsEnforced says what is missing. \
    It stops with the next write when admission is in force";

/// That it is stopped.
pub fn stopped(user: &str, at: Option<Timestamp>, held: Option<&Hold>) -> String {
    format!(
        "in maintenance{}{}: no pod runs. It starts again when the maintenance ends{}",
        since(at),
        by(user),
        held_until("then", held)
    )
}

/// That it cannot go on.
pub fn cannot_go_on(why: &str) -> String {
    format!("its maintenance does not go on: {why}")
}

/// That it waits for a gate of what is held before its pods sleep.
pub fn sleep_waits(hold: &Hold, why: &str) -> String {
    format!("its pods are to sleep in change {}, which is held: {why}", hold.id)
}

/// That it is over, although not all pods are there.
pub fn over(at: Option<Timestamp>, pods: &str) -> String {
    format!("its maintenance{} is over, but not all of its pods are available: {pods}", since(at))
}

/// That its pods sleep: so many are ready for commands, and so many do not start.
pub fn asleep(
    subject: &Subject,
    mark: &InMaintenance,
    hold: Option<&Hold>,
    (ready, gated): (usize, usize),
) -> String {
    let (workload, namespace) = (reference_of(subject.workload), &subject.namespace().name);
    let not_started = match gated {
        0 => String::new(),
        pods => format!(
            ". Pods that do not start: {pods}. Admission did not put them to sleep. Install Lockkeeper's chart again, and delete these pods"
        ),
    };
    format!(
        "in maintenance{}{}: its app does not run, {ready} of {} pods sleep. To run commands in them: kubectl lockkeeper shell {workload} -n {namespace}{}{not_started}",
        since(mark.since),
        by(super::asked_by(subject.workload)),
        subject.workload.rollout.wanted,
        held_until("the maintenance ends", hold)
    )
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

/// That it is in service again.
pub fn ended(at: Option<Timestamp>) -> String {
    format!("it is in service again. It was in maintenance{}", since(at))
}

/// That it lasts.
pub fn reminder(user: &str, at: Option<Timestamp>, command: &str) -> String {
    format!(
        "still in maintenance{}{}: its app does not run. To end it: {command}",
        since(at),
        by(user)
    )
}
