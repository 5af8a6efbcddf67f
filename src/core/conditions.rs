//! The conditions of a policy, and whether a status is worth a write.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::{
    api::{Attention, ConditionReason, Phase, UpgradePolicyStatus, WorkloadCounts},
    core::{
        hold::enforced::Gap,
        later,
        observed::{Policy, WorkloadId},
        some_of,
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
    let mut up_to_date = if open == 0 {
        format!("{} of {} workloads are up to date", counts.up_to_date, counts.total)
    } else {
        let parts: Vec<_> = parts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, word)| format!("{count} {word}"))
            .collect();
        format!(
            "{} of {} workloads are up to date; {}",
            counts.up_to_date,
            counts.total,
            parts.join(", ")
        )
    };
    if !unverified.is_empty() {
        up_to_date += &format!(
            ". Unverified, because their pods may be older than the last change of this config: {}. Lockkeeper assumes that the pods use it. If in doubt, run kubectl rollout restart",
            unverified.join(", ")
        );
    }
    let reason = match (open, counts.failed) {
        (0, _) => ConditionReason::AllUpToDate,
        (_, 0) => ConditionReason::InProgress,
        _ => ConditionReason::RolloutFailed,
    };
    let (governing, why) = match left_out {
        [] => (
            ConditionReason::AllGoverned,
            "every workload that it selects is governed by it".to_owned(),
        ),
        some => (ConditionReason::LeftOut, some.join("; ")),
    };
    let accepted = match empty_steps {
        [] => "the spec is accepted and in use".to_owned(),
        some => format!(
            "the spec is accepted and in use; these steps of spec.rollout.steps select no workload, and count as done: {}",
            some.join(", ")
        ),
    };
    let mut conditions = match policy.switched_off.as_slice() {
        [] => vec![condition(policy, "Ready", true, ConditionReason::Accepted, accepted, now)],
        some => {
            let message = format!(
                "{}. The rest of the policy is in use. Turn the feature on, or remove that section from the policy",
                some.join("; ")
            );
            ["Ready", "Stalled"]
                .map(|kind| {
                    condition(
                        policy,
                        kind,
                        kind == "Stalled",
                        ConditionReason::FeatureOff,
                        message.clone(),
                        now,
                    )
                })
                .into()
        }
    };
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
    let names: Vec<_> = workloads.iter().map(ToString::to_string).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let message = format!("in maintenance: {}", some_of(&names, 20));
    let reason = ConditionReason::SomeInMaintenance;
    (!names.is_empty()).then(|| condition(policy, "InMaintenance", true, reason, message, now))
}

/// Whether admission holds every workload that it should.
pub fn of_holds(
    policy: &Policy,
    gap: Option<&Gap>,
    (unmarked, cramped): (&[String], &[String]),
    now: Timestamp,
) -> Condition {
    let (holds, reason, message) = match (gap, unmarked) {
        (None, []) if !cramped.is_empty() => {
            let message = format!(
                "the marks of a hold may not fit into the annotations of these workloads, so that the API server refuses a change of their \
                 template: {}. Remove large annotations, such as the one of kubectl apply (use kubectl apply --server-side)",
                cramped.join(", ")
            );
            (false, ConditionReason::NoRoomForMarks, message)
        }
        (Some(gap), _) => (false, gap.reason, gap.message.clone()),
        (None, []) => (
            true,
            ConditionReason::Enforced,
            "admission holds every template change of its workloads".to_owned(),
        ),
        (None, some) => {
            let message = format!(
                "not marked yet, so a template change would roll out immediately: {}",
                some.join(", ")
            );
            (false, ConditionReason::MarksMissing, message)
        }
    };
    condition(policy, "HoldsEnforced", holds, reason, message, now)
}

/// Whether the app gate would get an answer from every workload.
pub fn of_gates(policy: &Policy, broken: &[String], unasked: usize, now: Timestamp) -> Condition {
    match broken {
        [] if unasked == 0 => {
            let message = "a pod of every workload gave a usable answer when it was last asked; one is asked every 10 minutes".to_owned();
            condition(policy, "GatesVerified", true, ConditionReason::Answered, message, now)
        }
        [] => {
            let message = format!("{unasked} workloads have had no Ready pod that could be asked");
            with_status(
                policy,
                "GatesVerified",
                "Unknown",
                ConditionReason::NotAskedYet,
                message,
                now,
            )
        }
        some => {
            let message = format!(
                "the next upgrade would get no usable answer. Check the port, the path and network policies: {}",
                some.join("; ")
            );
            condition(policy, "GatesVerified", false, ConditionReason::NoUsableAnswer, message, now)
        }
    }
}

/// Whether data or rollouts are in danger.
pub fn of_volumes(policy: &Policy, summary: &Summary, now: Timestamp) -> Condition {
    let notes = summary.notes.iter().fold(String::new(), |all, note| format!("{all}. {note}"));
    let Some(first) = summary.dangers.first() else {
        let counts = &summary.counts;
        let protected = match counts.protected {
            0 => "no claim of its workloads is protected".to_owned(),
            1 => "the data of 1 claim is kept whatever is deleted".to_owned(),
            some => format!("the data of {some} claims is kept whatever is deleted"),
        };
        return condition(
            policy,
            "VolumesSafe",
            true,
            ConditionReason::NoDanger,
            protected + &notes,
            now,
        );
    };
    let message =
        summary.dangers.iter().map(|danger| danger.message()).collect::<Vec<_>>().join(". ");
    condition(policy, "VolumesSafe", false, first, message + &notes, now)
}

/// The conditions of a policy whose spec cannot be acted on.
pub fn of_invalid_spec(policy: &Policy, error: &str, now: Timestamp) -> Vec<Condition> {
    let message = format!(
        "{error}. Until it is fixed, the workloads of this policy are held as if the mode were Freeze, and nothing else is done"
    );
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
    let outline = |status: &UpgradePolicyStatus| {
        let conditions: Vec<_> = status
            .conditions
            .iter()
            .map(|c| (c.type_.clone(), c.status.clone(), c.reason.clone()))
            .collect();
        let of_entry = |one: &Attention| {
            let hold = one.hold.as_ref().map(|hold| hold.id.clone());
            let for_programs = (one.gate.clone(), one.until, one.command.clone(), hold);
            (one.kind, one.name.clone(), one.phase, one.reason, for_programs)
        };
        let attention: Vec<_> = status.attention.iter().map(of_entry).collect();
        (
            status.observed_generation,
            status.workloads.clone(),
            status.volumes.clone(),
            conditions,
            attention,
        )
    };
    // What pods answer changes with each round; what becomes of a rollout does not.
    let of_rollouts = |status: &UpgradePolicyStatus| {
        let rolls = |one: &&Attention| {
            matches!(one.phase, Phase::Rolling | Phase::Failed) && one.gate.is_none()
        };
        status.attention.iter().filter(rolls).map(|one| one.message.clone()).collect::<Vec<_>>()
    };
    match last_write {
        Some(last) if outline(old) == outline(new) => {
            let pause = if of_rollouts(old) == of_rollouts(new) { QUIET } else { OF_ROLLOUTS };
            Some(later(last, pause).max(now))
        }
        _ => Some(now),
    }
}
