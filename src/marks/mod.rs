//! Every annotation and label of ours: read once when an object is seen, and written as the
//! difference between what stands and what is wanted.
//!
//! [`registry`] lists them all.

pub mod change;
pub mod conversion;
pub mod governance;
pub mod history;
pub mod labels;
pub mod maintenance;
pub mod mark;
pub mod outcome;
pub mod provenance;
pub mod registry;
pub mod set;
pub mod since;
pub mod storage;
pub mod values;

use std::sync::{Arc, LazyLock};

use self::values::{
    Bypassed, Exclusive, Held, Offline, Partition, Replicas, Rollouts, Strategy, True,
    UpdateStrategy, User,
};
pub use self::{
    change::{About, ChangeId, NoId},
    conversion::{ClaimPair, Reservations},
    governance::GovernanceMark,
    labels::{is_governed, is_true, probe},
    maintenance::{Asked, Containers, InMaintenance, Upgrade, Wish},
    mark::{Field, Mark, Text},
    outcome::Outcome,
    provenance::Provenance,
    set::{Edit, MarkSet},
    since::Since,
    storage::{SavedClaim, StorageMarks},
};
use crate::api::marks;

/// The annotations of ours that a workload carries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    /// Which policy governs it.
    pub governance: Mark<Box<GovernanceMark>>,
    /// The digests of the config that its pods started with.
    pub config: Option<Box<str>>,
    /// What became of the last rollout.
    pub rollout: Mark<Box<Outcome>>,
    /// The times of its config rollouts.
    pub rollouts: Mark<Rollouts>,
    /// The record of its last changes. It is read when something is added to it.
    pub history: Option<Box<str>>,
    /// What a user says about a change, for the record.
    pub note: Option<Box<str>>,
    /// Its template changes are held.
    pub hold_changes: Mark<True>,
    /// They are held too while it has no replicas.
    pub hold_at_zero: Mark<True>,
    /// The change that is held.
    pub hold: Mark<Held>,
    /// Everybody who made it, where they are several.
    pub authors: Option<Box<str>>,
    /// Since when a change waits.
    pub hold_since: Mark<Since>,
    /// The id of a change of config alone that waits.
    pub pending_config: Mark<ChangeId>,
    /// What its manifest says of `spec.paused`.
    pub declared_paused: Mark<bool>,
    /// What its manifest says of its partition.
    pub declared_partition: Mark<Partition>,
    /// What its manifest says of its strategy.
    pub declared_strategy: Mark<Strategy>,
    /// What its manifest says of its update strategy.
    pub declared_update_strategy: Mark<UpdateStrategy>,
    /// The fewer replicas that wait for the release.
    pub declared_replicas: Mark<Replicas>,
    /// The change that is approved.
    pub approve: Mark<ChangeId>,
    /// Who approved it.
    pub approved_by: Mark<User>,
    /// The change that is let through past its gates.
    pub bypass: Mark<ChangeId>,
    /// Whose bypass let a change through.
    pub bypassed_by: Mark<Bypassed>,
    /// The partition down to which its pods go, one by one.
    pub partition: Mark<Partition>,
    /// Admission makes its strategy `Recreate`.
    pub volume_access: Mark<Exclusive>,
    /// Room for the marks of a hold.
    pub reserved: Option<Box<str>>,
    /// The maintenance that a user asks for.
    pub maintenance: Mark<Box<Asked>>,
    /// Who asked.
    pub maintenance_by: Mark<User>,
    /// How far its maintenance is.
    pub in_maintenance: Mark<Box<InMaintenance>>,
    /// The replicas that its manifest declares, while maintenance has stopped it.
    pub maintenance_replicas: Option<Box<str>>,
    /// Its changes are offline upgrades.
    pub upgrade: Mark<Offline>,
    /// The change for which its data is migrated.
    pub migrated: Mark<ChangeId>,
    /// What of the app gate is different for it.
    pub app_gate: Option<Box<str>>,
    /// It is not governed.
    pub ignore: Mark<True>,
}

/// Those of a workload that has none.
static NONE: LazyLock<Arc<Marks>> = LazyLock::new(Arc::default);

impl Marks {
    /// Shares the memory of those that are none: most workloads of a cluster may have none.
    pub fn shared(self) -> Arc<Self> {
        if self.are_none() { NONE.clone() } else { Arc::new(self) }
    }

    /// Whether there are none at all, not even garbage.
    pub fn are_none(&self) -> bool {
        *self == **NONE
    }

