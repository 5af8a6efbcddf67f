//! What a policy's status says.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{
    api::{
        Attention, Phase, PodAnswer, Reason, UpgradePolicySpec, UpgradePolicyStatus,
        WorkloadCounts,
        status::{ANSWERS_LIMIT, ATTENTION_LIMIT},
    },
    core::{
        arrange::{Assessments, census::Stand},
        conditions,
        conversation::{Conversation, answer::Answer},
        gates::blocker::GateName,
        observed::{Namespace, Policy, WorkloadId},
        plain,
        report::Report,
        unread, whole_second,
    },
};

impl Assessments<'_> {
    /// The status of a policy, which the assessments of its workloads make.
    pub(super) fn status(
        &self,
        policy: &Policy,
        stands: &BTreeMap<&WorkloadId, Stand>,
    ) -> UpgradePolicyStatus {
        let mut status = UpgradePolicyStatus {
            observed_generation: policy.generation,
            ..UpgradePolicyStatus::default()
        };
        let (mut unverified, mut unmarked) = (Vec::new(), Vec::new());
        let mut cramped = Vec::new();
        let (mut broken_gates, mut unasked) = (Vec::new(), 0);
        if let Some(resting) = self.counted.resting.get(policy.name.as_str()) {
            count(&mut status.workloads, Phase::UpToDate, resting.workloads);
            unasked = resting.unasked;
        }
        let mut attention = Vec::new();
        let mut maintained = Vec::new();
        for (id, stand) in stands {
            let found = stand.report;
            let standing = self.governance.standings.get(*id);
            if standing
                .and_then(|standing| standing.policy())
                .is_none_or(|by| by.name != policy.name)
            {
                continue;
            }
            count(&mut status.workloads, found.verdict.phase, 1);
            status.workloads.waiting_for_gates += u32::from(waits_for_gates(found));
            unverified.extend(
                found.config.unverified.iter().map(|reference| format!("{id} ({reference})")),
            );
            maintained.extend((found.verdict.phase == Phase::Maintenance).then_some(*id));
            cramped.extend(found.marks.room.map(|room| conditions::words::cramped(id, room)));
            if found.marks.missing {
                unmarked.push(match found.verdict.reason {
                    Reason::PatchRefused | Reason::PatchFailing => {
                        format!("{id} ({})", found.verdict.message)
                    }
                    _ => id.to_string(),
                });
            }
            broken_gates.extend(found.app_gate.trouble.iter().map(|why| format!("{id}: {why}")));
            unasked += usize::from(!found.app_gate.asked && found.app_gate.trouble.is_none());
            if found.verdict.phase != Phase::UpToDate {
                attention.push((self.since(policy, id, found), *id, stand));
            }
        }
        // Thousands may wait, and only the first are shown.
        attention.sort_by_key(|(since, id, stand)| {
            let rank = match stand.report.verdict.phase {
                Phase::Failed => 0,
                Phase::Held | Phase::Maintenance => 1,
                _ => 2,
            };
            (rank, *since, id.kind, &id.name)
        });
        attention.truncate(ATTENTION_LIMIT);
        status.attention = attention
            .into_iter()
            .map(|(since, id, stand)| self.attention(since, id, stand))
            .collect();
        let left_out = self.counted.left_out.get(policy.name.as_str());
        let mut left_out: Vec<_> = left_out.into_iter().flatten().cloned().collect();
        let unknown = unread::unknown_workloads(self.namespace);
        left_out.extend(unknown.map(conditions::words::unknown));
        status.conditions = match &policy.spec {
            Err(error) => conditions::of_invalid_spec(policy, error, self.now),
            Ok(_) => {
                let empty_steps =
                    self.empty_steps.get(policy.name.as_str()).map_or(&[][..], Vec::as_slice);
                conditions::of_counts(
                    policy,
                    &status.workloads,
                    (&left_out, empty_steps),
                    &unverified,
                    self.now,
                )
            }
        };
        if policy.spec.as_ref().is_ok_and(|spec| GateName::App.is_set(spec)) {
            status.conditions.push(conditions::of_gates(policy, &broken_gates, unasked, self.now));
        }
        if policy.spec.as_ref().is_ok_and(UpgradePolicySpec::needs_holds) {
            status.conditions.push(conditions::of_holds(
                policy,
                self.gap.as_ref(),
                (&unmarked, &cramped),
                self.now,
            ));
        }
        if policy.spec.as_ref().is_ok_and(|spec| spec.volumes.is_some()) {
            let summary = self.volumes.summary(policy);
            status.conditions.push(conditions::of_volumes(policy, &summary, self.now));
            status.volumes = summary.counts;
        }
        status.conditions.extend(conditions::of_maintenance(policy, &maintained, self.now));
        for condition in &mut status.conditions {
            condition.message = plain(&condition.message).into_owned();
        }
        status
    }

    /// Since when a workload stands where it does, in whole seconds.
    fn since(&self, policy: &Policy, id: &WorkloadId, report: &Report) -> Timestamp {
        let before = policy.status.attention.iter().find(|before| {
            before.kind == id.kind
                && before.name == id.name
                && (before.phase, before.reason) == report.verdict.standing()
        });
        before.map_or(whole_second(self.now), |before| before.since)
    }

    fn attention(&self, since: Timestamp, id: &WorkloadId, stand: &Stand) -> Attention {
        let Report { verdict, hold, config, asks, .. } = stand.report;
        Attention {
            kind: id.kind,
            name: id.name.clone(),
            phase: verdict.phase,
            since,
            reason: verdict.reason,
            message: plain(&verdict.message).into_owned(),
            gate: verdict.gate.map(|gate| gate.as_str().to_owned()),
            until: verdict.until.map(whole_second),
            command: verdict.command.clone(),
            hold: hold.clone(),
            changed: config.changed.clone(),
            answers: match &stand.memory.app {
                Some(app) if *asks => answers(self.namespace, app),
                _ => Vec::new(),
            },
        }
    }
}

