//! Every mark there is: where it stands, who writes it, and when it goes. Each list of marks comes
//! from here, and `tests/docs/registry.rs` compares the lists of the chart and of docs/marks.md.

use crate::api::{WorkloadKind, marks};

/// What carries a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    /// A Deployment, StatefulSet or DaemonSet.
    Workload,
    /// A Deployment alone.
    Deployment,
    /// A StatefulSet alone.
    StatefulSet,
    /// A pod template.
    Template,
    /// A PersistentVolumeClaim.
    Claim,
    /// A PersistentVolume.
    Volume,
    /// A Namespace.
    Namespace,
    /// A VolumeSnapshot.
    Snapshot,
    /// A ConfigMap.
    ConfigMap,
    /// A Secret.
    Secret,
    /// The Deployment of the operator.
    Operator,
    /// The Lease of the operator.
    Lease,
}

/// Where on the object it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Among its annotations.
    Annotation,
    /// Among its labels.
    Label,
}

/// Who writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writer {
    /// Users.
    User,
    /// The operator.
    Operator,
    /// The admission policies.
    Admission,
    /// The plugin.
    Plugin,
}

/// What the admission policies do when another than the operator writes it on an object that is
/// governed or protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// They leave it.
    None,
    /// They restore what stood.
    Restored,
    /// They write what follows from the write itself, on these kinds; on others they restore it.
    Derived(&'static [WorkloadKind]),
    /// Who writes it needs this verb.
    Verb(&'static str),
    /// They write what follows from the write itself, and who writes it needs this verb.
    DerivedWithVerb(&'static str),
}

/// What becomes of a mark of a workload that is no longer governed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ungoverned {
    /// It stays: it is its user's.
    Stays,
    /// It stays, and is guarded as long as admission is there: it only tells what was.
    Remains,
    /// The operator takes it off.
    Goes,
    /// The operator takes it off, unless it keeps the hold: then it keeps what this says.
    GoesWithHold,
    /// It goes with the hold, or with the walk through the pods of a StatefulSet.
    IsHold,
    /// Admission takes it off, with the hold.
    FollowsHold,
}

/// What is known of a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Its key.
    pub key: &'static str,
    /// Where on the object it stands.
    pub place: Place,
    /// What carries it.
    pub on: &'static [On],
    /// Who writes it.
    pub writer: Writer,
    /// What admission does with it.
    pub guard: Guard,
    /// On a workload: what becomes of it when that is no longer governed.
    pub ungoverned: Ungoverned,
    /// It only tells what was. It stays when the operator is uninstalled.
    pub is_record: bool,
    /// Admission takes it off an object that is created with it.
    pub goes_at_creation: bool,
}

const BOTH: &[WorkloadKind] = &[WorkloadKind::Deployment, WorkloadKind::StatefulSet];
const DEPLOYMENT: &[WorkloadKind] = &[WorkloadKind::Deployment];
const STATEFUL_SET: &[WorkloadKind] = &[WorkloadKind::StatefulSet];

const fn row(key: &'static str, on: &'static [On], writer: Writer) -> Row {
    Row {
        key,
        place: Place::Annotation,
        on,
        writer,
        guard: Guard::None,
        ungoverned: Ungoverned::Stays,
        is_record: false,
        goes_at_creation: false,
    }
}

const fn user(key: &'static str, on: &'static [On]) -> Row {
    row(key, on, Writer::User)
}

/// A note of the operator on a workload.
const fn note(key: &'static str, on: &'static [On], ungoverned: Ungoverned) -> Row {
    let row = row(key, on, Writer::Operator).created();
    Row { guard: Guard::Restored, ungoverned, ..row }
}

/// What admission derives on a workload, and takes off with the hold.
const fn derived(key: &'static str, on: &'static [On], kinds: &'static [WorkloadKind]) -> Row {
    let row = row(key, on, Writer::Admission).created();
    Row { guard: Guard::Derived(kinds), ungoverned: Ungoverned::FollowsHold, ..row }
}

impl Row {
    const fn label(self) -> Self {
        Self { place: Place::Label, ..self }
    }

    const fn created(self) -> Self {
        Self { goes_at_creation: true, ..self }
    }

    const fn restored(self) -> Self {
        Self { guard: Guard::Restored, ..self }
    }