    /// What became of the last rollout; nothing, where that is not noted.
    pub fn outcome(&self) -> &Outcome {
        self.rollout.get().map_or(&outcome::NOTHING, |outcome| &**outcome)
    }
}

impl MarkSet for Marks {
    fn keys() -> impl Iterator<Item = &'static str> {
        registry::annotations().filter(|row| row.is_of_workload()).map(|row| row.key)
    }

    fn field(&self, key: &str) -> Option<&dyn Field> {
        Some(match key {
            marks::GOVERNANCE => &self.governance,
            marks::CONFIG => &self.config,
            marks::ROLLOUT => &self.rollout,
            marks::ROLLOUTS => &self.rollouts,
            marks::HISTORY => &self.history,
            marks::NOTE => &self.note,
            marks::HOLD_CHANGES => &self.hold_changes,
            marks::HOLD_AT_ZERO => &self.hold_at_zero,
            marks::HOLD => &self.hold,
            marks::AUTHORS => &self.authors,
            marks::HOLD_SINCE => &self.hold_since,
            marks::PENDING_CONFIG => &self.pending_config,
            marks::DECLARED_PAUSED => &self.declared_paused,
            marks::DECLARED_PARTITION => &self.declared_partition,
            marks::DECLARED_STRATEGY => &self.declared_strategy,
            marks::DECLARED_UPDATE_STRATEGY => &self.declared_update_strategy,
            marks::DECLARED_REPLICAS => &self.declared_replicas,
            marks::APPROVE => &self.approve,
            marks::APPROVED_BY => &self.approved_by,
            marks::BYPASS => &self.bypass,
            marks::BYPASSED_BY => &self.bypassed_by,
            marks::PARTITION => &self.partition,
            marks::VOLUME_ACCESS => &self.volume_access,
            marks::RESERVED => &self.reserved,
            marks::MAINTENANCE => &self.maintenance,
            marks::MAINTENANCE_BY => &self.maintenance_by,
            marks::IN_MAINTENANCE => &self.in_maintenance,
            marks::MAINTENANCE_REPLICAS => &self.maintenance_replicas,
            marks::UPGRADE => &self.upgrade,
            marks::MIGRATED => &self.migrated,
            marks::APP_GATE => &self.app_gate,
            marks::IGNORE => &self.ignore,
            _ => return None,
        })
    }

    fn field_mut(&mut self, key: &str) -> Option<&mut dyn Field> {
        Some(match key {
            marks::GOVERNANCE => &mut self.governance,
            marks::CONFIG => &mut self.config,
            marks::ROLLOUT => &mut self.rollout,
            marks::ROLLOUTS => &mut self.rollouts,
            marks::HISTORY => &mut self.history,
            marks::NOTE => &mut self.note,
            marks::HOLD_CHANGES => &mut self.hold_changes,
            marks::HOLD_AT_ZERO => &mut self.hold_at_zero,
            marks::HOLD => &mut self.hold,
            marks::AUTHORS => &mut self.authors,
            marks::HOLD_SINCE => &mut self.hold_since,
            marks::PENDING_CONFIG => &mut self.pending_config,
            marks::DECLARED_PAUSED => &mut self.declared_paused,
            marks::DECLARED_PARTITION => &mut self.declared_partition,
            marks::DECLARED_STRATEGY => &mut self.declared_strategy,
            marks::DECLARED_UPDATE_STRATEGY => &mut self.declared_update_strategy,
            marks::DECLARED_REPLICAS => &mut self.declared_replicas,
            marks::APPROVE => &mut self.approve,
            marks::APPROVED_BY => &mut self.approved_by,
            marks::BYPASS => &mut self.bypass,
            marks::BYPASSED_BY => &mut self.bypassed_by,
            marks::PARTITION => &mut self.partition,
            marks::VOLUME_ACCESS => &mut self.volume_access,
            marks::RESERVED => &mut self.reserved,
            marks::MAINTENANCE => &mut self.maintenance,
            marks::MAINTENANCE_BY => &mut self.maintenance_by,
            marks::IN_MAINTENANCE => &mut self.in_maintenance,
            marks::MAINTENANCE_REPLICAS => &mut self.maintenance_replicas,
            marks::UPGRADE => &mut self.upgrade,
            marks::MIGRATED => &mut self.migrated,
            marks::APP_GATE => &mut self.app_gate,
            marks::IGNORE => &mut self.ignore,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests;
