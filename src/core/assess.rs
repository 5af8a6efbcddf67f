//! One workload: where it stands, and what is to be done about it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;

use crate::api::{
    AppGate, ConfigSpec, HoldStatus, Mode, Phase, Reason, UpgradePolicySpec, WorkloadKind,
};
use crate::core::{
    clock,
    config::{self, references::Reference},
    conversation::{Call, Errand, Templates, Visit},
    decision::{Event, Has, Patch, Purpose, Release},
    digest::Key,
    gates::{self, Closed},
    governs::other_reloader,
    hold::{
        self, marking,
        state::{Hold, approved_by, bypassed_by},
    },
    memory::{Activity, Memory, SeenTemplate},
    observed::{Namespace, Pod, Policy, ReplicaSet, Uid, UserHold, Workload},
    others,
    rollout::{
        self,
        outcome::{Ended, Outcome, Previous},
        progress::{self, Progress},
        words,
    },
    volumes::{self, OfWorkload},
};

/// What an assessment is made from.
pub struct Input<'a> {
    /// The workload's namespace.
    pub namespace: &'a Namespace,
    /// The policy that governs or observes it.
    pub policy: &'a Policy,
    /// That policy's spec; of one that cannot be acted on, a spec that freezes.
    pub spec: &'a UpgradePolicySpec,
    /// The policy's own spec cannot be acted on: nothing passes, and what we wrote stays as it is.
    pub frozen: bool,
    /// The workload.
    pub workload: &'a Workload,
    /// Its pods, those being deleted included.
    pub pods: &'a [&'a Pod],
    /// Its ReplicaSets.
    pub sets: &'a [&'a ReplicaSet],
    /// The value of the revision label that pods of its newest template carry, if the controller
    /// has got that far.
    pub current: Option<&'a str>,
    /// What the pods read: of a held workload those that run, not its template.
    pub reads: &'a [Reference],
    /// What the other workloads read that roll together with it.
    pub group: &'a [Reference],
    /// The digest key.
    pub key: &'a Key,
    /// Since when config is watched.
    pub watched: Timestamp,
    /// The uid of our CRD.
    pub definition: Option<&'a str>,
    /// The admission policies are in place.
    pub enforced: bool,
    /// When something of its policy changed last.
    pub last_change: Option<Timestamp>,
    /// What its volumes mean for it.
    pub volumes: &'a OfWorkload,
    /// What keeps it from its turn among the workloads of its policy.
    pub waits: Option<&'a Closed>,
    /// What it restarts with.
    pub previous: &'a Previous,
    /// What the executor is doing about it.
    pub activity: &'a Activity,
    /// What is remembered of it.
    pub memory: &'a Memory,
    /// Now.
    pub now: Timestamp,
}

impl Input<'_> {
    /// Where the templates of its pods are found.
    pub fn templates(&self) -> Templates<'_> {
        Templates { namespace: self.namespace, workload: self.workload }
    }

    /// What the policy asks for config, unless another reloader acts on the workload.
    pub fn config(&self) -> Option<&ConfigSpec> {
        self.spec
            .config
            .as_ref()
            .filter(|_| other_reloader(self.namespace, self.workload).is_none())
    }

    /// Whether admission records who approves and bypasses. Where it does not, anybody could have
    /// written these marks.
    pub fn records_approvals(&self) -> bool {
        self.enforced && self.workload.id.kind != WorkloadKind::DaemonSet
    }

    /// Who approved the change with this id.
    pub fn approved_by(&self, id: &str) -> Option<&str> {
        approved_by(self.workload, id).filter(|_| self.records_approvals())
    }

    /// The id of the change that a bypass let through, and whose it was.
    pub fn bypassed_by(&self) -> Option<(&str, &str)> {
        bypassed_by(self.workload).filter(|_| self.records_approvals())
    }
}

