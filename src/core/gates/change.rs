//! A change that waits for the gates of a policy.

use jiff::Timestamp;

use crate::{
    api::{ChangeCause, Phase, Reason},
    core::{
        gates::{
            blocker::{Blocker, Closed, GateName},
            words::{Waiting, sentence},
        },
        hold::{authors::Authors, state::Hold},
        observed::Pod,
        report::Verdict,
        request::SnapshotRequest,
        rollout::{
            outcome::Outcome,
            turn::{self, Turn},
        },
        subject::Subject,
    },
    marks::{About, ChangeId},
};

/// A change of the template alone.
pub const TEMPLATE: &[ChangeCause] = &[ChangeCause::Template];
/// A change of config alone.
pub const CONFIG: &[ChangeCause] = &[ChangeCause::Config];
/// Both of them.
pub const BOTH: &[ChangeCause] = &[ChangeCause::Template, ChangeCause::Config];

/// A change that waits.
#[derive(Debug, Clone)]
pub struct Change<'a> {
    /// What it is, and with that which gates it has to pass.
    pub kind: Kind<'a>,
    /// What approves it; none before it has an id.
    pub id: Option<ChangeId>,
    /// What it consists of.
    pub causes: &'static [ChangeCause],
    /// Who approved it.
    pub consent: Consent<'a>,
    /// Since when it waits.
    pub since: Timestamp,
    /// When something of its policy changed last.
    pub last_change: Timestamp,
    /// The revision whose pods it leaves as they are.
    pub spares: Option<&'a str>,
    /// What runs cannot start again.
    pub broken: bool,
}

/// What a change is.
#[derive(Debug, Clone)]
pub enum Kind<'a> {
    /// A template that is held, by these authors.
    Hold(&'a Authors),
    /// Config alone, which nothing holds. Its quiet time is over.
    Config,
    /// The next step of a rollout that goes pod by pod, and the pods that go with it. What is asked
    /// once about a whole change was asked.
    Step(u32, Vec<&'a Pod>),
    /// A rollout that is stuck on a volume goes on when its old pods end first. What is asked once
    /// about a whole change was asked.
    Unblock,
    /// A change of the template that would be held, if its policy did more than observe.
    WouldHold,
    /// All its pods are stopped for maintenance. Who asked for it had the right to.
    Maintenance,
}

/// What is told of a gate that keeps a change waiting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocked {
    /// The gate.
    pub gate: GateName,
    /// As the status reports it.
    pub reason: Reason,
    /// Why, in words.
    pub sentence: String,
    /// The same, and the command that a person can run about it.
    pub why: String,
    /// It is so where all is well, and is over in a moment.
    pub is_brief: bool,
    /// When the gate is asked again, if nothing happens before.
    pub until: Option<Timestamp>,
    /// The command.
    pub command: Option<String>,
    /// What is asked for, so that it opens.
    pub snapshots: Vec<SnapshotRequest>,
}

/// Who approved a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consent<'a> {
    /// Admission records it of no workload now: whatever stands there, anybody may have written.
    Unrecorded,
    /// Nobody.
    Missing,
    /// This user.
    By(&'a str),
}

impl<'a> Consent<'a> {
    /// The user who approved it.
    pub fn by(self) -> Option<&'a str> {
        match self {
            Self::By(user) => Some(user),
            Self::Unrecorded | Self::Missing => None,
        }
    }

    fn of(subject: &Subject<'a>, id: &ChangeId) -> Self {
        match subject.approved_by(id) {
            _ if !subject.records_approvals() => Self::Unrecorded,
            Some(user) => Self::By(user),
            None => Self::Missing,
        }
    }
}

impl Blocked {
    /// The gate, for what is told of it.
    pub fn closed(&self) -> Closed {
        Closed { gate: self.gate, reason: self.reason, is_brief: self.is_brief }
    }

    /// Where a workload stands before this gate; `message` tells of it.
    pub fn verdict(&self, phase: Phase, message: impl Into<String>) -> Verdict {
        Verdict {
            gate: Some(self.gate),
            until: self.until,
            command: self.command.clone(),
            ..Verdict::new(phase, self.reason, message)
        }
    }
}

impl<'a> Change<'a> {
    /// A held template, and config that goes along with it.
    pub fn of_hold(
        subject: &Subject<'a>,
        hold: &'a Hold,
        causes: &'static [ChangeCause],
        since: Timestamp,
    ) -> Self {
        Self {
            kind: Kind::Hold(&hold.authors),
            id: Some(hold.id.clone()),
            causes,
            consent: Consent::of(subject, &hold.id),
            since,
            last_change: subject.siblings.last_change.map_or(since, |last| last.max(since)),
            spares: None,
            broken: false,
        }
    }

