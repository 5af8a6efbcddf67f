//! Why snapshots are not ready, as data.

use jiff::Timestamp;

use crate::api::{Period, Reason};

/// Why snapshots are not ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfinished {
    /// Snapshots, or their classes, are not listed yet.
    Unlisted,
    /// Before the change is there: those of these claims are taken then.
    ToCome(Vec<String>),
    /// Those of these claims are being asked for.
    Begun(Vec<String>),
    /// This one is under way.
    Waits {
        /// Its name.
        name: String,
        /// The claim.
        claim: String,
        /// Until then it is not too late.
        until: Timestamp,
    },
    /// This one is not ready in time.
    TimedOut {
        /// Its name.
        name: String,
        /// The claim.
        claim: String,
        /// In this time.
        timeout: Period,
    },
    /// This one failed.
    Failed {
        /// Its name.
        name: String,
        /// The claim.
        claim: String,
        /// Why, in the words of its controller.
        why: String,
    },
    /// The API server refuses to make it, or to keep it.
    Refused {
        /// Its name.
        name: String,
        /// Why, in a sentence.
        why: String,
        /// It is tried again then.
        again: Timestamp,
    },
    /// There is one of that name that was not taken for this change.
    Foreign(String),
    /// It is being deleted.
    Deleted(String),
    /// None can be taken.
    Impossible(Impossible),
}

/// Why no snapshot can be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Impossible {
    /// This installation takes none.
    SwitchedOff,
    /// The API server does not know them.
    NotServed,
    /// This claim has no volume.
    NoVolume(String),
    /// The volume is of no CSI driver.
    NoDriver {
        /// The claim.
        claim: String,
        /// The volume.
        volume: String,
    },
    /// There is no class of this name.
    NoClass(String),
    /// The class is of another driver.
    OtherDriver {
        /// The class.
        class: String,
        /// Its driver.
        of: String,
        /// The claim.
        claim: String,
        /// The driver of its volume.
        driver: String,
    },
    /// No class of this driver is its default one.
    NoDefault {
        /// The driver.
        driver: String,
        /// The classes that it has.
        there: Vec<String>,
    },
    /// Several are.
    Defaults {
        /// The driver.
        driver: String,
        /// Two of them.
        classes: [String; 2],
    },
}

impl Unfinished {
    /// Whether waiting does not help.
    pub fn has_failed(&self) -> bool {
        self.reason() != Reason::TakingSnapshots
    }

    /// As the status reports it.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Unlisted
            | Self::ToCome(_)
            | Self::Begun(_)
            | Self::Waits { .. }
            | Self::Deleted(_) => Reason::TakingSnapshots,
            Self::TimedOut { .. }
            | Self::Failed { .. }
            | Self::Refused { .. }
            | Self::Foreign(_) => Reason::SnapshotFailed,
            Self::Impossible(_) => Reason::SnapshotImpossible,
        }
    }
}