/// Where a workload stands, and what is to be done about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Assessment {
    /// Its phase.
    pub phase: Phase,
    /// Why.
    pub reason: Reason,
    /// Why, in words.
    pub message: String,
    /// The change that waits for gates.
    pub hold: Option<HoldStatus>,
    /// What changed.
    pub changed: Vec<String>,
    /// Some pod may run on old config.
    pub stale: bool,
    /// References adopted of which nobody can say what the pods started with.
    pub unverified: Vec<String>,
    /// Admission should hold its changes, and it does not carry the marks yet.
    pub unmarked: bool,
    /// Its annotations are so full that the marks of a hold may not fit: so many bytes are left.
    pub cramped: Option<usize>,
    /// A config rollout of ours is under way and takes a slot.
    pub takes_slot: bool,
    /// No pod is ready.
    pub broken: bool,
    /// What is to be written.
    pub edits: Edits,
    /// What is to be written when there is a slot for it; in place of `edits`.
    pub roll: Option<Edits>,
    /// The gate that keeps a change waiting.
    pub closed: Option<Reason>,
    /// How long a gate that was closed before has kept a change waiting.
    pub waited: Option<(Reason, Duration)>,
    /// What is to be said to its pods.
    pub calls: Vec<Call>,
    /// Its controller's events are to be looked at, from this time on.
    pub lookup: Option<Timestamp>,
    /// Its pods are being asked about a change.
    pub asked: bool,
    /// Its pods that take no new work, or shall not.
    pub draining: BTreeSet<Uid>,
    /// One of its pods was asked whether the app gate works.
    pub gate_asked: bool,
    /// Why it does not.
    pub unverified_gate: Option<String>,
    /// What happened.
    pub notices: Vec<(Event, String)>,
    /// When to look again, even if nothing happens.
    pub wake: Option<Timestamp>,
    /// What to remember.
    pub memory: Memory,
}

/// What is to be written on a workload, all in one request.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Edits {
    /// Annotations to set, or to remove.
    pub annotations: BTreeMap<&'static str, Option<String>>,
    /// Whether the label of what is governed is to be set, or to be removed.
    pub governed: Option<bool>,
    /// The template's new config-hash; empty: it is removed.
    pub config_hash: Option<String>,
    /// What for; none: to take note of something.
    pub purpose: Option<Purpose>,
}

impl Edits {
    /// Sets an annotation, if it is another one now.
    pub fn set(&mut self, workload: &Workload, mark: &'static str, value: String) {
        match workload.marks.get(mark) {
            Some(now) if *now == value => drop(self.annotations.remove(mark)),
            _ => drop(self.annotations.insert(mark, Some(value))),
        }
    }

    /// Removes an annotation, if it is there.
    pub fn remove(&mut self, workload: &Workload, mark: &'static str) {
        match workload.marks.contains_key(mark) {
            true => drop(self.annotations.insert(mark, None)),
            false => drop(self.annotations.remove(mark)),
        }
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.annotations.is_empty() && self.governed.is_none() && self.config_hash.is_none()
    }

    /// The request.
    pub fn patch(self, workload: &Workload) -> Patch {
        Patch {
            workload: workload.id.clone(),
            uid: workload.uid.clone(),
            resource_version: workload.resource_version,
            generation: workload.generation,
            annotations: self.annotations.into_iter().collect(),
            governed: self.governed,
            config_hash: self.config_hash,
            has: Has {
                annotations: workload.has_annotations,
                labels: workload.has_labels,
                template_annotations: workload.template.has_annotations,
            },
            purpose: self.purpose.unwrap_or(Purpose::Record),
        }
    }
}

impl Assessment {
    /// Up to date, with nothing to do.
    pub fn new(memory: Memory, pods: &[&Pod]) -> Self {
        Self {
            phase: Phase::UpToDate,
            reason: Reason::UpToDate,
            message: String::new(),
            hold: None,
            changed: Vec::new(),
            stale: false,
            unverified: Vec::new(),
            unmarked: false,
            cramped: None,
            takes_slot: false,
            broken: !pods.is_empty()
                && !pods.iter().any(|pod| pod.ready && pod.terminating.is_none()),
            edits: Edits::default(),
            roll: None,
            closed: None,
            waited: None,
            calls: Vec::new(),
            lookup: None,
            asked: false,
            draining: BTreeSet::new(),
            gate_asked: false,
            unverified_gate: None,
            notices: Vec::new(),
            wake: None,
            memory,
        }
    }

