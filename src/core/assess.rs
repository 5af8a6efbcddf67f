//! One workload: where it stands, and what is to be done about it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    config::{
        change::{self, Cause, Comparison},
        desired::{self, Desired},
        digest::Key,
        freshness::created_after,
        record::Record,
        references::{self, Reference},
    },
    decision::{Event, Patch, Purpose},
    governs::GovernanceMark,
    later,
    rollout::{limits, progress, progress::Progress},
    whole_second,
    world::{Activity, Memory, Namespace, Pod, Policy, UserHold, Workload},
};
use crate::api::{ConfigSpec, Mode, OnChange, Phase, Reason, UpgradePolicySpec, marks};

/// How long a manager that took our marks away is left alone.
const REVERTED_PAUSE: std::time::Duration = std::time::Duration::from_secs(3600);

/// What an assessment is made from.
pub struct Input<'a> {
    /// The workload's namespace.
    pub namespace: &'a Namespace,
    /// The policy that governs or observes it.
    pub policy: &'a Policy,
    /// That policy's spec.
    pub spec: &'a UpgradePolicySpec,
    /// The workload.
    pub workload: &'a Workload,
    /// Its pods, those being deleted included.
    pub pods: &'a [&'a Pod],
    /// The value of the revision label that pods of its newest template carry, if the controller has got that far.
    pub current: Option<&'a str>,
    /// What the other workloads read that roll together with it.
    pub group: &'a [Reference],
    /// The digest key.
    pub key: &'a Key,
    /// Since when config is watched.
    pub watched: Timestamp,
    /// What the executor is doing about it.
    pub activity: &'a Activity,
    /// What is remembered of it.
    pub memory: &'a Memory,
    /// Now.
    pub now: Timestamp,
}

/// Where a workload stands, and what is to be done about it.
#[derive(Debug, Clone)]
pub struct Assessment {
    /// Its phase.
    pub phase: Phase,
    /// Why.
    pub reason: Reason,
    /// Why, in words.
    pub message: String,
    /// What changed.
    pub changed: Vec<String>,
    /// Some pod may run on old config.
    pub stale: bool,
    /// References adopted of which nobody can say what the pods started with.
    pub unverified: Vec<String>,
    /// A config rollout of ours is under way and takes a slot.
    pub takes_slot: bool,
    /// No pod is ready.
    pub broken: bool,
    /// To be done at once.
    pub patch: Option<Patch>,
    /// To be done when there is a slot for it.
    pub roll: Option<Patch>,
    /// What happened.
    pub notices: Vec<(Event, String)>,
    /// When to look again, even if nothing happens.
    pub wake: Option<Timestamp>,
    /// What to remember.
    pub memory: Memory,
}

/// How the last config rollout ended: the annotation `lockkeeper.dev/rollout`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Outcome {
    hash: String,
    outcome: Ended,
    at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Ended {
    Done,
    Failed,
}

impl Assessment {
    fn new(memory: Memory, pods: &[&Pod]) -> Self {
        Self {
            phase: Phase::UpToDate,
            reason: Reason::UpToDate,
            message: String::new(),
            changed: Vec::new(),
            stale: false,
            unverified: Vec::new(),
            takes_slot: false,
            broken: !pods.is_empty() && !pods.iter().any(|pod| pod.ready && pod.terminating.is_none()),
            patch: None,
            roll: None,
            notices: Vec::new(),
            wake: None,
            memory,
        }
    }

    fn stand(&mut self, phase: Phase, reason: Reason, message: impl Into<String>) {
        (self.phase, self.reason, self.message) = (phase, reason, message.into());
    }

    /// Its config rollout begins. One that was refused before keeps saying so until it is accepted.
    pub fn begin_roll(&mut self) {
        if !matches!(self.reason, Reason::PatchRefused | Reason::PatchFailing) {
            let message = format!("{} changed; its pods are being renewed", self.changed.join(", "));
            self.stand(Phase::Rolling, Reason::ConfigRollout, message);
            self.memory.last = Some((self.phase, self.reason));
        }
    }

    fn wake_at(&mut self, time: Timestamp) {
        self.wake = Some(self.wake.map_or(time, |wake| wake.min(time)));
    }
}

