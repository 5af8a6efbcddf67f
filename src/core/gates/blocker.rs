//! Why a gate keeps a change waiting, as data. The words are made in [`super::words`].

mod snapshot;

use std::time::Duration;

use jiff::Timestamp;
use strum::{IntoStaticStr, VariantArray};

pub use self::snapshot::{Impossible, Unfinished};

use crate::{
    api::{Period, Phase, Reason},
    core::{hold::authors::Authors, observed::WorkloadId},
};

/// The gates, in the order in which they are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "lowercase")]
pub enum GateName {
    /// Nothing else of its policy changes.
    Quiet,
    /// The policy does not freeze.
    Freeze,
    /// A window is open.
    Windows,
    /// Somebody who may has approved it.
    Approval,
    /// Its volumes are not in danger.
    Volumes,
    /// It is its turn among the workloads of its policy.
    Steps,
    /// Its pods agree.
    App,
    /// Snapshots of its volumes are ready.
    Snapshot,
}

impl GateName {
    /// All of them, in their order.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::VARIANTS.iter().copied()
    }

    /// As the status and the plugin name it.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The gate with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|gate| gate.as_str() == name)
    }
}

/// A gate that is closed, and why in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed {
    /// The gate.
    pub gate: GateName,
    /// Why.
    pub reason: Reason,
    /// It is so where all is well, and is over in a moment: no event tells of it.
    pub is_brief: bool,
}

/// Why a gate keeps a change waiting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blocker {
    /// Something else of its policy changed a moment ago.
    Quiet {
        /// It is quiet then.
        until: Timestamp,
    },
    /// Its policy freezes.
    Frozen,
    /// The spec of its policy cannot be read, so nobody knows what it would let through.
    PolicyUnreadable,
    /// No Allow window is open, or a Deny window is.
    Window {
        /// Which, in words.
        why: String,
        /// When it may be another answer; none: not for the next five years.
        opens: Option<Timestamp>,
    },
    /// Somebody has to approve it.
    Approval(Approval),
    /// A claim that it uses is being deleted, in words.
    ClaimTerminating(String),
    /// A volume with its data exists, but the claim is bound to another one, in words.
    VolumeShadowed(String),
    /// It goes back to this revision, and the data was migrated since that ran.
    DataMigrated(String),
    /// It is not its turn among the workloads of its policy.
    Turn(Turn),
    /// Its pods do not agree.
    App(App),
    /// Snapshots of its volumes are not ready.
    Snapshot(Unfinished),
}

/// Why a change is not approved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Approval {
    /// Admission records no approval now, so none counts.
    NotRecorded,
    /// Nobody has approved it.
    Missing,
    /// Only a user who is not an author can approve it, and none has. The author of a change of
    /// config is not known.
    MissingFromOther(Option<Authors>),
    /// One of its authors approved it.
    ByAuthor {
        /// Who.
        approver: String,
        /// All of them.
        authors: Authors,
    },
    /// It has more authors than admission records, so anybody may be one.
    TooManyAuthors(Authors),
}

/// Why it is not the turn of a workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// The rollouts of these have failed (`onFailure: Pause`).
    OthersFailed(Vec<WorkloadId>),
    /// A workload of an earlier step is not done.
    StepWaits {
        /// The step.
        step: String,
        /// The workload.
        workload: WorkloadId,
        /// Why it is not.
        why: Unsettled,
    },
    /// An object cannot be read that may be a workload of an earlier step, or one that rolls.
    Unreadable(String),
    /// As many roll as `maxConcurrent` allows.
    MaxConcurrent(Vec<WorkloadId>),
}

/// Why a workload is not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsettled {
    /// Its rollout begins with this decision.
    Begins,
    /// It is done, and that is not written down yet.
    Unrecorded,
    /// It stands there.
    Stands(Phase, Reason),
}

/// Why pods do not agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum App {
    /// Its manifest pauses the Deployment: its pods are asked when it does not.
    Paused,
    /// The annotation that sets the gate for the workload is wrong.
    Invalid(Invalid),
    /// Not all of its pods are seen yet. What was told before stays so.
    Unseen(Option<Reason>),
    /// They are being asked.
    Asking,
    /// Some say no.
    No {
        /// The first of them.
        named: Vec<No>,
        /// How many more there are.
        others: usize,
        /// What the others say.
        tally: Tallied,
    },
    /// A pod cannot be asked.
    NotAsked {
        /// The pod.
        pod: String,
        /// Why, in words.
        why: String,
        /// What the others say.
        tally: Tallied,
    },
    /// A pod gives no answer that could be used.
    Silent {
        /// The pod.
        pod: String,
        /// Why, in words.
        why: String,
        /// How many more there are.
        others: usize,
        /// What the others say.
        tally: Tallied,
        /// Where they are asked.
        url: String,
    },
    /// No pod has the endpoint.
    Missing {
        /// The HTTP status that they answer.
        status: u16,
        /// Where they are asked.
        url: String,
        /// They are asked again after this long.
        period: Period,
    },
    /// Some have not been asked yet.
    Unheard {
        /// How many.
        unheard: usize,
        /// Of so many.
        pods: usize,
    },
    /// Some have not said yes often enough.
    TooFew {
        /// How many.
        few: usize,
        /// Of so many.
        pods: usize,
        /// So many times in a row.
        successes: u32,
        /// They are asked again after this long.
        period: Period,
    },
    /// No pod is Ready, and none answers.
    NobodyLeft {
        /// Then it is released.
        until: Timestamp,
        /// After this long.
        broken_after: Period,
    },
    /// They do not stop taking new work.
    Prepare(Unprepared),
}