    /// Sets where it stands.
    pub fn stand(&mut self, phase: Phase, reason: Reason, message: impl Into<String>) {
        (self.phase, self.reason, self.message) = (phase, reason, message.into());
    }

    /// Its config rollout begins. One that was refused before keeps saying so until it is accepted.
    pub fn begin_roll(&mut self) {
        if !matches!(self.reason, Reason::PatchRefused | Reason::PatchFailing) {
            let message =
                format!("{} changed; its pods are being replaced", self.changed.join(", "));
            self.stand(Phase::Rolling, Reason::ConfigRollout, message);
            (self.hold, self.memory.shown) = (None, None);
            self.memory.last = Some((self.phase, self.reason));
        }
    }

    /// Looks again at this time, or earlier.
    pub fn wake_at(&mut self, time: Timestamp) {
        self.wake = Some(self.wake.map_or(time, |wake| wake.min(time)));
    }

    /// Has something said to pods, unless the same is being said.
    pub fn call(
        &mut self,
        input: &Input,
        errand: Errand,
        change: &str,
        gate: &AppGate,
        visits: Vec<Visit>,
    ) {
        if self.memory.app.calling.insert(errand) {
            let (workload, uid, policy) =
                (input.workload.id.clone(), input.workload.uid.clone(), input.policy.uid.clone());
            let (change, gate) = (change.to_owned(), gate.clone());
            self.calls.push(Call { workload, uid, policy, change, errand, gate, visits });
        }
    }

    /// What is being said to its pods stands, although nothing can be decided now.
    pub fn go_on_talking(&mut self) {
        self.asked = true;
        self.draining.extend(self.memory.app.prepared.keys().cloned());
    }

    /// A gate keeps a change waiting.
    pub fn wait_for(&mut self, closed: &Closed) {
        self.closed = Some(closed.reason);
        if let Some(time) = closed.ask_again {
            self.wake_at(time);
        }
    }
}

/// Assesses one workload.
pub fn assess(input: &Input) -> Assessment {
    let mut found = Assessment::new(input.memory.clone(), input.pods);
    found.memory.differs_since = None;
    if input.spec.mode == Mode::Observe {
        marking::let_go(input.workload, &mut found);
    } else if !input.workload.deleting {
        marking::mark(input, &mut found);
    }
    let hold = Hold::on(input.workload).filter(|_| !input.workload.deleting);
    found.memory.hold = hold.as_ref().map(|hold| hold.id.clone());
    hold::writers::note(input, hold.as_ref(), &mut found);
    if input.spec.mode != Mode::Observe && !input.frozen && !input.workload.deleting {
        volumes::strategy::mark(input, &mut found);
    }
    match &hold {
        Some(hold) if input.spec.mode == Mode::Observe => {
            hold::release::stand_observed(input, hold, &mut found)
        }
        Some(hold) => hold::release::assess(input, hold, &mut found),
        None => assess_free(input, &mut found),
    }
    match &hold {
        Some(_) => hold::release::note_scaled_first(&mut found),
        None => found.memory.scaled = None,
    }
    if input.workload.deleting {
        (found.edits, found.roll) = (Edits::default(), None);
    }
    tidy_conversation(input, &mut found);
    found.memory.changed_at =
        found.memory.changed_at.max(template_changed_at(input.workload, input.memory, input.now));
    found.memory.template = Some(SeenTemplate::of(input.workload));
    tell_of_gates(input, &mut found);
    if !input.workload.deleting {
        marking::reserve(input, &mut found);
    }
    others::heed(input, &mut found);
    if !found.edits.is_empty() || found.roll.is_some() {
        heed_activity(input, &mut found);
    }
    found.memory.last = Some((found.phase, found.reason));
    found.memory.said.clone_from(&found.message);
    found.memory.shown.clone_from(&found.hold);
    found
}

