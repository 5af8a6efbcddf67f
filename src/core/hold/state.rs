//! What admission says on a workload: whether it is held, which change, and who let it through.

use crate::{
    core::{hold::authors::Authors, observed::Workload},
    marks::{
        ChangeId,
        values::{Bypassed, Held, Replicas},
    },
};

/// A template change that is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// The generation of the held write; what approves or bypasses the change.
    pub id: ChangeId,
    /// Who made the change last.
    pub by: String,
    /// Everybody who changed the template since the revision that runs.
    pub authors: Authors,
}

/// Stands for the author of a change, where that is not known.
pub const OURSELVES: &str = "lockkeeper";

impl From<&Held> for Hold {
    fn from(held: &Held) -> Self {
        Self { id: held.id.clone(), by: held.by.to_string(), authors: Authors::only(&held.by) }
    }
}

impl Hold {
    /// The hold on a workload. What stands on one without our label was not made by admission.
    pub fn on(workload: &Workload) -> Option<Self> {
        let held = workload.marks.hold.get().filter(|_| workload.governed.stands());
        let mut hold = Self::from(held?);
        hold.authors = Authors::parse(workload.marks.authors.as_deref(), &hold.by);
        Some(hold)
    }
}

/// The fewer replicas that come with the release of a held change. None once a user has scaled
/// since.
pub fn declared_replicas(workload: &Workload) -> Option<u32> {
    Hold::on(workload)?;
    let Replicas { declared, running } = *workload.marks.declared_replicas.get()?;
    (running == workload.rollout.wanted).then_some(declared)
}

/// The mark of fewer replicas, as it should be once another number runs than the one that they came
/// to, or has run, as is `known`.
pub fn scaled_since(workload: &Workload, known: bool) -> Option<String> {
    Hold::on(workload)?;
    let Replicas { declared, running } = *workload.marks.declared_replicas.get()?;
    let scaled = Replicas { declared, running: Replicas::SCALED };
    ((known || running != workload.rollout.wanted) && running != scaled.running)
        .then(|| scaled.to_string())
}

/// Who approved the change with this id. Admission lets only those approve who may.
pub fn approved_by<'a>(workload: &'a Workload, id: &ChangeId) -> Option<&'a str> {
    let by = workload.marks.approved_by.get()?;
    (workload.marks.approve.get()? == id).then_some(&by.0)
}

/// The bypass that let a change through.
pub fn bypassed_by(workload: &Workload) -> Option<&Bypassed> {
    workload.marks.bypassed_by.get()
}