/// The answers of the pods that are there, those that say no first.
fn answers(namespace: &Namespace, said: &Conversation) -> Vec<PodAnswer> {
    let mut answers: Vec<_> = said
        .readings
        .iter()
        .filter_map(|(uid, reading)| Some((namespace.pods.get(uid)?, reading)))
        .map(|(pod, reading)| PodAnswer {
            pod: pod.name.to_string(),
            answer: reading.answer.as_str().to_owned(),
            since: Some(whole_second(reading.since)),
            words: match &reading.answer {
                Answer::No(words) => plain(words).into_owned(),
                other => other.trouble().unwrap_or_default(),
            },
        })
        .collect();
    answers.sort_by(|a, b| {
        (a.answer != "No", a.answer == "Yes", &a.pod).cmp(&(
            b.answer != "No",
            b.answer == "Yes",
            &b.pod,
        ))
    });
    answers.truncate(ANSWERS_LIMIT);
    answers
}

/// Whether a change of template or config waits for a gate.
fn waits_for_gates(report: &Report) -> bool {
    let phase = report.verdict.phase;
    phase == Phase::Held || (phase == Phase::Waiting && report.closed.is_some())
}

fn count(counts: &mut WorkloadCounts, phase: Phase, workloads: u32) {
    counts.total += workloads;
    let part = match phase {
        Phase::Failed => &mut counts.failed,
        Phase::WaitsForUser => &mut counts.waits_for_user,
        Phase::Rolling => &mut counts.rolling,
        Phase::Limited => &mut counts.limited,
        Phase::Settling => &mut counts.settling,
        Phase::Waiting => &mut counts.waiting,
        Phase::WouldRoll | Phase::WouldHold => &mut counts.would,
        Phase::Held => &mut counts.held,
        Phase::Unsupported => &mut counts.unsupported,
        Phase::Maintenance => &mut counts.maintenance,
        Phase::UpToDate => &mut counts.up_to_date,
    };
    *part += workloads;
}
