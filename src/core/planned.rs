//! What is decided of one workload.

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    api::{Phase, Reason},
    core::{
        edits::Edits,
        gates::{
            change::{Blocked, Change},
            gate::Answer,
            talk::Talk,
        },
        memory::Memory,
        notice::Event,
        observed::Pod,
        report::{Report, Verdict},
        request::{FieldEdit, Purpose, Release, SnapshotRequest},
        subject::Subject,
        words,
    },
};

/// What is decided of one workload: what is reported, written, asked and told, and what to
/// remember.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// What is reported of it.
    pub report: Report,
    /// What is to be written.
    pub edits: Edits,
    /// What is to be written when there is a slot for it; in place of `edits`.
    pub roll: Option<Edits>,
    /// How long a gate that was closed before has kept a change waiting.
    pub waited: Option<(Reason, Duration)>,
    /// Its controller's events are to be looked at, from this time on.
    pub lookup: Option<Timestamp>,
    /// The requests to its pods.
    pub talk: Talk,
    /// The snapshots of its volumes that are to be taken.
    pub snapshots: Vec<SnapshotRequest>,
    /// What happened.
    pub notices: Vec<(Event, String)>,
    /// When to look again, even if nothing happens.
    pub wake: Option<Timestamp>,
    /// What to remember.
    pub memory: Memory,
}

impl Plan {
    /// Up to date, with nothing to do.
    pub fn new(mut memory: Memory, pods: &[&Pod]) -> Self {
        let broken =
            !pods.is_empty() && !pods.iter().any(|pod| pod.ready && pod.terminating.is_none());
        // The talk brings it back when it is over.
        let talk = Talk::of(memory.app.take());
        Self {
            report: Report { broken, ..Report::default() },
            edits: Edits::default(),
            roll: None,
            waited: None,
            lookup: None,
            talk,
            snapshots: Vec::new(),
            notices: Vec::new(),
            wake: None,
            memory,
        }
    }

    /// Its phase.
    pub fn phase(&self) -> Phase {
        self.report.verdict.phase
    }

    /// Why it is in this phase.
    pub fn reason(&self) -> Reason {
        self.report.verdict.reason
    }

    /// Why a held change is let through with what is to be written, if it is.
    pub fn releases(&self) -> Option<Release> {
        match &self.edits.purpose {
            Some(Purpose::Release(release)) => Some(*release),
            // The label goes with the hold.
            Some(Purpose::Forget { .. }) if self.edits.governed == Some(FieldEdit::Remove) => {
                Some(Release::Ungoverned)
            }
            Some(
                Purpose::Adopt
                | Purpose::Record
                | Purpose::Roll(..)
                | Purpose::Step
                | Purpose::Unblock
                | Purpose::Maintain
                | Purpose::Forget { .. },
            )
            | None => None,
        }
    }

    /// Whether its pods begin to be replaced with this.
    pub fn begins(&self) -> bool {
        self.roll.is_some() || self.edits.purpose == Some(Purpose::Release(Release::GatesOpen))
    }

    /// Sets where it stands.
    pub fn stand(&mut self, verdict: Verdict) {
        self.report.verdict = verdict;
    }

    /// Nothing is known of the gates that was not known before: the same one keeps the change
    /// waiting.
    #[must_use]
    pub fn before_the_same_gate(mut self, subject: &Subject) -> Self {
        self.report.closed = subject.memory.gate.map(|(closed, _)| closed);
        self.report.hold.clone_from(&subject.memory.shown);
        if let Some(last) = &subject.memory.last {
            let verdict = std::mem::take(&mut self.report.verdict);
            self.report.verdict = verdict.before_the_gate_of(last);
        }
        self
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
        if !matches!(self.reason(), Reason::PatchRefused | Reason::PatchFailing) {
            let message = words::rolls(&self.report.config.changed);
            self.stand(Verdict::new(Phase::Rolling, Reason::ConfigRollout, message));
            (self.report.hold, self.memory.shown) = (None, None);
            self.memory.last = Some(self.report.verdict.clone());
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
        self.snapshots.extend(answer.snapshots);
        let blocked = change.blocked_by(subject, &answer.blocker?);
        self.report.closed = Some(blocked.closed());
        blocked.until.into_iter().for_each(|time| self.wake_at(time));
        Some(blocked)
    }

    /// Takes in what happened while pods were asked, and when to look again at what they say.
    pub fn hear_talk(&mut self) {
        self.notices.append(&mut self.talk.notices);
        self.talk.wake.take().into_iter().for_each(|time| self.wake_at(time));
    }
}