/// Assesses one workload.
pub fn assess(input: &Input) -> Assessment {
    let mut found = Assessment::new(input.memory.clone(), input.pods);
    let progress = progress::judge(input.workload, input.pods, input.current, input.spec.deadline(), input.now);
    stand_by_progress(input, progress, &mut found);
    found.memory.differs_since = None;
    match &input.spec.config {
        Some(config) if !input.workload.deleting => assess_config(input, config, progress, &mut found),
        _ => forget(input.workload, false, &mut found),
    }
    if found.patch.is_some() || found.roll.is_some() {
        heed_activity(input, &mut found);
    }
    found.memory.last = Some((found.phase, found.reason));
    found
}

/// Takes off what we wrote on a workload that is no longer governed, if anything.
pub fn forget(workload: &Workload, confirm: bool, found: &mut Assessment) {
    let ours = [marks::CONFIG, marks::GOVERNANCE, marks::ROLLOUT, marks::ROLLOUTS];
    let annotations: Vec<_> = ours.into_iter().filter(|mark| workload.marks.contains_key(*mark)).map(|mark| (mark, None)).collect();
    if !annotations.is_empty() && !workload.deleting {
        found.patch = Some(patch(workload, annotations, Purpose::Forget { confirm }));
    }
}

/// The assessment of a workload that no policy governs, which may carry our marks.
pub fn ungoverned(workload: &Workload, confirm: bool, memory: &Memory) -> Assessment {
    let mut found = Assessment::new(memory.clone(), &[]);
    forget(workload, confirm, &mut found);
    found.memory.had_record = false;
    found
}

