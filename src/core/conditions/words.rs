//! What the conditions of a policy say, in words.

use crate::{
    api::WorkloadCounts,
    core::{
        observed::{Unread, WorkloadId},
        reach::{Feature, SwitchedOff},
        some_of,
    },
};

/// Every workload is governed by the policy that selects it.
pub const ALL_GOVERNED: &str = "every workload that it selects is governed by it";
/// Every template change is held.
pub const ENFORCED: &str = "admission holds every template change of its workloads";
/// The app gate of every workload works.
pub const ANSWERED: &str = "a pod of every workload gave a usable answer when it was last asked; one is asked every 10 minutes";

/// How many workloads are up to date, and what the others do. `unverified`: config of which nobody
/// knows whether the pods use it.
pub fn up_to_date(counts: &WorkloadCounts, unverified: &[String]) -> String {
    let parts = [
        (counts.failed, "failed"),
        (counts.held, "held"),
        (counts.maintenance, "in maintenance"),
        (counts.waits_for_user, "waiting for a user"),
        (counts.rolling, "rolling"),
        (counts.limited, "limited"),
        (counts.settling, "settling"),
        (counts.waiting, "waiting"),
        (counts.would, "would roll or be held"),
        (counts.unsupported, "up to date, but cannot be held"),
    ];
    let mut words = format!("{} of {} workloads are up to date", counts.up_to_date, counts.total);
    if counts.total > counts.up_to_date {
        let parts = parts.iter().filter(|(count, _)| *count > 0);
        let parts: Vec<_> = parts.map(|(count, word)| format!("{count} {word}")).collect();
        words += &format!("; {}", parts.join(", "));
    }
    if !unverified.is_empty() {
        words += &format!(
            ". Unverified, because their pods may be older than the last change of this config: {}. Lockkeeper assumes that the pods use it. If in doubt, run kubectl rollout restart",
            unverified.join(", ")
        );
    }
    words
}

/// That the spec is in use. `empty_steps`: the steps that select nothing.
pub fn accepted(empty_steps: &[&str]) -> String {
    match empty_steps {
        [] => "the spec is accepted and in use".to_owned(),
        some => format!(
            "the spec is accepted and in use; these steps of spec.rollout.steps select no workload, and count as done: {}",
            some.join(", ")
        ),
    }
}

/// That parts of the spec need features that are off.
pub fn feature_off(switched_off: &[SwitchedOff]) -> String {
    let what: Vec<_> = switched_off.iter().map(|off| not_in_use(*off)).collect();
    format!(
        "{}. The rest of the policy is in use. Turn the feature on, or remove that section from the policy",
        what.join("; ")
    )
}

/// That a part of the spec is not in use, or what cannot be done.
fn not_in_use(off: SwitchedOff) -> String {
    match off {
        SwitchedOff::Section(section, feature) => {
            format!("spec.{section} is not in use: {feature}")
        }
        SwitchedOff::Credentials => format!(
            "the ConfigMaps and Secrets that spec.gates.app names are not read, so its pods cannot be asked: {}",
            Feature::GateCredentials
        ),
        SwitchedOff::Snapshots => format!(
            "no snapshots are taken, so no change passes spec.gates.snapshot: {}",
            Feature::Snapshots
        ),
    }
}

/// That the spec cannot be acted on.
pub fn invalid_spec(error: &str) -> String {
    format!(
        "{error}. Until it is fixed, the workloads of this policy are held as if the mode were Freeze, and nothing else is done"
    )
}

/// A workload whose governing policy is not known: it cannot be read.
pub fn unknown(workload: &Unread) -> String {
    format!("{workload} (whether this policy selects it is not known)")
}

/// Which workloads are in maintenance.
pub fn in_maintenance(workloads: &[&WorkloadId]) -> String {
    let names: Vec<_> = workloads.iter().map(ToString::to_string).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    format!("in maintenance: {}", some_of(&names, 20))
}

/// A workload whose annotations are nearly full, and how many bytes are left.
pub fn cramped(workload: &WorkloadId, room: usize) -> String {
    format!("{workload} ({room} bytes are left)")
}

/// That the annotations of these workloads are nearly full.
pub fn no_room(cramped: &[String]) -> String {
    format!(
        "the marks of a hold may not fit into the annotations of these workloads, so that the API server refuses a change of their \
         template: {}. Remove large annotations, such as the one of kubectl apply (use kubectl apply --server-side)",
        cramped.join(", ")
    )
}

/// That these workloads are not marked yet.
pub fn unmarked(workloads: &[String]) -> String {
    format!(
        "not marked yet, so a template change would roll out immediately: {}",
        workloads.join(", ")
    )
}

/// That of so many workloads no pod was asked yet.
pub fn unasked(workloads: usize) -> String {
    format!("{workloads} workloads have had no Ready pod that could be asked")
}

/// That the app gate of these does not work; each with the reason.
pub fn no_usable_answer(broken: &[String]) -> String {
    format!(
        "the next upgrade would get no usable answer. Check the port, the path and network policies: {}",
        broken.join("; ")
    )
}

/// Of how many claims the data is kept.
pub fn protected(claims: u32) -> String {
    match claims {
        0 => "no claim of its workloads is protected".to_owned(),
        1 => "the data of 1 claim is kept whatever is deleted".to_owned(),
        some => format!("the data of {some} claims is kept whatever is deleted"),
    }
}