    /// A change of config alone.
    pub fn of_config(subject: &Subject<'a>, id: &ChangeId, since: Timestamp) -> Self {
        let consent = Consent::of(subject, id);
        Self { consent, ..Self::begun(Kind::Config, Some(id.clone()), CONFIG, since) }
    }

    /// The next step of a rollout that goes pod by pod.
    pub fn of_step(
        subject: &Subject<'a>,
        outcome: &Outcome,
        turn: Turn,
        pods: Vec<&'a Pod>,
    ) -> Self {
        let known = turn::change_id(subject.workload).cloned();
        let id = known.or_else(|| outcome.change.as_ref()?.parse().ok());
        // Somebody removed the marks that named it.
        let id = id.or_else(|| Some(ChangeId::Rollout("rollout".into())));
        let since = outcome.at.unwrap_or_else(|| subject.now());
        let causes = only(outcome.cause(subject.workload));
        Self::begun(Kind::Step(turn.step, pods), id, causes, since)
    }

    /// The end of the old pods of a rollout that is stuck on a volume.
    pub fn of_unblocking(subject: &Subject<'a>) -> Self {
        let state = &subject.workload.rollout;
        let id = ChangeId::Unblock(subject.workload.generation);
        let spares = subject.revisions.newest;
        Self { spares, ..Self::begun(Kind::Unblock, Some(id), TEMPLATE, state.moved) }
    }

    /// That all pods are stopped for maintenance.
    pub fn of_maintenance(since: Timestamp) -> Self {
        let id = ChangeId::Rollout("maintenance".into());
        Self::begun(Kind::Maintenance, Some(id), TEMPLATE, since)
    }

    /// A change of the template that would be held.
    pub fn that_would_be_held(now: Timestamp) -> Self {
        Self::begun(Kind::WouldHold, None, TEMPLATE, now)
    }

    fn begun(
        kind: Kind<'a>,
        id: Option<ChangeId>,
        causes: &'static [ChangeCause],
        since: Timestamp,
    ) -> Self {
        let consent = Consent::Missing;
        Self { kind, id, causes, consent, since, last_change: since, spares: None, broken: false }
    }

    /// Who changed the template since the revision that runs; none for config alone.
    pub fn authors(&self) -> Option<&'a Authors> {
        match self.kind {
            Kind::Hold(authors) => Some(authors),
            Kind::Config | Kind::Step(..) | Kind::Unblock | Kind::WouldHold | Kind::Maintenance => {
                None
            }
        }
    }

    /// Whether what is asked once about a whole change was asked: its rollout was released before,
    /// or somebody asked for the maintenance that it is.
    pub fn has_begun(&self) -> bool {
        matches!(self.kind, Kind::Step(..) | Kind::Unblock | Kind::Maintenance)
    }

    /// Whether all workloads of its policy are stopped for it, so that it does not roll.
    pub fn goes_offline(&self, subject: &Subject) -> bool {
        let stops = matches!(self.kind, Kind::Hold(_) | Kind::Maintenance);
        stops && subject.siblings.run.is_some_and(|run| run.takes_changes())
    }

    /// What pods are asked about: of a change that goes pod by pod, this step.
    pub fn about(&self, step: Option<u32>) -> Option<About> {
        Some(About { id: self.id.clone()?, step })
    }

    /// Where it waits.
    pub fn waiting<'b>(&'b self, subject: &Subject<'b>) -> Waiting<'b> {
        let (namespace, workload) = (subject.namespace(), &subject.workload.id);
        Waiting { namespace, workload, id: self.id.as_ref() }
    }

    /// Why this keeps it waiting, and the command that a person can run about it.
    pub fn why(&self, subject: &Subject, blocker: &Blocker) -> String {
        self.waiting(subject).why(blocker)
    }

    /// What is told of this blocker.
    pub fn blocked_by(&self, subject: &Subject, blocker: &Blocker) -> Blocked {
        let waiting = self.waiting(subject);
        Blocked {
            gate: blocker.gate(),
            reason: blocker.reason(),
            is_brief: blocker.is_brief(),
            sentence: sentence(blocker),
            why: waiting.why(blocker),
            until: blocker.ask_again(),
            command: waiting.cure_command(blocker),
            snapshots: Vec::new(),
        }
    }
}

fn only(cause: ChangeCause) -> &'static [ChangeCause] {
    match cause {
        ChangeCause::Template => TEMPLATE,
        ChangeCause::Config => CONFIG,
    }
}
