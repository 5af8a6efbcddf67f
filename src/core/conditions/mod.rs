//! The conditions of a policy, and whether a status is worth a write.

pub mod words;

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::{
    api::{ConditionReason, Phase, UpgradePolicyStatus, WorkloadCounts},
    core::{
        hold::enforced::Gap,
        later,
        observed::{Policy, WorkloadId},
        volumes::finding::Summary,
        whole_second,
    },
};

/// A status whose phases and reasons stay as they are is written at most this often.
pub const QUIET: Duration = Duration::from_secs(30);

/// The same where it says something new of a rollout: how many pods are updated, what it waits for.
const OF_ROLLOUTS: Duration = Duration::from_secs(1);

/// Maximum size of a condition's message in bytes; the API allows 32 KiB.
const MESSAGE_LIMIT: usize = 1024;

/// The conditions of a policy that is `Ready`.
pub fn of_counts(
    policy: &Policy,
    counts: &WorkloadCounts,
    (left_out, empty_steps): (&[String], &[&str]),
    unverified: &[String],
    now: Timestamp,
) -> Vec<Condition> {
    let open = counts.total - counts.up_to_date;
    let reason = match (open, counts.failed) {
        (0, _) => ConditionReason::AllUpToDate,
        (_, 0) => ConditionReason::InProgress,
        _ => ConditionReason::RolloutFailed,
    };
    let (governing, why) = match left_out {
        [] => (ConditionReason::AllGoverned, words::ALL_GOVERNED.to_owned()),
        some => (ConditionReason::LeftOut, some.join("; ")),
    };
    let mut conditions = match policy.switched_off.as_slice() {
        [] => {
            let accepted = words::accepted(empty_steps);
            vec![condition(policy, "Ready", true, ConditionReason::Accepted, accepted, now)]
        }
        some => {
            let (reason, message) = (ConditionReason::FeatureOff, words::feature_off(some));
            vec![
                condition(policy, "Ready", false, reason, message.clone(), now),
                condition(policy, "Stalled", true, reason, message, now),
            ]
        }
    };
    let up_to_date = words::up_to_date(counts, unverified);
    conditions.extend([
        condition(policy, "UpToDate", open == 0, reason, up_to_date, now),
        condition(policy, "Governing", left_out.is_empty(), governing, why, now),
    ]);
    conditions
}

/// Which workloads are in maintenance, if any is.
pub fn of_maintenance(
    policy: &Policy,
    workloads: &[&WorkloadId],
    now: Timestamp,
) -> Option<Condition> {
    let (reason, message) = (ConditionReason::SomeInMaintenance, words::in_maintenance(workloads));
    (!workloads.is_empty()).then(|| condition(policy, "InMaintenance", true, reason, message, now))
}

/// Whether admission holds every workload that it should.
pub fn of_holds(
    policy: &Policy,
    gap: Option<&Gap>,
    (unmarked, cramped): (&[String], &[String]),
    now: Timestamp,
) -> Condition {
    let (holds, reason, message) = match (gap, unmarked) {
        (Some(gap), _) => (false, gap.reason, gap.message.clone()),
        (None, []) if !cramped.is_empty() => {
            (false, ConditionReason::NoRoomForMarks, words::no_room(cramped))
        }
        (None, []) => (true, ConditionReason::Enforced, words::ENFORCED.to_owned()),
        (None, some) => (false, ConditionReason::MarksMissing, words::unmarked(some)),
    };
    condition(policy, "HoldsEnforced", holds, reason, message, now)
}

/// Whether the app gate would get an answer from every workload.
pub fn of_gates(policy: &Policy, broken: &[String], unasked: usize, now: Timestamp) -> Condition {
    let (status, reason, message) = match broken {
        [] if unasked == 0 => ("True", ConditionReason::Answered, words::ANSWERED.to_owned()),
        [] => ("Unknown", ConditionReason::NotAskedYet, words::unasked(unasked)),
        some => ("False", ConditionReason::NoUsableAnswer, words::no_usable_answer(some)),
    };
    with_status(policy, "GatesVerified", status, reason, message, now)
}