/// When the template of a workload was last seen to change. One that is held when it is first seen
/// has just changed, for all we know.
pub fn template_changed_at(
    workload: &Workload,
    memory: &Memory,
    now: Timestamp,
) -> Option<Timestamp> {
    let changed = match &memory.template {
        Some(seen) => seen.digest != workload.template.digest,
        None => Hold::on(workload).is_some(),
    };
    if changed { Some(now) } else { memory.changed_at }
}

/// A workload that is not held.
fn assess_free(input: &Input, found: &mut Assessment) {
    let workload = input.workload;
    found.memory.hold_of_nothing = false;
    (found.memory.broken_since, found.memory.broken_told) = (None, false);
    let progress =
        progress::judge(workload, input.pods, input.current, input.spec.deadline(), input.now);
    stand_by_progress(input, progress, found);
    found.lookup = rollout::lack::assess(input, progress, found);
    let outcome = match input.spec.mode {
        Mode::Observe => Outcome::on(workload),
        Mode::Enforce | Mode::Freeze => hold::release::follow(input, progress, found),
    };
    match input.config() {
        Some(config) if !workload.deleting => {
            config::decide::assess(input, config, progress, &outcome, found)
        }
        _ if input.frozen => {}
        _ => {
            config::decide::forget(workload, *input.previous != Previous::Nothing, found);
            config::decide::follow_previous(input, progress, &outcome, found);
        }
    }
    if found.roll.is_none() && !found.asked {
        rollout::walk::assess(input, &outcome, found);
        volumes::strategy::unblock(input, progress, found);
    }
    if matches!(progress, Progress::UnderWay(_) | Progress::Unobserved) {
        keep_drained(input, &outcome, found);
    }
    if matches!(found.phase, Phase::Rolling | Phase::Failed)
        && outcome.ended != Ended::Done
        && outcome.is_of(workload, input.key)
    {
        let consent = outcome.consent();
        if !consent.is_empty() {
            found.message = format!("{}; {consent}", found.message);
        }
    }
    if matches!(found.phase, Phase::Rolling | Phase::Failed)
        && let Some(conflict) = found.memory.writers.message(input.now)
    {
        found.message = format!("{}. {conflict}", found.message);
    }
    if input.spec.mode == Mode::Observe {
        hold::observed::tell(input, progress, found);
    }
    if found.phase == Phase::UpToDate && input.spec.needs_holds() && !marking::holdable(workload) {
        let why = match workload.id.kind {
            WorkloadKind::DaemonSet => "a DaemonSet cannot be held",
            _ => {
                "with the update strategy OnDelete any eviction starts the newest template, so it cannot be held"
            }
        };
        let message =
            format!("its policy has gates, but {why}: its template changes roll out immediately");
        found.stand(Phase::Unsupported, Reason::GatesUnsupported, message);
    }
}

/// What was said about a change that no longer waits is void, and pods that are no longer to be
/// ended may work.
fn tidy_conversation(input: &Input, found: &mut Assessment) {
    if let Some(gate) = input.spec.gates.as_ref().and_then(|gates| gates.app.as_ref())
        && !input.workload.deleting
    {
        gates::app::verify(input, gate, found);
    }
    if !found.asked {
        found.memory.app.about_nothing();
    }
    let there: BTreeSet<_> = input.pods.iter().map(|pod| &*pod.uid).collect();
    found.memory.app.keep_only(&there);
    let draining = std::mem::take(&mut found.draining);
    let whose = (&input.workload.id, &input.workload.uid, &input.policy.uid);
    gates::prepare::withdraw(input.namespace, whose, &draining, input.now, found);
    found.draining = draining;
}