    const fn verb(self, verb: &'static str) -> Self {
        Self { guard: Guard::Verb(verb), ..self }
    }

    const fn record(self) -> Self {
        Self { is_record: true, ..self }
    }

    const fn born(self) -> Self {
        Self { goes_at_creation: false, ..self }
    }

    const fn derives(self, kinds: &'static [WorkloadKind]) -> Self {
        Self { guard: Guard::Derived(kinds), ..self }
    }

    const fn goes(self) -> Self {
        Self { ungoverned: Ungoverned::Goes, ..self }
    }

    const fn holds(self) -> Self {
        Self { ungoverned: Ungoverned::IsHold, ..self }
    }

    /// A word of a user that admission uses up, and takes off with the hold.
    const fn used_up(self, verb: &'static str) -> Self {
        let row = self.created();
        Self { guard: Guard::DerivedWithVerb(verb), ungoverned: Ungoverned::FollowsHold, ..row }
    }

    /// A word of a user that stays until another one replaces it.
    const fn wish(self, verb: &'static str) -> Self {
        Self { guard: Guard::DerivedWithVerb(verb), ungoverned: Ungoverned::Goes, ..self.created() }
    }

    /// Whether it stands on workloads.
    pub fn is_of_workload(&self) -> bool {
        self.on.iter().any(|on| matches!(on, On::Workload | On::Deployment | On::StatefulSet))
    }

    /// Whether a change is held, or pods go one by one, as long as it stands.
    pub fn holds_back(&self) -> bool {
        self.ungoverned == Ungoverned::IsHold
    }
}

/// Every mark.
#[rustfmt::skip]
pub const REGISTRY: [Row; 57] = [
    // By users, on workloads and what they read.
    user(marks::APPROVE, &[On::Workload]).used_up("approve"),
    user(marks::BYPASS, &[On::Workload]).used_up("bypass"),
    user(marks::MAINTENANCE, &[On::Workload]).wish("maintain"),
    user(marks::MIGRATED, &[On::Workload]).verb("maintain").created(),
    user(marks::UPGRADE, &[On::Workload]),
    user(marks::IGNORE, &[On::Workload, On::ConfigMap, On::Secret]).verb("bypass"),
    user(marks::APP_GATE, &[On::Workload]),
    user(marks::NOTE, &[On::Workload]),
    user(marks::GATE_CREDENTIAL, &[On::Secret]).label(),
    user(marks::UNINSTALL, &[On::Operator]),
    // By users, on storage.
    user(marks::ALLOW_DENY, &[On::Namespace]).label(),
    user(marks::ALLOW_DELETION_UNTIL, &[On::Claim, On::Namespace]).verb("unprotect"),
    user(marks::UNPROTECT, &[On::Claim, On::Volume]).verb("unprotect").created(),
    user(marks::READOPT, &[On::Namespace, On::Volume]).verb("unprotect"),
    user(marks::BECOMES, &[On::Claim]).verb("convert").created(),
    // By admission, on workloads.
    derived(marks::HOLD, &[On::Workload], BOTH).holds(),
    derived(marks::AUTHORS, &[On::Workload], BOTH),
    derived(marks::DECLARED_PAUSED, &[On::Deployment], DEPLOYMENT),
    derived(marks::DECLARED_STRATEGY, &[On::Deployment], DEPLOYMENT),
    derived(marks::DECLARED_PARTITION, &[On::StatefulSet], STATEFUL_SET),
    derived(marks::DECLARED_UPDATE_STRATEGY, &[On::StatefulSet], STATEFUL_SET),
    derived(marks::DECLARED_REPLICAS, &[On::Workload], BOTH),
    derived(marks::APPROVED_BY, &[On::Workload], BOTH),
    derived(marks::BYPASSED_BY, &[On::Workload], BOTH).goes(),
    derived(marks::MAINTENANCE_BY, &[On::Workload], BOTH).goes(),
    derived(marks::MAINTENANCE_REPLICAS, &[On::Workload], BOTH).goes(),
    // By the operator, on workloads.
    row(marks::GOVERNED, &[On::Workload], Writer::Operator).label().restored().goes(),
    note(marks::HOLD_CHANGES, &[On::Workload], Ungoverned::Goes).born(),
    note(marks::HOLD_AT_ZERO, &[On::Deployment], Ungoverned::Goes),
    note(marks::GOVERNANCE, &[On::Workload], Ungoverned::GoesWithHold),
    note(marks::HOLD_SINCE, &[On::Workload], Ungoverned::GoesWithHold),
    note(marks::PENDING_CONFIG, &[On::Workload], Ungoverned::Goes),
    note(marks::CONFIG, &[On::Workload], Ungoverned::Goes).record(),
    note(marks::ROLLOUT, &[On::Workload], Ungoverned::Goes).record(),
    note(marks::ROLLOUTS, &[On::Workload], Ungoverned::Goes).record(),
    note(marks::HISTORY, &[On::Workload], Ungoverned::Remains).record(),
    note(marks::VOLUME_ACCESS, &[On::Deployment], Ungoverned::Goes),
    note(marks::PARTITION, &[On::StatefulSet], Ungoverned::IsHold).derives(STATEFUL_SET),
    note(marks::RESERVED, &[On::Workload], Ungoverned::Goes).derives(BOTH),
    note(marks::IN_MAINTENANCE, &[On::Workload, On::Template], Ungoverned::Goes).derives(BOTH),
    row(marks::CONFIG_HASH, &[On::Template], Writer::Operator).restored().created(),
    // By the operator, to itself.
    row(marks::PROBE, &[On::Lease], Writer::Operator),
    // By the operator, on storage.
    row(marks::RETAINED, &[On::Claim, On::Volume], Writer::Operator).label().restored().created(),
    row(marks::PROTECTED, &[On::Claim, On::Namespace], Writer::Operator).label().verb("unprotect").created(),
    row(marks::PROVENANCE, &[On::Claim, On::Volume], Writer::Operator).restored().created(),
    row(marks::ORIGINAL_RECLAIM_POLICY, &[On::Volume], Writer::Operator).restored().created(),
    row(marks::ORPHANED_SINCE, &[On::Claim], Writer::Operator).restored().created(),
    row(marks::PROTECTED_CLAIMS, &[On::Namespace], Writer::Operator).restored().created(),
    row(marks::RESERVES_CLAIMS, &[On::Namespace], Writer::Operator).label().restored().created(),
    row(marks::RESERVED_CLAIMS, &[On::Namespace], Writer::Operator).restored().created(),
    row(marks::CONVERSION, &[On::Volume], Writer::Operator),
    row(marks::DISOWNED, &[On::Claim], Writer::Operator),
    row(marks::FREED, &[On::Volume], Writer::Operator),
    row(marks::CHANGE, &[On::Snapshot], Writer::Operator).label(),
    row(marks::WORKLOAD_UID, &[On::Snapshot], Writer::Operator).label(),
    row(marks::CLAIM_UID, &[On::Snapshot], Writer::Operator).label(),
    row(marks::READOPT_CLAIM, &[On::Volume], Writer::Plugin),
];