/// What is wrong with the annotation that sets the app gate for a workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Invalid {
    /// This part has no value.
    NoValue(String),
    /// Its port is 0.
    PortZero,
    /// This is no path.
    Path(String),
    /// Nothing that can be set has this name, or can have its value.
    Unknown(String),
}

/// A pod that says no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct No {
    /// Its name.
    pub pod: String,
    /// Its words.
    pub words: String,
    /// Since when.
    pub since: Timestamp,
}

/// How many pods agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tallied {
    /// So many.
    pub yes: usize,
    /// Of so many.
    pub pods: usize,
    /// They are asked again after this long.
    pub period: Period,
}

/// Why pods are not asked yet whether they are done with their work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unprepared {
    /// They are being asked to take no new work.
    Asking,
    /// They were not idle in time, and may take work again.
    TimedOut {
        /// In this time.
        timeout: Period,
        /// Until then.
        until: Timestamp,
    },
    /// The same, a while ago.
    Respite {
        /// In this time.
        timeout: Period,
        /// Until then.
        until: Timestamp,
    },
    /// A pod does not.
    Refused {
        /// The pod.
        pod: String,
        /// Why, in words.
        why: String,
        /// The path of the request.
        path: String,
    },
}

impl Unprepared {
    /// A pod that refused is asked again after this long.
    pub const RETRY_EVERY: Duration = Duration::from_secs(5);
}

impl Blocker {
    /// The gate.
    pub const fn gate(&self) -> GateName {
        match self {
            Self::Quiet { .. } => GateName::Quiet,
            Self::Frozen | Self::PolicyUnreadable => GateName::Freeze,
            Self::Window { .. } => GateName::Windows,
            Self::Approval(_) => GateName::Approval,
            Self::ClaimTerminating(_) | Self::VolumeShadowed(_) | Self::DataMigrated(_) => {
                GateName::Volumes
            }
            Self::Turn(_) => GateName::Steps,
            Self::App(_) => GateName::App,
            Self::Snapshot(_) => GateName::Snapshot,
        }
    }

    /// As the status reports it.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Quiet { .. } => Reason::QuietTime,
            Self::Frozen | Self::PolicyUnreadable => Reason::Frozen,
            Self::Window { .. } => Reason::WindowClosed,
            Self::Approval(_) => Reason::ApprovalRequired,
            Self::ClaimTerminating(_) => Reason::ClaimTerminating,
            Self::VolumeShadowed(_) => Reason::VolumeShadowed,
            Self::DataMigrated(_) => Reason::DataMigrated,
            Self::Turn(Turn::OthersFailed(_)) => Reason::OtherFailed,
            Self::Turn(Turn::StepWaits { .. }) => Reason::StepWaits,
            Self::Turn(Turn::Unreadable(_)) => Reason::UnreadableObject,
            Self::Turn(Turn::MaxConcurrent(_)) => Reason::MaxConcurrent,
            Self::App(app) => app.reason(),
            Self::Snapshot(why) => why.reason(),
        }
    }

    /// When to ask again, if nothing happens before.
    pub fn ask_again(&self) -> Option<Timestamp> {
        match self {
            Self::Quiet { until } => Some(*until),
            Self::Window { opens, .. } => *opens,
            Self::App(app) => app.ask_again(),
            Self::Snapshot(
                Unfinished::Waits { until, .. } | Unfinished::Refused { again: until, .. },
            ) => Some(*until),
            Self::Frozen
            | Self::PolicyUnreadable
            | Self::Approval(_)
            | Self::ClaimTerminating(_)
            | Self::VolumeShadowed(_)
            | Self::DataMigrated(_)
            | Self::Turn(_)
            | Self::Snapshot(_) => None,
        }
    }

    /// Whether it keeps a change waiting where all is well, and only for a moment.
    pub fn is_brief(&self) -> bool {
        match self {
            Self::Quiet { .. } => true,
            Self::App(app) => app.reason() == Reason::AskingPods,
            Self::Frozen
            | Self::PolicyUnreadable
            | Self::Window { .. }
            | Self::Approval(_)
            | Self::ClaimTerminating(_)
            | Self::VolumeShadowed(_)
            | Self::DataMigrated(_)
            | Self::Turn(_)
            | Self::Snapshot(_) => false,
        }
    }
}

impl App {
    fn ask_again(&self) -> Option<Timestamp> {
        match self {
            Self::NobodyLeft { until, .. }
            | Self::Prepare(
                Unprepared::TimedOut { until, .. } | Unprepared::Respite { until, .. },
            ) => Some(*until),
            // Rounds of questions have times of their own.
            Self::Paused
            | Self::Invalid(_)
            | Self::Unseen(_)
            | Self::Asking
            | Self::Unheard { .. }
            | Self::TooFew { .. }
            | Self::No { .. }
            | Self::NotAsked { .. }
            | Self::Silent { .. }
            | Self::Missing { .. }
            | Self::Prepare(Unprepared::Asking | Unprepared::Refused { .. }) => None,
        }
    }

    fn reason(&self) -> Reason {
        match self {
            Self::Paused => Reason::Paused,
            Self::Invalid(_) => Reason::AppGateInvalid,
            Self::Unseen(told) => told.unwrap_or(Reason::AskingPods),
            Self::Asking
            | Self::Unheard { .. }
            | Self::TooFew { .. }
            | Self::Prepare(Unprepared::Asking) => Reason::AskingPods,
            Self::No { .. } => Reason::AppGateClosed,
            Self::NotAsked { .. }
            | Self::Silent { .. }
            | Self::NobodyLeft { .. }
            | Self::Prepare(Unprepared::Refused { .. }) => Reason::AppUnreachable,
            Self::Missing { .. } => Reason::AppMissing,
            Self::Prepare(Unprepared::TimedOut { .. } | Unprepared::Respite { .. }) => {
                Reason::PrepareTimedOut
            }
        }
    }
}