/// Events and durations of gates, where they changed since the last time.
fn tell_of_gates(input: &Input, found: &mut Assessment) {
    let before = input.memory.gate;
    let stays = before.map(|(reason, _)| reason) == found.closed;
    let news = found.closed.is_some_and(gates::is_told) && (!stays || found.memory.writers.untold);
    // While two undo each other, that is told in its place; and what is left of it when they have
    // stopped.
    found.memory.writers.untold = news && found.memory.writers.conflict(input.now);
    if news && !found.memory.writers.untold {
        found.notices.push((Event::GateClosed, found.message.clone()));
    }
    found.memory.gate = match found.closed {
        Some(_) if stays => before,
        closed => closed.map(|reason| (reason, input.now)),
    };
    if let Some((reason, since)) = before.filter(|_| !stays) {
        found.waited =
            Some((reason, Duration::try_from(input.now.duration_since(since)).unwrap_or_default()));
        let goes = found.roll.is_some()
            || matches!(
                found.edits.purpose,
                Some(Purpose::Release(Release::GatesOpen) | Purpose::Step)
            );
        let next = found.closed.is_some_and(|closed| gates::rank(closed) > gates::rank(reason));
        if gates::is_told(reason) && (goes || next) {
            found.notices.push((Event::GateOpen, format!("no longer closed: {}", reason.as_str())));
        }
    }
}

fn stand_by_progress(input: &Input, progress: Progress, found: &mut Assessment) {
    let state = &input.workload.rollout;
    let under_way = || words::under_way(input.workload, input.pods, input.current);
    let overdue = || {
        words::stuck(input.workload, &input.namespace.name, input.pods, input.current, input.now)
    };
    let wake = input
        .pods
        .iter()
        .filter_map(|pod| words::overdue_at(pod))
        .filter(|at| *at > input.now)
        .min();
    wake.into_iter().for_each(|at| found.wake_at(at));
    match progress {
        Progress::Done => {
            if let Some(stuck) = overdue() {
                found.stand(
                    Phase::WaitsForUser,
                    Reason::StuckTerminating,
                    format!("{stuck}. All new pods are available"),
                );
            }
        }
        Progress::Unobserved => match input.memory.last {
            Some((Phase::UpToDate, reason)) => found.stand(Phase::UpToDate, reason, ""),
            Some((Phase::Rolling, reason)) => found.stand(Phase::Rolling, reason, under_way()),
            // A write of our own annotations raises a Deployment's generation too.
            Some((phase, reason)) if !matches!(phase, Phase::Held | Phase::Failed) => {
                found.stand(phase, reason, input.memory.said.as_str())
            }
            _ => found.stand(Phase::Rolling, Reason::RolloutUnderWay, under_way()),
        },
        Progress::UnderWay(due) => {
            found.stand(Phase::Rolling, Reason::RolloutUnderWay, under_way());
            found.wake_at(due);
            if let Some(stuck) = overdue() {
                found.stand(
                    Phase::Rolling,
                    Reason::StuckTerminating,
                    format!("{}; {stuck}", words::counts(state)),
                );
            }
            if let Some(stuck) = stuck_behind(input, false) {
                found.stand(Phase::Rolling, Reason::StuckBehindPod, stuck);
            }
        }
        Progress::Failed(since) => match (stuck_behind(input, true), overdue()) {
            (Some(stuck), _) => found.stand(Phase::Failed, Reason::StuckBehindPod, stuck),
            (None, Some(stuck)) => found.stand(
                Phase::Failed,
                Reason::StuckTerminating,
                format!("{}; {stuck}", words::counts(state)),
            ),
            (None, None) => {
                let cure = match state.failure {
                    Some(_) => "It continues automatically when pods can be created",
                    None => {
                        "It continues automatically if the pods become ready; otherwise fix the template or the config"
                    }
                };
                let message =
                    format!("no progress since {}: {}. {cure}", clock(since), under_way());
                found.stand(Phase::Failed, Reason::DeadlineExceeded, message);
            }
        },
        Progress::Held(hold) => found.stand(
            Phase::WaitsForUser,
            hold.reason(),
            held_message(hold, &words::counts(state)),
        ),
    }
}