/// Those that are annotations.
pub fn annotations() -> impl Iterator<Item = &'static Row> {
    REGISTRY.iter().filter(|row| row.place == Place::Annotation)
}

/// The keys of the annotations of ours that may stand on such an object.
pub fn annotations_of(on: On) -> impl Iterator<Item = &'static str> {
    annotations().filter(move |row| row.on.contains(&on)).map(|row| row.key)
}

/// The annotations of a workload that the operator or admission write, and those by which users
/// let a change through: what goes when nobody governs it. Those of its users stay.
pub fn of_workloads() -> impl Iterator<Item = &'static Row> {
    annotations().filter(|row| row.is_of_workload() && row.ungoverned != Ungoverned::Stays)
}

/// The annotations that the operator itself takes off a workload that is no longer governed, but
/// for the hold. With `keep_hold`, without what says whose it is.
pub fn taken_off(keep_hold: bool) -> impl Iterator<Item = &'static str> {
    of_workloads()
        .filter(move |row| match row.ungoverned {
            Ungoverned::Goes => true,
            Ungoverned::GoesWithHold => !keep_hold,
            Ungoverned::Stays
            | Ungoverned::Remains
            | Ungoverned::IsHold
            | Ungoverned::FollowsHold => false,
        })
        .map(|row| row.key)
}

/// What only tells what was: which config pods started with, and which rollouts there were. It
/// holds nothing, and the policy that governs next continues from it.
pub fn records() -> impl Iterator<Item = &'static str> {
    of_workloads().filter(|row| row.is_record).map(|row| row.key)
}