/// Whether data or rollouts are in danger.
pub fn of_volumes(policy: &Policy, summary: &Summary, now: Timestamp) -> Condition {
    let notes = summary.notes.iter().fold(String::new(), |all, note| format!("{all}. {note}"));
    let Some(first) = summary.dangers.first() else {
        let message = words::protected(summary.counts.protected) + &notes;
        return condition(policy, "VolumesSafe", true, ConditionReason::NoDanger, message, now);
    };
    let message =
        summary.dangers.iter().map(|danger| danger.message()).collect::<Vec<_>>().join(". ");
    condition(policy, "VolumesSafe", false, first, message + &notes, now)
}

/// The conditions of a policy whose spec cannot be acted on.
pub fn of_invalid_spec(policy: &Policy, error: &str, now: Timestamp) -> Vec<Condition> {
    let message = words::invalid_spec(error);
    vec![
        condition(policy, "Ready", false, ConditionReason::InvalidSpec, message.clone(), now),
        condition(policy, "Stalled", true, ConditionReason::InvalidSpec, message, now),
    ]
}

fn condition(
    policy: &Policy,
    kind: &str,
    holds: bool,
    reason: impl Into<&'static str>,
    message: String,
    now: Timestamp,
) -> Condition {
    with_status(policy, kind, if holds { "True" } else { "False" }, reason, message, now)
}

fn with_status(
    policy: &Policy,
    kind: &str,
    status: &str,
    reason: impl Into<&'static str>,
    mut message: String,
    now: Timestamp,
) -> Condition {
    if message.len() > MESSAGE_LIMIT {
        let mut end = MESSAGE_LIMIT;
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        message.truncate(end);
        message += " …";
    }
    let before = policy
        .status
        .conditions
        .iter()
        .find(|before| before.type_ == kind && before.status == status);
    Condition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.into().to_owned(),
        message,
        observed_generation: Some(policy.generation),
        last_transition_time: before
            .map_or(Time(whole_second(now)), |before| before.last_transition_time.clone()),
    }
}

/// Whether, and from when on, a new status should replace the one that stands, given when we last
/// wrote it.
pub fn write_at(
    old: &UpgradePolicyStatus,
    new: &UpgradePolicyStatus,
    last_write: Option<Timestamp>,
    now: Timestamp,
) -> Option<Timestamp> {
    if old == new {
        return None;
    }
    match last_write {
        Some(last) if outline(old) == outline(new) => {
            // What pods answer changes with each round; what becomes of a rollout does not.
            let pause = if of_rollouts(old) == of_rollouts(new) { QUIET } else { OF_ROLLOUTS };
            Some(later(last, pause).max(now))
        }
        _ => Some(now),
    }
}

/// What of a status programs wait for.
fn outline(status: &UpgradePolicyStatus) -> impl PartialEq + '_ {
    let conditions = status.conditions.iter().map(|one| (&one.type_, &one.status, &one.reason));
    let attention = status.attention.iter().map(|one| {
        let hold = one.hold.as_ref().map(|hold| &hold.id);
        (one.kind, &one.name, one.phase, one.reason, (&one.gate, one.until, &one.command, hold))
    });
    (
        status.observed_generation,
        &status.workloads,
        &status.volumes,
        conditions.collect::<Vec<_>>(),
        attention.collect::<Vec<_>>(),
    )
}

/// What it says of the rollouts that are under way or have failed.
fn of_rollouts(status: &UpgradePolicyStatus) -> Vec<&String> {
    let rolls = status
        .attention
        .iter()
        .filter(|one| matches!(one.phase, Phase::Rolling | Phase::Failed) && one.gate.is_none());
    rolls.map(|one| &one.message).collect()
}
