//! Where a workload stands, and what is to be done about it.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use crate::{
    api::{Phase, Reason},
    core::{
        gates::{
            blocker::Closed,
            change::{Blocked, Change},
            gate::Answer,
            talk::Talk,
        },
        memory::{Memory, Shown},
        notice::Event,
        observed::{Pod, Workload},
        request::{FieldEdit, Has, Patch, Purpose, Release},
        subject::Subject,
    },
    marks::MarkSet,
};

/// What changed, where it is the template; it is named last.
pub const TEMPLATE: &str = "template";
/// What changed, where it is the step that a workload restarts with.
pub const PREVIOUS: &str = "the previous step";

/// Where a workload stands, and what is to be done about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Assessment {
    /// Its phase.
    pub phase: Phase,
    /// Why.
    pub reason: Reason,
    /// Why, in words.
    pub message: String,
    /// What the status shows of a change that waits.
    pub shown: Shown,
    /// What changed.
    pub changed: Vec<String>,
    /// Some pod may run on old config.
    pub stale: bool,
    /// References adopted while it was not known what the pods started with.
    pub unverified: Vec<String>,
    /// Admission should hold its changes, and it does not carry the marks yet.
    pub unmarked: bool,
    /// Its annotations are so full that the marks of a hold may not fit: this many bytes are left.
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
    pub closed: Option<Closed>,
    /// How long a gate that was closed before has kept a change waiting.
    pub waited: Option<(Reason, Duration)>,
    /// Its controller's events are to be looked at, from this time on.
    pub lookup: Option<Timestamp>,
    /// The requests to its pods.
    pub talk: Talk,
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

/// Where a workload stands, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// Its phase.
    pub phase: Phase,
    /// Why, in one word.
    pub reason: Reason,
    /// Why, in words.
    pub message: String,
    /// The command that fixes it.
    pub command: Option<String>,
}

impl Verdict {
    /// Where it stands, and why.
    pub fn new(phase: Phase, reason: Reason, message: impl Into<String>) -> Self {
        Self { phase, reason, message: message.into(), command: None }
    }

    /// The same, with the command that fixes it.
    #[must_use]
    pub fn with_command(self, command: String) -> Self {
        Self { command: Some(command), ..self }
    }
}

/// What is to be written on a workload, all in one request.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Edits {
    /// The annotations that it is to carry, or not to.
    pub annotations: BTreeMap<&'static str, Option<String>>,
    /// Whether the label of what is governed is to be set, or to be removed.
    pub governed: Option<bool>,
    /// What is done to the template's config-hash.
    pub config_hash: Option<FieldEdit>,
    /// What for; none: to take note of something.
    pub purpose: Option<Purpose>,
}

impl Edits {
    /// Sets an annotation.
    pub fn set(&mut self, mark: &'static str, value: impl Into<String>) {
        self.annotations.insert(mark, Some(value.into()));
    }

    /// Removes an annotation.
    pub fn clear(&mut self, mark: &'static str) {
        self.annotations.insert(mark, None);
    }

    /// These and then those: where both say something, the later ones count.
    #[must_use]
    pub fn then(mut self, later: Self) -> Self {
        self.annotations.extend(later.annotations);
        Self {
            annotations: self.annotations,
            governed: later.governed.or(self.governed),
            config_hash: later.config_hash.or(self.config_hash),
            purpose: later.purpose.or(self.purpose),
        }
    }

    /// Without what is so already on the workload.
    #[must_use]
    pub fn that_differ(mut self, workload: &Workload) -> Self {
        self.annotations.retain(|mark, wanted| match wanted {
            Some(value) => workload.marks.text(mark).as_deref() != Some(value),
            None => workload.marks.stands(mark),
        });
        self
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
            shown: Shown::default(),
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
            lookup: None,
            talk: Talk::of(memory.app.clone()),
            gate_asked: false,
            unverified_gate: None,
            notices: Vec::new(),
            wake: None,
            memory,
        }
    }

    /// Why a held change is let through with what is to be written, if it is.
    pub fn releases(&self) -> Option<Release> {
        match &self.edits.purpose {
            Some(Purpose::Release(release)) => Some(*release),
            // The label goes with the hold.
            Some(Purpose::Forget { .. }) if self.edits.governed == Some(false) => {
                Some(Release::Ungoverned)
            }
            Some(
                Purpose::Adopt
                | Purpose::Record
                | Purpose::Roll(..)
                | Purpose::Step
                | Purpose::Unblock
                | Purpose::Forget { .. },
            )
            | None => None,
        }
    }

    /// What changed of the config that its pods read.
    pub fn changed_config(&self) -> &[String] {
        match self.changed.split_last() {
            Some((last, config)) if [TEMPLATE, PREVIOUS].contains(&last.as_str()) => config,
            _ => &self.changed,
        }
    }

    /// Whether it is to restart because the step before it was rolled out.
    pub fn restarts_with_previous(&self) -> bool {
        self.changed.last().is_some_and(|last| last == PREVIOUS)
    }

    /// Sets where it stands. What was shown of another reason to wait goes with that.
    pub fn stand(&mut self, verdict: Verdict) {
        (self.phase, self.reason, self.message) = (verdict.phase, verdict.reason, verdict.message);
        (self.shown.gate, self.shown.until) = (None, None);
        self.shown.command = verdict.command;
    }

    /// The same where a gate keeps a change waiting; `message` tells of it.
    pub fn stand_before(&mut self, phase: Phase, blocked: &Blocked, message: impl Into<String>) {
        self.stand(Verdict::new(phase, blocked.reason, message));
        self.shown.command.clone_from(&blocked.command);
        (self.shown.gate, self.shown.until) = (Some(blocked.gate), blocked.until);
    }

    /// Asks for more to be written.
    pub fn write(&mut self, edits: Edits) {
        self.edits = std::mem::take(&mut self.edits).then(edits);
    }

    /// Tells that something happened.
    pub fn tell(&mut self, event: Event, message: impl Into<String>) {
        self.notices.push((event, message.into()));
    }

    /// Its config rollout begins. One that was refused before keeps saying so until it is accepted.
    pub fn begin_roll(&mut self) {
        if !matches!(self.reason, Reason::PatchRefused | Reason::PatchFailing) {
            let message =
                format!("{} changed; its pods are being replaced", self.changed.join(", "));
            self.stand(Verdict::new(Phase::Rolling, Reason::ConfigRollout, message));
            (self.shown, self.memory.shown) = Default::default();
            self.memory.last = Some((self.phase, self.reason));
        }
    }

    /// Looks again at this time, or earlier.
    pub fn wake_at(&mut self, time: Timestamp) {
        self.wake = Some(self.wake.map_or(time, |wake| wake.min(time)));
    }

    /// Takes in what the gates answered about a change: the requests to the pods, and what keeps
    /// the change waiting.
    pub fn hear(&mut self, subject: &Subject, change: &Change, answer: Answer) -> Option<Blocked> {
        if let Some(talk) = answer.talk {
            self.talk = *talk;
            self.hear_talk();
        }
        let blocked = change.blocked_by(subject, &answer.blocker?);
        self.closed = Some(Closed { gate: blocked.gate, reason: blocked.reason });
        blocked.until.into_iter().for_each(|time| self.wake_at(time));
        Some(blocked)
    }

    /// Takes in what happened while pods were asked, and when to look again at what they say.
    pub fn hear_talk(&mut self) {
        self.notices.append(&mut self.talk.notices);
        self.talk.wake.take().into_iter().for_each(|time| self.wake_at(time));
    }
}