fn patch(workload: &Workload, annotations: Vec<(&'static str, Option<String>)>, purpose: Purpose) -> Patch {
    Patch {
        workload: workload.id.clone(),
        uid: workload.uid.clone(),
        resource_version: workload.resource_version,
        generation: workload.generation,
        annotations,
        config_hash: None,
        has_annotations: (workload.has_annotations, workload.template.has_annotations),
        purpose,
    }
}

fn stand_by_progress(input: &Input, progress: Progress, found: &mut Assessment) {
    let state = &input.workload.rollout;
    let counts = || format!("{} of {} pods updated, {} available", state.updated, state.wanted, state.available);
    match progress {
        Progress::Done => {}
        Progress::Unobserved => match input.memory.last {
            Some((Phase::UpToDate, reason)) => found.stand(Phase::UpToDate, reason, ""),
            Some((Phase::Rolling, reason)) => found.stand(Phase::Rolling, reason, format!("{}{}", counts(), trouble(input.pods))),
            _ => found.stand(Phase::Rolling, Reason::RolloutUnderWay, format!("{}{}", counts(), trouble(input.pods))),
        },
        Progress::UnderWay(due) => {
            found.stand(Phase::Rolling, Reason::RolloutUnderWay, format!("{}{}", counts(), trouble(input.pods)));
            found.wake_at(due);
        }
        Progress::Failed(since) => found.stand(
            Phase::Failed,
            Reason::DeadlineExceeded,
            format!(
                "no progress since {}: {}{}. It goes on by itself if the pods become ready; otherwise mend the template or the config",
                clock(since),
                counts(),
                trouble(input.pods)
            ),
        ),
        Progress::Held(hold) => found.stand(Phase::WaitsForUser, hold.reason(), held_message(hold, &counts())),
    }
}

fn held_message(hold: UserHold, counts: &str) -> String {
    match hold {
        UserHold::Paused => format!("spec.paused is set; kubectl rollout resume lets it go on ({counts})"),
        UserHold::OnDelete => format!("its update strategy is OnDelete: pods are renewed when somebody deletes them ({counts})"),
        UserHold::Partition(below) => format!("its partition keeps the {below} lowest ordinals on their revision ({counts})"),
    }
}

fn trouble(pods: &[&Pod]) -> String {
    let named: BTreeMap<_, _> = pods.iter().filter_map(|pod| Some((&pod.name, pod.trouble.as_ref()?))).collect();
    named.iter().next().map_or_else(String::new, |(name, trouble)| match named.len() {
        1 => format!("; pod {name}: {trouble}"),
        more => format!("; pod {name}: {trouble}, and {} more", more - 1),
    })
}

fn assess_config(input: &Input, config: &ConfigSpec, progress: Progress, found: &mut Assessment) {
    let workload = input.workload;
    let references = references::effective(&workload.template.references, config, input.group, input.namespace);
    let desired: Vec<_> = references
        .into_iter()
        .map(|reference| {
            let desired = desired::resolve(&reference, input.namespace, input.key, input.watched);
            (reference, desired)
        })
        .collect();
    let record = match Record::parse(workload.marks.get(marks::CONFIG).map(String::as_str), &workload.uid, input.key) {
        Ok(record) => record,
        Err(_) => return adopt(input, &desired, found),
    };
    found.memory.had_record = true;
    let comparison = change::compare(&record, &desired, workload, input.pods, input.current);
    found.stale = comparison.stale;
    found.unverified.clone_from(&comparison.unverified);
    found.changed = if comparison.stale { comparison.changed.clone() } else { Vec::new() };

    let ours = record.hash.is_some() && record.hash == workload.template.config_hash;
    let outcome = workload.marks.get(marks::ROLLOUT).and_then(|text| serde_json::from_str::<Outcome>(text).ok());
    let ended = outcome.filter(|outcome| Some(&outcome.hash) == record.hash.as_ref()).map(|outcome| outcome.outcome);
    found.takes_slot = ours && ended.is_none() && matches!(progress, Progress::UnderWay(_) | Progress::Unobserved);
    if found.takes_slot && found.phase == Phase::Rolling {
        found.reason = Reason::ConfigRollout;
    }

    let newest = if comparison.all_fresh {
        comparison.record.settled(&desired, workload.template.config_hash.clone())
    } else {
        comparison.record.clone()
    };
    keep_record(input, &record, &newest, ours, ended, progress, found);
    if comparison.all_fresh {
        if !comparison.missing.is_empty() && found.phase == Phase::UpToDate {
            found.stand(Phase::Waiting, Reason::ConfigMissing, missing_message(&comparison.missing));
        }
        return;
    }
    if comparison.roll.is_none() {
        return stale_without_roll(input, &record, &comparison, ours, found);
    }
    decide_roll(input, config, &comparison, &desired, progress, found);
}

/// A workload without a record takes what is there.
fn adopt(input: &Input, desired: &[(Reference, Desired)], found: &mut Assessment) {
    let workload = input.workload;
    if input.memory.had_record {
        found.memory.had_record = false;
        let manager = workload.last_writer.as_ref().map_or_else(|| "somebody".to_owned(), |writer| writer.manager.clone());
        let before = input.memory.reverted.as_ref().filter(|(who, _, last)| *who == manager && later(*last, REVERTED_PAUSE) > input.now);
        found.memory.reverted = Some((manager, before.map_or(1, |(_, times, _)| times + 1), input.now));
    }
    if let Some((manager, times, last)) = found.memory.reverted.clone().filter(|(_, times, _)| *times >= 2) {
        let until = later(last, REVERTED_PAUSE);
        if until > input.now {
            let message = format!(
                "{manager} took Lockkeeper's annotations away {times} times; no config change rolls this workload until {}. Let it leave \
                 annotations under {} alone (Argo CD: no Replace=true for this workload)",
                clock(until),
                marks::PREFIX
            );
            if input.memory.last != Some((Phase::Waiting, Reason::MarksReverted)) {
                found.notices.push((Event::MarksReverted, message.clone()));
            }
            found.stand(Phase::Waiting, Reason::MarksReverted, message);
            return found.wake_at(until);
        }
        found.memory.reverted = None;
    }
    let seen = !input.pods.is_empty() || workload.rollout.current == 0;
    let verified =
        |desired: &Desired| seen && input.pods.iter().all(|pod| pod.terminating.is_some() || created_after(pod, &desired.changed));
    let record = Record::adopt(desired, workload.template.config_hash.clone(), verified);
    found.unverified = record.references.iter().filter(|(_, recorded)| recorded.unverified).map(|(name, _)| name.clone()).collect();
    let mut annotations = vec![(marks::CONFIG, Some(record.write(&workload.uid, input.key)))];
    annotations.extend(governance_change(input));
    found.patch = Some(patch(workload, annotations, Purpose::Adopt));
    let missing: Vec<_> =
        desired.iter().filter(|(reference, _)| reference.own).filter_map(|(_, desired)| desired.digest.clone().err()).collect();
    if !missing.is_empty() && found.phase == Phase::UpToDate {
        found.stand(Phase::Waiting, Reason::ConfigMissing, missing_message(&missing));
    }
}

/// The governance mark as it should be, if it is not. A policy that observes governs nothing.
fn governance_change(input: &Input) -> Option<(&'static str, Option<String>)> {
    let text = input.workload.marks.get(marks::GOVERNANCE);
    let wanted = (input.spec.mode == Mode::Enforce).then(|| GovernanceMark::of(input.policy));
    let stands = GovernanceMark::on(input.workload);
    if stands == wanted && text.is_some() == wanted.is_some() {
        return None;
    }
    Some((marks::GOVERNANCE, wanted.map(|mark| mark.write())))
}

/// Writes what is newly known: the record, how our rollout ended, who governs; all in one patch, and nothing if nothing is.
fn keep_record(
    input: &Input,
    record: &Record,
    newest: &Record,
    ours: bool,
    ended: Option<Ended>,
    progress: Progress,
    found: &mut Assessment,
) {
    let workload = input.workload;
    let mut annotations = Vec::new();
    if !newest.says_the_same(record) {
        annotations.push((marks::CONFIG, Some(newest.write(&workload.uid, input.key))));
    }
    let now_ended = match (progress, ended) {
        (Progress::Done, None | Some(Ended::Failed)) if ours => Some(Ended::Done),
        (Progress::Failed(_), None) if ours => Some(Ended::Failed),
        _ => None,
    };
    if let (Some(outcome), Some(hash)) = (now_ended, &record.hash) {
        let outcome = Outcome { hash: hash.clone(), outcome, at: whole_second(input.now) };
        annotations.push((marks::ROLLOUT, serde_json::to_string(&outcome).ok()));
        found.notices.push(match outcome.outcome {
            Ended::Done => (Event::RolloutDone, "the config rollout is done: every pod runs on the new config".to_owned()),
            Ended::Failed => (Event::RolloutFailed, found.message.clone()),
        });
    }
    annotations.extend(governance_change(input));
    if !annotations.is_empty() {
        found.patch = Some(patch(workload, annotations, Purpose::Record));
    }
}

fn stale_without_roll(input: &Input, record: &Record, comparison: &Comparison, ours: bool, found: &mut Assessment) {
    if comparison.stale && !ours && record.hash.is_some() && found.phase == Phase::UpToDate {
        let what = comparison.changed.join(", ");
        let message = format!(
            "somebody undid the rollout that brought {what}, so pods may run on old config; that is left alone. Change the config back, or \
             start the pods with it: kubectl rollout restart {}",
            reference_of(input.workload)
        );
        found.stand(Phase::Waiting, Reason::RolledBack, message);
    } else if comparison.stale && found.phase == Phase::UpToDate {
        found.stand(Phase::Rolling, Reason::ConfigRollout, "pods are being renewed");
    } else if !comparison.missing.is_empty() && found.phase == Phase::UpToDate {
        found.stand(Phase::Waiting, Reason::ConfigMissing, missing_message(&comparison.missing));
    }
}

fn decide_roll(
    input: &Input,
    config: &ConfigSpec,
    comparison: &Comparison,
    desired: &[(Reference, Desired)],
    progress: Progress,
    found: &mut Assessment,
) {
    let what = comparison.changed.join(", ");
    let first = input.memory.differs_since.unwrap_or(input.now);
    if input.memory.differs_since.is_none() {
        found.notices.push((Event::ConfigChanged, format!("{what} changed since the pods were last asked to start with it")));
    }
    found.memory.differs_since = Some(first);
    if !comparison.missing.is_empty() {
        return found.stand(Phase::Waiting, Reason::ConfigMissing, missing_message(&comparison.missing));
    }
    if input.spec.mode == Mode::Observe || config.on_change == OnChange::Report {
        let (reason, why) = match input.spec.mode {
            Mode::Observe => (Reason::ObserveMode, "spec.mode is Observe"),
            Mode::Enforce => (Reason::ReportOnly, "spec.config.onChange is Report"),
        };
        return found.stand(Phase::WouldRoll, reason, format!("{what} changed; it would be rolled, but {why}"));
    }
    match progress {
        Progress::Unobserved => return,
        Progress::Held(hold @ (UserHold::Paused | UserHold::OnDelete)) => {
            let message = format!("{what} changed; {}", held_message(hold, "its next pods start with the new config"));
            return found.stand(Phase::WaitsForUser, hold.reason(), message);
        }
        Progress::UnderWay(_) | Progress::Failed(_) if covered(input, desired) => {
            if found.phase != Phase::Failed {
                found.stand(
                    Phase::Rolling,
                    Reason::CoveredByRollout,
                    format!("the rollout under way starts its pods with the new {what}; {}", found.message),
                );
            }
            return;
        }
        _ => {}
    }
    if let Some(hold @ (UserHold::Paused | UserHold::OnDelete)) = input.workload.rollout.held {
        let message = format!("{what} changed; {}", held_message(hold, "its next pods start with the new config"));
        return found.stand(Phase::WaitsForUser, hold.reason(), message);
    }

    let quiet_from = comparison.last_seen.map_or(first, |seen| seen.max(first));
    let due = later(quiet_from, config.settle.length()).min(later(first, config.settle_limit.length()));
    if due > input.now {
        found.wake_at(due);
        let message = format!("{what} changed; rolls at {} if nothing else changes until then", clock(due));
        return found.stand(Phase::Settling, Reason::ConfigChanged, message);
    }
    let times = limits::within_window(input.workload.marks.get(marks::ROLLOUTS).map(String::as_str), &config.limit, input.now);
    if let Some(next) = limits::next_allowed(&times, &config.limit) {
        found.wake_at(next);
        let message = format!(
            "{what} changed, but it had {} config rollouts within {}, as many as spec.config.limit allows; it rolls at {}",
            times.len(),
            config.limit.window,
            clock(next)
        );
        if input.memory.last.map(|(phase, _)| phase) != Some(Phase::Limited) {
            found.notices.push((Event::RolloutLimited, message.clone()));
        }
        return found.stand(Phase::Limited, Reason::LimitReached, message);
    }
    found.roll = roll(input, comparison, desired, &times);
    found.patch = None;
    found.stand(
        Phase::Waiting,
        Reason::WaitingForSlot,
        format!("{what} changed; it rolls when one of the config rollouts under way in the cluster is done (--max-config-rollouts)"),
    );
}

/// Somebody's rollout is under way, and all its pods that there are have started with what is desired: those to come will too.
fn covered(input: &Input, desired: &[(Reference, Desired)]) -> bool {
    let Some(current) = input.current else { return false };
    let old = |pod: &&&Pod| pod.revision.as_deref() != Some(current) && pod.terminating.is_none();
    let to_come = input.pods.iter().any(|pod| old(&pod)) || input.workload.rollout.updated < input.workload.rollout.wanted;
    let mut of_new = input.pods.iter().filter(|pod| !old(pod) && pod.terminating.is_none());
    to_come && of_new.all(|pod| desired.iter().all(|(_, desired)| created_after(pod, &desired.changed)))
}

fn roll(input: &Input, comparison: &Comparison, desired: &[(Reference, Desired)], times: &[Timestamp]) -> Option<Patch> {
    let (workload, cause) = (input.workload, comparison.roll?);
    let sum = input.key.sum("config-hash").field(workload.uid.as_bytes()).field(&workload.generation.to_be_bytes());
    let sum = desired.iter().fold(sum, |sum, (reference, desired)| match &desired.digest {
        Ok(digest) => sum.field(reference.to_string().as_bytes()).field(&digest.0),
        Err(_) => sum,
    });
    let hash: String = sum.digest().to_string().chars().take(16).collect();
    let record = comparison.record.targeted(desired, hash.clone());
    let mut annotations = vec![
        (marks::CONFIG, Some(record.write(&workload.uid, input.key))),
        (marks::ROLLOUTS, Some(limits::with_rollout(times, input.now))),
    ];
    annotations.extend(governance_change(input));
    let mut patch = patch(workload, annotations, Purpose::Roll(cause, comparison.last_seen));
    patch.config_hash = Some(hash);
    Some(patch)
}

/// One request at a time, and after a failure only when its pause is over.
fn heed_activity(input: &Input, found: &mut Assessment) {
    if input.activity.in_flight && found.roll.is_some() {
        found.begin_roll();
    }
    if let Some(trouble) = &input.activity.trouble {
        let (reason, word) = match trouble.refused {
            true => (Reason::PatchRefused, "refused"),
            false => (Reason::PatchFailing, "not answered"),
        };
        if found.phase != Phase::Failed {
            let message = format!("the patch of this workload is {word}: {}. It is tried again, at least every 5 minutes", trouble.message);
            found.stand(Phase::Waiting, reason, message);
        }
        if trouble.retry_at > input.now {
            found.wake_at(trouble.retry_at);
            found.patch = None;
            found.roll = None;
        }
    }
    if input.activity.in_flight {
        found.patch = None;
        found.roll = None;
    }
}

fn missing_message(missing: &[String]) -> String {
    format!("{}; new pods could not start, so nothing is rolled until it is there", missing.join(", "))
}

/// `deployment/web`, as kubectl takes it.
fn reference_of(workload: &Workload) -> String {
    workload.id.to_string().to_lowercase()
}

fn clock(time: Timestamp) -> String {
    time.strftime("%H:%M:%S UTC").to_string()
}

/// For events and metrics: a cause in words.
impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Config => "config it reads changed",
            Self::Together => "config changed that a workload of its group reads",
            Self::MixedConfig => "a pod of it started with config that was there only for a while",
        })
    }
}
