//! What is told of offline upgrades.

use crate::{
    core::{
        hold::state::Hold,
        observed::{WorkloadId, workload::reference_of},
        some_of,
        subject::Subject,
    },
    marks::Upgrade,
};

/// So many workloads are named.
const NAMED: usize = 3;

fn names(others: &[&WorkloadId]) -> String {
    let names: Vec<_> = others.iter().map(|id| id.to_string().to_lowercase()).collect();
    some_of(&names.iter().map(String::as_str).collect::<Vec<_>>(), NAMED)
}

fn of_change(upgrade: &Upgrade) -> String {
    upgrade.change.as_ref().map_or_else(
        || "offline upgrade of its policy".to_owned(),
        |change| format!("offline upgrade (change {change})"),
    )
}

/// That it could be stopped, and the others cannot. `unknown`: an object that nobody can read.
pub fn agrees(others: &[&WorkloadId], unknown: Option<&str>) -> String {
    let why = match (others, unknown) {
        (_, Some(unread)) => {
            format!("{unread}. Until it can be read, nobody knows whether it runs")
        }
        ([], None) => "all workloads of its policy are about to be stopped".to_owned(),
        (others, None) => format!(
            "all workloads of its policy are stopped for it together, and these cannot be stopped yet: {}",
            names(others)
        ),
    };
    format!("offline upgrade: nothing of its own keeps it waiting; {why}")
}

/// That a gate keeps it from being stopped along with the others.
pub fn waits(why: &str) -> String {
    format!("it is to be stopped for an offline upgrade of its policy: {why}")
}

/// That those of later steps are stopped first.
pub fn turn(others: &[&WorkloadId]) -> String {
    format!("it is stopped for the offline upgrade after {}", names(others))
}

/// That it is stopped.
pub fn stops(hold: Option<&Hold>) -> String {
    match hold {
        Some(hold) => format!(
            "offline upgrade: its pods are stopped. Change {} by {} starts when all workloads of its policy were stopped",
            hold.id, hold.authors
        ),
        None => "its pods are stopped for an offline upgrade of its policy, and start again with the template of before"
            .to_owned(),
    }
}

/// That its pods are stopping.
pub fn stopping(upgrade: &Upgrade, pods: usize) -> String {
    let left = if pods == 1 { "1 pod".to_owned() } else { format!("{pods} pods") };
    format!("{}: stopping, {left} left", of_change(upgrade))
}

/// That it is stopped, and waits until nothing of the others runs.
pub fn down(upgrade: &Upgrade, others: &[&WorkloadId]) -> String {
    format!(
        "{}: stopped; it waits until these are stopped too: {}",
        of_change(upgrade),
        names(others)
    )
}

/// That it is stopped, and waits for others to migrate or to start first.
pub fn after(upgrade: &Upgrade, others: &[&WorkloadId], next: &str) -> String {
    format!("{}: stopped; {next} after {}", of_change(upgrade), names(others))
}

/// That snapshots are to be ready before its data changes.
pub fn unsaved(upgrade: &Upgrade, why: &str) -> String {
    format!(
        "{}: everything stays stopped until its snapshots are ready: {why}. To go back instead, apply the earlier version",
        of_change(upgrade)
    )
}

/// That the snapshots of others are to be ready before any data changes.
pub fn others_unsaved(upgrade: &Upgrade, others: &[&WorkloadId]) -> String {
    format!(
        "{}: stopped; it waits until the snapshots of these are ready: {}",
        of_change(upgrade),
        names(others)
    )
}

/// What comes after others.
pub const MIGRATION: &str = "its data is migrated";
/// What comes after others.
pub const START: &str = "it starts";

/// That nothing begins, because of an object that nobody can read.
pub fn unreadable(upgrade: &Upgrade, unread: &str) -> String {
    format!(
        "{}: stopped; {unread}. Until it can be read, nobody knows whether it runs",
        of_change(upgrade)
    )
}

/// That another change came in between.
pub fn second(upgrade: &Upgrade, hold: &Hold, why: &str) -> String {
    format!(
        "{}: stopped. Change {} by {} came in between, and nothing goes on before it is released or taken back: {why}",
        of_change(upgrade),
        hold.id,
        hold.authors
    )
}

/// That the next stage begins.
pub fn next(upgrade: &Upgrade, sleeps: bool) -> String {
    let next = match sleeps {
        true => "its pods are to sleep in the new template, so that its data can be migrated",
        false => "its pods are to start",
    };
    format!("{}: {next}", of_change(upgrade))
}

/// The command that says that the data is migrated.
pub fn command(subject: &Subject, upgrade: &Upgrade) -> String {
    let (workload, namespace) = (reference_of(subject.workload), &subject.namespace().name);
    let change = upgrade.change.as_ref().map(ToString::to_string).unwrap_or_default();
    format!("kubectl lockkeeper migrated {workload} -n {namespace} --change {change}")
}

/// That its pods sleep, and that a person is to migrate the data. `pods`: those that are ready for
/// commands, of so many, and what the others lack.
pub fn migrate(subject: &Subject, upgrade: &Upgrade, pods: &str, hold: Option<&Hold>) -> String {
    let (workload, namespace) = (reference_of(subject.workload), &subject.namespace().name);
    let second = hold.map_or_else(String::new, |hold| {
        format!(". Change {} by {} came in between, and is held", hold.id, hold.authors)
    });
    format!(
        "{}: no app of its policy runs, and {pods} in the new template. Migrate the data: kubectl lockkeeper shell {workload} -n {namespace}; then: {}{second}",
        of_change(upgrade),
        command(subject, upgrade)
    )
}

/// That its data is to be migrated now.
pub fn begins_migration(upgrade: &Upgrade) -> String {
    format!(
        "{}: all workloads of its policy are stopped. Its pods sleep in the new template until its data is migrated",
        of_change(upgrade)
    )
}

/// That its data was migrated.
pub fn migrated(upgrade: &Upgrade) -> String {
    format!("{}: its data is migrated", of_change(upgrade))
}

/// That it starts.
pub fn starting(upgrade: &Upgrade, pods: &str) -> String {
    format!("{}: its pods start: {pods}", of_change(upgrade))
}

/// That it is in service again.
pub fn done(upgrade: &Upgrade, pods: Option<&str>) -> String {
    match pods {
        None => format!("{}: it is in service again", of_change(upgrade)),
        Some(pods) => {
            format!(
                "{}: it was started, but not all of its pods are available: {pods}",
                of_change(upgrade)
            )
        }
    }
}

/// That one that failed keeps it from starting.
pub fn others_failed(upgrade: &Upgrade, why: &str) -> String {
    format!("{}: stopped; {why}", of_change(upgrade))
}

/// That a maintenance waits, because an offline upgrade would lose its order.
pub fn no_maintenance(hold: &Hold) -> String {
    format!(
        "maintenance waits: change {} by {} is held for an offline upgrade, which stops all workloads of the policy. Let that go first, or take the change back",
        hold.id, hold.authors
    )
}

/// What is told of it before it is applied.
pub const PLANNED: &str = "all workloads of its policy agree to be stopped. It starts when all of them were stopped (spec.offline)";

/// That its policy keeps it as it is.
pub const STANDS_STILL: &str = "it is stopped for an offline upgrade, which does not go on: its policy only observes, or its spec is invalid. Set mode: Enforce in the policy, \
     or fix its spec, and it goes on";