/// A StatefulSet whose controller waits for a broken pod of another revision than the newest, which
/// it will not replace (kubernetes#67250): the pod, and the cure. Before the deadline only a pod
/// that says why it cannot run counts.
fn stuck_behind(input: &Input, late: bool) -> Option<String> {
    let current = input.current.filter(|_| input.workload.id.kind == WorkloadKind::StatefulSet)?;
    let broken = |pod: &&&Pod| {
        pod.revision.as_deref() != Some(current)
            && !pod.ready
            && pod.terminating.is_none()
            && (late || pod.trouble.is_some())
    };
    let pod = input.pods.iter().find(broken)?;
    let trouble = pod
        .ails
        .as_ref()
        .or(pod.trouble.as_ref())
        .map_or_else(String::new, |trouble| format!(" ({trouble})"));
    Some(format!(
        "the StatefulSet controller waits for pod {}{trouble}, which is of an older revision and not ready, and does not replace it \
         (kubernetes#67250). Delete it: kubectl delete pod {}",
        pod.name, pod.name
    ))
}

/// What a user's own hold means, in words.
pub fn held_message(hold: UserHold, counts: &str) -> String {
    match hold {
        UserHold::Paused => {
            format!("spec.paused is set; run kubectl rollout resume to continue ({counts})")
        }
        UserHold::OnDelete => format!(
            "its update strategy is OnDelete: pods are replaced when you delete them ({counts})"
        ),
        UserHold::Partition(below) => {
            format!("its partition keeps the {below} lowest ordinals on their revision ({counts})")
        }
    }
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
        let message = format!(
            "the patch of this workload was {word}: {}. Lockkeeper retries at least every 5 minutes",
            trouble.message
        );
        match found.phase {
            _ if trouble.needs_hold => {}
            Phase::Failed => {}
            Phase::Held => found.stand(Phase::Held, reason, message),
            _ => found.stand(Phase::Waiting, reason, message),
        }
        if trouble.retry_at > input.now {
            found.wake_at(trouble.retry_at);
            found.edits = Edits::default();
            found.roll = None;
        }
    }
    if input.activity.in_flight {
        found.edits = Edits::default();
        found.roll = None;
    }
}

/// Pods take no new work until they are gone, also after what ends them was let through. Where that
/// makes no progress any more, they are the ones that are left to work; if it goes on, they are
/// asked again.
fn keep_drained(input: &Input, outcome: &Outcome, found: &mut Assessment) {
    let (workload, state) = (input.workload, &input.workload.rollout);
    // Written down as failed, it may go on all the same.
    let ours = outcome.change.is_some()
        && outcome.ended != Ended::Done
        && outcome.is_of(workload, input.key);
    let gate = input
        .spec
        .app_gate(&[outcome.cause(workload)])
        .filter(|gate| gate.prepare.is_some() && ours);
    let Some(gate) = gate.filter(|_| input.spec.mode != Mode::Observe && !workload.deleting) else {
        return;
    };
    let Ok(gate) = gates::app::for_workload(gate, workload) else { return };
    if !state.observed {
        return found.go_on_talking();
    }
    let lowest = state.ordinals.step.unwrap_or(state.ordinals.declared);
    let old = gates::pods::from(workload, input.pods, lowest)
        .filter(|pod| progress::is_old(workload, pod, input.current));
    let pods: Vec<_> = old.collect();
    if !pods.is_empty() {
        let change = outcome.change.clone().unwrap_or_default();
        gates::prepare::drain(input, &gate, &change, &pods, found);
    }
}

/// How a rollout that we let through has ended, if that is not written down yet.
pub fn ended(outcome: &Outcome, progress: Progress) -> Option<Ended> {
    match (progress, outcome.ended) {
        (Progress::Done, Ended::Failed | Ended::UnderWay) => Some(Ended::Done),
        (Progress::Failed(_), Ended::UnderWay) => Some(Ended::Failed),
        _ => None,
    }
}

/// `deployment/web`, as kubectl takes it.
pub fn reference_of(workload: &Workload) -> String {
    workload.id.to_string().to_lowercase()
}
